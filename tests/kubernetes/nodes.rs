//! Collectors whose node does not tell their provider.

use anyhow::{Result, ensure};

use crate::{cluster::Cluster, driver::program};

const NAMESPACE: &str = "nodes";

pub(crate) async fn perform(cluster: &mut Cluster) -> Result<()> {
    let collector = cluster.collector(NAMESPACE).await?;
    let stranger = cluster.server.service_account(NAMESPACE, "stranger", "[]").await?;
    for (kubeconfig, flags, names) in [
        (&collector, &["--node-name=nowhere"][..], &["no node nowhere", "spec.nodeName"][..]),
        (&stranger, &["--node-name=node"], &["node", "forbidden", "allow this service account to get nodes"]),
        (&collector, &["--node-name=node", "--provider=aws"], &["--node-name", "--provider"]),
    ] {
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        // Nothing is there: it ends before it needs a log.
        let usual = ["collector", "--kafka=127.0.0.1:9", "--store=configmap", kubeconfig.as_str()];
        let ended = program::run(&[&usual[..], flags].concat()).await?;
        ensure!(!ended.success && names.iter().all(|name| ended.stderr.contains(name)), "{flags:?}: {}", ended.stderr);
    }
    Ok(())
}
