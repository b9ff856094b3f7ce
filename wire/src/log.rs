//! The log: many small topics of records in append order.
//!
//! Everything that decides anything in Plimsoll reads or writes through [`EventLog`]. It is batch-first, since
//! thousands of small topics are the normal case.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub mod kafka;
pub mod memory;

/// A topic's name, cheap to clone.
pub type Topic = Arc<str>;

/// A time by the log's own clock (for Kafka the broker's): milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(pub u64);

impl LogTime {
    /// This long before; the epoch at the earliest.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by.as_millis().try_into().unwrap_or(u64::MAX)))
    }
}

/// One record to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where it goes.
    pub topic: Topic,
    /// What it says; opaque to the log.
    pub payload: Bytes,
}

/// One record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub topic: Topic,
    /// Its place in the topic: grows by at least one from record to record.
    pub offset: u64,
    /// When the log took it.
    pub appended: LogTime,
    /// What it says.
    pub payload: Bytes,
}

/// A topic to create.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Its name.
    pub topic: Topic,
    /// How long the log must keep a record at least.
    pub retention: Duration,
}

/// Where reading a topic starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest record kept.
    Oldest,
    /// With the first record appended after the log has been asked where the topic ends. That has happened when a
    /// [`ReadThrough`] does not name the topic any more.
    End,
    /// With the first record appended at or after `time`, and at the latest `back` before the topic's newest record: the clock that `time` is
    /// from may be ahead of the one that stamps this topic. An empty topic is read from its beginning.
    From {
        /// By another topic's clock.
        time: LogTime,
        /// By the topic's own.
        back: Duration,
    },
    /// This long before the topic's newest record, by the log's clock. An empty topic is read from its beginning.
    BeforeNewest(Duration),
}

/// How eagerly a subscription yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each record as soon as it can be had: for few topics that are urgent.
    AtOnce,
    /// What has come in, once in this interval: for many topics, at a fraction of the cost.
    Every(Duration),
}

/// What a subscription yields: records in append order inside each topic, and what else is known.
#[derive(Debug, Default)]
pub struct Batch {
    /// New records. Records of one topic are in order; topics are in no order.
    pub records: Vec<Record>,
    /// Set when completeness has been checked; see [`ReadThrough`].
    pub read_through: Option<ReadThrough>,
    /// Topics that can't be read now, and why. Reading goes on by itself when the cause is gone: an unknown topic is
    /// read as soon as it is there.
    pub failures: Vec<(Topic, LogError)>,
}

/// Proof of completeness: every record that had been appended at `as_of` to any topic subscribed at that time has been
/// yielded (in this batch or before), but for the topics named.
///
/// Silence on a topic means "nothing was appended" only up to such a point. The same `as_of` may come again with fewer
/// topics behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadThrough {
    /// By this process's own clock.
    pub as_of: Instant,
    /// Topics that are not read to their end yet, or can't be read.
    pub behind: Vec<Topic>,
}

/// Why the log could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The topic is not there (yet, or any more).
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The log can't be reached or did not answer in time; trying again may help.
    #[error("the log at {log} is unavailable: {reason}")]
    Unavailable {
        /// Which log (its brokers).
        log: String,
        /// What was tried and what came of it.
        reason: String,
    },
    /// The log refuses; trying again does not help.
    #[error("the log refused {what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its reason and the remedy.
        reason: String,
    },
    /// A setting is wrong.
    #[error("bad log setting {setting}: {reason}")]
    BadSetting {
        /// The setting as given.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A log of many topics.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends all records; the outcome of each, in the order given. `Ok` means acknowledged: it will be read by every subscription.
    ///
    /// Bounded in time: a log out of reach is an error for each record within a few seconds. Calls may overlap; records of
    /// one call to one topic keep their order.
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>>;

    /// Opens a subscription to no topic yet.
    ///
    /// # Errors
    /// Where the log's client can't be made.
    fn subscribe(&self, pace: Pace) -> Result<Subscription, LogError>;

    /// Creates those topics that are missing; `true` for each created, `false` for each that was there.
    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>>;

    /// Deletes topics; `false` for each that was not there.
    async fn delete_topics(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>>;

    /// All topics, Kafka's internal ones left out, in no order.
    async fn list_topics(&self) -> Result<Vec<String>, LogError>;
}

/// A change of what a subscription reads.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Add(Topic, StartAt),
    Remove(Topic),
}

