//! The fleet that the play is about, and what can be done to it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use plimsoll_scheduler::{
    directives::{CollectorDirective, Directives},
    policy::Policy,
    store::{EtcdStore, Store as _, StoreError},
};
use plimsoll_testkit::{KafkaSettings, wait_until};

use crate::{
    driver::{
        processes::{Processes, Shape},
        rest,
        routes::Route,
    },
    frames::Frames,
    watching::Watching,
};

/// How big it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) workloads: usize,
    pub(crate) collectors: usize,
    pub(crate) heap_mib: u32,
}

/// Until everything is as it should be, on a busy machine.
const SETTLES_WITHIN: Duration = Duration::from_secs(240);

/// The full compiler, which takes long to start, pays where the broker has much to do.
fn compiler(size: Size) -> Vec<String> {
    if size.workloads >= 1_000 { vec!["-XX:TieredStopAtLevel=4".to_owned()] } else { Vec::new() }
}

/// Two managers, the collectors, frames for all workloads, and someone who watches.
pub(crate) struct Stage {
    pub(crate) size: Size,
    /// How many there are now.
    pub(crate) topics: usize,
    pub(crate) line: Processes,
    pub(crate) watching: Watching,
    frames: Frames,
    store: EtcdStore,
}

impl Stage {
    /// Starts everything; returns when all values are known.
    pub(crate) async fn set(size: Size) -> Result<Self> {
        Self::set_with(size, 2, &[&format!("--max-per-host={}", size.workloads)]).await
    }

    /// With so many managers, which have these flags.
    pub(crate) async fn set_with(size: Size, managers: usize, manager_flags: &[&str]) -> Result<Self> {
        // Nobody connects to it.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let routes: Vec<Route> = (0..size.workloads)
            .map(|number| Route {
                concurrency_window: Some(Duration::from_secs(5)),
                ..Route::new(format!("workload-{number}"), nowhere)
            })
            .collect();
        let topics: Vec<String> = routes.iter().map(|route| format!("plimsoll.default.{}", route.name)).collect();
        let shape = Shape {
            interceptors: 0,
            collectors: size.collectors,
            managers,
            topics: topics.clone(),
            kafka: KafkaSettings { heap_mib: size.heap_mib, java_options: compiler(size), ..KafkaSettings::default() },
            manager_flags: manager_flags.iter().map(ToString::to_string).collect(),
        };
        let line = Processes::start(&shape, &routes).await?;
        let frames = Frames::start(&line.kafka.bootstrap(), topics)?;
        let apis: Vec<String> = line.managers.iter().map(|manager| manager.ports[0].address()).collect();
        let watching = Watching::start(&apis, size.workloads)?;
        let store = EtcdStore::new(&[line.etcd_address()], "/plimsoll/")?;
        let stage = Self { size, topics: size.workloads, line, watching, frames, store };
        stage.settled("the fleet has started", async |_| Ok(())).await?;
        Ok(stage)
    }

    /// Which manager leads, of those that are up.
    pub(crate) async fn leader(&self) -> Result<usize> {
        for (number, manager) in self.line.managers.iter().enumerate() {
            let up = !self.watching.is_excused(number);
            if up && rest::json(&manager.ports[0].address(), "/readyz").await?["leading"] == true {
                return Ok(number);
            }
        }
        bail!("no manager leads")
    }

    /// The REST API of a manager that is up.
    pub(crate) fn api(&self) -> Result<String> {
        let up = (0..self.line.managers.len()).find(|manager| !self.watching.is_excused(*manager));
        Ok(self.line.managers[up.context("no manager is up")?].ports[0].address())
    }

    /// Waits until all values are known, no topic moves, and the topics are where they should be.
    pub(crate) async fn settled(&self, what: &str, wanted: impl AsyncFn(&Placed) -> Result<()>) -> Result<()> {
        let settled = wait_until(what, SETTLES_WITHIN, async || {
            self.watching.all_known()?;
            let placed = self.placed().await?;
            ensure!(placed.moving == 0, "{} topics are moving", placed.moving);
            let owned: usize = placed.topics.values().sum();
            ensure!(owned == self.topics, "{owned} topics have an owner");
            wanted(&placed).await
        });
        settled.await.with_context(|| self.line.logs())
    }

    /// Where the topics are. The list of collectors tells it in some lines, however many topics there are.
    async fn placed(&self) -> Result<Placed> {
        let collectors = rest::json(&self.api()?, "/api/v1/collectors").await?;
        let mut placed = Placed::default();
        for one in collectors["items"].as_array().context("a list of collectors has items")? {
            let count = |what: &str| one[what].as_u64().with_context(|| format!("no {what} in {one}"));
            placed.moving += usize::try_from(count("incoming")?)?;
            let owned = usize::try_from(count("topics")?)?;
            if owned > 0 {
                placed.topics.insert(one["id"].as_str().context("a collector has an id")?.to_owned(), owned);
            }
        }
        Ok(placed)
    }

    /// Drains a collector, or takes that back.
    pub(crate) async fn drain(&self, collector: &str, drained: bool) -> Result<()> {
        self.direct(|directives| {
            if drained {
                directives.collectors.insert(collector.to_owned(), CollectorDirective::Drain);
            } else {
                directives.collectors.remove(collector);
            }
        })
        .await
    }

    /// Sets the policy.
    pub(crate) async fn set_policy(&self, policy: Policy) -> Result<()> {
        self.direct(|directives| directives.policy = Some(policy)).await
    }

    /// Changes what operators ask for.
    async fn direct(&self, change: impl Fn(&mut Directives)) -> Result<()> {
        wait_until("the directives are changed", Duration::from_secs(10), async || {
            let mut stored = self.store.load_directives().await?;
            change(&mut stored.directives);
            match self.store.change_directives(&stored.directives, stored.revision).await {
                Ok(_) => Ok(()),
                Err(error @ StoreError::Conflict) => bail!(error),
                Err(error) => Err(error)?,
            }
        })
        .await
    }

    /// Ends everything; how long the slowest tick of the frames took.
    pub(crate) async fn end(self) -> Result<Duration> {
        self.watching.stop().await;
        self.store.close().await;
        self.frames.stop().await
    }
}

/// Where the topics are.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// How many each collector owns.
    pub(crate) topics: BTreeMap<String, usize>,
    pub(crate) moving: usize,
}

impl Placed {
    /// How many this one owns.
    pub(crate) fn of(&self, collector: &str) -> usize {
        self.topics.get(collector).copied().unwrap_or(0)
    }
}
