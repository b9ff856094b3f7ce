//! The line in the cluster: a manager and an interceptor as processes on a real Kafka, and collectors where the StatefulSets want them.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Folder, Kafka, Port, wait_until};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    driver::{program::Program, rest},
    kubelet::{Image, Kubelet},
};

/// Nothing here should take this long; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(240);

/// Everything that runs beside the cluster. Gone when dropped.
pub(crate) struct Line {
    pub(crate) manager: Program,
    pub(crate) api: Port,
    interceptor: Program,
    kubelet: Kubelet,
    folder: Folder,
    _ports: [Port; 3],
    _kafka: Kafka,
}

impl Line {
    /// Starts it, with so many workloads of each provider.
    pub(crate) async fn start(cluster: &Cluster, namespace: &str, workloads: &[(&str, usize)]) -> Result<Self> {
        let (manager, collector) = (cluster.manager(namespace).await?, cluster.collector(namespace).await?);
        let (kafka, folder) = (Kafka::start().await?, Folder::new("kubernetes-line")?);
        write_routes(&folder, workloads)?;
        let routes = format!("--routes={}", folder.join("routes.yaml").display());
        let brokers = format!("--kafka={}", kafka.bootstrap());
        let (api, [scaler, proxy, admin]) = (Port::claim()?, [Port::claim()?, Port::claim()?, Port::claim()?]);
        let arguments = [
            "manager".to_owned(),
            routes.clone(),
            brokers.clone(),
            "--manager-name=manager-0".to_owned(),
            format!("--kubeconfig={}", manager.display()),
            "--store=configmap".to_owned(),
            format!("--store-namespace={namespace}"),
            "--fleet=kubernetes".to_owned(),
            format!("--fleet-namespace={namespace}"),
            "--policy=per-provider".to_owned(),
            "--max-per-host=4".to_owned(),
            "--scale-in-after=1s".to_owned(),
            "--topic-grace=1s".to_owned(),
            // A restart of the API server must not look like collectors that are lost.
            "--replace-after=1h".to_owned(),
            format!("--api-listen={}", api.address()),
            format!("--scaler-listen={}", scaler.address()),
        ];
        let mut manager = Program::start(&folder, "manager", &arguments)?;
        manager.listens(&[&api.address()]).await?;
        let arguments = [
            "interceptor".to_owned(),
            routes,
            brokers,
            "--interceptor-name=interceptor-0".to_owned(),
            format!("--proxy-listen={}", proxy.address()),
            format!("--admin-listen={}", admin.address()),
        ];
        let interceptor = Program::start(&folder, "interceptor", &arguments)?;
        let image = Image {
            folder: Folder::new("pods")?,
            kafka: kafka.bootstrap(),
            kubeconfig: collector,
            namespace: namespace.to_owned(),
        };
        let kubelet = Kubelet::start(cluster.admin().await?, image);
        Ok(Self { manager, api, interceptor, kubelet, folder, _ports: [scaler, proxy, admin], _kafka: kafka })
    }

    /// Has so many workloads of each provider from now on.
    pub(crate) fn write_routes(&self, workloads: &[(&str, usize)]) -> Result<()> {
        write_routes(&self.folder, workloads)
    }

    /// Waits until it is so; what does not come about is told with everybody's logs.
    pub(crate) async fn until<T>(&self, what: &str, probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let waited = wait_until(what, LIMIT, probe).await;
        waited.with_context(|| self.logs())
    }

    /// Each topic's collector, and no topic on the move.
    pub(crate) async fn settled(&self) -> Result<Placed> {
        let placed = self.placed().await?;
        ensure!(placed.moving == 0, "topics are moving: {placed:?}");
        Ok(placed)
    }

    /// Each topic's collector.
    pub(crate) async fn placed(&self) -> Result<Placed> {
        let assignment = rest::json(&self.api.address(), "/api/v1/assignment").await?;
        let topics = assignment["topics"].as_object().context("an assignment names topics")?;
        let moving = topics.values().filter(|place| !place["incoming"].is_null()).count();
        let owners =
            topics.iter().filter_map(|(topic, place)| Some((topic.clone(), place["owner"].as_str()?.to_owned())));
        let generation = assignment["generation"].as_u64().context("an assignment has a generation")?;
        Ok(Placed { generation, moving, owners: owners.collect() })
    }

    /// What the manager says of itself.
    pub(crate) async fn readiness(&self) -> Result<Value> {
        rest::json(&self.api.address(), "/readyz").await
    }

    /// Everybody's logs.
    pub(crate) fn logs(&self) -> String {
        let printed = |program: &Program| program.printed().unwrap_or_default();
        let (manager, interceptor) = (printed(&self.manager), printed(&self.interceptor));
        let well = if self.kubelet.is_well() { "" } else { "a collector has ended by itself\n" };
        format!("{well}=== manager\n{manager}\n=== interceptor\n{interceptor}\n{}", self.kubelet.logs())
    }

    /// Ends everything; an error where a collector has ended by itself.
    pub(crate) async fn end(self) -> Result<()> {
        self.kubelet.stop().await
    }
}

/// Where the topics are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) generation: u64,
    moving: usize,
    /// Those without an owner are not named.
    pub(crate) owners: BTreeMap<String, String>,
}

impl Placed {
    /// How many topics of this provider each collector has.
    pub(crate) fn of(&self, provider: &str) -> BTreeMap<&str, usize> {
        let topic = format!("plimsoll.default.{provider}-");
        let mut found = BTreeMap::new();
        for (_, owner) in self.owners.iter().filter(|(name, _)| name.starts_with(&topic)) {
            *found.entry(owner.as_str()).or_default() += 1;
        }
        found
    }

    /// Makes sure that this provider's topics are on `collectors-PROVIDER-0` to the last of these, so many in all.
    pub(crate) fn are_on(&self, provider: &str, collectors: usize, topics: usize) -> Result<()> {
        let found = self.of(provider);
        let names: Vec<String> = (0..collectors).map(|ordinal| format!("collectors-{provider}-{ordinal}")).collect();
        ensure!(found.keys().eq(names.iter()), "provider {provider}'s topics are on {found:?}");
        ensure!(
            found.values().sum::<usize>() == topics,
            "of provider {provider}'s {topics} topics have an owner: {found:?}"
        );
        Ok(())
    }
}

fn write_routes(folder: &Folder, workloads: &[(&str, usize)]) -> Result<()> {
    let mut yaml = String::new();
    for (provider, count) in workloads {
        for number in 0..*count {
            yaml.push_str(&format!(
                "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\n\
                 metadata: {{name: {provider}-{number}, namespace: default, annotations: {{plimsoll.io/provider: {provider}}}}}\n\
                 spec:\n  target: {{service: 127.0.0.1, port: 9}}\n  rules: [{{hosts: [{provider}-{number}.example.com]}}]\n  \
                 scalingMetric: {{concurrency: {{targetValue: 10}}}}\n"
            ));
        }
    }
    // By renaming, so that nobody reads half a file.
    let whole = folder.join("routes.yaml.new");
    fs::write(&whole, yaml)?;
    Ok(fs::rename(&whole, folder.join("routes.yaml"))?)
}
