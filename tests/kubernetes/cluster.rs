//! The cluster that all tests here use, one at a time: they stop its API server, and their load fills a small machine.

use std::path::PathBuf;

use anyhow::{Context, Result};
use plimsoll_cluster::Access;
use plimsoll_testkit::{ApiServer, Nodes, documented_rules};
use tokio::sync::{Mutex, MutexGuard};

const STORES: &str = include_str!("../../docs/stores.md");
const FLEETS: &str = include_str!("../../docs/fleets.md");

/// An API server, its controllers, and nodes of three providers that are played.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    nodes: Option<Nodes>,
}

/// The cluster, for as long as this is held.
pub(crate) struct Held(MutexGuard<'static, Option<Cluster>>);

impl Held {
    pub(crate) fn cluster(&mut self) -> &mut Cluster {
        self.0.as_mut().expect("it was started before this was made")
    }
}

/// Waits for the tests before; the first starts the cluster, which ends with the test program.
pub(crate) async fn exclusively() -> Result<Held> {
    static CLUSTER: Mutex<Option<Cluster>> = Mutex::const_new(None);
    let mut held = CLUSTER.lock().await;
    if held.is_none() {
        *held = Some(Cluster::start().await?);
    }
    Ok(Held(held))
}

impl Cluster {
    async fn start() -> Result<Self> {
        let server = ApiServer::start().await?;
        let nodes = Some(server.nodes().await?);
        for (name, id) in [("aws", "aws:///eu-central-1a/i-0ff1ce"), ("gcp", "gce://shop/europe-west3-a/node")] {
            let node = format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: node-{name}, annotations: {{kwok.x-k8s.io/node: fake}}}}\n\
                 spec: {{providerID: '{id}'}}\n"
            );
            server.apply(&node).await?;
        }
        Ok(Self { server, nodes })
    }

    /// Starts a stopped API server again, and its controllers: those that were there would try again only a minute later.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.server.restart().await?;
        self.nodes = None;
        self.nodes = Some(self.server.nodes().await?);
        Ok(())
    }

    /// The service account of a manager that has its plan and its collectors in Kubernetes: its kubeconfig.
    pub(crate) async fn manager(&self, namespace: &str) -> Result<PathBuf> {
        let store = documented_rules(STORES, "A manager:")?;
        let fleet = documented_rules(FLEETS, "A manager that scales")?;
        self.server.service_account(namespace, "manager", &format!("{store}{fleet}")).await
    }

    /// The service account of a collector that has its plan in Kubernetes, and asks for its node.
    pub(crate) async fn collector(&self, namespace: &str) -> Result<PathBuf> {
        let store = documented_rules(STORES, "A collector, which")?;
        let node = documented_rules(FLEETS, "the permission to `get` nodes")?;
        let kubeconfig = self.server.service_account(namespace, "collector", &store).await?;
        let bound = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {namespace}-collector}}\nrules: {node}\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {namespace}-collector}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-collector}}\n\
             subjects: [{{kind: ServiceAccount, name: collector, namespace: {namespace}}}]\n"
        );
        self.server.apply(&bound).await?;
        Ok(kubeconfig)
    }

    /// A client that may do everything.
    pub(crate) async fn admin(&self) -> Result<kube::Client> {
        Ok(Access { kubeconfig: Some(self.server.kubeconfig()) }.client().await?)
    }

    /// Makes the StatefulSet `NAME`, labelled as the fleet `plimsoll`'s, for a provider if there is one, with pods on this node.
    pub(crate) async fn stateful_set(
        &self,
        namespace: &str,
        name: &str,
        provider: Option<&str>,
        node: &str,
        replicas: usize,
    ) -> Result<()> {
        let provider = provider.map(|provider| format!(", plimsoll.io/provider: {provider}")).unwrap_or_default();
        self.server
            .apply(&format!(
                "apiVersion: apps/v1\nkind: StatefulSet\n\
                 metadata: {{name: {name}, namespace: {namespace}, labels: {{plimsoll.io/fleet: plimsoll{provider}}}}}\n\
                 spec:\n  replicas: {replicas}\n  serviceName: {name}\n  podManagementPolicy: Parallel\n  \
                 selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}, part: collector}}}}\n    \
                 spec: {{nodeName: {node}, containers: [{{name: collector, image: plimsoll}}]}}\n"
            ))
            .await
    }

    /// How many replicas a StatefulSet is asked to have.
    pub(crate) async fn replicas(&self, namespace: &str, name: &str) -> Result<usize> {
        let asked = ["get", "statefulset", name, "-n", namespace, "-o", "jsonpath={.spec.replicas}"];
        let told = self.server.kubectl(&asked).await?;
        told.trim().parse().with_context(|| format!("{name} has {told:?} replicas"))
    }

    /// What somebody else does.
    pub(crate) async fn scale(&self, namespace: &str, name: &str, replicas: usize) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.server.kubectl(&["scale", "statefulset", name, "-n", namespace, &replicas]).await.map(drop)
    }
}
