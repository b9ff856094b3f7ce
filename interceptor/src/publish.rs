//! The publisher: tells the log what the ledger counts.
//!
//! Three kinds of records leave the interceptor. The first request of an idle workload is told at once, in the
//! workload's topic and as an activation in the interceptors' own topic. A busy workload's totals follow at every tick.
//! And at every tick a heartbeat says up to which time all of this has reached the log. What is sent when is decided by
//! the `Outbox`; here it is carried out. Nothing waits for the log but the task of the append itself, so a stuck append
//! holds up no other.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::frame::interceptor_record::Record;
use plimsoll_wire::frame::{Activation, Heartbeat};
use plimsoll_wire::log::{Append, EventLog, LogError, Topic, TopicSpec};
use plimsoll_wire::topic::{INTERCEPTORS, RETENTION};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod appending;
mod health;
mod metrics;
mod outbox;
mod pacing;

pub use metrics::Metrics;
pub use outbox::BATCH;
pub use pacing::{limit, pause};

use crate::ledger::{Identity, Ledger};
use appending::{APPEND_TIMEOUT, append, interceptor_record};
use health::Health;
use outbox::{Batch, Budget, Outbox, Outcome, Vouch};
use pacing::Pacing;

/// A shorter tick would have no time for the log to answer; and none at all would be no tick.
const MIN_TICK: Duration = Duration::from_millis(10);

/// Appends of activations under way at most. Beyond that activations are left out until one returns: each workload's
/// topic has the same frame, and memory must not grow while the interceptors' topic is out of reach.
const ACTIVATIONS_UNDER_WAY: usize = 64;

/// At the end: for the final frames, then for the last heartbeat.
const LAST_FRAMES: Duration = Duration::from_secs(2);
const LAST_HEARTBEAT: Duration = Duration::from_secs(1);
/// Between two attempts to append the last heartbeat.
const LAST_HEARTBEAT_RETRY: Duration = Duration::from_millis(200);

/// Who publishes, and how often.
#[derive(Debug, Clone)]
pub struct Config {
    /// The interceptor's name, different from every other one's that is up.
    pub name: String,
    /// This run of it; opaque, different after each start.
    pub incarnation: u64,
    /// From frame to frame of a busy workload, and from heartbeat to heartbeat; 10 ms at least.
    pub tick: Duration,
    /// Frames a second at most, but for those that open or close a busy spell; 0 is no limit.
    pub frame_budget: u32,
}

/// Publishes a ledger to a log. There is one for each ledger.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    ledger: Ledger,
    log: Arc<dyn EventLog>,
    metrics: Metrics,
    outbox: Outbox,
    pacing: Pacing<Batch>,
    /// Each append is a task of its own. All end with the publisher.
    tasks: JoinSet<Returned>,
    heartbeat_under_way: bool,
    /// The newest heartbeat that has not been sent, since the one before is still under way.
    heartbeat_next: Option<Vouch>,
    heartbeat_at_us: u64,
    activations_under_way: usize,
    creating: bool,
    health: Health,
}

/// What an append came to.
#[derive(Debug)]
enum Returned {
    Frames { topics: Vec<Topic>, begun: Instant, results: Vec<Result<(), LogError>> },
    Activations { count: u64, results: Vec<Result<(), LogError>> },
    Heartbeat(Vec<Result<(), LogError>>),
    Created(Option<Result<bool, LogError>>),
}

impl Publisher {
    /// A publisher of this ledger; nothing is sent before [`Publisher::run`].
    #[must_use]
    pub fn new(mut config: Config, ledger: Ledger, log: Arc<dyn EventLog>, metrics: Metrics) -> Self {
        config.tick = config.tick.max(MIN_TICK);
        let tick_us = u64::try_from(config.tick.as_micros()).unwrap_or(u64::MAX);
        let budget = match config.frame_budget {
            0 => Budget::UNLIMITED,
            frames_a_second => Budget::new(frames_a_second, config.tick),
        };
        let identity = Identity { interceptor: config.name.clone(), incarnation: config.incarnation, tick_us };
        Self {
            outbox: Outbox::new(identity, budget),
            pacing: Pacing::new(pacing::limit(config.tick)),
            config,
            ledger,
            log,
            metrics,
            tasks: JoinSet::new(),
            heartbeat_under_way: false,
            heartbeat_next: None,
            heartbeat_at_us: 0,
            activations_under_way: 0,
            creating: false,
            health: Health::default(),
        }
    }

