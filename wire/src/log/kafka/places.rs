//! Where a subscription stands in each of its topics, and what that proves: a value without I/O.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use tokio::time::Instant;

use super::consumers::ConsumerId;
use super::lookup::PerTopic;
use super::native::TopicId;
use super::starts::{Settled, Sought};
use crate::log::{LogError, ReadThrough, StartAt, Topic};

/// Of each topic, how far it has been read.
#[derive(Debug, Default)]
pub(super) struct Places {
    topics: HashMap<Topic, Place>,
    /// Grows with every start of reading a topic.
    readings: u64,
}

#[derive(Debug)]
struct Place {
    state: State,
    /// Which kind of failure the subscriber has been told, and not taken back by success.
    told: Option<Discriminant<LogError>>,
}

#[derive(Debug)]
enum State {
    /// Where to start is to be asked for.
    Sought(StartAt),
    /// Was read up to `next`, then could not be found. It may come back, or another of its name.
    Lost { id: TopicId, next: u64 },
    /// A consumer fetches it.
    Read(Reading),
}

#[derive(Debug)]
struct Reading {
    id: TopicId,
    consumer: ConsumerId,
    /// The offset of the next record to yield.
    next: u64,
    /// Which start of reading this is: an answer to a question put before it says nothing about it.
    reading: u64,
    /// `next` at the last check, where that was before the end, and how many checks have found it there.
    stood_at: Option<(u64, u32)>,
    /// The last check found the end before what had been read when it began.
    beyond_end: bool,
}

/// A question to the brokers about where topics end.
#[derive(Debug)]
pub(super) struct Question {
    asked: HashMap<Topic, Asked>,
    /// Topics that made no way since the last check, though there was room for their records: retention may have taken what
    /// they wait for, so ask for their oldest record, too.
    pub(super) stuck: Vec<Topic>,
}

/// Where a topic stood when the question was put: while it is answered, reading goes on.
#[derive(Debug, Clone, Copy)]
struct Asked {
    reading: u64,
    next: u64,
}

/// A topic that has been behind for this many checks, with its records there, has a consumer that does not work.
const PATIENCE: u32 = 10;

impl Question {
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.asked.keys().cloned().collect()
    }
}

/// What the answer to a [`Question`] leads to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Topics to read no longer, for the time being.
    pub(super) dropped: Vec<(Topic, ConsumerId)>,
    pub(super) failures: Vec<(Topic, LogError)>,
    /// Consumers that do not work.
    pub(super) sick: Vec<ConsumerId>,
    /// Topics not read to the end that they had, with that end. None when no topic's end is known.
    pub(super) behind: Option<HashMap<Topic, u64>>,
}

/// No record brings a topic with this end up to it; only the next check does.
const NEVER: u64 = u64::MAX;

impl Places {
    /// A topic that is there already goes on as it is.
    pub(super) fn add(&mut self, topic: Topic, start: StartAt) {
        self.topics.entry(topic).or_insert(Place { state: State::Sought(start), told: None });
    }

    /// The consumer that reads the topic, if one does.
    pub(super) fn remove(&mut self, topic: &Topic) -> Option<ConsumerId> {
        match self.topics.remove(topic)?.state {
            State::Read(reading) => Some(reading.consumer),
            State::Sought(_) | State::Lost { .. } => None,
        }
    }

    /// The topics that are not read yet, or no longer.
    pub(super) fn sought(&self) -> Vec<Sought> {
        self.topics.iter().filter_map(|(topic, place)| place.sought(topic)).collect()
    }

    /// Whether a topic still waits for its start in just this way, so that an answer is of use.
    pub(super) fn is_sought(&self, sought: &Sought) -> bool {
        self.topics.get(&sought.topic).is_some_and(|place| place.sought(&sought.topic).as_ref() == Some(sought))
    }

    /// A consumer has been given the topic.
    pub(super) fn settle(&mut self, topic: &Topic, Settled { id, next }: Settled, consumer: ConsumerId) {
        if let Some(place) = self.topics.get_mut(topic) {
            self.readings += 1;
            let reading = self.readings;
            place.told = None;
            place.state = State::Read(Reading { id, consumer, next, reading, stood_at: None, beyond_end: false });
        }
    }

    /// The topic's start could not be found out; what to tell the subscriber, if it has not been told.
    pub(super) fn fail(&mut self, topic: &Topic, error: LogError) -> Option<(Topic, LogError)> {
        let place = self.topics.get_mut(topic)?;
        if let (State::Sought(start @ StartAt::End), LogError::UnknownTopic { .. }) = (&mut place.state, &error) {
            // All that it will hold comes after the subscription.
            *start = StartAt::Oldest;
        }
        place.tell(topic, error)
    }

    /// No broker answers: what to tell the subscriber about which topics.
    pub(super) fn fail_all(&mut self, error: &LogError) -> Vec<(Topic, LogError)> {
        self.topics.iter_mut().filter_map(|(topic, place)| place.tell(topic, error.clone())).collect()
    }

    /// A record has been read; the topic's name, unless it is not subscribed any more.
    pub(super) fn advance(&mut self, topic: &str, offset: u64) -> Option<Topic> {
        let (topic, _) = self.topics.get_key_value(topic)?;
        let topic = topic.clone();
        match &mut self.topics.get_mut(&topic)?.state {
            // An offset below `next` means that the consumer has found the topic begun anew.
            State::Read(reading) => reading.next = offset + 1,
            State::Sought(_) | State::Lost { .. } => return None,
        }
        Some(topic)
    }

