//! Where a subscription stands in each of its topics, and what that proves: a value without I/O.

use std::collections::{HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;

use super::super::super::native::TopicId;
use super::super::super::starts::{Settled, Sought};
use super::super::address::Address;
use super::claims::Claims;
use crate::log::{LogError, ReadThrough, StartAt, Topic};

/// A topic whose proof is so much older than the newest one is named as behind, so that the proof of the others goes on: 3 s without one
/// mean *unknown*. What is led by a broker that hangs must not make it so for all. Where all is slow, all proofs are old, and that
/// is what they say.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Of each topic, how far it has been read.
#[derive(Debug, Default)]
pub(super) struct Places {
    topics: HashMap<Topic, Place>,
    /// Grows with every start of reading a topic, and with every leader that one is read from.
    readings: u64,
    /// The newest proof.
    as_of: Option<Instant>,
    /// When brokers were asked last about each other, and answered: what was claimed by then counts,
    borne_out: Option<Instant>,
    /// but for these brokers' claims.
    accused: HashSet<Address>,
    /// There are claims that the next such round may bear out.
    has_claims: bool,
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
    /// It is fetched.
    Read(Reading),
}

#[derive(Debug)]
struct Reading {
    id: TopicId,
    /// The offset of the next record to yield.
    next: u64,
    /// Which start of reading this is: the answer to a question put before it says nothing about it.
    number: u64,
    /// The leader that this is fetched from; none before it is known.
    leader: Option<Address>,
    /// Which leader that is, told from all before it.
    leading: u64,
    /// Since when what that leader answers proves something. A new leader has all that was acknowledged, but for a moment may not
    /// know that it may give all of it away (KIP-207), so that the end in its answer is too low.
    vouched: Option<Instant>,
    /// Up to when all that had been appended has been yielded.
    claims: Claims,
    /// It can't be fetched since then.
    failing: Option<Instant>,
}

/// Where a topic stood when its records were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) next: u64,
}

impl Places {
    /// A topic that is there already goes on as it is.
    pub(super) fn add(&mut self, topic: Topic, start: StartAt) {
        self.topics.entry(topic).or_insert(Place { state: State::Sought(start), told: None });
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        self.topics.remove(topic);
    }

    /// The topics that are not read yet, or no longer.
    pub(super) fn sought(&self) -> Vec<Sought> {
        self.topics.iter().filter_map(|(topic, place)| place.sought(topic)).collect()
    }

    /// Whether a topic still waits for its start in just this way, so that an answer is of use.
    pub(super) fn is_sought(&self, sought: &Sought) -> bool {
        self.topics.get(&sought.topic).is_some_and(|place| place.sought(&sought.topic).as_ref() == Some(sought))
    }

    /// The topic is to be fetched from here on.
    pub(super) fn settle(&mut self, topic: &Topic, Settled { id, next }: Settled) {
        if let Some(place) = self.topics.get_mut(topic) {
            self.readings += 1;
            let number = self.readings;
            place.state = State::Read(Reading {
                id,
                next,
                number,
                leader: None,
                leading: number,
                vouched: None,
                claims: Claims::default(),
                failing: None,
            });
        }
    }

    /// The topic is fetched from another leader from now on, or from the same one anew: its answers prove nothing yet.
    pub(super) fn led_anew(&mut self, topic: &Topic, leader: &Address) {
        if let Some(Place { state: State::Read(reading), .. }) = self.topics.get_mut(topic) {
            self.readings += 1;
            (reading.leading, reading.vouched) = (self.readings, None);
            reading.leader = Some(leader.clone());
            reading.claims.drop_open();
        }
    }

    /// Brokers asked at this instant have said who is there: what has been claimed by then is true, but for what these brokers claim.
    pub(super) fn bear_out(&mut self, asked_at: Instant, accused: &HashSet<Address>) {
        self.borne_out = self.borne_out.max(Some(asked_at));
        self.accused.clone_from(accused);
        self.has_claims = false;
        for place in self.topics.values_mut() {
            if let State::Read(reading) = &mut place.state {
                let is_accused = reading.leader.as_ref().is_some_and(|leader| accused.contains(leader));
                self.has_claims |= is_accused || reading.claims.bear_out(asked_at);
            }
        }
    }

    /// There is one broker, which none can contradict.
    pub(super) fn bear_out_alone(&mut self, now: Instant) {
        self.borne_out = Some(now);
        self.accused.clear();
    }

    /// Whether there are claims that wait to be borne out.
    pub(super) const fn has_claims(&self) -> bool {
        self.has_claims
    }

    /// The topics whose leader's answers prove nothing yet, and which leader that is, by its number and its address.
    pub(super) fn doubted(&self) -> Vec<(Topic, u64, Address)> {
        let doubted = self.topics.iter().filter_map(|(topic, place)| match &place.state {
            State::Read(Reading { vouched: None, leading, leader: Some(leader), .. }) => {
                Some((topic.clone(), *leading, leader.clone()))
            }
            _ => None,
        });
        doubted.collect()
    }

