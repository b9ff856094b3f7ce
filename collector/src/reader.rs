//! The one task that reads the log and follows the assignment. It alone touches the fold; what it learns goes to the hub.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use plimsoll_scheduler::plan::CollectorAssignment;
use plimsoll_wire::collector::{Answer, CollectorLoad};
use plimsoll_wire::frame::{Frame, InterceptorRecord};
use plimsoll_wire::log::{Batch, EventLog, LogError, Pace, Record, StartAt, Subscription, Topic};
use plimsoll_wire::resources::WINDOW_BORDERS;
use plimsoll_wire::topic::INTERCEPTORS;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::admin::Readiness;
use crate::fold::Fold;
use crate::hub::{Hub, State, Urgency};
use crate::metrics::Metrics;
use crate::questions::Question;

/// Subscribers are told at least this often that the reader lives.
const BEAT: Duration = Duration::from_millis(500);
/// Frames folded before the urgent topic gets its turn again: some milliseconds.
const SLICE: usize = 4_096;
/// How far back the interceptors' topic is read: runs whose frames lie in the longest window are known by their heartbeats then.
const INTERCEPTORS_BACK: Duration = Duration::from_secs(WINDOW_BORDERS.end().as_secs() + 60);

/// A topic's windows: concurrency's, and the rate's.
type Windows = (Duration, Duration);

/// Reads the log.
#[derive(Debug)]
pub(crate) struct Reader {
    fold: Fold,
    hub: Arc<Hub>,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    interval: Duration,
    assignment: watch::Receiver<Arc<CollectorAssignment>>,
    questions: mpsc::Receiver<Question>,
    interceptors: Subscription,
    topics: Subscription,
    assigned: HashMap<Topic, Windows>,
    generation: u64,
    /// The interceptors' topic has been replayed, so that the log's now is known and the topics are read.
    replayed: bool,
    load: CollectorLoad,
    beaten: Option<Instant>,
}

impl Reader {
    pub(crate) fn new(
        log: &dyn EventLog,
        assignment: watch::Receiver<Arc<CollectorAssignment>>,
        questions: mpsc::Receiver<Question>,
        interval: Duration,
        hub: Arc<Hub>,
        readiness: Arc<Readiness>,
        metrics: Metrics,
    ) -> Result<Self, LogError> {
        let interceptors = log.subscribe(Pace::AtOnce)?;
        let topics = log.subscribe(Pace::Every(interval))?;
        Ok(Self {
            fold: Fold::new(Instant::now()),
            hub,
            readiness,
            metrics,
            interval,
            assignment,
            questions,
            interceptors,
            topics,
            assigned: HashMap::new(),
            generation: 0,
            replayed: false,
            load: CollectorLoad::default(),
            beaten: None,
        })
    }

