//! The fold: frames and heartbeats of all interceptors in, answers out. No I/O and no clock: times are given in.
//!
//! An answer is a function of the log and of how far it has been read. Two folds that have read the same give the same answers,
//! whatever came before: so a topic may have two readers for a while.
//!
//! * `clock`: the log's time; `roster`: the interceptors' runs, and what their heartbeats vouch for.
//! * `hearing`: whether the interceptors are heard at all.
//! * `history` and `share`: one run's totals in one topic, and its values.
//! * `topic`: the sum of the shares, and whether it may be told.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use plimsoll_wire::collector::{Answer, InterceptorState};
use plimsoll_wire::frame::{Frame, InterceptorRecord, interceptor_record::Record};
use plimsoll_wire::log::{LogError, LogTime, ReadThrough, StartAt, Topic};
use tokio::time::Instant;

mod clock;
mod hearing;
mod history;
#[cfg(test)]
mod properties;
mod roster;
mod share;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod topic;

use hearing::Hearing;
use roster::{Liveness, Roster, Trouble};
use share::Windows;
use topic::{Context, LAG_LIMIT, TopicFold, over, reading_back};

/// What holds for all topics, or for those that it names.
#[derive(Debug, Default)]
struct Conditions {
    /// Why nothing is known at all, if so.
    unknown: Option<String>,
    /// The interceptors' topic has been replayed.
    replayed: bool,
    trouble: Trouble,
}

impl Conditions {
    /// Whether it is the same for all topics that neither of the two names. Then those that are idle need not be looked at.
    fn same_for_all(&self, other: &Self) -> bool {
        (&self.unknown, self.replayed, self.trouble.missing, &self.trouble.stuck)
            == (&other.unknown, other.replayed, other.trouble.missing, &other.trouble.stuck)
    }
}

/// Frames and heartbeats in, answers out.
#[derive(Debug)]
pub(crate) struct Fold {
    roster: Roster,
    since: Instant,
    hearing: Hearing,
    topics: HashMap<Topic, TopicFold>,
    /// Up to where all topics that are not behind have been read through.
    read_through: Option<Instant>,
    behind: HashSet<Topic>,
    /// Topics whose answer may change although no new evidence comes: their windows slide, or they are restless.
    awake: HashSet<Topic>,
    /// Topics with frames that no call of [`Fold::turned`] has seen yet.
    fresh: HashSet<Topic>,
    conditions: Conditions,
}

