//! At which provider this process runs, as the node that it runs on says.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Error};
use plimsoll_cluster::{Access, chain, provider::of_provider_id};
use plimsoll_wire::resources::DEFAULT_PROVIDER;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long one question to the API server may take, and the pause before the next.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// The node's provider; `default` where it names none. Waits for an API server that is away; nothing when asked to stop meanwhile.
///
/// # Errors
/// Where there is no such node, or asking is not allowed.
pub async fn provider(access: &Access, node: &str, shutdown: &CancellationToken) -> Result<Option<String>> {
    let client = access.client().await.with_context(|| format!("can't ask for the provider of node {node}"))?;
    let nodes: Api<Node> = Api::all(client);
    let mut complained = false;
    loop {
        let asked = shutdown.run_until_cancelled(timeout(CALL_TIMEOUT, nodes.get(node))).await;
        let reason = match asked {
            None => return Ok(None),
            Some(Ok(Ok(found))) => return Ok(Some(told(node, &found))),
            Some(Ok(Err(Error::Api(status)))) if status.code == 404 => {
                bail!("there is no node {node}: --node-name must be the pod's spec.nodeName")
            }
            Some(Ok(Err(Error::Api(status)))) if matches!(status.code, 401 | 403) => bail!(
                "may not ask for node {node}: {}; allow this service account to get nodes, or say --provider in place of --node-name",
                status.message
            ),
            Some(Ok(Err(error))) => chain(&error),
            Some(Err(_)) => format!("no answer for {} s", CALL_TIMEOUT.as_secs()),
        };
        if !complained {
            warn!("the API server does not tell the provider of node {node}: {reason}; trying on");
        }
        complained = true;
        if shutdown.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return Ok(None);
        }
    }
}

fn told(name: &str, node: &Node) -> String {
    let id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
    // One that names none is nobody's cloud, and its collectors are like all others.
    let provider = of_provider_id(id).unwrap_or_else(|| DEFAULT_PROVIDER.to_owned());
    info!("node {name} has the providerID {id:?}: this collector is for provider {provider}");
    provider
}
