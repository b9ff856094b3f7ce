//! What operators ask for is done by the leader: on a manager and collectors in this process, with the in-memory log and store.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, Command};
use plimsoll_collector::Collector;
use plimsoll_manager::{Manager, fleet::Given};
use plimsoll_scheduler::{
    directives::{CollectorDirective, Directives, RegisteredTopic},
    plan::Placed,
    policy::{Policy, PolicyKind},
    store::{MemoryStore, Store},
};
use plimsoll_testkit::wait_until;
use plimsoll_wire::{
    frame::{Heartbeat, InterceptorRecord, interceptor_record::Record},
    log::{Append, EventLog, Topic, memory::MemoryLog},
    resources::{Workload, files},
    topic::INTERCEPTORS,
};
use prost::Message as _;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const LIMIT: Duration = Duration::from_secs(60);
const ROUTES: &str = "\
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: { name: described, namespace: default }
spec:
  target: { service: nowhere, port: 80 }
  rules: [{ hosts: [described.example.com] }]
  scalingMetric: { concurrency: { targetValue: 5 } }
";
const DESCRIBED: &str = "plimsoll.default.described";

/// A manager, three collectors, and an interceptor that has nothing to tell.
struct Stage {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _workloads: watch::Sender<Arc<Vec<Workload>>>,
}

impl Stage {
    async fn set() -> Result<Self> {
        let (log, store) = (Arc::new(MemoryLog::new()), Arc::new(MemoryStore::new()));
        let loaded = files::parse(ROUTES, "the test's routes");
        ensure!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let (table, workloads) = watch::channel(Arc::new(loaded.workloads));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let parts =
            plimsoll_manager::Parts { log: log.clone(), store: store.clone(), workloads, fleet: Arc::new(Given) };
        let config = config(&["--manager-name=m", "--api-listen=127.0.0.1:0", "--scaler-listen=127.0.0.1:0"])?;
        tasks.spawn(Manager::bind(config, parts).await?.serve(stop.clone()));
        for (id, provider) in [("c-0", "default"), ("c-1", "default"), ("c-2", "moon")] {
            let config: plimsoll_collector::Config = config_of(&[
                format!("--collector-id={id}"),
                format!("--provider={provider}"),
                "--collector-listen=127.0.0.1:0".to_owned(),
                "--collector-admin-listen=127.0.0.1:0".to_owned(),
                "--leave-timeout=0s".to_owned(),
            ])?;
            let parts = plimsoll_collector::Parts { log: log.clone(), store: store.clone() };
            tasks.spawn(Collector::bind(config, parts).await?.serve(stop.clone()));
        }
        tasks.spawn(beat(log.clone(), stop.clone()));
        Ok(Self { log, store, stop, tasks, _workloads: table })
    }

    async fn ask(&self, change: impl Fn(&mut Directives)) -> Result<()> {
        wait_until("the directives are changed", LIMIT, async || {
            let mut stored = self.store.load_directives().await?;
            change(&mut stored.directives);
            self.store.change_directives(&stored.directives, stored.revision).await?;
            Ok(())
        })
        .await
    }

    /// Waits until the topic's place is so.
    async fn placed(&self, what: &str, topic: &str, is_so: impl Fn(&Placed) -> bool) -> Result<()> {
        wait_until(what, LIMIT, async || {
            let stored = self.store.load().await?;
            let placed = stored.plan.topics.get(topic).with_context(|| format!("{topic} is not in the plan"))?;
            ensure!(is_so(placed), "{placed:?}");
            Ok(())
        })
        .await
    }

