//! Parts freeze or die one at a time on real Kafka and etcd, under steady traffic: values stay right or become errors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, ensure};
use driver::{
    accuracy::Accuracy,
    deployment::Deployment,
    keda::{Keda, known_and_idle, value_of},
    load::{Ledger, Load, Pattern, Running, Traffic},
    processes::{Processes, Shape},
    rest,
    routes::Route,
    sampler::{Sample, Sampler, all_told_after},
    side_by_side,
    truth::Truth,
};
use nix::sys::signal::Signal;
use plimsoll_testkit::wait_until;
use tokio::time::sleep;
use tonic::Code;

const WINDOW: Duration = Duration::from_secs(10);
/// The windows are full.
const WARM: Duration = Duration::from_secs(14);
/// The promise for a lost collector's topics.
const ANSWERED_AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long the share of an interceptor stands that says nothing any more.
const TIME_TO_LIVE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_collector_is_replaced_and_harmless_when_it_thaws() -> Result<()> {
    let shape = Shape { interceptors: 2, collectors: 2, ..Shape::default() };
    let incident = async |stage: &mut Stage| {
        let owners = rest::owners(&stage.line.managers()[0].api).await?;
        let topic = "plimsoll.default.workload-0";
        let frozen = owners.get(topic).context("workload-0 has no collector")?.clone();
        let orphans = (0..stage.routes.len())
            .filter(|n| owners.get(&format!("plimsoll.default.workload-{n}")) == Some(&frozen))
            .collect();
        let from = stage.now();
        stage.line.collector_named(&frozen)?.program.process().freeze()?;
        sleep(Duration::from_secs(20)).await;
        stage.line.collector_named(&frozen)?.program.process().thaw()?;
        sleep(Duration::from_secs(8)).await;
        Ok(Unknown { workloads: orphans, times: from..from + ANSWERED_AGAIN_WITHIN })
    };
    values_stay_right(shape, incident).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_stay_right_while_etcd_is_away() -> Result<()> {
    let incident = async |stage: &mut Stage| {
        stage.line.etcd.stop()?;
        sleep(Duration::from_secs(15)).await;
        stage.line.etcd.restart().await?;
        sleep(Duration::from_secs(10)).await;
        Ok(Unknown::never())
    };
    values_stay_right(Shape::default(), incident).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_goes_on_while_no_manager_is_up() -> Result<()> {
    let incident = async |stage: &mut Stage| {
        let from = stage.now();
        stage.line.kill_manager(0)?;
        sleep(Duration::from_secs(8)).await;
        stage.line.restart_manager(0).await?;
        let until = stage.now() + ANSWERED_AGAIN_WITHIN;
        sleep(ANSWERED_AGAIN_WITHIN + Duration::from_secs(5)).await;
        Ok(Unknown { workloads: (0..stage.routes.len()).collect(), times: from..until })
    };
    values_stay_right(Shape::default(), incident).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_interceptors_share_stands_for_its_time_to_live_and_is_gone_then() -> Result<()> {
    let _turn = side_by_side().await;
    let load = Load::new()?;
    let shape = Shape { interceptors: 2, ..Shape::default() };
    let routes = routes(&load, 2).await?;
    let mut line = Processes::start(&shape, &routes).await?;
    known(&line, &routes).await?;

    // Workload 0 is asked for through both, workload 1 through the one that dies alone.
    let proxies = line.proxies();
    let steady = |route: &Route, open| Traffic {
        host: route.host(),
        pattern: Pattern::Steady { open, length: Duration::from_secs(4) },
    };
    let shared = load.start(&[steady(&routes[0], 4)], &proxies);
    let doomed = load.start(&[steady(&routes[1], 3)], &proxies[1..]);
    let ledger = shared.ledger().clone();
    let triggers: Vec<_> = routes.iter().map(Route::trigger).collect();
    let sampler = Sampler::start(&[line.managers()[0].scaler.clone()], &triggers, &ledger)?;
    sleep(WARM).await;

    let killed = ledger.now();
    line.interceptors[1].program.kill()?;
    sleep(TIME_TO_LIVE + WINDOW + Duration::from_secs(5)).await;
    let gone = ledger.now();
    sleep(Duration::from_secs(3)).await;
    let samples = sampler.stop().await;
    drop((shared, doomed));

    let mut complaints = Vec::new();
    let mut stood_until = killed;
    for sample in samples.iter().filter(|sample| sample.asked >= WARM) {
        let told = match &sample.told {
            Ok(told) => told,
            Err(error) if error.code() == Code::Unavailable && sample.asked < gone => continue,
            Err(error) => {
                complaints.push(format!("{:?}: {error:?}", sample.asked));
                continue;
            }
        };
        let stands = sample.asked < killed + TIME_TO_LIVE - Duration::from_secs(1);
        if stands && sample.workload == 1 {
            stood_until = sample.asked;
        }
        let expected = match sample.workload {
            0 if stands => 3.96..=4.04,
            0 if sample.asked >= gone => 1.98..=2.02,
            0 => 1.98..=4.04,
            _ if stands => 2.97..=3.03,
            _ if sample.asked >= gone => 0.0..=0.0,
            _ => 0.0..=3.03,
        };
        let active = !matches!(sample.active, Ok(false));
        if !expected.contains(&told.concurrency) || (stands && !active) {
            complaints.push(format!(
                "workload {} at {:?}: {told:?}, active {:?}, not within {expected:?}",
                sample.workload, sample.asked, sample.active
            ));
        }
    }
    println!("killed at {killed:?}; its share was told until {stood_until:?} at least; {} samples", samples.len());
    ensure!(
        complaints.is_empty(),
        "{} promises broken (killed at {killed:?}, gone at {gone:?}):\n{}\n{}",
        complaints.len(),
        complaints[..complaints.len().min(30)].join("\n"),
        line.logs()
    );
    // Else each value before its end might have been unknown, and none of them the share that stands.
    let long = killed + TIME_TO_LIVE * 2 / 3;
    ensure!(stood_until > long, "killed at {killed:?}, told until {stood_until:?} only: {}", line.logs());
    all_told_after(&samples, routes.len(), gone)?;
    let keda = Keda::of(&line.managers()[0].scaler)?;
    ensure!(!keda.is_active(&triggers[1]).await?, "a dead interceptor's requests keep a workload active");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interceptor_that_stops_answers_what_it_has_and_leaves_no_doubt() -> Result<()> {
    let _turn = side_by_side().await;
    let load = Load::new()?;
    let shape = Shape { interceptors: 2, ..Shape::default() };
    let routes = routes(&load, 1).await?;
    let mut line = Processes::start(&shape, &routes).await?;
    known(&line, &routes).await?;
    let pattern = Pattern::Steady { open: 5, length: Duration::from_secs(4) };
    let traffic = Traffic { host: routes[0].host(), pattern };
    let leaving = load.start(&[traffic], &line.proxies()[1..]);
    let ledger = leaving.ledger().clone();
    let trigger = routes[0].trigger();
    let scaler = line.managers()[0].scaler.clone();
    let sampler = Sampler::start(&[scaler], std::slice::from_ref(&trigger), &ledger)?;
    sleep(WARM).await;

    let stopping = tokio::spawn(leaving.stop());
    line.interceptors[1].program.process().signal(Signal::SIGTERM)?;
    let ledger = stopping.await?;
    ensure!(ledger.failures().is_empty(), "requests were lost: {:?}\n{}", ledger.failures(), line.logs());
    let ended = line.interceptors[1].program.process().wait(Duration::from_secs(20)).await?;
    ensure!(ended.success(), "it ended with {ended}: {}", line.logs());

    let keda = Keda::of(&line.managers()[0].scaler)?;
    let no_wait_for_its_time_to_live = WINDOW + Duration::from_secs(3);
    wait_until("its share is gone", no_wait_for_its_time_to_live, async || {
        let values = keda.metrics(&trigger, "").await?;
        ensure!(value_of(&values, &trigger.concurrency_metric()) == Some(0.0), "{values:?}");
        Ok(())
    })
    .await?;
    let samples = sampler.stop().await;
    all_told_after(&samples, routes.len(), WARM)?;
    let unknown = samples.into_iter().find(|sample| sample.told.is_err());
    ensure!(unknown.is_none(), "a goodbye is no reason for doubt: {unknown:?}");
    Ok(())
}

/// A line under traffic.
struct Stage {
    line: Processes,
    routes: Vec<Route>,
    traffic: Running,
}

impl Stage {
    /// By the ledger's clock.
    fn now(&self) -> Duration {
        self.traffic.ledger().now()
    }
}

/// Which workloads may be unknown, and when.
struct Unknown {
    workloads: Vec<usize>,
    times: Range<Duration>,
}

impl Unknown {
    fn never() -> Self {
        Self { workloads: Vec::new(), times: Duration::ZERO..Duration::ZERO }
    }

    fn allows(&self, sample: &Sample) -> bool {
        self.workloads.contains(&sample.workload)
            && sample.answered >= self.times.start
            && sample.asked < self.times.end
    }
}

/// Steady traffic on a line to which something happens; then each value must have been the truth, or allowed to be unknown.
async fn values_stay_right(shape: Shape, incident: impl AsyncFnOnce(&mut Stage) -> Result<Unknown>) -> Result<()> {
    let _turn = side_by_side().await;
    let load = Load::new()?;
    let routes = routes(&load, 8).await?;
    let line = Processes::start(&shape, &routes).await?;
    known(&line, &routes).await?;
    let traffic: Vec<Traffic> = routes.iter().enumerate().map(traffic).collect();
    let mut stage = Stage { traffic: load.start(&traffic, &line.proxies()), line, routes };
    let triggers: Vec<_> = stage.routes.iter().map(Route::trigger).collect();
    let scaler = stage.line.managers()[0].scaler.clone();
    let sampler = Sampler::start(&[scaler], &triggers, stage.traffic.ledger())?;
    sleep(WARM).await;
    let unknown = incident(&mut stage).await?;
    let samples = sampler.stop().await;
    let ledger = stage.traffic.stop().await;

    let truths: Vec<Truth> = (0..stage.routes.len())
        .map(|workload| Truth::new(&ledger.of(workload), shape.interceptors, ledger.now()))
        .collect();
    let mut complaints = ledger.failures();
    let mut unknown_until = unknown.times.start;
    let mut accuracy = Accuracy::default();
    for sample in samples.iter().filter(|sample| sample.asked >= WARM) {
        if (sample.told.is_err() || sample.active.is_err()) && unknown.allows(sample) {
            unknown_until = unknown_until.max(sample.answered);
        } else if let Some(fault) = fault(sample, &truths[sample.workload], &ledger, &mut accuracy) {
            complaints.push(format!("workload {} at {:?}: {fault}", sample.workload, sample.asked));
        }
    }
    println!("{} samples; unknown for {:?}", samples.len(), unknown_until.saturating_sub(unknown.times.start));
    ensure!(
        complaints.is_empty(),
        "{} promises broken (unknown was allowed in {:?} for {:?}):\n{}\n{}",
        complaints.len(),
        unknown.times,
        unknown.workloads,
        complaints[..complaints.len().min(30)].join("\n"),
        stage.line.logs()
    );
    println!("{accuracy}");
    all_told_after(&samples, stage.routes.len(), unknown.times.end.max(WARM))
}

/// What one sample says that it must not.
fn fault(sample: &Sample, truth: &Truth, ledger: &Ledger, accuracy: &mut Accuracy) -> Option<String> {
    let told = match (&sample.told, &sample.active) {
        (Ok(told), Ok(true)) => told,
        (Ok(_), Ok(false)) => return Some("falsely inactive".to_owned()),
        (Err(error), _) | (_, Err(error)) => return Some(format!("{:?}: {}", error.code(), error.message())),
    };
    accuracy.judge_both(sample, *told, truth, ledger, WINDOW)
}

async fn routes(load: &Load, count: usize) -> Result<Vec<Route>> {
    let backend = load.backend().await?.address();
    Ok((0..count).map(|number| Route::new(format!("workload-{number}"), backend)).collect())
}

/// By turns: clients that always wait for an answer, and evenly spaced requests.
fn traffic((number, route): (usize, &Route)) -> Traffic {
    let pattern = if number % 2 == 0 {
        Pattern::Steady { open: 2 + number, length: Duration::from_secs(2) }
    } else {
        Pattern::Bursts { every: Duration::from_millis(100), at_once: 1, length: Duration::from_millis(600) }
    };
    Traffic { host: route.host(), pattern }
}

async fn known(line: &Processes, routes: &[Route]) -> Result<()> {
    let triggers: Vec<_> = routes.iter().map(Route::trigger).collect();
    known_and_idle(&line.managers()[0].scaler, &triggers).await.with_context(|| line.logs())
}