    /// Publishes until `shutdown` is cancelled, which must come after the proxy has drained. Then sends final frames
    /// and a heartbeat that says so, within three seconds whatever the log does.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.tick);
        // Watermarks stand on an even grid, and missed ones would only repeat the newest totals.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.publish(&mut ticks) => {}
        }
        self.leave(&mut ticks).await;
    }

    /// Never returns. Cancel-safe: nothing is lost between two steps.
    async fn publish(&mut self, ticks: &mut Interval) {
        loop {
            self.step(ticks).await;
        }
    }

    /// Waits for one thing to happen and does what follows from it. Wake-ups come first; while frames are due, one
    /// batch of them is cut in each step, so that a wake-up never waits for more than that.
    async fn step(&mut self, ticks: &mut Interval) {
        let due = self.pacing.due();
        tokio::select! {
            biased;
            () = self.ledger.woken() => self.outbox.wake(self.ledger.take_woken()),
            Some(returned) = self.tasks.join_next() => self.returned(returned),
            _ = ticks.tick() => self.tick(),
            // Lets the appends begin, where there is but one thread for all of it.
            () = tokio::task::yield_now(), if self.outbox.has_batch() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        match self.outbox.next_batch() {
            Some(batch) if batch.wake => self.append_frames(batch),
            Some(batch) => self.pacing.push(batch),
            None => {}
        }
        if let Some(batch) = self.pacing.pop() {
            self.append_frames(batch);
        }
        self.append_heartbeat();
    }

    fn tick(&mut self) {
        let (watermark_us, woken) = self.ledger.watermark();
        let round = self.outbox.round();
        self.outbox.tick(watermark_us, woken);
        self.pacing.tick();
        self.tell_round(round);
        self.health.tick(self.outbox.undelivered());
        self.metrics.busy_workloads.set(gauge(self.outbox.busy()));
        self.metrics.undelivered_topics.set(gauge(self.outbox.undelivered()));
    }

    /// Says once when frames begin to wait, and once when they do not any more.
    fn tell_round(&self, before: usize) {
        let (round, busy) = (self.outbox.round(), self.outbox.busy());
        self.metrics.round.set(gauge(round));
        let budget = self.config.frame_budget;
        if before == 1 && round > 1 {
            warn!(
                busy,
                budget,
                "more workloads are busy than --frame-budget has frames a second for: those that change least are \
                 published every {round} ticks"
            );
        } else if before > 1 && round == 1 {
            info!(busy, budget, "--frame-budget suffices again: every busy workload is published at each tick");
        }
    }

    fn append_frames(&mut self, batch: Batch) {
        let begun = Instant::now();
        if batch.wake {
            self.append_activations(&batch);
        }
        let log = self.log.clone();
        self.tasks.spawn(async move {
            let records = batch
                .cuts
                .iter()
                .map(|cut| Append { topic: cut.topic.clone(), payload: cut.frame.encode_to_vec().into() });
            let results = append(&*log, records.collect()).await;
            Returned::Frames { topics: batch.cuts.into_iter().map(|cut| cut.topic).collect(), begun, results }
        });
    }

    fn append_activations(&mut self, batch: &Batch) {
        let count = u64::try_from(batch.cuts.len()).unwrap_or(u64::MAX);
        if self.activations_under_way == ACTIVATIONS_UNDER_WAY {
            self.metrics.activations_failed.inc_by(count);
            return;
        }
        let topic = Topic::from(INTERCEPTORS);
        let records = batch.cuts.iter().map(|cut| {
            let activation = Activation { topic: cut.topic.to_string(), frame: Some(cut.frame.clone()) };
            interceptor_record(&topic, Record::Activation(activation))
        });
        let records = records.collect();
        let log = self.log.clone();
        self.activations_under_way += 1;
        self.tasks.spawn(async move { Returned::Activations { count, results: append(&*log, records).await } });
    }

    /// There is one heartbeat under way at most: the next one says all that it says, and more.
    fn append_heartbeat(&mut self) {
        if let Some(vouch) = self.outbox.take_vouch() {
            self.heartbeat_next = Some(vouch);
        }
        if self.heartbeat_under_way {
            return;
        }
        let Some(vouch) = self.heartbeat_next.take() else { return };
        let records = vec![self.heartbeat(vouch, false)];
        let log = self.log.clone();
        self.heartbeat_under_way = true;
        self.tasks.spawn(async move { Returned::Heartbeat(append(&*log, records).await) });
    }

    fn heartbeat(&mut self, vouch: Vouch, leaving: bool) -> Append {
        // Readers take one that is no later than the one before for a repetition.
        self.heartbeat_at_us = self.ledger.clock().now_us().max(self.heartbeat_at_us + 1);
        let heartbeat = Heartbeat {
            interceptor: self.config.name.clone(),
            incarnation: self.config.incarnation,
            at_us: self.heartbeat_at_us,
            watermark_us: vouch.watermark_us,
            undelivered: vouch.undelivered.iter().map(ToString::to_string).collect(),
            leaving,
        };
        interceptor_record(&Topic::from(INTERCEPTORS), Record::Heartbeat(heartbeat))
    }

    fn returned(&mut self, returned: Result<Returned, tokio::task::JoinError>) {
        match returned {
            Ok(Returned::Frames { topics, begun, results }) => self.frames_returned(&topics, begun, results),
            Ok(Returned::Activations { count, results }) => {
                self.activations_under_way -= 1;
                let failed = self.note(results);
                self.metrics.activations_failed.inc_by(failed);
                self.metrics.activations_delivered.inc_by(count.saturating_sub(failed));
            }
            Ok(Returned::Heartbeat(results)) => {
                self.heartbeat_under_way = false;
                let failed = self.note(results);
                self.metrics.heartbeats_failed.inc_by(failed);
                self.metrics.heartbeats_delivered.inc_by(1 - failed.min(1));
            }
            Ok(Returned::Created(result)) => {
                self.creating = false;
                match result {
                    Some(Ok(created)) => {
                        // The log is there, and the next heartbeat will say so.
                        self.health.acknowledged();
                        if created {
                            info!("created the topic {INTERCEPTORS}");
                        }
                    }
                    // Its absence shows again in the next heartbeat.
                    failed => debug!("could not create the topic {INTERCEPTORS}: {failed:?}"),
                }
            }
            // Not in an append of the log's client: what was under way would count so for ever, so the publisher must not
            // go on.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Cancelled, which only the end of the publisher does.
            Err(_) => {}
        }
    }

    fn frames_returned(&mut self, topics: &[Topic], begun: Instant, results: Vec<Result<(), LogError>>) {
        let mut delivered = 0;
        for (topic, result) in topics.iter().zip(results) {
            let outcome = match result {
                Ok(()) => {
                    delivered += 1;
                    self.health.acknowledged();
                    Outcome::Delivered
                }
                Err(error) => {
                    self.metrics.frames_failed.inc();
                    let unknown = matches!(error, LogError::UnknownTopic { .. });
                    self.health.failed(error);
                    if unknown { Outcome::UnknownTopic } else { Outcome::Failed }
                }
            };
            self.outbox.returned(topic, outcome);
        }
        self.metrics.delivered(delivered, begun.elapsed());
    }

    /// Notes what came of appends to the interceptors' topic; how many failed.
    fn note(&mut self, results: Vec<Result<(), LogError>>) -> u64 {
        let mut failed = 0;
        for result in results {
            match result {
                Ok(()) => self.health.acknowledged(),
                Err(error) => {
                    failed += 1;
                    if matches!(error, LogError::UnknownTopic { .. }) {
                        self.create_interceptors_topic();
                    }
                    self.health.failed(error);
                }
            }
        }
        failed
    }

    /// An interceptor may be up before any manager.
    fn create_interceptors_topic(&mut self) {
        if std::mem::replace(&mut self.creating, true) {
            return;
        }
        let log = self.log.clone();
        self.tasks.spawn(async move {
            let spec = TopicSpec { topic: INTERCEPTORS.into(), retention: RETENTION };
            let created = tokio::time::timeout(APPEND_TIMEOUT, log.create_topics(&[spec])).await;
            Returned::Created(created.ok().and_then(|mut results| results.pop()))
        });
    }

    /// The last totals of all busy workloads, then a heartbeat that says that nothing more will come.
    async fn leave(mut self, ticks: &mut Interval) {
        let frames_until = Instant::now() + LAST_FRAMES;
        self.outbox.lift_budget();
        self.pacing.lift();
        self.tick();
        ticks.reset();
        while !self.outbox.is_delivered() {
            if tokio::time::timeout_at(frames_until, self.step(ticks)).await.is_err() {
                break;
            }
        }
        let vouch = self.outbox.last_vouch();
        if !vouch.undelivered.is_empty() {
            warn!(undelivered = vouch.undelivered.len(), "leaving before the log took all final totals");
        }
        let heartbeat_until = Instant::now() + LAST_HEARTBEAT;
        let told = tokio::time::timeout_at(heartbeat_until, async {
            // A heartbeat under way must not come after the last one.
            while self.heartbeat_under_way {
                if let Some(returned) = self.tasks.join_next().await {
                    self.returned(returned);
                }
            }
            loop {
                let last = self.heartbeat(vouch.clone(), true);
                if append(&*self.log, vec![last]).await.iter().all(Result::is_ok) {
                    break;
                }
                tokio::time::sleep(LAST_HEARTBEAT_RETRY).await;
            }
        });
        if told.await.is_err() {
            warn!("leaving without having told the log; collectors keep this interceptor's last totals for a while");
        }
        self.tasks.shutdown().await;
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
