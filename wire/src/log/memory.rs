//! The log in memory: for `plimsoll dev`, where nothing has to outlive the process.
//!
//! It promises what the Kafka form promises, retention included; what differs is that it is never out of reach and that
//! it is gone with its process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::shelf::{ReaderId, Shelf};
use super::{
    Append, Batch, Change, Delivery, EventLog, Feed, LogError, LogTime, Pace, ReadThrough, Subscription, Topic,
    TopicSpec,
};

mod shelf;

/// How often completeness is proven, as in the Kafka form.
const PROOF_INTERVAL: Duration = Duration::from_millis(500);

/// What the log keeps by default: a workload's frames are some hundred bytes a second.
const DEFAULT_CAPACITY_BYTES: usize = 512 * 1024 * 1024;

/// An [`EventLog`] in this process's memory.
#[derive(Debug)]
pub struct MemoryLog {
    held: Arc<Held>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

#[derive(Debug)]
struct Held {
    clock: Clock,
    shelf: Mutex<Shelf>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY_BYTES)
    }

    /// An empty log that refuses to keep more than this, in bytes. Records leave it by their topics' retention alone.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let stop = CancellationToken::new();
        Self {
            held: Arc::new(Held { clock: Clock::start(), shelf: Mutex::new(Shelf::new(bytes)) }),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            tasks: TaskTracker::new(),
        }
    }

    /// Ends all subscriptions ([`Subscription::next`] gives none) and returns when nothing of them runs any more.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        let mut shelf = self.held.shelf.lock();
        let now = self.held.clock.now();
        records.into_iter().map(|record| shelf.append(&record.topic, record.payload, now)).collect()
    }

    fn subscribe(&self, pace: Pace) -> Result<Subscription, LogError> {
        let runtime = Handle::try_current().map_err(|error| LogError::Refused {
            what: "a subscription".into(),
            reason: format!("{error}; subscribe inside a Tokio runtime"),
        })?;
        let (subscription, feed) = Subscription::channel();
        let (held, stop) = (self.held.clone(), self.stop.clone());
        self.tasks.spawn_on(
            async move {
                select! {
                    () = stop.cancelled() => {}
                    () = Reader::new(held, feed).run(pace) => {}
                }
            },
            &runtime,
        );
        Ok(subscription)
    }

    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        let mut shelf = self.held.shelf.lock();
        topics.iter().map(|spec| Ok(shelf.create(&spec.topic, spec.retention))).collect()
    }

    async fn delete_topics(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>> {
        let mut shelf = self.held.shelf.lock();
        topics.iter().map(|topic| Ok(shelf.delete(topic))).collect()
    }

    async fn list_topics(&self) -> Result<Vec<String>, LogError> {
        Ok(self.held.shelf.lock().topics().map(|topic| topic.to_string()).collect())
    }
}

/// The log's clock: starts at the wall clock's time, then only moves forward.
#[derive(Debug)]
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        #[allow(clippy::disallowed_methods, reason = "a log's time is for people too; read once, so it can't jump")]
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: since_epoch.as_millis().try_into().unwrap_or(u64::MAX) }
    }

    fn now(&self) -> LogTime {
        let elapsed_ms = self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        LogTime(self.started_ms.saturating_add(elapsed_ms))
    }
}

/// What serves one subscription.
struct Reader {
    held: Arc<Held>,
    feed: Feed,
    id: ReaderId,
    /// Told when there is something to read.
    news: Arc<Notify>,
    proof_due: Instant,
}

impl Reader {
    fn new(held: Arc<Held>, feed: Feed) -> Self {
        let news = Arc::new(Notify::new());
        let id = held.shelf.lock().open_reader(news.clone());
        Self { held, feed, id, news, proof_due: Instant::now() }
    }

    /// Ends when the subscription has been dropped.
    async fn run(mut self, pace: Pace) {
        let (at_once, every) = match pace {
            Pace::AtOnce => (true, PROOF_INTERVAL),
            Pace::Every(every) => (false, every.max(Duration::from_millis(1))),
        };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                changes = self.feed.changed() => match changes {
                    Some(changes) => self.apply(changes),
                    None => return,
                },
                () = self.news.notified(), if at_once => {}
                _ = tick.tick() => {}
            }
            if self.hand_over().await.is_none() {
                return;
            }
        }
    }

    /// Yields what there is, as fast as the reader takes it; none when it has gone.
    async fn hand_over(&mut self) -> Option<()> {
        let batches = self.feed.batches();
        loop {
            let permit = loop {
                select! {
                    biased;
                    changes = self.feed.changed() => self.apply(changes?),
                    permit = batches.reserve() => break permit.ok()?,
                }
            };
            let (batch, more) = self.read();
            if batch.records.is_empty() && batch.failures.is_empty() && batch.read_through.is_none() {
                return Some(());
            }
            permit.send(Delivery { batch, proven_after: self.feed.taken() });
            if !more {
                return Some(());
            }
        }
    }

    fn read(&mut self) -> (Batch, bool) {
        // Before the look at the log: what came in up to here has been seen.
        let as_of = Instant::now();
        let mut shelf = self.held.shelf.lock();
        let read = shelf.read(self.id, self.held.clock.now());
        let read_through = (as_of >= self.proof_due).then(|| {
            self.proof_due = as_of + PROOF_INTERVAL;
            ReadThrough { as_of, behind: shelf.behind(self.id) }
        });
        (Batch { records: read.records, read_through, failures: read.failures }, read.more)
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let mut shelf = self.held.shelf.lock();
        for change in changes {
            match change {
                Change::Add(topic, start) => shelf.start_reading(self.id, &topic, start),
                Change::Remove(topic) => shelf.stop_reading(self.id, &topic),
            }
        }
        // A new topic's reader waits for the first proof.
        self.proof_due = Instant::now();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.held.shelf.lock().close_reader(self.id);
    }
}