    /// What to ask the brokers. Topics can be stuck only while there is room for their records.
    pub(super) fn question(&self, has_room: bool) -> Question {
        let mut question = Question { asked: HashMap::with_capacity(self.topics.len()), stuck: Vec::new() };
        for (topic, place) in &self.topics {
            if let State::Read(reading) = &place.state {
                question.asked.insert(topic.clone(), Asked { reading: reading.reading, next: reading.next });
                if has_room && reading.stood_at.is_some_and(|(at, _)| at == reading.next) {
                    question.stuck.push(topic.clone());
                }
            }
        }
        question
    }

    /// Takes the brokers' answers in.
    pub(super) fn check(&mut self, question: &Question, ends: &PerTopic<u64>, oldest: &PerTopic<u64>) -> Checked {
        let mut checked = Checked::default();
        let mut behind = HashMap::new();
        let mut any_end = false;
        for (topic, place) in &mut self.topics {
            let (reading, asked, answer) = match (&mut place.state, question.asked.get(topic), ends.get(topic)) {
                (State::Read(reading), Some(asked), Some(answer)) if asked.reading == reading.reading => {
                    (reading, asked, answer)
                }
                _ => {
                    behind.insert(topic.clone(), NEVER);
                    continue;
                }
            };
            match answer {
                Ok(end) => {
                    any_end = true;
                    if let Some(Ok(oldest)) = oldest.get(topic) {
                        // What retention took will not come.
                        reading.next = reading.next.max(*oldest);
                    }
                    let is_beyond = asked.next > *end;
                    if is_beyond && reading.beyond_end {
                        // A new topic of this name, or one cut back, and its consumer has not noticed for a whole round.
                        checked.dropped.push((topic.clone(), reading.consumer));
                        place.state = State::Sought(StartAt::Oldest);
                        behind.insert(topic.clone(), NEVER);
                        continue;
                    }
                    reading.beyond_end = is_beyond;
                    let stood = match reading.stood_at {
                        Some((at, times)) if at == reading.next && oldest.contains_key(topic) => times + 1,
                        _ => 1,
                    };
                    if stood == PATIENCE && !checked.sick.contains(&reading.consumer) {
                        checked.sick.push(reading.consumer);
                    }
                    reading.stood_at = (reading.next < *end).then_some((reading.next, stood));
                    if is_beyond || reading.next < *end {
                        behind.insert(topic.clone(), if is_beyond { NEVER } else { *end });
                    }
                    place.told = None;
                }
                Err(error) => {
                    behind.insert(topic.clone(), NEVER);
                    if matches!(error, LogError::UnknownTopic { .. }) {
                        checked.dropped.push((topic.clone(), reading.consumer));
                        place.state = reading.lost();
                    }
                    checked.failures.extend(place.tell(topic, error.clone()));
                }
            }
        }
        checked.behind = any_end.then_some(behind);
        checked
    }

    /// The consumer is gone: its topics are sought again, each to go on where it was.
    pub(super) fn lose(&mut self, consumer: ConsumerId) {
        for place in self.topics.values_mut() {
            if let State::Read(reading) = &place.state
                && reading.consumer == consumer
            {
                place.state = State::Lost { id: reading.id, next: reading.next };
            }
        }
    }

    /// Whether the topic has been read up to `end`.
    fn has_reached(&self, topic: &Topic, end: u64) -> bool {
        match self.topics.get(topic).map(|place| &place.state) {
            Some(State::Read(reading)) => reading.next >= end,
            Some(_) => false,
            // Not subscribed any more: nothing is claimed about it.
            None => true,
        }
    }
}

impl Place {
    fn sought(&self, topic: &Topic) -> Option<Sought> {
        let (start, before) = match self.state {
            State::Sought(start) => (start, None),
            State::Lost { id, next } => (StartAt::Oldest, Some((id, next))),
            State::Read(_) => return None,
        };
        Some(Sought { topic: topic.clone(), start, before })
    }

    fn tell(&mut self, topic: &Topic, error: LogError) -> Option<(Topic, LogError)> {
        let kind = discriminant(&error);
        (self.told.replace(kind) != Some(kind)).then(|| (topic.clone(), error))
    }
}

impl Reading {
    fn lost(&self) -> State {
        if self.id == TopicId::NONE {
            // Nothing tells this topic from another of its name.
            State::Sought(StartAt::Oldest)
        } else {
            State::Lost { id: self.id, next: self.next }
        }
    }
}

/// A proof in the making: the ends that topics had at one time, as far as they have not been reached.
#[derive(Debug)]
pub(super) struct Proof {
    /// Before the brokers were asked.
    pub(super) as_of: Instant,
    /// How many changes of the subscription were known then.
    pub(super) proven_after: u64,
    /// Topics with the end to reach.
    pub(super) behind: HashMap<Topic, u64>,
}

impl Proof {
    /// Strikes out the topics that have reached their end; whether there were any.
    pub(super) fn advance(&mut self, places: &Places) -> bool {
        let before = self.behind.len();
        self.behind.retain(|topic, end| !places.has_reached(topic, *end));
        self.behind.len() < before
    }

    pub(super) fn read_through(&self) -> ReadThrough {
        ReadThrough { as_of: self.as_of, behind: self.behind.keys().cloned().collect() }
    }
}

#[cfg(test)]
mod tests;
