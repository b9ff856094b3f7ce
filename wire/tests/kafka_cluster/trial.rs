//! Writers and readers that go on whatever happens to the brokers, and note what they were told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_testkit::wait_until;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::{Batch, EventLog, LogError, Pace, StartAt, Subscription, Topic};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::reading::append_of;

/// How often each topic is written: a tick, in short.
const TICK: Duration = Duration::from_millis(100);
/// Proofs are looked for at least this often.
const LOOK: Duration = Duration::from_millis(50);

/// One log with a writer for each topic and two readers of all of them, one at once and one paced.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) topics: Vec<Topic>,
    written: Arc<Mutex<HashMap<Topic, Written>>>,
    stop: CancellationToken,
    writers: JoinSet<()>,
    pub(crate) readers: Vec<Reader>,
}

/// What a writer was told of its topic.
#[derive(Debug, Default, Clone)]
pub(crate) struct Written {
    /// Totals that were acknowledged, and when.
    pub(crate) acknowledged: Vec<(u64, Instant)>,
    /// How long calls took that failed, and why they did.
    pub(crate) failed: Vec<(Duration, LogError)>,
}

/// A reader that runs.
pub(crate) struct Reader {
    pub(crate) pace: Pace,
    pub(crate) seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a reader has been given.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of each topic: offsets and totals, in the order of their coming.
    pub(crate) records: HashMap<Topic, Vec<(u64, u64)>>,
    /// Of each topic: up to where it was proven to be read, and when the proof came.
    pub(crate) proofs: HashMap<Topic, Vec<(Instant, Instant)>>,
}

impl Trial {
    /// Starts writing to these topics, which are there, and reading them.
    pub(crate) fn start(name: &'static str, config: KafkaConfig, topics: &[Topic]) -> Self {
        let log = Arc::new(KafkaLog::new(config).unwrap());
        let written = Arc::new(Mutex::new(HashMap::new()));
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        for topic in topics {
            writers.spawn(write(log.clone(), topic.clone(), written.clone(), stop.clone()));
        }
        let readers = [Pace::AtOnce, Pace::Every(Duration::from_millis(250))].map(|pace| {
            let subscription = log.subscribe(pace).unwrap();
            subscription.add(topics.iter().map(|topic| (topic.clone(), StartAt::Oldest)));
            let seen = Arc::new(Mutex::new(Seen::default()));
            let task = tokio::spawn(read(subscription, topics.to_vec(), seen.clone(), written.clone(), stop.clone()));
            Reader { pace, seen, task }
        });
        Self { name, log, topics: topics.to_vec(), written, stop, writers, readers: readers.into() }
    }

    /// Waits until each of these topics has been acknowledged a record that was begun after now, and both readers have been
    /// proven to have read up to after that; how long it took.
    pub(crate) async fn goes_on(&self, what: &str, topics: &[Topic], limit: Duration) -> Duration {
        let from = Instant::now();
        let acknowledged = async || {
            let written = self.written.lock();
            let is_late = |topic: &&Topic| {
                // The one that came first may have been begun before.
                let after = |written: &Written| written.acknowledged.iter().filter(|(_, at)| *at > from).count();
                written.get(*topic).map_or(0, after) < 2
            };
            let late: Vec<_> = topics.iter().filter(is_late).collect();
            anyhow::ensure!(late.is_empty(), "not acknowledged: {late:?}");
            Ok(())
        };
        wait_until(&format!("{what}: {} writes to all topics", self.name), limit, acknowledged).await.unwrap();
        let took = from.elapsed();
        self.proven(what, topics, limit).await;
        eprintln!(
            "figure: {what}: {} writes again after {took:.1?}, proves again after {:.1?}",
            self.name,
            from.elapsed()
        );
        took
    }

