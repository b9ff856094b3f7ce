//! Objects of the API server, as values.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::api::{Api, ApiResource, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Client, Error};
use plimsoll_cluster::Access;
use plimsoll_testkit::{ApiServer, wait_until};
use serde_json::{Value, json};

use crate::SOON;
use crate::backend::PORT;

/// What is needed of KEDA's ScaledObject.
const SCALED_OBJECTS: &str = include_str!("scaled_objects.yaml");

/// A namespace of a test's own on a server that has the definitions.
#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Namespace {
    /// On the server that all tests share.
    pub(crate) async fn new(name: &str) -> Result<Self> {
        let server = ApiServer::shared().await?;
        Self::on(server, name).await
    }

    /// On this server.
    pub(crate) async fn on(server: &ApiServer, name: &str) -> Result<Self> {
        let definitions = plimsoll_wire::resources::crds::yaml()?;
        // Two that make the same definition at once get in each other's way.
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ONE_AT_A_TIME.lock().await;
        server.apply(&format!("{definitions}---\n{SCALED_OBJECTS}")).await?;
        drop(alone);
        server.namespace(name).await?;
        let client = client(server.kubeconfig()).await?;
        let here = Self { client, name: name.to_owned() };
        // A definition is served some time after it has been taken.
        for kind in ["InterceptorRoute", "HTTPScaledObject", "ScaledObject"] {
            wait_until(&format!("{kind} is served"), SOON, async || {
                Ok(here.api(kind).list(&Default::default()).await?)
            })
            .await?;
        }
        Ok(here)
    }

    /// The objects of a kind.
    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource(kind))
    }

    /// Applies an object; its kind's version and the namespace are added. What others have written of it is overruled.
    pub(crate) async fn apply(&self, object: Value) -> Result<DynamicObject> {
        self.apply_as("test", object).await
    }

    /// As [`Namespace::apply`], by this field manager.
    pub(crate) async fn apply_as(&self, manager: &str, object: Value) -> Result<DynamicObject> {
        let (kind, object) = self.whole(object)?;
        let name = object["metadata"]["name"].as_str().context("it has no name")?;
        let parameters = PatchParams::apply(manager).force();
        let applied = self.api(&kind).patch(name, &parameters, &Patch::Apply(&object)).await;
        applied.with_context(|| format!("{object}"))
    }

    /// Asks whether an object would be taken.
    pub(crate) async fn try_create(&self, object: Value) -> Result<Result<DynamicObject, Error>> {
        let (kind, object) = self.whole(object)?;
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        Ok(self.api(&kind).create(&parameters, &serde_json::from_value(object)?).await)
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.api(kind).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// An object, if it is there.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Result<Option<DynamicObject>> {
        Ok(self.api(kind).get_opt(name).await?)
    }

    /// A Service with one port, `web`: 80.
    pub(crate) async fn service(&self, name: &str) -> Result<()> {
        let ports = json!([{"name": "web", "port": 80}]);
        self.apply(json!({"kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}})).await?;
        Ok(())
    }

    /// A slice of a Service with these endpoints, all of them ready but for those that are terminating.
    pub(crate) async fn slice(
        &self,
        service: &str,
        name: &str,
        ready: &[IpAddr],
        terminating: &[IpAddr],
    ) -> Result<()> {
        let endpoint = |address: &IpAddr, terminating: bool| json!({"addresses": [address], "conditions": {"ready": !terminating, "serving": true, "terminating": terminating}});
        let family = if ready.iter().chain(terminating).any(IpAddr::is_ipv6) { "IPv6" } else { "IPv4" };
        let ready = ready.iter().map(|address| endpoint(address, false));
        let endpoints: Vec<Value> = ready.chain(terminating.iter().map(|address| endpoint(address, true))).collect();
        self.apply(json!({
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": family, "ports": [{"name": "web", "port": PORT}], "endpoints": endpoints,
        }))
        .await?;
        Ok(())
    }

    /// An InterceptorRoute for a host, to the port 80 of a Service.
    pub(crate) async fn route(&self, name: &str, host: &str, service: &str) -> Result<DynamicObject> {
        self.apply(route(name, host, service)).await
    }

    fn whole(&self, mut object: Value) -> Result<(String, Value)> {
        let kind = object["kind"].as_str().context("it has no kind")?.to_owned();
        object["apiVersion"] = resource(&kind).api_version.into();
        object["metadata"]["namespace"] = self.name.clone().into();
        Ok((kind, object))
    }
}

/// An InterceptorRoute for a host, to the port 80 of a Service.
pub(crate) fn route(name: &str, host: &str, service: &str) -> Value {
    json!({
        "kind": "InterceptorRoute",
        "metadata": {"name": name},
        "spec": {
            "target": {"service": service, "port": 80},
            "rules": [{"hosts": [host]}],
            "scalingMetric": {"concurrency": {"targetValue": 10}},
        },
    })
}

/// A client of the server that this kubeconfig names.
pub(crate) async fn client(kubeconfig: PathBuf) -> Result<Client> {
    Ok(Access { kubeconfig: Some(kubeconfig) }.client().await?)
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "InterceptorRoute" => ("http.keda.sh", "v1beta1"),
        "HTTPScaledObject" => ("http.keda.sh", "v1alpha1"),
        "ScaledObject" => ("keda.sh", "v1alpha1"),
        "EndpointSlice" => ("discovery.k8s.io", "v1"),
        "Deployment" => ("apps", "v1"),
        _ => ("", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
