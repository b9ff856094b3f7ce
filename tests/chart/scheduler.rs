//! What puts pods on the node: no scheduler runs here.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{Api, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, Error};
use plimsoll_cluster::Access;
use plimsoll_testkit::ApiServer;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A client that may do everything.
pub(crate) async fn admin(server: &ApiServer) -> Result<Client> {
    Ok(Access { kubeconfig: Some(server.kubeconfig()) }.client().await?)
}

/// Puts every pod of a namespace on the node until this is dropped.
pub(crate) struct Scheduler(JoinHandle<()>);

impl Scheduler {
    pub(crate) fn start(client: Client, namespace: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let pods = Api::namespaced_with(client, namespace, &resource);
        Self(tokio::spawn(async move {
            loop {
                // What fails is tried again; what never comes about is told by helm.
                let _ = place(&pods).await;
                sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn place(pods: &Api<DynamicObject>) -> Result<()> {
    for pod in pods.list(&ListParams::default()).await?.items {
        if !pod.data["spec"]["nodeName"].is_null() {
            continue;
        }
        let name = pod.metadata.name.context("a pod has a name")?;
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node"},
        });
        match pods.create_subresource::<_, Value>("binding", &name, &PostParams::default(), &binding).await {
            // Somebody deleted it meanwhile, or it has its node.
            Ok(_) | Err(Error::Api(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