    async fn topics(&self) -> Result<BTreeSet<String>> {
        Ok(self.log.list_topics().await?.into_iter().collect())
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Without an interceptor nothing is known.
async fn beat(log: Arc<MemoryLog>, stop: CancellationToken) {
    let began = Instant::now();
    while !stop.is_cancelled() {
        let now = began.elapsed().as_micros() as u64;
        let heartbeat = Heartbeat {
            interceptor: "i".to_owned(),
            incarnation: 1,
            at_us: now,
            watermark_us: now,
            undelivered: Vec::new(),
            leaving: false,
        };
        let record = InterceptorRecord { record: Some(Record::Heartbeat(heartbeat)) };
        log.append(vec![Append { topic: Topic::from(INTERCEPTORS), payload: record.encode_to_vec().into() }]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_registered_pinned_moved_by_a_drain_and_removed() -> Result<()> {
    let stage = Stage::set().await?;
    let topic = "plimsoll.shop.cart";
    let registered =
        RegisteredTopic { workload: "shop/cart".to_owned(), provider: "moon".to_owned(), dedicated: false };
    stage.ask(|directives| directives.registered.extend([(topic.to_owned(), registered.clone())])).await?;
    stage.placed("it is read", topic, |placed| placed.placement.owner.is_some() && placed.provider == "moon").await?;
    wait_until("it is in the log", LIMIT, async || {
        ensure!(stage.topics().await?.contains(topic), "{:?}", stage.topics().await?);
        Ok(())
    })
    .await?;

    let settled_on = |collector: &'static str| {
        move |placed: &Placed| {
            placed.placement.owner.as_deref() == Some(collector) && placed.placement.incoming.is_none()
        }
    };
    for collector in ["c-1", "c-0"] {
        stage.ask(|directives| directives.pins.extend([(topic.to_owned(), collector.to_owned())])).await?;
        stage.placed("it goes where it is pinned", topic, settled_on(collector)).await?;
    }
    stage.ask(|directives| directives.collectors.extend([("c-0".to_owned(), CollectorDirective::Drain)])).await?;
    stage
        .placed("it leaves a drained collector", topic, |placed| placed.placement.owner.as_deref() != Some("c-0"))
        .await?;
    stage
        .ask(|directives| {
            directives.collectors.clear();
            directives.pins.clear();
            directives.policy = Some(Policy { kind: PolicyKind::PerProvider, ..Policy::default() });
        })
        .await?;
    stage.placed("it goes to its provider's collector", topic, settled_on("c-2")).await?;
    stage
        .placed("and the other one stays with its own", DESCRIBED, |placed| {
            placed.placement.owner.as_deref().is_some_and(|owner| owner != "c-2")
        })
        .await?;

    stage.ask(|directives| directives.removed.extend([topic.to_owned()])).await?;
    wait_until("it is gone, and struck out", LIMIT, async || {
        let directives = stage.store.load_directives().await?.directives;
        ensure!(directives.removed.is_empty() && directives.registered.is_empty(), "{directives:?}");
        ensure!(!stage.store.load().await?.plan.topics.contains_key(topic), "it is in the plan");
        ensure!(!stage.topics().await?.contains(topic), "it is in the log");
        Ok(())
    })
    .await?;
    stage.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_a_resource_describes_is_not_removed() -> Result<()> {
    let stage = Stage::set().await?;
    stage.placed("it is read", DESCRIBED, |placed| placed.placement.owner.is_some()).await?;
    stage.ask(|directives| directives.removed.extend([DESCRIBED.to_owned()])).await?;
    wait_until("the wish is struck out", LIMIT, async || {
        let directives = stage.store.load_directives().await?.directives;
        ensure!(directives.removed.is_empty(), "{directives:?}");
        Ok(())
    })
    .await?;
    ensure!(stage.store.load().await?.plan.topics.contains_key(DESCRIBED), "it is read on");
    ensure!(stage.topics().await?.contains(DESCRIBED), "it is in the log");
    stage.end().await;
    Ok(())
}

fn config(flags: &[&str]) -> Result<plimsoll_manager::Config> {
    config_of(&flags.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// A part's settings, as from its command line.
fn config_of<C: Args>(flags: &[String]) -> Result<C> {
    let command = C::augment_args(Command::new("part").no_binary_name(true));
    Ok(C::from_arg_matches(&command.try_get_matches_from(flags)?)?)
}
