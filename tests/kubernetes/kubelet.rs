//! What runs the pods: kwok says that they are ready, and this runs the collector that each stands for, as a process of this host.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use plimsoll_testkit::{Folder, Port};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::driver::program::Program;

const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A pod's process.
struct Container {
    program: Program,
    _ports: [Port; 2],
    stopping: bool,
}

/// Runs the pods of a namespace until it is stopped.
pub(crate) struct Kubelet {
    running: Arc<Mutex<BTreeMap<String, Container>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

/// How each collector is started.
pub(crate) struct Image {
    pub(crate) folder: Folder,
    pub(crate) kafka: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
}

impl Image {
    fn run(&self, pod: &str, node: &str) -> Result<Container> {
        let ports = [Port::claim()?, Port::claim()?];
        let arguments = [
            "collector".to_owned(),
            format!("--kafka={}", self.kafka),
            "--store=configmap".to_owned(),
            format!("--store-namespace={}", self.namespace),
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--collector-id={pod}"),
            format!("--node-name={node}"),
            format!("--collector-listen={}", ports[0].address()),
            format!("--collector-advertise={}", ports[0].address()),
            format!("--collector-admin-listen={}", ports[1].address()),
        ];
        Ok(Container { program: Program::start(&self.folder, pod, &arguments)?, _ports: ports, stopping: false })
    }
}

impl Kubelet {
    /// Begins.
    pub(crate) fn start(client: kube::Client, image: Image) -> Self {
        let (running, stop) = (Arc::default(), CancellationToken::new());
        let task = tokio::spawn(keep(client, image, Arc::clone(&running), stop.clone()));
        Self { running, stop, task }
    }

    /// What the collectors printed, for the message of a test that failed.
    pub(crate) fn logs(&self) -> String {
        let running = self.running.lock();
        let printed = |(name, container): (&String, &Container)| {
            format!("=== {name}\n{}\n", container.program.printed().unwrap_or_default())
        };
        running.iter().map(printed).collect()
    }

    /// Whether it still looks; what ended it is told by [`stop`](Self::stop).
    pub(crate) fn is_well(&self) -> bool {
        !self.task.is_finished()
    }

    /// Ends all of them.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn keep(
    client: kube::Client,
    image: Image,
    running: Arc<Mutex<BTreeMap<String, Container>>>,
    stop: CancellationToken,
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client, &image.namespace);
    let selected = ListParams::default().labels("part=collector");
    while !stop.is_cancelled() {
        // An API server that is away changes no pod.
        if let Ok(list) = pods.list(&selected).await {
            let wanted: BTreeMap<String, String> = list.items.iter().filter_map(place).collect();
            look(&image, &wanted, &mut running.lock())?;
        }
        sleep(LOOK_EVERY).await;
    }
    running.lock().clear();
    Ok(())
}

/// A pod that shall run, and its node.
fn place(pod: &Pod) -> Option<(String, String)> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    pod.metadata.deletion_timestamp.is_none().then(|| (pod.name_any(), node))
}

/// Starts what is missing, asks what is not wanted any more to stop, and forgets what has ended.
fn look(image: &Image, wanted: &BTreeMap<String, String>, running: &mut BTreeMap<String, Container>) -> Result<()> {
    for (name, container) in running.iter_mut() {
        if !wanted.contains_key(name) && !container.stopping {
            container.program.process().signal(Signal::SIGTERM).with_context(|| format!("{name} ended by itself"))?;
            container.stopping = true;
        }
    }
    let mut ended = Vec::new();
    for (name, container) in running.iter() {
        if container.program.has_ended()? {
            ensure!(container.stopping, "{name} has ended:\n{}", container.program.printed()?);
            ended.push(name.clone());
        }
    }
    running.retain(|name, _| !ended.contains(name));
    for (name, node) in wanted {
        if !running.contains_key(name) {
            running.insert(name.clone(), image.run(name, node)?);
        }
    }
    Ok(())
}