    /// That leader gives away all that was acknowledged before it led.
    pub(super) fn vouch(&mut self, topic: &Topic, leading: u64) {
        if let Some(Place { state: State::Read(reading), .. }) = self.topics.get_mut(topic)
            && reading.leading == leading
        {
            reading.vouched = Some(Instant::now());
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

    /// The topic can't be fetched, which may pass by itself; what to tell the subscriber when that has lasted for `long`.
    pub(super) fn hinder(
        &mut self,
        topic: &Topic,
        long: Duration,
        error: impl FnOnce() -> LogError,
    ) -> Option<(Topic, LogError)> {
        let place = self.topics.get_mut(topic)?;
        let State::Read(reading) = &mut place.state else { return None };
        let since = *reading.failing.get_or_insert_with(Instant::now);
        if since.elapsed() < long { None } else { place.tell(topic, error()) }
    }

    /// Where the topic is to be fetched from, while it is.
    pub(super) fn asked(&self, topic: &Topic) -> Option<Asked> {
        match &self.topics.get(topic)?.state {
            State::Read(reading) => Some(Asked { number: reading.number, next: reading.next }),
            State::Sought(_) | State::Lost { .. } => None,
        }
    }

    /// Whether the topic is still read as it was when this was asked.
    pub(super) fn is_current(&self, topic: &Topic, asked: Asked) -> bool {
        self.asked(topic) == Some(asked)
    }

    /// The topic has been read up to `next`, and ended at `end` when that was asked, at `as_of`; none where the broker's word for it proves
    /// nothing. Whether that is all.
    pub(super) fn advance(&mut self, topic: &Topic, next: u64, end: u64, as_of: impl Into<Option<Instant>>) -> bool {
        let Some(place) = self.topics.get_mut(topic) else { return true };
        let State::Read(reading) = &mut place.state else { return true };
        reading.next = reading.next.max(next);
        reading.failing = None;
        place.told = None;
        let is_all = reading.next >= end;
        let proves = |as_of: &Instant| reading.vouched.is_some_and(|since| since <= *as_of);
        if let Some(as_of) = as_of.into().filter(proves).filter(|_| is_all) {
            reading.claims.claim(as_of);
            let is_accused = reading.leader.as_ref().is_some_and(|leader| self.accused.contains(leader));
            let borne_out = self.borne_out.filter(|_| !is_accused);
            self.has_claims |= borne_out.is_none_or(|through| reading.claims.bear_out(through));
        }
        is_all
    }

    /// The topic is not where it was: it is gone, or another one has its name.
    pub(super) fn lose(&mut self, topic: &Topic) {
        if let Some(place) = self.topics.get_mut(topic)
            && let State::Read(reading) = &place.state
        {
            place.state = match reading.id {
                // Nothing tells this topic from another of its name.
                TopicId::NONE => State::Sought(StartAt::Oldest),
                id => State::Lost { id, next: reading.next },
            };
        }
    }

    /// The topic does not have what was to be read next: retention was faster, or it was cut back or made anew.
    pub(super) fn begin_anew(&mut self, topic: &Topic) {
        if let Some(place) = self.topics.get_mut(topic) {
            place.state = State::Sought(StartAt::Oldest);
        }
    }

    /// Up to where all topics have been read, but for those that are behind. None before anything is proven. It never goes back.
    pub(super) fn proof(&mut self) -> Option<ReadThrough> {
        let proofs = || self.topics.values().map(Place::read_through);
        let newest = proofs().max().flatten()?;
        let mut oldest_of_all = Some(newest);
        let mut oldest = newest;
        for proof in proofs() {
            oldest_of_all = oldest_of_all.min(proof);
            oldest = oldest.min(proof.filter(|at| newest.duration_since(*at) <= PATIENCE).unwrap_or(oldest));
        }
        let as_of = self.as_of.map_or(oldest, |former| former.max(oldest));
        self.as_of = Some(as_of);
        let is_behind = |place: &Place| place.read_through().is_none_or(|at| at < as_of);
        let behind = match oldest_of_all.is_some_and(|at| at >= as_of) {
            // As it is most of the time, with thousands of topics to look at.
            true => Vec::new(),
            false => self.topics.iter().filter(|(_, place)| is_behind(place)).map(|(topic, _)| topic.clone()).collect(),
        };
        Some(ReadThrough { as_of, behind })
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

    fn read_through(&self) -> Option<Instant> {
        match &self.state {
            State::Read(reading) => reading.claims.proven(),
            State::Sought(_) | State::Lost { .. } => None,
        }
    }

    fn tell(&mut self, topic: &Topic, error: LogError) -> Option<(Topic, LogError)> {
        let kind = discriminant(&error);
        (self.told.replace(kind) != Some(kind)).then(|| (topic.clone(), error))
    }
}

#[cfg(test)]
mod tests;
