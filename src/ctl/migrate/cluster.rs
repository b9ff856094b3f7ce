//! Reads what there is.

use anyhow::{Result, anyhow};
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, Error};
use plimsoll_cluster::{Access, chain};

use crate::ctl::exit::Failed;

/// Objects in one answer: large clusters are read in pieces.
const PAGE: u32 = 500;

/// All objects that matter, as the API server has them.
#[derive(Debug, Default)]
pub struct Found {
    pub interceptor_routes: Vec<DynamicObject>,
    pub http_scaled_objects: Vec<DynamicObject>,
    pub scaled_objects: Vec<DynamicObject>,
    pub services: Vec<DynamicObject>,
    /// Kinds that the API server does not know.
    pub absent: Vec<&'static str>,
}

/// Lists them, of one namespace or of all.
///
/// # Errors
/// Where the API server can't be reached, or refuses: [`Failed`] says which.
pub async fn read(access: &Access, namespace: Option<&str>) -> Result<Found> {
    let client = access.client().await?;
    let mut found = Found::default();
    for (kind, version, group) in [
        ("InterceptorRoute", "v1beta1", "http.keda.sh"),
        ("HTTPScaledObject", "v1alpha1", "http.keda.sh"),
        ("ScaledObject", "v1alpha1", "keda.sh"),
        ("Service", "v1", ""),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let listed = list(&client, &resource, namespace).await?;
        if listed.is_none() {
            found.absent.push(kind);
        }
        let objects = listed.unwrap_or_default();
        match kind {
            "InterceptorRoute" => found.interceptor_routes = objects,
            "HTTPScaledObject" => found.http_scaled_objects = objects,
            "ScaledObject" => found.scaled_objects = objects,
            _ => found.services = objects,
        }
    }
    Ok(found)
}

/// All objects of a kind; none where the API server does not know it.
async fn list(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Result<Option<Vec<DynamicObject>>> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(failed(&resource.plural, error)),
        };
        all.extend(page.items);
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params = params.continue_token(&more),
            None => return Ok(Some(all)),
        }
    }
}

fn failed(plural: &str, error: Error) -> anyhow::Error {
    match error {
        Error::Api(status) if matches!(status.code, 401 | 403) => Failed::NotAllowed(format!(
            "may not list {plural}: {}; allow whom --kubeconfig names to list interceptorroutes, httpscaledobjects, \
             scaledobjects and services",
            status.message
        ))
        .into(),
        Error::Api(status) => {
            anyhow!("can't list {plural}: the API server answers {}: {}", status.code, status.message)
        }
        error => Failed::NoApiServer(format!("can't list {plural}: {}", chain(&error))).into(),
    }
}