    /// Reads until shutdown, or until the log has ended.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        self.interceptors.add([(Topic::from(INTERCEPTORS), StartAt::BeforeNewest(INTERCEPTORS_BACK))]);
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Neither the log nor the store ends before us. Should the store, the rest goes on. Should what reads the log, as by a panic in its
        // task, nothing would ever be known again, and a new process helps.
        let mut assignment_open = true;
        self.assignment.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                batch = self.interceptors.next() => match batch {
                    Some(batch) => self.take_interceptors(batch),
                    None => return error!("{INTERCEPTORS} is read no more: the log has ended"),
                },
                // Before the topics' batches, which may come without end.
                _ = tick.tick() => self.tell(),
                changed = self.assignment.changed(), if assignment_open => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => {
                        warn!("the store has ended: the plan is followed as it is");
                        assignment_open = false;
                    }
                },
                Some(question) = self.questions.recv() => self.answer(question),
                batch = self.topics.next() => match batch {
                    Some(batch) => self.take_topics(batch),
                    None => return error!("the topics are read no more: the log has ended"),
                },
            }
        }
    }

    /// What a batch of the interceptors' topic says, told at once where a topic has turned active.
    fn take_interceptors(&mut self, batch: Batch) {
        let now = Instant::now();
        for record in batch.records {
            self.metrics.interceptor_records.inc();
            match InterceptorRecord::decode(record.payload.clone()) {
                Ok(decoded) => self.fold.interceptor_record(decoded, record.offset, record.appended, now),
                Err(error) => self.bad_record(&record, &error),
            }
        }
        for (_, error) in batch.failures {
            warn!("{INTERCEPTORS} can't be read: {error}");
            self.fold.interceptors_failed(error);
        }
        if let Some(proof) = batch.read_through {
            self.fold.interceptors_read_through(&proof);
            if !self.replayed && proof.behind.is_empty() {
                self.replayed = true;
                self.readiness.replayed();
                self.read_all();
            }
        }
        self.turned();
    }

    fn take_topics(&mut self, batch: Batch) {
        let mut records = batch.records.into_iter();
        loop {
            let slice: Vec<_> = records.by_ref().take(SLICE).collect();
            self.fold_frames(&slice);
            if slice.len() < SLICE {
                break;
            }
            // A long batch keeps no activation waiting.
            while let Some(Some(batch)) = self.interceptors.next().now_or_never() {
                self.take_interceptors(batch);
            }
        }
        for (topic, error) in batch.failures {
            debug!(%topic, "can't be read: {error}");
            self.fold.failed(&topic, error);
        }
        if let Some(proof) = batch.read_through {
            self.fold.read_through(&proof);
        }
        self.turned();
    }

    fn fold_frames(&mut self, records: &[Record]) {
        let begun = Instant::now();
        for record in records {
            match Frame::decode(record.payload.clone()) {
                Ok(frame) => {
                    let bytes = record.payload.len();
                    if self.fold.frame(&record.topic, &frame, record.appended, bytes) {
                        self.load.frames_total += 1;
                        self.load.bytes_total += bytes as u64;
                        self.metrics.frames.inc();
                        self.metrics.frame_bytes.inc_by(bytes as u64);
                    }
                }
                Err(error) => self.bad_record(record, &error),
            }
        }
        if !records.is_empty() {
            self.metrics.fold_seconds.observe(begun.elapsed().as_secs_f64());
        }
    }

    /// Something else writes to our topics: that must not stop the reading.
    fn bad_record(&self, record: &Record, error: &prost::DecodeError) {
        // The first one is worth a line; the count tells the rest.
        if self.metrics.bad_records.inc() == 0 {
            warn!(topic = %record.topic, offset = record.offset, "a record that no interceptor of ours wrote: {error}");
        }
    }

    fn turned(&mut self) {
        let mut told = Vec::new();
        self.fold.turned(Instant::now(), &mut told);
        self.publish(told, Urgency::AtOnce);
    }

    /// Tells what has changed, and that we live.
    fn tell(&mut self) {
        let now = Instant::now();
        let mut told = Vec::new();
        self.fold.answers(now, &mut told);
        self.metrics.fold_seconds.observe(now.elapsed().as_secs_f64());
        self.publish(told, Urgency::Paced);
        // A little early rather than one interval late.
        if self.beaten.is_some_and(|beaten| now.duration_since(beaten) + self.interval / 2 < BEAT) {
            return;
        }
        self.beaten = Some(now);
        let lag = self.fold.lag(now);
        self.load.lag_us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.metrics.lag.set(lag.as_secs_f64());
        self.metrics.subscribers.set(self.hub.subscribers().try_into().unwrap_or(i64::MAX));
        let (live, missing) = self.fold.interceptor_counts();
        self.metrics.interceptors(live, missing);
        self.hub.beat(State { generation: self.generation, load: self.load, interceptors: self.fold.interceptors() });
    }

    fn answer(&self, question: Question) {
        // Who has asked may have gone meanwhile.
        let _ = question.answer.send(self.fold.shares(&question.topic, Instant::now()));
    }

    fn publish(&self, told: Vec<Answer>, urgency: Urgency) {
        self.metrics.answers.inc_by(told.len() as u64);
        self.hub.tell(told, urgency);
    }

    /// Follows the assignment as it is now.
    fn follow(&mut self) {
        let assignment = self.assignment.borrow_and_update().clone();
        if assignment.generation == 0 {
            // The store has not told anything yet, or has lost all: what we read stays right.
            return;
        }
        self.generation = assignment.generation;
        let wanted: HashSet<&str> = assignment.topics.iter().map(|assigned| assigned.topic.as_str()).collect();
        let released: Vec<Topic> = self.assigned.keys().filter(|topic| !wanted.contains(&***topic)).cloned().collect();
        for topic in &released {
            self.assigned.remove(topic);
            self.fold.release(topic);
        }
        let mut read = Vec::new();
        let now = Instant::now();
        for assigned in &assignment.topics {
            let windows = (assigned.concurrency_window, assigned.rate_window);
            let topic = Topic::from(assigned.topic.as_str());
            let before = self.assigned.insert(topic.clone(), windows);
            if before == Some(windows) {
                continue;
            }
            let anew = self.fold.assign(topic.clone(), windows.0, windows.1, now);
            if anew {
                self.topics.remove([topic.clone()]);
            }
            if anew || before.is_none() {
                read.push(topic);
            }
        }
        if !released.is_empty() || !read.is_empty() {
            info!(
                generation = self.generation,
                topics = self.assigned.len(),
                new = read.len(),
                released = released.len(),
                "follows the plan"
            );
        }
        self.metrics.generation.set(self.generation.try_into().unwrap_or(i64::MAX));
        self.metrics.topics.set(self.assigned.len().try_into().unwrap_or(i64::MAX));
        self.topics.remove(released.clone());
        self.hub.release(released);
        if self.replayed {
            self.read(read);
        }
        // The managers wait for the generation, and for word of the new topics.
        self.beaten = None;
        self.tell();
    }

    fn read_all(&mut self) {
        self.read(self.assigned.keys().cloned().collect());
    }

    /// Begins to read these topics, from as far back as their windows need.
    fn read(&mut self, topics: Vec<Topic>) {
        let now = Instant::now();
        let mut starts = Vec::with_capacity(topics.len());
        for topic in topics {
            self.fold.read_anew(&topic, now);
            let (concurrency, rate) = self.assigned.get(&topic).copied().unwrap_or_default();
            starts.push((topic, self.fold.reads_from(concurrency, rate, now)));
        }
        self.topics.add(starts);
    }
}
