//! One client, one number of topics: writes alone, then writes and reads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use parking_lot::Mutex;
use plimsoll_interceptor::publish::{BATCH, limit, pause};
use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{Append, EventLog, Pace, StartAt, Subscription, Topic};
use plimsoll_wire::topic::INTERCEPTORS;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::figures::{Latencies, cpu_by_thread, cpu_time, resident_mib, shares};

/// From frame to frame of a topic, as the interceptor has it.
const TICK: Duration = Duration::from_secs(1);
/// Frames of one tick at most, as the interceptor has it by default (`--frame-budget`): more topics than this take turns.
const FRAMES_A_TICK: usize = 10_000;
/// How a line begins that says what of the broker has worked.
pub const BROKER: &str = "the broker's CPU";
/// From activation to activation.
const ACTIVATIONS: Duration = Duration::from_millis(50);
/// For the readers to have read all topics once.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// The table's heading; a row fits it.
pub const HEADING: &str = "\
| client | topics | writing: client us a frame | broker | acknowledged p50 | p99 | reading: client us a frame | broker, both | \
append to read p50 | p99 | activation p50 | p99 | memory MiB | threads | not acknowledged |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// The name of a topic.
pub fn topic(number: usize) -> String {
    format!("plimsoll.bench.workload-{number}")
}

/// What to measure.
pub struct Row<'a> {
    pub brokers: &'a str,
    pub broker: u32,
    pub client: &'a str,
    pub topics: usize,
    /// How long all runs before it is measured, for each of the two measurements.
    pub warmed: Duration,
    pub measured: Duration,
    /// How the topics are read.
    pub pace: Pace,
}

/// CPU time of this process and of the broker, and how many frames have been acknowledged.
struct Spent {
    client: Duration,
    broker: Duration,
    frames: u64,
}

/// What the writer notes.
struct Written {
    acknowledged: Latencies,
    failed: u64,
}

impl Row<'_> {
    /// The row.
    pub async fn measure(&self) -> Result<String> {
        let log = Arc::new(KafkaLog::new(config(self.client, self.brokers)?)?);
        log.check(Duration::from_secs(30)).await?;
        let topics: Vec<Topic> = (0..self.topics).map(|number| Topic::from(topic(number))).collect();
        let start = Instant::now();
        let written = Arc::new(Mutex::new(Written { acknowledged: Latencies::new()?, failed: 0 }));
        let mut tasks = JoinSet::new();
        tasks.spawn(write(log.clone(), topics.clone(), start, written.clone()));
        sleep(self.warmed).await;

        *written.lock() = Written { acknowledged: Latencies::new()?, failed: 0 };
        let (before, threads_before) = (self.spent(&written)?, cpu_by_thread(self.broker)?);
        sleep(self.measured).await;
        let writing = self.spent(&written)?.since(&before);
        println!("{BROKER} while writing: {}", shares(&threads_before, &cpu_by_thread(self.broker)?));
        let (ack_p50, ack_p99) = written.lock().acknowledged.p50_p99_ms();

        let read = Arc::new(Mutex::new(Latencies::new()?));
        let woken = Arc::new(Mutex::new(Latencies::new()?));
        let mut paced = log.subscribe(self.pace)?;
        paced.add(topics.iter().map(|topic| (topic.clone(), StartAt::End)));
        read_all_once(&mut paced, start).await?;
        tasks.spawn(note(paced, start, read.clone()));
        let mut at_once = log.subscribe(Pace::AtOnce)?;
        at_once.add([(Topic::from(INTERCEPTORS), StartAt::End)]);
        read_all_once(&mut at_once, start).await?;
        tasks.spawn(note(at_once, start, woken.clone()));
        tasks.spawn(activate(log.clone(), start));
        sleep(self.warmed).await;

        *read.lock() = Latencies::new()?;
        *woken.lock() = Latencies::new()?;
        let (before, threads_before) = (self.spent(&written)?, cpu_by_thread(self.broker)?);
        sleep(self.measured).await;
        let both = self.spent(&written)?.since(&before);
        println!("{BROKER} while writing and reading: {}", shares(&threads_before, &cpu_by_thread(self.broker)?));
        let memory = resident_mib(std::process::id())?;
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        tasks.shutdown().await;
        let (failed, taken) = {
            let written = written.lock();
            (written.failed, written.acknowledged.count())
        };
        let ((read_p50, read_p99), (woken_p50, woken_p99)) = (read.lock().p50_p99_ms(), woken.lock().p50_p99_ms());
        log.close().await;
        Ok(format!(
            "| {} | {} | {:.1} | {:.1} | {ack_p50:.1} ms | {ack_p99:.1} ms | {:.1} | {:.1} | {read_p50:.0} ms | {read_p99:.0} ms | \
             {woken_p50:.1} ms | {woken_p99:.1} ms | {memory} | {threads} | {failed} of {} |",
            self.client,
            self.topics,
            writing.client_us(),
            writing.broker_us(),
            both.client_us() - writing.client_us(),
            both.broker_us(),
            failed + taken,
        ))
    }

    fn spent(&self, written: &Mutex<Written>) -> Result<Spent> {
        Ok(Spent {
            client: cpu_time(std::process::id())?,
            broker: cpu_time(self.broker)?,
            frames: written.lock().acknowledged.count(),
        })
    }
}

