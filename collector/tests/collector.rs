//! A whole collector on the log and the store of `plimsoll dev`, heard over its own gRPC.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_scheduler::store::{MemoryStore, Store};
use plimsoll_testkit::wait_until;
use plimsoll_wire::collector::SubscribeRequest;
use plimsoll_wire::collector::collector_client::CollectorClient;
use plimsoll_wire::log::EventLog;
use plimsoll_wire::log::memory::MemoryLog;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use driver::{Interceptor, LIMIT, Manager, Planner, Served, WINDOW, create_topics, is_known, topic};

struct Stage {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    planner: Planner,
    collector: Served,
}

impl Stage {
    async fn new(topics: usize, read_interval: Duration) -> Result<Self> {
        let log = Arc::new(MemoryLog::new());
        let store = Arc::new(MemoryStore::new());
        create_topics(&*log, 0..topics).await?;
        let planner = Planner::new(store.clone());
        let collector = Served::start(log.clone(), store.clone(), read_interval).await?;
        Ok(Self { log, store, planner, collector })
    }

    fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }
}

const PACE: Duration = Duration::from_millis(100);
/// After this a manager tells no more what a collector has said.
const SILENCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_assigned_topic_is_read_becomes_warm_and_is_released_with_the_next_plan() -> Result<()> {
    let stage = Stage::new(2, PACE).await?;
    let interceptor = Interceptor::start("i-0", 1, stage.log());
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    let generation = stage.planner.assign([0, 1]).await?;
    for number in 0..2 {
        manager.answer(number, "an idle topic is known", |answer| is_known(answer) && answer.in_flight == 0).await?;
    }
    manager
        .hears("the generation", |heard| heard.updates.last().is_some_and(|(_, last)| last.generation == generation))
        .await?;
    interceptor.arrive(1).await;
    let next = stage.planner.assign([1]).await?;
    manager.hears("the topic is released", |heard| !heard.answers.contains_key(&topic(0))).await?;
    let full = |answer: &plimsoll_wire::collector::Answer| is_known(answer) && (answer.concurrency - 1.0).abs() < 0.01;
    manager.answer(1, "the other one goes on", full).await?;
    manager
        .hears("the next generation", |heard| heard.updates.last().is_some_and(|(_, last)| last.generation == next))
        .await?;
    interceptor.depart(1);
    manager.answer(1, "the request has ended", |answer| is_known(answer) && answer.in_flight == 0).await?;
    manager.answer(1, "and left the window", |answer| is_known(answer) && answer.concurrency == 0.0).await?;
    let states =
        manager.look(|heard| heard.updates.iter().rev().find(|(_, u)| u.interceptors_changed).cloned()).unwrap();
    assert_eq!(states.1.interceptors[0].name, "i-0");
    stage.collector.stop().await
}

#[tokio::test]
async fn a_topic_whose_windows_change_is_known_over_the_new_ones() -> Result<()> {
    let stage = Stage::new(1, PACE).await?;
    let interceptor = Interceptor::start("i-0", 1, stage.log());
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    stage.planner.assign([0]).await?;
    interceptor.arrive(0).await;
    manager.answer(0, "known", |answer| is_known(answer) && answer.in_flight == 1).await?;
    // A longer one reaches back to before what has been read: that is read first.
    for window in [2 * WINDOW, WINDOW / 2] {
        stage.planner.assign_with([0], window).await?;
        let window_us = u64::try_from(window.as_micros())?;
        let is_new = |answer: &plimsoll_wire::collector::Answer| {
            is_known(answer) && answer.concurrency_window_us == window_us && answer.in_flight == 1
        };
        manager.answer(0, "known over its new window", is_new).await?;
    }
    stage.collector.stop().await
}