impl Fold {
    /// A fold that has read nothing; reading of the interceptors' topic begins now.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            roster: Roster::default(),
            since: now,
            hearing: Hearing::new(now),
            topics: HashMap::new(),
            read_through: None,
            behind: HashSet::new(),
            awake: HashSet::new(),
            fresh: HashSet::new(),
            conditions: Conditions::default(),
        }
    }

    /// Answers for this topic, whose reading begins at `since`. A topic that is read already only changes its windows; `true` where
    /// they need more of the log than has been read, so that the reading has to begin anew ([`Fold::read_anew`]).
    pub(crate) fn assign(&mut self, topic: Topic, concurrency: Duration, rate: Duration, since: Instant) -> bool {
        let windows = Windows::new(concurrency, rate);
        self.awake.insert(topic.clone());
        match self.topics.get_mut(&topic) {
            Some(known) => {
                let longer = windows.longest_us() > known.windows().longest_us();
                known.set_windows(windows);
                longer
            }
            None => {
                self.topics.insert(topic.clone(), TopicFold::new(topic, windows, since));
                false
            }
        }
    }

    /// The topic's reading begins anew at `since`, from further back.
    pub(crate) fn read_anew(&mut self, topic: &Topic, since: Instant) {
        if let Some(known) = self.topics.get_mut(topic) {
            known.read_anew(since);
            self.behind.remove(topic);
            self.awake.insert(topic.clone());
        }
    }

    /// Forgets the topic.
    pub(crate) fn release(&mut self, topic: &Topic) {
        self.topics.remove(topic);
        if self.topics.is_empty() {
            // Nothing proves anything any more, and no age of a proof may be held against the topics to come.
            self.read_through = None;
        }
        self.behind.remove(topic);
        self.awake.remove(topic);
        self.fresh.remove(topic);
    }

    /// From where on a topic with these windows has to be read, where the reading begins now. Ask when the interceptors' topic has been
    /// replayed.
    #[must_use]
    pub(crate) fn reads_from(&self, concurrency: Duration, rate: Duration, now: Instant) -> StartAt {
        let (Some(newest), Some(received)) = (self.roster.clock().newest(), self.roster.received()) else {
            return StartAt::Oldest;
        };
        // A heartbeat from long ago that was replayed just now makes this earlier than need be, which harms nothing.
        let passed = u64::try_from(now.saturating_duration_since(received).as_millis()).unwrap_or(u64::MAX);
        let log_now = LogTime(newest.0.saturating_add(passed));
        // The windows of a missing run end where it was heard last.
        let evidence = self.roster.alive().map(|(_, run, _)| run.heard_at()).min().unwrap_or(log_now).min(log_now);
        let window = reading_back(Windows::new(concurrency, rate));
        // By the topic's own clock, too: the broker that leads it may be behind the one that leads the interceptors' topic.
        let back = Duration::from_millis(log_now.0 - evidence.0).saturating_add(window);
        StartAt::From { time: evidence.before(window), back }
    }

    /// Takes a record of the interceptors' topic, in the order of the log. One that comes once more, as when the topic was cut back and is
    /// read again from its beginning, changes nothing.
    pub(crate) fn interceptor_record(
        &mut self,
        record: InterceptorRecord,
        offset: u64,
        appended: LogTime,
        received: Instant,
    ) {
        if self.hearing.is_repetition(offset, appended) {
            return;
        }
        match record.record {
            Some(Record::Heartbeat(heartbeat)) => {
                self.hearing.heard(received);
                self.roster.heartbeat(heartbeat, appended, received);
            }
            Some(Record::Activation(activation)) => {
                let Some(frame) = activation.frame else { return };
                let run = self.roster.activation(&frame, appended);
                let ours = self.topics.get_key_value(activation.topic.as_str()).map(|(topic, _)| topic.clone());
                if let Some(topic) = ours {
                    self.apply(&topic, run, &frame, appended, None);
                }
            }
            None => {}
        }
    }

    /// The interceptors' topic has been read through: after the records that came with this.
    pub(crate) fn interceptors_read_through(&mut self, proof: &ReadThrough) {
        self.hearing.read_through(proof);
    }

    /// The interceptors' topic can't be read now.
    pub(crate) fn interceptors_failed(&mut self, error: LogError) {
        self.hearing.failed(error);
    }

    /// Takes a frame of a topic, `bytes` long; `false` where the topic is not ours (any more).
    pub(crate) fn frame(&mut self, topic: &Topic, frame: &Frame, appended: LogTime, bytes: usize) -> bool {
        if !self.topics.contains_key(topic) {
            return false;
        }
        let run = self.roster.frame(frame, appended);
        self.apply(topic, run, frame, appended, Some(bytes));
        true
    }

    /// The topics have been read through: after the frames that came with this.
    pub(crate) fn read_through(&mut self, proof: &ReadThrough) {
        let behind: HashSet<Topic> =
            proof.behind.iter().filter(|topic| self.topics.contains_key(*topic)).cloned().collect();
        for topic in behind.difference(&self.behind) {
            if let Some(fold) = self.topics.get_mut(topic) {
                fold.fell_behind(self.read_through);
                self.awake.insert(topic.clone());
            }
        }
        for topic in &self.awake {
            if let Some(fold) = self.topics.get_mut(topic).filter(|_| !behind.contains(topic)) {
                fold.caught_up(proof.as_of);
            }
        }
        self.behind = behind;
        self.read_through = Some(proof.as_of);
    }

    /// The topic can't be read now.
    pub(crate) fn failed(&mut self, topic: &Topic, error: LogError) {
        if let Some(fold) = self.topics.get_mut(topic) {
            fold.failed(error);
            self.awake.insert(topic.clone());
        }
    }

    /// The answers of topics that have turned active or idle since they were told last, of those with new frames. Cheap: for after
    /// each batch.
    pub(crate) fn turned(&mut self, now: Instant, told: &mut Vec<Answer>) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let conditions = self.conditions(now);
        let context = self.context(&conditions, now);
        let mut turned = Vec::new();
        for topic in fresh {
            let Some(fold) = self.topics.get(&topic) else { continue };
            let active = fold.in_flight(context) > 0;
            if fold.told.as_ref().is_some_and(|told| told.in_flight > 0) != active {
                turned.push(topic);
            }
        }
        self.tell(turned, &conditions, now, told);
    }

    /// All answers that differ from what was told last.
    pub(crate) fn answers(&mut self, now: Instant, told: &mut Vec<Answer>) {
        self.forget_runs();
        self.fresh.clear();
        let conditions = self.conditions(now);
        let topics: Vec<Topic> = if conditions.same_for_all(&self.conditions) {
            let named = conditions.trouble.undelivered.union(&self.conditions.trouble.undelivered);
            let also = named.filter(|topic| !self.awake.contains(*topic));
            self.awake.iter().chain(also).cloned().collect()
        } else {
            self.topics.keys().cloned().collect()
        };
        self.tell(topics, &conditions, now, told);
        self.conditions = conditions;
    }

    /// What each interceptor contributes to a topic now; none where it is not read here.
    #[must_use]
    pub(crate) fn shares(&self, topic: &str, now: Instant) -> Option<Vec<plimsoll_wire::collector::Share>> {
        let conditions = self.conditions(now);
        self.topics.get(topic).map(|fold| fold.shares(self.context(&conditions, now)))
    }

    /// What a manager is told of the interceptors, sorted by name.
    #[must_use]
    pub(crate) fn interceptors(&self) -> Vec<InterceptorState> {
        self.roster.states()
    }

    /// Interceptors heard: live ones and missing ones.
    #[must_use]
    pub(crate) fn interceptor_counts(&self) -> (usize, usize) {
        self.roster.alive().fold((0, 0), |(live, missing), (_, _, liveness)| match liveness {
            Liveness::Missing => (live, missing + 1),
            Liveness::Live | Liveness::Ended => (live + 1, missing),
        })
    }

    /// How long ago everything that was in the log then had been read: the interceptors' topic, and the topics that are not behind.
    #[must_use]
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        let topics = if self.topics.is_empty() { now } else { self.read_through.unwrap_or(self.since) };
        self.hearing.lag(now).max(now.saturating_duration_since(topics))
    }

    /// One answer evaluated afresh, told or not.
    #[cfg(test)]
    fn evaluate(&mut self, topic: &str, now: Instant) -> Option<Answer> {
        let conditions = self.conditions(now);
        let proven = self.read_through.map(|as_of| self.roster.proven(as_of)).unwrap_or_default();
        let context =
            Context { roster: &self.roster, conditions: &conditions, read_through: self.read_through, proven, now };
        self.topics.get_mut(topic).map(|fold| fold.answer(context))
    }

    fn apply(&mut self, topic: &Topic, run: roster::RunKey, frame: &Frame, appended: LogTime, bytes: Option<usize>) {
        if let Some(fold) = self.topics.get_mut(topic) {
            fold.frame(run, frame, appended, bytes);
            if !self.fresh.contains(topic) {
                self.fresh.insert(topic.clone());
                self.awake.insert(topic.clone());
            }
        }
    }

    fn tell(&mut self, topics: Vec<Topic>, conditions: &Conditions, now: Instant, told: &mut Vec<Answer>) {
        let proven = self.read_through.map(|as_of| self.roster.proven(as_of)).unwrap_or_default();
        let context = Context { roster: &self.roster, conditions, read_through: self.read_through, proven, now };
        for topic in topics {
            let Some(fold) = self.topics.get_mut(&topic) else { continue };
            let answer = fold.answer(context);
            if is_at_rest(&answer) && !fold.is_restless() {
                self.awake.remove(&topic);
            } else {
                self.awake.insert(topic);
            }
            if fold.told.as_ref().is_none_or(|before| differs(before, &answer)) {
                fold.told = Some(answer.clone());
                told.push(answer);
            }
        }
    }

    fn context<'a>(&'a self, conditions: &'a Conditions, now: Instant) -> Context<'a> {
        let proven = self.read_through.map(|as_of| self.roster.proven(as_of)).unwrap_or_default();
        Context { roster: &self.roster, conditions, read_through: self.read_through, proven, now }
    }

    fn conditions(&self, now: Instant) -> Conditions {
        Conditions {
            unknown: self.unknown(now),
            replayed: self.hearing.is_replayed(),
            trouble: self.roster.trouble(self.read_through),
        }
    }

    /// Why nothing is known of any topic.
    fn unknown(&self, now: Instant) -> Option<String> {
        if let Some(reason) = self.hearing.unknown(now) {
            return Some(reason);
        }
        if self.roster.alive().next().is_none() {
            return Some("all interceptors have left".to_owned());
        }
        // Proofs of the topics' reading stop all at once when the log is out of reach, and only the topics that are awake are looked at
        // one by one.
        let topics = self.read_through.filter(|_| !self.topics.is_empty())?;
        let lag = now.saturating_duration_since(topics);
        (lag > LAG_LIMIT).then(|| format!("the topics have not been read to their ends for over {}", over(lag)))
    }

    /// Forgets runs that ended long ago, and remembers in each topic what must outlive them.
    fn forget_runs(&mut self) {
        if !self.roster.has_forgettable() {
            return;
        }
        for fold in self.topics.values_mut() {
            fold.keep_arrivals(&self.roster);
        }
        self.roster.forget();
        self.awake.extend(self.topics.keys().cloned());
    }
}

/// Whether the answer can't change without new evidence.
fn is_at_rest(answer: &Answer) -> bool {
    answer.in_flight == 0
        && answer.concurrency == 0.0
        && answer.burst_concurrency == 0.0
        && answer.request_rate == 0.0
        && answer.interceptors == 0
}

/// Whether a manager needs to be told. It counts on by itself from `since_arrival_us`, and evidence moves with every heartbeat.
fn differs(before: &Answer, now: &Answer) -> bool {
    let counts = |answer: &Answer| {
        let Answer { in_flight, held, admitted_total, frames_total, bytes_total, interceptors, .. } = *answer;
        (in_flight, held, admitted_total, frames_total, bytes_total, interceptors)
    };
    let means = |answer: &Answer| (answer.concurrency, answer.burst_concurrency, answer.request_rate);
    let standing = |answer: &Answer| {
        let Answer { concurrency_window_us, rate_window_us, known, warm, zero_is_unknown, .. } = *answer;
        (concurrency_window_us, rate_window_us, known, warm, zero_is_unknown, answer.since_arrival_us.is_some())
    };
    counts(before) != counts(now)
        || means(before) != means(now)
        || standing(before) != standing(now)
        || before.unknown_reason != now.unknown_reason
}
