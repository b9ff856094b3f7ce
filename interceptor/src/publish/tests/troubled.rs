//! A real log with trouble in front of it.

use std::collections::HashSet;

use async_trait::async_trait;
use parking_lot::Mutex;
use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{Pace, Subscription};
use tokio::sync::watch;

use super::*;

/// An in-memory log that can be put out of reach, and that notes what it has acknowledged and when.
#[derive(Debug)]
pub(super) struct Troubled {
    log: MemoryLog,
    trouble: watch::Sender<Trouble>,
    taken: Mutex<Vec<Taken>>,
    /// Records under way now, and at most so far.
    under_way: Mutex<(usize, usize)>,
}

#[derive(Debug, Clone, Default)]
struct Trouble {
    /// Every append fails after this long.
    away: Option<Duration>,
    /// Every append panics.
    mad: bool,
    /// An append with a record for one of these does not return.
    stuck: HashSet<String>,
}

/// A record that the log has acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) at: Instant,
    pub(super) topic: Topic,
    payload: bytes::Bytes,
}

impl Taken {
    pub(super) fn frame(&self) -> Frame {
        Frame::decode(self.payload.clone()).unwrap()
    }

    pub(super) fn record(&self) -> Record {
        InterceptorRecord::decode(self.payload.clone()).unwrap().record.unwrap()
    }
}

impl Troubled {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            log: MemoryLog::new(),
            trouble: watch::Sender::default(),
            taken: Mutex::default(),
            under_way: Mutex::default(),
        })
    }

    pub(super) async fn create(&self, topics: &[&str]) {
        let specs: Vec<_> =
            topics.iter().map(|topic| TopicSpec { topic: (*topic).into(), retention: RETENTION }).collect();
        assert!(self.log.create_topics(&specs).await.iter().all(Result::is_ok));
    }

    pub(super) fn go_away(&self, fail_after: Duration) {
        self.trouble.send_modify(|trouble| trouble.away = Some(fail_after));
    }

    pub(super) fn go_mad(&self) {
        self.trouble.send_modify(|trouble| trouble.mad = true);
    }

    pub(super) fn stick(&self, topic: &str) {
        self.trouble.send_modify(|trouble| trouble.stuck.extend([topic.to_owned()]));
    }

    /// All trouble is over.
    pub(super) fn come_back(&self) {
        self.trouble.send_replace(Trouble::default());
    }

    /// What has been acknowledged for this topic, in order.
    pub(super) fn taken(&self, topic: &str) -> Vec<Taken> {
        self.taken.lock().iter().filter(|taken| *taken.topic == *topic).cloned().collect()
    }

    pub(super) fn heartbeats(&self) -> Vec<(Instant, Heartbeat)> {
        self.records(|record| if let Record::Heartbeat(heartbeat) = record { Some(heartbeat) } else { None })
    }

    pub(super) fn activations(&self) -> Vec<(Instant, Activation)> {
        self.records(|record| if let Record::Activation(activation) = record { Some(activation) } else { None })
    }

    fn records<T>(&self, wanted: impl Fn(Record) -> Option<T>) -> Vec<(Instant, T)> {
        let taken = self.taken(INTERCEPTORS);
        taken.iter().filter_map(|taken| Some((taken.at, wanted(taken.record())?))).collect()
    }

    /// Records under way at once, at most so far.
    pub(super) fn most_under_way(&self) -> usize {
        self.under_way.lock().1
    }
}

/// Counts records as under way until it is dropped: a cancelled append is not under way any more.
struct UnderWay<'a>(&'a Troubled, usize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().0 -= self.1;
    }
}

#[async_trait]
impl EventLog for Troubled {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        let _under_way = UnderWay(self, records.len());
        {
            let mut under_way = self.under_way.lock();
            under_way.0 += records.len();
            under_way.1 = under_way.1.max(under_way.0);
        }
        assert!(!self.trouble.borrow().mad, "a test wants this");
        let away = self.trouble.borrow().away;
        if let Some(fail_after) = away {
            tokio::time::sleep(fail_after).await;
            let gone = || LogError::Unavailable { log: "memory".into(), reason: "put out of reach".into() };
            return records.iter().map(|_| Err(gone())).collect();
        }
        let mut trouble = self.trouble.subscribe();
        let free = |trouble: &Trouble| records.iter().all(|record| !trouble.stuck.contains(&*record.topic));
        trouble.wait_for(free).await.unwrap();
        let results = self.log.append(records.clone()).await;
        let mut taken = self.taken.lock();
        for (record, result) in records.into_iter().zip(&results) {
            if result.is_ok() {
                taken.push(Taken { at: Instant::now(), topic: record.topic, payload: record.payload });
            }
        }
        results
    }

    fn subscribe(&self, pace: Pace) -> Result<Subscription, LogError> {
        self.log.subscribe(pace)
    }

    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        self.log.create_topics(topics).await
    }

    async fn delete_topics(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>> {
        self.log.delete_topics(topics).await
    }

    async fn list_topics(&self) -> Result<Vec<String>, LogError> {
        self.log.list_topics().await
    }
}