    /// Waits until both readers have read these topics up to now.
    pub(crate) async fn proven(&self, what: &str, topics: &[Topic], limit: Duration) {
        let now = Instant::now();
        for reader in &self.readers {
            let proven = async || {
                let seen = reader.seen.lock();
                let newest = |topic| seen.proofs.get(topic).and_then(|proofs: &Vec<_>| proofs.last());
                let late: Vec<_> =
                    topics.iter().filter(|topic| newest(*topic).is_none_or(|(as_of, _)| *as_of < now)).collect();
                anyhow::ensure!(late.is_empty(), "not proven: {late:?}");
                Ok(())
            };
            let what = format!("{what}: {} proves all topics, {:?}", self.name, reader.pace);
            wait_until(&what, limit, proven).await.unwrap();
        }
    }

    /// What has been told of a topic so far.
    pub(crate) fn written(&self, topic: &Topic) -> Written {
        self.written.lock().get(topic).cloned().unwrap_or_default()
    }

    /// Stops writing, reads to the end, and gives what all were told.
    pub(crate) async fn finish(mut self, limit: Duration) -> (HashMap<Topic, Written>, Vec<Seen>) {
        self.stop.cancel();
        while let Some(writer) = self.writers.join_next().await {
            writer.unwrap();
        }
        self.proven("the end", &self.topics, limit).await;
        self.log.close().await;
        let mut all = Vec::new();
        for reader in self.readers {
            timeout(limit, reader.task).await.unwrap().unwrap();
            all.push(std::mem::take(&mut *reader.seen.lock()));
        }
        (self.written.lock().clone(), all)
    }
}

/// Appends a total that grows with each attempt, as frames' do: what is lost is made good by the next one.
async fn write(
    log: Arc<KafkaLog>,
    topic: Topic,
    written: Arc<Mutex<HashMap<Topic, Written>>>,
    stop: CancellationToken,
) {
    let mut total = 0_u64;
    while !stop.is_cancelled() {
        total += 1;
        let begun = Instant::now();
        let outcome = log.append(vec![append_of(&topic, total.to_string())]).await.pop().unwrap();
        {
            let mut written = written.lock();
            let written = written.entry(topic.clone()).or_default();
            match outcome {
                Ok(()) => written.acknowledged.push((total, Instant::now())),
                Err(error) => written.failed.push((begun.elapsed(), error)),
            }
        }
        sleep(TICK).await;
    }
}

/// Reads until the log closes, and holds every proof against what had been acknowledged by then.
async fn read(
    mut subscription: Subscription,
    topics: Vec<Topic>,
    seen: Arc<Mutex<Seen>>,
    written: Arc<Mutex<HashMap<Topic, Written>>>,
    stop: CancellationToken,
) {
    loop {
        match timeout(LOOK, subscription.next()).await {
            Ok(Some(batch)) => take(batch, &topics, &mut seen.lock(), &written.lock()),
            Ok(None) => return assert!(stop.is_cancelled(), "the log closed"),
            Err(_) => {}
        }
    }
}

fn take(batch: Batch, topics: &[Topic], seen: &mut Seen, written: &HashMap<Topic, Written>) {
    for record in batch.records {
        let total = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
        seen.records.entry(record.topic).or_default().push((record.offset, total));
    }
    let Some(proof) = batch.read_through else { return };
    for topic in topics.iter().filter(|topic| !proof.behind.contains(topic)) {
        let acknowledged = written.get(topic).map(|written| written.acknowledged.as_slice()).unwrap_or_default();
        let before = acknowledged.partition_point(|(_, at)| *at < proof.as_of);
        let newest = before.checked_sub(1).map(|at| acknowledged[at].0);
        let read = seen.records.get(topic).map(Vec::as_slice).unwrap_or_default();
        // The totals before it have been acknowledged before it, and are compared at the end.
        let has_it = newest.is_none_or(|newest| read.iter().rev().any(|(_, total)| *total == newest));
        assert!(has_it, "{topic} is said to be read through, but {newest:?} has not been yielded");
        seen.proofs.entry(topic.clone()).or_default().push((proof.as_of, Instant::now()));
    }
}
