//! One call to append: what has to go where next, and what came of it. Decides only; sends nothing.
//!
//! A topic's records go in batches, one batch under way at a time, so that they keep their order whatever has to be tried again.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::batch::{HEADER, RECORD_OVERHEAD};
use super::codes::{self, Remedy};
use super::failure::Failure;
use super::messages::{PART_OVERHEAD, Part};
use crate::log::{Append, Topic};

/// Topics of one request at most. A larger one delays its own acknowledgement: a broker answers it as a whole.
const TOPICS_A_REQUEST: usize = 500;
/// Bytes of one request, unless a single topic's batch is larger.
const REQUEST_BYTES: usize = 1024 * 1024;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in the log.
    Taken,
    /// Its topic does not exist.
    UnknownTopic,
    /// It was not acknowledged in time, for the last reason seen.
    Given(Trouble),
    /// It never will be, by Kafka's error code.
    Code(i16),
    /// It is too large.
    TooLarge,
}

/// Why a topic's records could not be appended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No time was left to try.
    NotTried,
    /// The broker failed.
    Failed(Failure),
    /// The broker's error code.
    Code(i16),
}

/// The records of one topic.
#[derive(Debug)]
struct Work {
    topic: Topic,
    /// Their places in the call.
    records: Vec<usize>,
    /// The first that is not settled.
    next: usize,
    /// Records of one batch at most.
    limit: usize,
    /// The last that was seen since a record of it was taken.
    trouble: Trouble,
    /// A pause is due before the next attempt.
    waits: bool,
}

/// A topic's share of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    work: usize,
    count: usize,
    /// What it takes of the request.
    pub(super) bytes: usize,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    records: Vec<Append>,
    works: Vec<Work>,
    fates: Vec<Option<Fate>>,
    batch_max: usize,
}

impl Call {
    /// Batches of at most `batch_max` bytes.
    pub(super) fn new(records: Vec<Append>, batch_max: usize) -> Self {
        let mut works: Vec<Work> = Vec::with_capacity(records.len());
        let mut of_topic: HashMap<&Topic, usize> = HashMap::with_capacity(records.len());
        let mut fates = vec![None; records.len()];
        for (place, record) in records.iter().enumerate() {
            if HEADER + RECORD_OVERHEAD + record.payload.len() > batch_max {
                fates[place] = Some(Fate::TooLarge);
                continue;
            }
            let work = *of_topic.entry(&record.topic).or_insert_with(|| {
                let topic = record.topic.clone();
                works.push(Work {
                    topic,
                    records: Vec::new(),
                    next: 0,
                    limit: usize::MAX,
                    trouble: Trouble::NotTried,
                    waits: false,
                });
                works.len() - 1
            });
            works[work].records.push(place);
        }
        Self { records, works, fates, batch_max }
    }

    /// The topics with records left to append.
    pub(super) fn open(&self) -> Vec<Topic> {
        self.works.iter().filter(|work| work.is_open()).map(|work| work.topic.clone()).collect()
    }

    /// The next requests for one broker, out of the open topics that `is_theirs`.
    pub(super) fn requests(&self, is_theirs: impl Fn(&Topic) -> bool) -> Vec<Vec<Share>> {
        let mut requests = Vec::new();
        let (mut request, mut bytes) = (Vec::new(), 0);
        for (at, work) in self.works.iter().enumerate().filter(|(_, work)| work.is_open() && is_theirs(&work.topic)) {
            let share = self.share(at, work);
            if request.len() == TOPICS_A_REQUEST || (!request.is_empty() && bytes + share.bytes > REQUEST_BYTES) {
                requests.push(std::mem::take(&mut request));
                bytes = 0;
            }
            bytes += share.bytes;
            request.push(share);
        }
        if !request.is_empty() {
            requests.push(request);
        }
        requests
    }

    fn share(&self, at: usize, work: &Work) -> Share {
        let (mut count, mut batch) = (0, HEADER);
        for &place in work.records[work.next..].iter().take(work.limit) {
            let record = self.records[place].payload.len() + RECORD_OVERHEAD;
            if count > 0 && batch + record > self.batch_max {
                break;
            }
            count += 1;
            batch += record;
        }
        Share { work: at, count, bytes: batch + PART_OVERHEAD + work.topic.len() }
    }

