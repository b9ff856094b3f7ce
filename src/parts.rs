//! Opens what the parts stand on: the log and the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use plimsoll_cluster::Access;
use plimsoll_scheduler::store::{ConfigMapStore, EtcdStore, MemoryStore, Store, StoreHealth};
use plimsoll_wire::log::EventLog;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::resources::{Workload, cluster, files};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::cli::{KafkaClient, Place, Routes};

/// How long one look at the brokers may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// A store that is away for less is not worth a line.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause between two looks.
const CHECK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The Kafka log. Brokers out of reach are no error here: the parts go on without them, and a task says so until they are there.
pub fn kafka(
    brokers: &str,
    client: &KafkaClient,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Arc<dyn EventLog>> {
    let config = KafkaConfig {
        brokers: brokers.to_owned(),
        client: client.kafka_config.iter().cloned().collect(),
        log_client: client.log_client,
        direct_reading: client.direct_reading,
        ..KafkaConfig::default()
    };
    let log = Arc::new(KafkaLog::new(config).context("can't make a Kafka client")?);
    let (checked, shutdown) = (log.clone(), shutdown.clone());
    tasks.spawn(async move {
        let mut pause = Duration::from_secs(1);
        while let Err(error) = checked.check(CHECK_TIMEOUT).await {
            // The log has said so itself, once; the pause is for those who look closer.
            debug!("{error}; looking again in {} s", pause.as_secs());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(CHECK_PAUSE_MAX),
            }
        }
        info!("Kafka answers");
    });
    Ok(log)
}

/// The workloads as they are described somewhere.
pub struct Described {
    pub workloads: watch::Receiver<Arc<Vec<Workload>>>,
    /// Whether the workloads are known.
    pub known: watch::Receiver<bool>,
    /// The cluster that they are from, where they are from one.
    pub cluster: Option<WatchedCluster>,
}

/// A cluster that is looked at.
pub struct WatchedCluster {
    pub client: Client,
    /// The one namespace to look at; none is all.
    pub namespace: Option<String>,
}

/// The workloads of route files or of a cluster, followed until shutdown.
pub async fn described(
    routes: &Routes,
    kubernetes: &Access,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Described> {
    if let Some(path) = &routes.routes {
        let workloads = self::routes(path, tasks, shutdown);
        return Ok(Described { workloads, known: watch::channel(true).1, cluster: None });
    }
    // PLIMSOLL_CLUSTER=false is something said, too, and enough for the command line.
    ensure!(routes.cluster, "nothing says where the workloads are described: give --routes FILE, or --cluster");
    let client = kubernetes.client().await.context("can't make a client for the cluster (--cluster)")?;
    let namespace = Some(routes.watch_namespace.clone()).filter(|namespace| !namespace.is_empty());
    let watched = cluster::watch(client.clone(), namespace.as_deref(), shutdown.clone());
    let (workloads, known) = (watched.workloads(), watched.known());
    tasks.spawn(watched.finished());
    Ok(Described { workloads, known, cluster: Some(WatchedCluster { client, namespace }) })
}

/// The workloads of route files, followed until shutdown.
pub fn routes(path: &Path, tasks: &TaskTracker, shutdown: &CancellationToken) -> watch::Receiver<Arc<Vec<Workload>>> {
    let routes = files::watch(path, shutdown.clone());
    let workloads = routes.workloads();
    tasks.spawn(routes.finished());
    workloads
}

/// The plan's store. It connects by itself, and again when the connection is lost.
pub async fn store(place: &Place, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<Arc<dyn Store>> {
    let (store, name): (Arc<dyn Store>, String) = match place {
        Place::Etcd { endpoints, prefix } => {
            let name = format!("etcd at {}", endpoints.join(","));
            let store = EtcdStore::new(endpoints, prefix).with_context(|| format!("can't make a client for {name}"))?;
            (Arc::new(store), name)
        }
        Place::ConfigMap(options) => {
            let store = ConfigMapStore::new(options.clone()).await.context("can't make a client for Kubernetes")?;
            let name = store.place().to_owned();
            (Arc::new(store), name)
        }
    };
    tasks.spawn(report_health(name, store.health(), shutdown.clone()));
    Ok(store)
}

/// The store in memory, with the file that it goes on from if there is one.
pub fn memory(file: Option<&Path>, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<Arc<dyn Store>> {
    let Some(path) = file else { return Ok(Arc::new(MemoryStore::new())) };
    let store = MemoryStore::with_file(path)?;
    tasks.spawn(report_health(format!("the state file {}", path.display()), store.health(), shutdown.clone()));
    Ok(Arc::new(store))
}

/// Says once that the store is away, and once that it is back.
async fn report_health(name: String, mut health: watch::Receiver<StoreHealth>, shutdown: CancellationToken) {
    let mut away = false;
    loop {
        let now = health.borrow_and_update().clone();
        match now {
            StoreHealth::Connected if away => info!("{name} answers again"),
            // At the start it has not answered yet: that becomes worth a line when it lasts.
            StoreHealth::Away { since, .. } if !away && since.elapsed() < STORE_PATIENCE => {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep_until(since + STORE_PATIENCE) => continue,
                }
            }
            StoreHealth::Away { ref reason, .. } if !away => {
                warn!("the store does not answer: {reason}; the plan in force stays, trying on");
            }
            _ => {}
        }
        away = matches!(now, StoreHealth::Away { .. });
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// Ends the tasks that served the part.
pub async fn finish(tasks: TaskTracker, shutdown: &CancellationToken) {
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_that_is_switched_off_is_not_looked_at() {
        let routes = Routes { routes: None, cluster: false, watch_namespace: String::new() };
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let described = described(&routes, &Access::default(), &tasks, &shutdown).await;
        let told = described.map(drop).unwrap_err().to_string();
        assert!(told.contains("give --routes FILE, or --cluster"), "{told}");
    }
}
