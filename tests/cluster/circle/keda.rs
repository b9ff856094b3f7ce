//! KEDA, played by the autoscaler of `plimsoll dev`: it scales what ScaledObjects say, by what the scaler answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use kube::Api;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use plimsoll_wire::resources::{Backend, Kind, Port, Workload};
use plimsoll_wire::topic::WorkloadId;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::autoscaler;
use super::replicas::{Program, Replicas};
use crate::objects::Namespace;

/// Between two looks at the ScaledObjects.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: autoscaler::Config,
}

/// A running autoscaler.
pub(crate) struct Keda {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Keda {
    /// Looks after a namespace, and asks this scaler whatever address the triggers say: their Service's name leads to it in a cluster.
    pub(crate) fn start(space: &Namespace, scaler: SocketAddr) -> Result<Self> {
        let flags = ["keda", "--poll-interval=500ms", "--cooldown=2s", "--scale-down-window=2s"];
        let config = Alone::try_parse_from(flags)?.config;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (table, workloads) = watch::channel(Arc::default());
        let deployments = Api::namespaced(space.client.clone(), &space.name);
        let program = Program { deployments, targets: Arc::default() };
        tasks.spawn(follow(space.api("ScaledObject"), program.targets.clone(), table, stop.clone()));
        let make = move |workload: &WorkloadId| -> Box<dyn autoscaler::Replicas> {
            Box::new(Replicas::new(workload.clone(), program.clone()))
        };
        let scaler = autoscaler::scaler(&scaler.to_string())?;
        let (make, troubles) = (Arc::new(make), autoscaler::Troubles::default());
        let autoscaler = autoscaler::Autoscaler { config, scaler, make, troubles };
        tasks.spawn(autoscaler.run(workloads, stop.clone()));
        tasks.close();
        Ok(Self { stop, tasks })
    }

    /// Ends it; the replicas stay as they are.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn follow(
    objects: Api<DynamicObject>,
    targets: Arc<Mutex<BTreeMap<WorkloadId, String>>>,
    table: watch::Sender<Arc<Vec<Workload>>>,
    stop: CancellationToken,
) {
    loop {
        // What can't be listed now is listed the next time.
        if let Ok(list) = objects.list(&Default::default()).await {
            let scaled: Vec<(Workload, String)> = list.items.iter().filter_map(scaled).collect();
            *targets.lock() = scaled.iter().map(|(workload, target)| (workload.id.clone(), target.clone())).collect();
            let workloads: Vec<Workload> = scaled.into_iter().map(|(workload, _)| workload).collect();
            table.send_if_modified(|known| {
                let differs = **known != workloads;
                *known = Arc::new(workloads);
                differs
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

/// What a ScaledObject asks for whom, and the Deployment that it scales.
fn scaled(object: &DynamicObject) -> Option<(Workload, String)> {
    let (namespace, spec) = (object.metadata.namespace.as_deref()?, &object.data["spec"]);
    let asks = &spec["triggers"][0]["metadata"];
    let (kind, name) = match (&asks["interceptorRoute"], &asks["httpScaledObject"]) {
        (Value::String(name), _) => (Kind::InterceptorRoute, name),
        (_, Value::String(name)) => (Kind::HttpScaledObject, name),
        _ => return None,
    };
    let nowhere = Backend { service: "none".to_owned(), port: Port::Number(1) };
    let mut workload = Workload { kind, ..Workload::new(WorkloadId::new(namespace, name.as_str()), nowhere) };
    let bound = |field: &str| spec[field].as_u64().and_then(|bound| u32::try_from(bound).ok());
    workload.scaling.min_replicas = bound("minReplicaCount");
    workload.scaling.max_replicas = bound("maxReplicaCount");
    Some((workload, spec["scaleTargetRef"]["name"].as_str()?.to_owned()))
}