/// A reader of a changing set of topics. Dropping it ends the reading.
#[derive(Debug)]
pub struct Subscription {
    changes: mpsc::UnboundedSender<Vec<Change>>,
    batches: mpsc::Receiver<Delivery>,
    added: Mutex<Added>,
}

/// What has been added and is perhaps not known to the log's side yet.
#[derive(Debug, Default)]
struct Added {
    /// Changes sent so far.
    sent: u64,
    /// Topics with the change that added them, oldest first.
    topics: VecDeque<(u64, Topic)>,
}

/// A batch on its way to the reader.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) batch: Batch,
    /// Changes that the log's side had taken in when it began to prove the batch's `read_through`.
    pub(crate) proven_after: u64,
}

/// Batches that wait for a slow reader at most; then the log's side stops reading until there is room.
const BATCHES_WAITING: usize = 8;

impl Subscription {
    /// A subscription and the log's end of it.
    pub(crate) fn channel() -> (Self, Feed) {
        let (changes, changes_rx) = mpsc::unbounded_channel();
        let (batches_tx, batches) = mpsc::channel(BATCHES_WAITING);
        let subscription = Self { changes, batches, added: Mutex::default() };
        (subscription, Feed { changes: changes_rx, taken: 0, batches: batches_tx })
    }

    /// Reads these topics too, each from its start. A topic that is read already goes on as it is.
    pub fn add(&self, topics: impl IntoIterator<Item = (Topic, StartAt)>) {
        self.change(topics.into_iter().map(|(topic, start)| Change::Add(topic, start)).collect());
    }

    /// Stops reading these topics. Batches that were made before may still bring records of them.
    pub fn remove(&self, topics: impl IntoIterator<Item = Topic>) {
        self.change(topics.into_iter().map(Change::Remove).collect());
    }

    /// The next batch; none when the log has closed. Cancel-safe.
    ///
    /// Its [`ReadThrough`] speaks about every topic added before this returns: one that the log's side did not know at
    /// `as_of` is named as behind.
    pub async fn next(&mut self) -> Option<Batch> {
        let Delivery { mut batch, proven_after } = self.batches.recv().await?;
        if let Some(read_through) = &mut batch.read_through {
            let topics = &mut self.added.get_mut().topics;
            while topics.front().is_some_and(|(change, _)| *change <= proven_after) {
                topics.pop_front();
            }
            if !topics.is_empty() {
                read_through.behind.extend(topics.iter().map(|(_, topic)| topic.clone()));
                read_through.behind.sort_unstable();
                read_through.behind.dedup();
            }
        }
        Some(batch)
    }

    fn change(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        // Held over the sending, so that the count and the channel agree on the order.
        let mut added = self.added.lock();
        added.sent += 1;
        let sent = added.sent;
        for change in &changes {
            match change {
                Change::Add(topic, _) => added.topics.push_back((sent, topic.clone())),
                // Else the list would grow with every change while a log out of reach proves nothing.
                Change::Remove(topic) => added.topics.retain(|(_, other)| other != topic),
            }
        }
        // The log's side is gone only when it has closed, which `next` tells.
        let _ = self.changes.send(changes);
    }
}

/// The log's end of a [`Subscription`].
#[derive(Debug)]
pub(crate) struct Feed {
    changes: mpsc::UnboundedReceiver<Vec<Change>>,
    taken: u64,
    batches: mpsc::Sender<Delivery>,
}

impl Feed {
    /// The next changes; none when the subscription has been dropped. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<Vec<Change>> {
        let changes = self.changes.recv().await?;
        self.taken += 1;
        Some(changes)
    }

    /// Changes taken in so far: what is known of the topics when a proof begins.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Where batches go. Sending waits while [`BATCHES_WAITING`] of them wait for the reader.
    pub(crate) fn batches(&self) -> mpsc::Sender<Delivery> {
        self.batches.clone()
    }
}
