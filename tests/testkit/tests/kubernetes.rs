//! The API server that tests run against, and what plays its nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_testkit::{ApiServer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn objects_survive_a_restart_and_a_service_account_may_do_what_its_role_says() -> Result<()> {
    let mut server = ApiServer::start().await?;
    let rules = "[{apiGroups: [''], resources: [configmaps], verbs: [get, create]}]";
    let kubeconfig = server.service_account("shop", "writer", rules).await?;
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    server.kubectl(&[&kubeconfig, "-n", "shop", "create", "configmap", "one", "--from-literal=a=b"]).await?;
    let refused = server.kubectl(&[&kubeconfig, "-n", "shop", "delete", "configmap", "one"]).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("Forbidden")));
    server.stop()?;
    server.restart().await?;
    let kept = server.kubectl(&["-n", "shop", "get", "configmap", "one", "-o", "jsonpath={.data.a}"]).await?;
    ensure!(kept == "b", "{kept}");
    Ok(())
}

#[tokio::test]
async fn a_stateful_set_gets_pods_that_are_ready() -> Result<()> {
    let server = ApiServer::start().await?;
    let _nodes = server.nodes().await?;
    server
        .apply(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: collector}\nspec:\n  replicas: 1\n  serviceName: collector\n  \
             podManagementPolicy: Parallel\n  selector: {matchLabels: {app: collector}}\n  template:\n    \
             metadata: {labels: {app: collector}}\n    spec: {nodeName: node, containers: [{name: collector, image: plimsoll}]}\n",
        )
        .await?;
    let ready = async |wanted: &str| {
        wait_until("the pods are ready", LIMIT, async || {
            let ready = server.kubectl(&["get", "statefulset", "collector", "-o", "jsonpath={.status.readyReplicas}"]);
            let ready = ready.await?;
            ensure!(ready == wanted, "{ready:?} of {wanted} are");
            Ok(())
        })
        .await
    };
    ready("1").await?;
    server.kubectl(&["scale", "statefulset", "collector", "--replicas=3"]).await?;
    ready("3").await
}