    /// What a request says.
    pub(super) fn parts(&self, request: &[Share]) -> Vec<Part<'_>> {
        let part = |share: &Share| {
            let work = &self.works[share.work];
            let places = &work.records[work.next..work.next + share.count];
            let payloads: Vec<&Bytes> = places.iter().map(|&place| &self.records[place].payload).collect();
            (&work.topic, payloads)
        };
        request.iter().map(part).collect()
    }

    /// A request has been answered, with these codes; the topics whose leader may be another one now.
    pub(super) fn answered(&mut self, request: &[Share], codes: &HashMap<&str, i16>) -> Vec<Topic> {
        let mut moved = Vec::new();
        for share in request {
            let work = &mut self.works[share.work];
            match codes.get(&*work.topic) {
                Some(0) => work.settle(share.count, &Fate::Taken, &mut self.fates),
                Some(&code) => match codes::meaning(code).1 {
                    Remedy::Smaller if share.count > 1 => {
                        work.limit = share.count / 2;
                        work.waits = false;
                    }
                    Remedy::Smaller => work.settle(1, &Fate::TooLarge, &mut self.fates),
                    Remedy::Again => work.troubled(Trouble::Code(code)),
                    Remedy::AskLeader => {
                        work.troubled(Trouble::Code(code));
                        moved.push(work.topic.clone());
                    }
                    Remedy::Person(_) | Remedy::Unclear => work.settle(usize::MAX, &Fate::Code(code), &mut self.fates),
                },
                None => {
                    let left_out = Failure::Lost("the broker's answer leaves the topic out".into());
                    work.troubled(Trouble::Failed(left_out));
                    moved.push(work.topic.clone());
                }
            }
        }
        moved
    }

    /// A request has not been answered; its topics.
    pub(super) fn unanswered(&mut self, request: &[Share], failure: &Failure) -> Vec<Topic> {
        let topic = |share: &Share| self.works[share.work].topic.clone();
        let topics: Vec<_> = request.iter().map(topic).collect();
        for share in request {
            self.works[share.work].failed(failure, &mut self.fates);
        }
        topics
    }

    /// No broker tells anything of these topics.
    pub(super) fn unreachable(&mut self, topics: &HashSet<Topic>, failure: &Failure) {
        for work in self.works.iter_mut().filter(|work| work.is_open() && topics.contains(&work.topic)) {
            work.failed(failure, &mut self.fates);
        }
    }

    /// What the brokers say of these topics: `None` for those that have a leader, and else what that means for their records.
    pub(super) fn placed(&mut self, topics: &HashSet<Topic>, fate_of: impl Fn(&Topic) -> Option<Fate>) {
        for work in self.works.iter_mut().filter(|work| work.is_open() && topics.contains(&work.topic)) {
            match fate_of(&work.topic) {
                None => work.waits = false,
                Some(Fate::Code(code)) if !matches!(codes::meaning(code).1, Remedy::Person(_)) => {
                    work.troubled(Trouble::Code(code));
                }
                Some(fate) => work.settle(usize::MAX, &fate, &mut self.fates),
            }
        }
    }

    /// Whether a topic is in trouble that may pass: then a pause is due before the next attempt.
    pub(super) fn is_troubled(&self) -> bool {
        self.works.iter().any(|work| work.is_open() && work.waits)
    }

    /// What became of each record, in the order given; whatever is still open is given up.
    pub(super) fn end(mut self) -> Vec<(Append, Fate)> {
        for work in &mut self.works {
            let fate = Fate::Given(work.trouble.clone());
            work.settle(usize::MAX, &fate, &mut self.fates);
        }
        let fates = self.fates.into_iter().map(|fate| fate.unwrap_or(Fate::Given(Trouble::NotTried)));
        self.records.into_iter().zip(fates).collect()
    }
}

impl Work {
    fn is_open(&self) -> bool {
        self.next < self.records.len()
    }

    /// The next `count` records, or as many as there are, have this fate.
    fn settle(&mut self, count: usize, fate: &Fate, fates: &mut [Option<Fate>]) {
        let end = self.next.saturating_add(count).min(self.records.len());
        for &place in &self.records[self.next..end] {
            fates[place] = Some(fate.clone());
        }
        self.next = end;
        self.trouble = Trouble::NotTried;
        self.waits = false;
    }

    fn troubled(&mut self, trouble: Trouble) {
        self.trouble = trouble;
        self.waits = true;
    }

    fn failed(&mut self, failure: &Failure, fates: &mut [Option<Fate>]) {
        let trouble = Trouble::Failed(failure.clone());
        match failure {
            Failure::Lost(_) => self.troubled(trouble),
            Failure::Refused { .. } => self.settle(usize::MAX, &Fate::Given(trouble), fates),
        }
    }
}

#[cfg(test)]
mod tests;
