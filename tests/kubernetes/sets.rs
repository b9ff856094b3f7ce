//! The fleet alone, as the manager's service account.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use plimsoll_cluster::Access;
use plimsoll_manager::fleet::{Fleet as _, FleetError, Sizes, StatefulSets, StatefulSetsOptions};

use crate::cluster::Cluster;

const NAMESPACE: &str = "sets";

pub(crate) async fn perform(cluster: &mut Cluster) -> Result<()> {
    let fleet = open(cluster.manager(NAMESPACE).await?).await?;
    ensure!(fleet.sizes().await? == Some(Sizes::new()), "there is none yet");
    says(fleet.scale("", 1).await, &["no StatefulSet", "plimsoll.io/fleet=plimsoll", "plimsoll.io/provider=default"])?;
    says(fleet.scale("aws", 1).await, &["no StatefulSet", "plimsoll.io/provider=aws"])?;

    cluster.stateful_set(NAMESPACE, "plain", None, "node", 2).await?;
    cluster.stateful_set(NAMESPACE, "one", Some("aws"), "node-aws", 0).await?;
    let known = BTreeMap::from([("", 2), ("default", 2), ("aws", 0)].map(|(name, size)| (name.to_owned(), size)));
    ensure!(fleet.sizes().await? == Some(known), "{:?}", fleet.sizes().await?);
    ensure!(fleet.can_serve("aws").await? && fleet.can_serve("default").await?, "one without replicas can have some");
    ensure!(!fleet.can_serve("gcp").await?, "nobody makes its StatefulSet");
    fleet.scale("", 3).await?;
    ensure!(cluster.replicas(NAMESPACE, "plain").await? == 3);
    fleet.scale("default", 1).await?;
    fleet.scale("aws", 1).await?;
    ensure!((cluster.replicas(NAMESPACE, "plain").await?, cluster.replicas(NAMESPACE, "one").await?) == (1, 1));

    // A number that was decided about another number is not set; what changes but the number hinders nobody.
    fleet.sizes().await?;
    cluster.scale(NAMESPACE, "plain", 7).await?;
    says(fleet.scale("", 4).await, &["somebody else", "plain", "7"])?;
    ensure!(cluster.replicas(NAMESPACE, "plain").await? == 7);
    cluster.server.kubectl(&["annotate", "statefulset", "plain", "-n", NAMESPACE, "looked=at"]).await?;
    fleet.scale("", 4).await?;
    ensure!(cluster.replicas(NAMESPACE, "plain").await? == 4);

    // Two of one provider: whose they are is not guessed, and the others go on.
    cluster.stateful_set(NAMESPACE, "two", Some("aws"), "node-aws", 1).await?;
    let sizes = fleet.sizes().await?.unwrap_or_default();
    ensure!(!sizes.contains_key("aws") && sizes["default"] == 4, "{sizes:?}");
    says(fleet.scale("aws", 2).await, &["one and two", "plimsoll.io/provider"])?;
    fleet.scale("", 1).await?;

    let stranger = open(cluster.server.service_account(NAMESPACE, "stranger", "[]").await?).await?;
    says(stranger.sizes().await, &["forbidden", "statefulsets"])?;
    let bad = StatefulSetsOptions { name: "no label".to_owned(), ..StatefulSetsOptions::default() };
    says(StatefulSets::new(cluster.admin().await?, bad), &["no label"])?;

    cluster.server.freeze()?;
    let silent = says(fleet.sizes().await, &["no answer for 2 s"]);
    cluster.server.thaw()?;
    silent
}

async fn open(kubeconfig: PathBuf) -> Result<StatefulSets> {
    let client = Access { kubeconfig: Some(kubeconfig) }.client().await?;
    let call_timeout = Duration::from_secs(2);
    let namespace = Some(NAMESPACE.to_owned());
    Ok(StatefulSets::new(client, StatefulSetsOptions { namespace, call_timeout, ..StatefulSetsOptions::default() })?)
}

/// It failed, and the error names these.
fn says<T>(outcome: Result<T, FleetError>, names: &[&str]) -> Result<()> {
    let Err(error) = outcome else { anyhow::bail!("it worked, and should have said {names:?}") };
    let said = error.to_string();
    ensure!(names.iter().all(|name| said.contains(name)), "it should name {names:?}: {said}");
    Ok(())
}
