//! helm on a real API server.

use anyhow::{Result, ensure};
use plimsoll_testkit::{ApiServer, Helm, helm};

/// Runs helm in a namespace of the server; what it says, unless it fails.
pub(crate) async fn helm_on(server: &ApiServer, namespace: &str, arguments: &[&str]) -> Result<Helm> {
    let told = helm(&[arguments, &["--namespace", namespace]].concat(), Some(&server.kubeconfig())).await?;
    ensure!(told.success, "helm {arguments:?}: {}{}", told.stdout, told.stderr);
    Ok(told)
}