#[tokio::test]
async fn the_first_request_is_told_at_once_whatever_the_pace() -> Result<()> {
    // At this pace a topic's own reading would take a second.
    let stage = Stage::new(40, Duration::from_secs(1)).await?;
    let interceptor = Interceptor::start("i-0", 1, stage.log());
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    stage.planner.assign(0..40).await?;
    manager.hears("all are known", |heard| heard.answers.len() == 40 && heard.answers.values().all(is_known)).await?;
    let mut waited = Vec::new();
    for number in 0..40 {
        let begun = Instant::now();
        interceptor.arrive(number).await;
        manager.answer(number, "active", |answer| answer.in_flight == 1 && is_known(answer)).await?;
        waited.push(begun.elapsed());
    }
    waited.sort();
    println!("first request to told: p50 {:?}, max {:?}", waited[20], waited[39]);
    // Far less than the pace, and far more than it takes, so that a slow machine is no fault.
    assert!(waited[20] < Duration::from_millis(250), "{waited:?}");
    interceptor.depart(0);
    manager.answer(0, "idle", |answer| answer.in_flight == 0).await?;
    stage.collector.stop().await
}

#[tokio::test]
async fn a_manager_hears_all_topics_once_then_changes_and_a_sign_of_life_each_second() -> Result<()> {
    let stage = Stage::new(1_500, PACE).await?;
    let _interceptor = Interceptor::start("i-0", 1, stage.log());
    let first = Manager::subscribe(stage.collector.grpc).await?;
    stage.planner.assign(0..1_500).await?;
    first.hears("all are known", |heard| heard.answers.len() == 1_500 && heard.answers.values().all(is_known)).await?;
    let late = Manager::subscribe(stage.collector.grpc).await?;
    late.hears("the snapshot", |heard| heard.snapshot_complete).await?;
    let (chunks, told) = late.look(|heard| (heard.updates.len(), heard.answers.len()));
    assert!(chunks >= 3 && told == 1_500, "{told} answers in {chunks} updates");
    late.hears("signs of life", |heard| heard.updates.len() >= chunks + 8).await?;
    late.look(|heard| {
        let after = &heard.updates[chunks..];
        let changes: usize = after.iter().map(|(_, update)| update.answers.len()).sum();
        assert_eq!(changes, 0, "idle topics cost nothing");
        let mut gaps: Vec<Duration> = after.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        gaps.sort_unstable();
        // One may be late where the machine is busy, as long as a manager would not take it for silence.
        let (usual, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        assert!(usual <= Duration::from_secs(1) && longest < SILENCE, "{gaps:?}");
    });
    stage.collector.stop().await
}

#[tokio::test]
async fn a_manager_that_does_not_read_gets_the_newest_in_the_end_and_delays_nobody() -> Result<()> {
    let stage = Stage::new(600, PACE).await?;
    let interceptor = Interceptor::start("i-0", 1, stage.log());
    stage.planner.assign(0..600).await?;
    let mut client = CollectorClient::connect(format!("http://{}", stage.collector.grpc)).await?;
    let mut stalled = client.subscribe(SubscribeRequest { manager: "stalled".to_owned() }).await?.into_inner();
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    for number in 0..600 {
        interceptor.arrive(number).await;
    }
    manager
        .hears("all are active", |heard| heard.answers.values().filter(|answer| answer.in_flight == 1).count() == 600)
        .await?;
    // Each topic changes with each tick now: far more than fits into the connection of one who does not read.
    sleep(WINDOW).await;
    for number in 0..600 {
        interceptor.depart(number);
    }
    let idle =
        |heard: &driver::Heard| heard.answers.values().all(|answer| answer.in_flight == 0 && answer.concurrency == 0.0);
    manager.hears("all are idle", idle).await?;
    let mut newest = std::collections::HashMap::new();
    wait_until("the stalled manager is up to date", LIMIT, async || {
        let update = stalled.message().await?.ok_or_else(|| anyhow::anyhow!("ended"))?;
        newest.extend(update.answers.into_iter().map(|answer| (answer.topic.clone(), answer)));
        let behind = newest.values().filter(|answer| answer.in_flight > 0 || answer.concurrency > 0.0).count();
        ensure!(newest.len() == 600 && behind == 0, "{behind} of {} are old", newest.len());
        Ok(())
    })
    .await?;
    stage.collector.stop().await
}

#[tokio::test]
async fn at_the_end_streams_end_well_and_the_registration_is_taken_back() -> Result<()> {
    let stage = Stage::new(1, PACE).await?;
    let mut members = stage.store.watch_members();
    let registered =
        tokio::time::timeout(LIMIT, members.wait_for(|members| members.contains_key("c-0"))).await??["c-0"].clone();
    assert_eq!((registered.address, registered.provider), (stage.collector.grpc.to_string(), "aws".to_owned()));
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    manager.hears("the snapshot", |heard| heard.snapshot_complete).await?;
    stage.collector.stop().await?;
    manager.hears("the end", |heard| heard.ended == Some(Ok(()))).await?;
    assert!(!members.borrow_and_update().contains_key("c-0"));
    Ok(())
}

#[tokio::test]
async fn a_collector_whose_log_has_ended_ends_with_an_error_and_does_not_stay_deaf() -> Result<()> {
    let stage = Stage::new(1, PACE).await?;
    stage.log.close().await;
    let ended = stage.collector.ended().await?;
    ensure!(matches!(ended, Err(plimsoll_collector::Error::Ended)), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn probes_say_what_is_missing_and_metrics_what_is_read() -> Result<()> {
    let log = Arc::new(MemoryLog::new());
    let store = Arc::new(MemoryStore::new());
    let collector = Served::start(log.clone(), store.clone(), PACE).await?;
    wait_until("registered", LIMIT, async || {
        let ready = get(&collector, "/readyz").await?;
        ensure!(ready.starts_with("HTTP/1.1 503") && !ready.contains("not registered"), "{ready}");
        ensure!(ready.contains("the interceptors' topic has not been read to its end yet"), "{ready}");
        Ok(())
    })
    .await?;
    create_topics(&*log, [0]).await?;
    let planner = Planner::new(store);
    planner.assign([0]).await?;
    let interceptor = Interceptor::start("i-0", 1, log);
    interceptor.arrive(0).await;
    wait_until("ready", LIMIT, async || {
        let ready = get(&collector, "/readyz").await?;
        ensure!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        Ok(())
    })
    .await?;
    wait_until("metrics", LIMIT, async || {
        let metrics = get(&collector, "/metrics").await?;
        for line in ["plimsoll_collector_topics 1", "plimsoll_collector_interceptors{state=\"live\"} 1"] {
            ensure!(metrics.contains(line), "{line} is not in {metrics}");
        }
        ensure!(!metrics.contains("plimsoll_collector_frames_total 0"), "{metrics}");
        Ok(())
    })
    .await?;
    assert!(get(&collector, "/livez").await?.starts_with("HTTP/1.1 200"));
    collector.stop().await
}

#[tokio::test]
async fn what_others_write_to_our_topics_stops_nothing() -> Result<()> {
    let stage = Stage::new(1, PACE).await?;
    let interceptor = Interceptor::start("i-0", 1, stage.log());
    let manager = Manager::subscribe(stage.collector.grpc).await?;
    stage.planner.assign([0]).await?;
    manager.answer(0, "known", is_known).await?;
    let nonsense = |topic: &str, payload: &'static [u8]| plimsoll_wire::log::Append {
        topic: plimsoll_wire::log::Topic::from(topic),
        payload: payload.into(),
    };
    let interceptors = plimsoll_wire::topic::INTERCEPTORS;
    for payload in [&b""[..], b"hello", &[0xff; 64]] {
        for outcome in stage.log.append(vec![nonsense(&topic(0), payload), nonsense(interceptors, payload)]).await {
            outcome?;
        }
    }
    interceptor.arrive(0).await;
    manager.answer(0, "active", |answer| is_known(answer) && answer.in_flight == 1).await?;
    stage.collector.stop().await
}

async fn get(collector: &Served, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(collector.admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: collector\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
