//! Where a subscription stands in each of its topics, and what that proves: a value without I/O.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;

use super::super::super::native::TopicId;
use super::super::super::starts::{Settled, Sought};
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
    /// Which leader this is fetched from, told from all before it.
    leading: u64,
    /// Since when what that leader answers proves something. A new leader has all that was acknowledged, but for a moment may not
    /// know that it may give all of it away (KIP-207), so that the end in its answer is too low.
    vouched: Option<Instant>,
    /// All that had been appended by then has been yielded.
    read_through: Option<Instant>,
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
                leading: number,
                vouched: None,
                read_through: None,
                failing: None,
            });
        }
    }

    /// The topic is fetched from another leader from now on, or from the same one anew: its answers prove nothing yet.
    pub(super) fn led_anew(&mut self, topic: &Topic) {
        if let Some(Place { state: State::Read(reading), .. }) = self.topics.get_mut(topic) {
            self.readings += 1;
            (reading.leading, reading.vouched) = (self.readings, None);
        }
    }

    /// The topics whose leader's answers prove nothing yet, and which leader that is.
    pub(super) fn doubted(&self) -> Vec<(Topic, u64)> {
        let doubted = self.topics.iter().filter_map(|(topic, place)| match &place.state {
            State::Read(reading) if reading.vouched.is_none() => Some((topic.clone(), reading.leading)),
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
            reading.read_through = Some(as_of);
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
        let newest = self.topics.values().filter_map(Place::read_through).max()?;
        let is_recent = |at: &Instant| newest.duration_since(*at) <= PATIENCE;
        let oldest = self.topics.values().filter_map(Place::read_through).filter(is_recent).min();
        let as_of = oldest.max(self.as_of)?;
        self.as_of = Some(as_of);
        let is_behind = |place: &Place| place.read_through().is_none_or(|at| at < as_of);
        let behind = self.topics.iter().filter(|(_, place)| is_behind(place)).map(|(topic, _)| topic.clone());
        Some(ReadThrough { as_of, behind: behind.collect() })
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
            State::Read(reading) => reading.read_through,
            State::Sought(_) | State::Lost { .. } => None,
        }
    }

    fn tell(&mut self, topic: &Topic, error: LogError) -> Option<(Topic, LogError)> {
        let kind = discriminant(&error);
        (self.told.replace(kind) != Some(kind)).then(|| (topic.clone(), error))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ID: TopicId = TopicId::of(1);
    const TICK: Duration = Duration::from_millis(250);

    fn topic(name: &str) -> Topic {
        Topic::from(name)
    }

    /// These topics, read up to `next`.
    fn read_to(next: u64, names: &[&str]) -> Places {
        let mut places = Places::default();
        for name in names {
            places.add(topic(name), StartAt::Oldest);
            places.settle(&topic(name), Settled { id: ID, next });
        }
        vouch_for_all(&mut places);
        places
    }

    fn vouch_for_all(places: &mut Places) {
        for (topic, leading) in places.doubted() {
            places.vouch(&topic, leading);
        }
    }

    fn unknown() -> LogError {
        LogError::UnknownTopic { topic: "a".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_behind_until_the_end_it_had_is_reached() {
        let mut places = read_to(3, &["a", "b"]);
        let as_of = Instant::now();
        assert!(places.advance(&topic("b"), 3, 3, as_of));
        assert!(!places.advance(&topic("a"), 4, 5, as_of));
        assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![topic("a")] }));
        assert!(places.advance(&topic("a"), 5, 5, as_of));
        assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![] }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_proves_nothing_before_it_is_vouched_for() {
        let mut places = read_to(3, &["a"]);
        let a = topic("a");
        let before = Instant::now();
        places.advance(&a, 3, 3, before);
        places.led_anew(&a);
        let [(_, of_the_first)] = places.doubted()[..] else { panic!("one is in doubt") };
        advance(TICK).await;
        assert!(places.advance(&a, 3, 3, Instant::now()), "it is all that this leader gives");
        assert_eq!(places.proof(), Some(ReadThrough { as_of: before, behind: vec![] }));
        places.led_anew(&a);
        places.vouch(&a, of_the_first);
        places.advance(&a, 3, 3, Instant::now());
        assert_eq!(places.proof().map(|proof| proof.as_of), Some(before), "another one was vouched for");
        let asked_before = Instant::now();
        advance(TICK).await;
        vouch_for_all(&mut places);
        places.advance(&a, 3, 3, asked_before);
        assert_eq!(places.proof().map(|proof| proof.as_of), Some(before), "what was asked before does not count");
        let as_of = Instant::now();
        places.advance(&a, 4, 4, as_of);
        assert_eq!((places.proof(), places.doubted()), (Some(ReadThrough { as_of, behind: vec![] }), vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_proven_before_anything_is_read_and_a_new_topic_is_behind() {
        let mut places = read_to(0, &["a"]);
        assert_eq!(places.proof(), None);
        let as_of = Instant::now();
        places.advance(&topic("a"), 0, 0, as_of);
        places.add(topic("b"), StartAt::End);
        assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![topic("b")] }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_whose_broker_hangs_holds_the_others_proof_up_for_some_time_only() {
        let mut places = read_to(0, &["a", "b"]);
        let begun = Instant::now();
        places.advance(&topic("a"), 0, 0, begun);
        let mut oldest = Duration::ZERO;
        for _ in 0..40 {
            places.advance(&topic("b"), 0, 0, Instant::now());
            let proof = places.proof().expect("b is read");
            oldest = oldest.max(proof.as_of.elapsed());
            advance(TICK).await;
        }
        assert!(oldest <= PATIENCE, "{oldest:?}");
        assert_eq!(places.proof().expect("b is read").behind, [topic("a")]);
        // Back again, with what was asked before the others' newest proof.
        places.advance(&topic("a"), 0, 0, Instant::now() - 2 * TICK);
        let proof = places.proof().expect("b is read");
        assert!(proof.as_of.elapsed() <= TICK && proof.behind == [topic("a")], "a proof never goes back: {proof:?}");
        places.advance(&topic("a"), 0, 0, Instant::now());
        assert_eq!(places.proof().expect("both are read").behind, Vec::<Topic>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_brokers_are_slow_proofs_are_old_and_go_on() {
        let mut places = read_to(0, &["a", "b"]);
        for _ in 0..10 {
            let as_of = Instant::now();
            advance(2 * PATIENCE).await;
            places.advance(&topic("a"), 0, 0, as_of);
            places.advance(&topic("b"), 0, 0, as_of + TICK);
            assert_eq!(places.proof(), Some(ReadThrough { as_of, behind: vec![] }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_about_an_earlier_reading_is_told_from_one_that_counts() {
        let mut places = read_to(5, &["a"]);
        let asked = places.asked(&topic("a")).expect("it is read");
        assert!(places.is_current(&topic("a"), asked));
        places.remove(&topic("a"));
        assert!(!places.is_current(&topic("a"), asked));
        places.add(topic("a"), StartAt::Oldest);
        places.settle(&topic("a"), Settled { id: ID, next: 5 });
        assert!(!places.is_current(&topic("a"), asked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_topic_goes_on_where_it_was_and_is_told_once() {
        let mut places = read_to(5, &["a"]);
        places.lose(&topic("a"));
        assert_eq!(places.sought(), [Sought { topic: topic("a"), start: StartAt::Oldest, before: Some((ID, 5)) }]);
        assert!(places.fail(&topic("a"), unknown()).is_some());
        assert!(places.fail(&topic("a"), unknown()).is_none());
        places.begin_anew(&topic("a"));
        assert_eq!(places.sought(), [Sought { topic: topic("a"), start: StartAt::Oldest, before: None }]);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_when_it_lasts_and_again_when_it_comes_again() {
        let away = || LogError::Unavailable { log: "k".into(), reason: "r".into() };
        let mut places = read_to(5, &["a"]);
        let mut told = 0;
        for _ in 0..2 {
            for _ in 0..20 {
                let long = Duration::from_secs(1);
                told += u32::from(places.hinder(&topic("a"), long, away).is_some());
                advance(TICK / 2).await;
            }
            places.advance(&topic("a"), 5, 5, Instant::now());
        }
        assert_eq!(told, 2);
        places.hinder(&topic("a"), Duration::from_secs(1), away);
        advance(TICK).await;
        assert!(places.hinder(&topic("a"), Duration::from_secs(1), away).is_none(), "it may pass");
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_made_after_the_subscription_is_read_whole() {
        let mut places = Places::default();
        places.add(topic("a"), StartAt::End);
        assert_eq!(places.fail(&topic("a"), unknown()), Some((topic("a"), unknown())));
        assert_eq!(places.sought()[0].start, StartAt::Oldest);
    }
}