impl Spent {
    fn since(&self, before: &Self) -> Self {
        Self {
            client: self.client.saturating_sub(before.client),
            broker: self.broker.saturating_sub(before.broker),
            frames: self.frames - before.frames,
        }
    }

    fn client_us(&self) -> f64 {
        self.client.as_secs_f64() * 1e6 / self.frames_as_float()
    }

    fn broker_us(&self) -> f64 {
        self.broker.as_secs_f64() * 1e6 / self.frames_as_float()
    }

    #[allow(clippy::cast_precision_loss, reason = "some hundred thousand")]
    fn frames_as_float(&self) -> f64 {
        self.frames as f64
    }
}

fn config(client: &str, brokers: &str) -> Result<KafkaConfig> {
    let named = LogClient::ALL.into_iter().find(|known| known.name() == client);
    let log_client = named.with_context(|| format!("no client is called {client}"))?;
    Ok(KafkaConfig { log_client, ..KafkaConfig::new(brokers) })
}

/// A frame as large as real ones are, which says when it was appended.
fn frame(number: usize, start: Instant) -> Vec<u8> {
    let at_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let number = u64::try_from(number).unwrap_or(0);
    let frame = Frame {
        interceptor: "interceptor-7d9f8b6c5-x2x4z".into(),
        incarnation: 0x5eed_5eed_5eed,
        at_us,
        admitted: 1_000_000 + number,
        finished: 999_990 + number,
        busy_us: 10 * at_us,
        held: 1,
        last_arrival_us: at_us,
        spell_at_us: at_us / 2,
        spell_admitted: 1_000,
        spell_busy_us: at_us / 3,
        tick_us: 1_000_000,
        open: false,
    };
    frame.encode_to_vec()
}

/// A frame into each topic at every tick, or into as many as may have one, in batches that begin one after the other and wait for none, as the interceptor does.
async fn write(log: Arc<KafkaLog>, topics: Vec<Topic>, start: Instant, written: Arc<Mutex<Written>>) {
    let mut ticks = interval(TICK);
    let mut next = 0;
    loop {
        let tick = ticks.tick().await;
        let due: Vec<&Topic> = topics.iter().cycle().skip(next).take(topics.len().min(FRAMES_A_TICK)).collect();
        next = (next + due.len()) % topics.len();
        let step = pause(due.len().div_ceil(BATCH), limit(TICK));
        let batches = due.chunks(BATCH).zip(0..).map(async |(batch, turn)| {
            sleep_until(tick + step * turn).await;
            let records = batch.iter().enumerate();
            let records = records
                .map(|(number, topic)| Append { topic: (*topic).clone(), payload: frame(number, start).into() })
                .collect();
            let cut = Instant::now();
            let outcomes = log.append(records).await;
            let mut written = written.lock();
            for outcome in outcomes {
                match outcome {
                    Ok(()) => written.acknowledged.add(cut.elapsed()),
                    Err(_) => written.failed += 1,
                }
            }
        });
        join_all(batches).await;
    }
}

async fn activate(log: Arc<KafkaLog>, start: Instant) {
    let mut ticks = interval(ACTIVATIONS);
    loop {
        ticks.tick().await;
        let record = Append { topic: Topic::from(INTERCEPTORS), payload: frame(0, start).into() };
        // One that fails is missing in the figures' count, no more; the frames tell of trouble.
        let _ = log.append(vec![record]).await;
    }
}

/// Reads until all topics have been read through to now.
async fn read_all_once(subscription: &mut Subscription, start: Instant) -> Result<()> {
    let since = start.elapsed();
    timeout(READY_LIMIT, async {
        loop {
            let batch = subscription.next().await.context("the log closed")?;
            if batch.read_through.is_some_and(|proof| proof.as_of - start >= since && proof.behind.is_empty()) {
                return Ok(());
            }
        }
    })
    .await
    .context("not all topics are read in time")?
}

async fn note(mut subscription: Subscription, start: Instant, latencies: Arc<Mutex<Latencies>>) {
    while let Some(batch) = subscription.next().await {
        let now = start.elapsed();
        let mut latencies = latencies.lock();
        for record in batch.records {
            if let Ok(frame) = Frame::decode(record.payload) {
                latencies.add(now.saturating_sub(Duration::from_micros(frame.at_us)));
            }
        }
    }
}
