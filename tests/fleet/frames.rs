//! Load for thousands of workloads at once: the frames of an interceptor whose requests are all known.
//!
//! Workload N always has the same number of requests in flight, and each second two of them end and are replaced. So every value is known
//! at every moment, whenever it is asked for.

use std::time::Duration;

use anyhow::{Context, Result};
use plimsoll_wire::{
    frame::{Frame, Heartbeat, InterceptorRecord, interceptor_record::Record},
    log::{
        Append, EventLog, Topic,
        kafka::{KafkaConfig, KafkaLog},
    },
    topic::INTERCEPTORS,
};
use prost::Message as _;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::driver::own_runtime::OwnRuntime;

const TICK: Duration = Duration::from_secs(1);
/// Requests a second of every workload.
pub(crate) const RATE: u64 = 2;
const NAME: &str = "interceptor-of-known-load";

/// Requests in flight of a workload, always.
pub(crate) fn in_flight(workload: usize) -> u64 {
    1 + workload as u64 % 5
}

/// Frames that are written until this is stopped, on a thread of their own: who watches must not delay them.
pub(crate) struct Frames {
    stop: CancellationToken,
    writing: JoinHandle<Result<Duration>>,
    _thread: OwnRuntime,
}

impl Frames {
    /// Begins to write the frames of these workloads' topics.
    pub(crate) fn start(brokers: &str, topics: Vec<String>) -> Result<Self> {
        let config = KafkaConfig { brokers: brokers.to_owned(), ..KafkaConfig::default() };
        let stop = CancellationToken::new();
        let topics = topics.into_iter().map(Topic::from).collect();
        let thread = OwnRuntime::new("frames", 1)?;
        Ok(Self { writing: thread.spawn(write(config, topics, stop.clone())), stop, _thread: thread })
    }

    /// Ends the writing; how long the slowest tick took.
    pub(crate) async fn stop(self) -> Result<Duration> {
        self.stop.cancel();
        self.writing.await?.context("frames could not be written")
    }
}

async fn write(config: KafkaConfig, topics: Vec<Topic>, stop: CancellationToken) -> Result<Duration> {
    // Made here, so that its own tasks run on this thread, too.
    let log = KafkaLog::new(config)?;
    let began = Instant::now();
    let incarnation = rand::random();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut slowest = Duration::ZERO;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let tick = Instant::now();
        let at_us = began.elapsed().as_micros() as u64;
        let frames = topics.iter().enumerate().map(|(workload, topic)| Append {
            topic: topic.clone(),
            payload: frame(workload, at_us, incarnation).encode_to_vec().into(),
        });
        let outcomes = log.append(frames.collect()).await;
        let failed = topics.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_err());
        let heartbeat = Heartbeat {
            interceptor: NAME.to_owned(),
            incarnation,
            at_us: began.elapsed().as_micros() as u64,
            watermark_us: at_us,
            undelivered: failed.map(|(topic, _)| topic.to_string()).collect(),
            leaving: false,
        };
        let record = InterceptorRecord { record: Some(Record::Heartbeat(heartbeat)) };
        // One that is lost is followed by the next.
        log.append(vec![Append { topic: Topic::from(INTERCEPTORS), payload: record.encode_to_vec().into() }]).await;
        slowest = slowest.max(tick.elapsed());
    }
    log.close().await;
    Ok(slowest)
}

/// The totals of a workload at a time.
fn frame(workload: usize, at_us: u64, incarnation: u64) -> Frame {
    let replaced = at_us * RATE / 1_000_000;
    Frame {
        interceptor: NAME.to_owned(),
        incarnation,
        at_us,
        admitted: in_flight(workload) + replaced,
        finished: replaced,
        busy_us: in_flight(workload) * at_us,
        last_arrival_us: replaced * 1_000_000 / RATE,
        tick_us: TICK.as_micros() as u64,
        ..Frame::default()
    }
}
