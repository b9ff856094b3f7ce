//! Reads a subscription until something is true of what it has yielded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plimsoll_wire::log::{
    Append, Batch, EventLog, LogError, Pace, ReadThrough, Record, StartAt, Subscription, Topic, TopicSpec,
};
use tokio::time::{Instant, timeout_at};

/// The longest that anything here may take, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How paced subscriptions of these tests are.
pub(crate) const PACED: Pace = Pace::Every(Duration::from_millis(100));

/// A name that no other test of this process uses.
pub(crate) fn unique(name: &str) -> Topic {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Topic::from(format!("plimsoll.test.{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn unique_many(name: &str, count: usize) -> Vec<Topic> {
    (0..count).map(|_| unique(name)).collect()
}

/// Makes topics that keep their records for a quarter of an hour.
pub(crate) async fn create(log: &dyn EventLog, topics: &[Topic]) {
    let retention = Duration::from_secs(900);
    let specs: Vec<_> = topics.iter().map(|topic| TopicSpec { topic: topic.clone(), retention }).collect();
    for created in log.create_topics(&specs).await {
        assert_eq!(created, Ok(true));
    }
}

pub(crate) fn append_of(topic: &Topic, payload: impl Into<String>) -> Append {
    Append { topic: topic.clone(), payload: payload.into().into() }
}

/// Appends one record and insists that it is taken.
pub(crate) async fn append(log: &dyn EventLog, topic: &Topic, payload: impl Into<String>) {
    let outcome = log.append(vec![append_of(topic, payload)]).await;
    assert_eq!(outcome, [Ok(())]);
}

/// A subscription and all that it has yielded.
pub(crate) struct Reading {
    pub(crate) subscription: Subscription,
    pub(crate) records: HashMap<Topic, Vec<Record>>,
    pub(crate) failures: Vec<(Topic, LogError)>,
    pub(crate) read_through: Option<ReadThrough>,
}

impl Reading {
    pub(crate) fn open(log: &dyn EventLog, pace: Pace) -> Self {
        Self {
            subscription: log.subscribe(pace).unwrap(),
            records: HashMap::new(),
            failures: Vec::new(),
            read_through: None,
        }
    }

    pub(crate) fn of(log: &dyn EventLog, pace: Pace, topics: &[Topic], start: StartAt) -> Self {
        let reading = Self::open(log, pace);
        reading.subscription.add(topics.iter().map(|topic| (topic.clone(), start)));
        reading
    }

    /// Takes the next batch in, and gives it.
    pub(crate) async fn next_by(&mut self, deadline: Instant, waiting_for: &str) -> Batch {
        let batch = match timeout_at(deadline, self.subscription.next()).await {
            Ok(batch) => batch.unwrap_or_else(|| panic!("the log closed before: {waiting_for}")),
            Err(_) => panic!(
                "in vain waited for: {waiting_for}; {} records, failures {:?}, {:?}",
                self.records.values().map(Vec::len).sum::<usize>(),
                self.failures,
                self.read_through.as_ref().map(|proof| (deadline - proof.as_of, &proof.behind)),
            ),
        };
        for record in batch.records.iter().cloned() {
            self.records.entry(record.topic.clone()).or_default().push(record);
        }
        self.failures.extend(batch.failures.iter().cloned());
        if batch.read_through.is_some() {
            self.read_through.clone_from(&batch.read_through);
        }
        batch
    }

    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so(self) {
            self.next_by(deadline, what).await;
        }
    }

    /// Reads on until all topics have been read through to now, so that what has been read is all there is.
    pub(crate) async fn all(&mut self) {
        let now = Instant::now();
        let proven = |reading: &Self| {
            reading.read_through.as_ref().is_some_and(|proof| proof.as_of >= now && proof.behind.is_empty())
        };
        self.until("all topics read through", proven).await;
    }

    pub(crate) fn payloads(&self, topic: &Topic) -> Vec<String> {
        let records = self.records.get(topic).map(Vec::as_slice).unwrap_or_default();
        records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
    }

    pub(crate) fn count(&self, topic: &Topic) -> usize {
        self.records.get(topic).map_or(0, Vec::len)
    }
}

/// All that a topic holds.
pub(crate) async fn contents(log: &dyn EventLog, topic: &Topic, start: StartAt) -> Reading {
    let mut reading = Reading::of(log, PACED, std::slice::from_ref(topic), start);
    reading.all().await;
    reading
}

/// The numbers as payloads.
pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// For tasks beside the test's own.
pub(crate) type SharedLog = Arc<dyn EventLog>;
