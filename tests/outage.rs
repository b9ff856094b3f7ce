//! Kafka is away for a while: requests do not notice, KEDA is told that nothing is known, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod driver;

use std::{ops::Range, time::Duration};

use anyhow::{Result, ensure};
use driver::{
    accuracy::Accuracy,
    deployment::Deployment,
    keda::{Trigger, known_and_idle},
    load::{Ledger, Load, Pattern, Running, Traffic},
    processes::{Processes, Shape},
    rest,
    routes::Route,
    sampler::{Sample, Sampler, all_told_after},
    side_by_side,
    truth::Truth,
};
use plimsoll_testkit::wait_until;
use tokio::time::sleep;
use tonic::{Code, Status};

const WINDOW: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(20);
const UNKNOWN_WITHIN: Duration = Duration::from_secs(5);
const KNOWN_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// Windows filled and settled.
const WARM: Duration = Duration::from_secs(14);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_kafka_costs_no_request_and_no_count() -> Result<()> {
    let _turn = side_by_side().await;
    let outage = async |line: &mut Processes, _: &Ledger| {
        line.kafka.stop()?;
        sleep(OUTAGE).await;
        line.kafka.restart().await
    };
    kafka_away(outage).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_kafka_costs_no_request_and_no_count() -> Result<()> {
    let _turn = side_by_side().await;
    let outage = async |line: &mut Processes, _: &Ledger| {
        line.kafka.freeze()?;
        sleep(OUTAGE).await;
        line.kafka.thaw()
    };
    kafka_away(outage).await
}

/// Runs steady traffic over an outage and holds everything against the promises.
async fn kafka_away(outage: impl AsyncFnOnce(&mut Processes, &Ledger) -> Result<()>) -> Result<()> {
    let load = Load::new()?;
    let backend = load.backend().await?.address();
    let routes: Vec<Route> = ["steady", "paced", "bursts"].map(|name| Route::new(name, backend)).into();
    let shape = Shape { interceptors: 2, ..Shape::default() };
    let mut line = Processes::start(&shape, &routes).await?;
    let outcome = through(&mut line, &load, &routes, outage).await;
    if outcome.is_err() {
        println!("{}", line.logs());
    }
    outcome
}

async fn through(
    line: &mut Processes,
    load: &Load,
    routes: &[Route],
    outage: impl AsyncFnOnce(&mut Processes, &Ledger) -> Result<()>,
) -> Result<()> {
    let manager = line.managers()[0].clone();
    let triggers: Vec<Trigger> = routes.iter().map(Route::trigger).collect();
    known_and_idle(&manager.scaler, &triggers).await?;
    let traffic = steady_traffic(load, routes, &line.proxies());
    let ledger = traffic.ledger().clone();
    let sampler = Sampler::start(std::slice::from_ref(&manager.scaler), &triggers, &ledger)?;
    sleep(WARM).await;

    let away = ledger.now();
    outage(line, &ledger).await?;
    let back = ledger.now();

    sleep(KNOWN_AGAIN_WITHIN + WINDOW + Duration::from_secs(4)).await;
    let ledger = traffic.stop().await;
    let samples = sampler.stop().await;

    let truths: Vec<Truth> = (0..routes.len())
        .map(|workload| Truth::new(&ledger.of(workload), shape_interceptors(line), ledger.now()))
        .collect();
    let mut complaints = ledger.failures();
    let mut accuracy = Accuracy::default();
    for sample in &samples {
        complaints.extend(fault(sample, &truths[sample.workload], &ledger, away..back, &mut accuracy).map(|fault| {
            let (asked, workload) = (sample.asked, &routes[sample.workload].name);
            format!("{workload}, asked at {asked:?}: {fault}")
        }));
    }
    let last_known = |from, until| {
        let known = samples.iter().filter(|s| s.told.is_ok() && s.asked >= from && s.asked < until);
        known.map(|s| s.answered).max()
    };
    let first_known = samples.iter().filter(|s| s.told.is_ok() && s.asked >= back).map(|s| s.answered).min();
    println!(
        "Kafka away from {away:?} to {back:?}; known until {:?}, and again at {first_known:?}; {} samples",
        last_known(away, back),
        samples.len()
    );
    ensure!(
        complaints.is_empty(),
        "{} promises broken (away at {away:?}, back at {back:?}):\n{}",
        complaints.len(),
        complaints[..complaints.len().min(30)].join("\n")
    );
    println!("{accuracy}");
    let unknown = |sample: &Sample| sample.told.is_err() && sample.asked > away && sample.answered < back;
    ensure!(samples.iter().any(unknown), "nobody has asked while Kafka was away");
    all_told_after(&samples, routes.len(), back + WINDOW + KNOWN_AGAIN_WITHIN)?;
    totals_are_what_was_sent(line, routes, &ledger).await
}

/// What one sample says that it must not. Kafka was away in that time.
fn fault(
    sample: &Sample,
    truth: &Truth,
    ledger: &Ledger,
    away: Range<Duration>,
    accuracy: &mut Accuracy,
) -> Option<String> {
    let told = match (&sample.told, &sample.active) {
        (Ok(told), Ok(_)) => *told,
        (Err(error), _) | (_, Err(error)) => return undue(error, sample, away),
    };
    if sample.asked >= away.start + UNKNOWN_WITHIN && sample.answered <= away.end {
        return Some(format!("{told:?} is told without evidence"));
    }
    if sample.asked < WARM - Duration::from_secs(1) {
        return None;
    }
    if told.concurrency == 0.0 || told.rate == Some(0.0) || matches!(sample.active, Ok(false)) {
        return Some(format!("falsely zero: {told:?}, active {:?}", sample.active));
    }
    if sample.asked > away.end && sample.asked < away.end + WINDOW + KNOWN_AGAIN_WITHIN {
        // The window holds the outage: plausible is enough.
        let concurrency = truth.concurrency(sample.asked, sample.answered, WINDOW, Duration::ZERO);
        let rate = truth.rate(sample.asked, sample.answered, WINDOW, Duration::ZERO);
        let plausible = |value: f64, truth: f64| (truth * 0.5..truth * 2.0).contains(&value);
        let right =
            plausible(told.concurrency, concurrency.most) && told.rate.is_some_and(|value| plausible(value, rate.most));
        return (!right).then(|| format!("{told:?} is not plausible; truth: {concurrency:?}, {rate:?}"));
    }
    accuracy.judge_both(sample, told, truth, ledger, WINDOW)
}

/// What is wrong with an error.
fn undue(error: &Status, sample: &Sample, away: Range<Duration>) -> Option<String> {
    if error.code() != Code::Unavailable {
        return Some(format!("{error:?}"));
    }
    if error.message().is_empty() {
        return Some("it does not say what is missing".to_owned());
    }
    let due = sample.answered >= away.start && sample.asked <= away.end + KNOWN_AGAIN_WITHIN;
    (!due).then(|| format!("unknown without need: {}", error.message()))
}

/// The interceptors and the log agree with the clients on every request.
async fn totals_are_what_was_sent(line: &Processes, routes: &[Route], ledger: &Ledger) -> Result<()> {
    let manager = &line.managers()[0];
    for (workload, route) in routes.iter().enumerate() {
        let (name, sent) = (route.workload(), ledger.sent(workload) as u64);
        let mut admitted = 0;
        for admin in line.admins() {
            admitted += rest::admitted(&admin, &name).await?;
        }
        ensure!(admitted == sent, "{name}: {admitted} requests admitted of {sent}");
        wait_until("the last frames have been read", Duration::from_secs(5), async || {
            let view = rest::workload(&manager.api, &name).await?;
            ensure!(view["admittedTotal"].as_u64() == Some(sent), "{sent} were sent; {view:#}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn steady_traffic(load: &Load, routes: &[Route], proxies: &[String]) -> Running {
    let millis = Duration::from_millis;
    let patterns = [
        Pattern::Steady { open: 6, length: millis(2_000) },
        Pattern::Bursts { every: millis(50), at_once: 1, length: millis(500) },
        Pattern::Bursts { every: millis(1_000), at_once: 8, length: millis(600) },
    ];
    let traffic = |(route, pattern): (&Route, Pattern)| Traffic { host: route.host(), pattern };
    let traffic: Vec<Traffic> = routes.iter().zip(patterns).map(traffic).collect();
    load.start(&traffic, proxies)
}

fn shape_interceptors(line: &Processes) -> usize {
    line.interceptors.len()
}
