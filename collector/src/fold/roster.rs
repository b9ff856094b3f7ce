//! All interceptors' runs: which of them are alive, and what each one's heartbeats vouch for.
//!
//! A heartbeat vouches for every topic at once. So this is kept once for each run, and topics look it up when they are evaluated:
//! a thousand idle topics cost a heartbeat nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::collector::{InterceptorState, interceptor_state};
use plimsoll_wire::frame::{Frame, Heartbeat};
use plimsoll_wire::log::{LogTime, Topic};
use tokio::time::Instant;

use super::clock::{LogClock, Reading};

/// A run is missing when its newest heartbeat is older than this by the log's time.
pub(crate) const MISSING_AFTER_MS: i64 = 3_000;
/// A missing run is gone after this much log time in which the log was alive.
pub(crate) const GONE_AFTER_MS: i64 = 15_000;
/// A run that has ended is forgotten after this much log time: it has left the longest window long before.
const FORGOTTEN_AFTER_MS: i64 = 11 * 60 * 1_000;
/// Heartbeats kept of a run, and the least time between them, however short the interceptor's tick is: a topic whose reading trails by more
/// than all of that is unknown anyway.
const BEATS_KEPT: usize = 16;
const BEATS_APART: Duration = Duration::from_millis(250);

/// One run of one interceptor, by the order in which they were first heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunKey(u64);

/// Whether a run still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Its heartbeats come.
    Live,
    /// They do not, for too short a time to call it gone: its last contribution stands.
    Missing,
    /// It was restarted, it left, or its time to live is over: nothing of it is in flight any more.
    Ended,
}

/// A topic that a run can't deliver to: what it vouched for last.
type Undelivered = HashMap<Topic, Option<u64>>;

#[derive(Debug)]
struct Beat {
    received: Instant,
    appended: LogTime,
    at_us: u64,
    watermark_us: u64,
    undelivered: Option<Arc<Undelivered>>,
}

impl Beat {
    fn claim(&self, topic: &str) -> Option<u64> {
        match self.undelivered.as_ref().and_then(|undelivered| undelivered.get(topic)) {
            Some(before) => *before,
            None => Some(self.watermark_us),
        }
    }
}

/// One run of an interceptor.
#[derive(Debug)]
pub(crate) struct Run {
    /// The interceptor's name.
    pub(crate) name: Arc<str>,
    /// Which run of it.
    pub(crate) incarnation: u64,
    /// Oldest first.
    beats: VecDeque<Beat>,
    /// Where its newest heartbeat lies in the log; that of its newest frame while no heartbeat has been heard.
    heard: Reading,
    heard_at: LogTime,
    /// A time of its own clock, and the log's time then.
    anchor: (u64, i64),
    superseded: bool,
    left: bool,
}

impl Run {
    /// What the run vouches for in a topic that has been read through to `read_through`: the watermark of the newest heartbeat that
    /// had been received by then. None where there is none.
    pub(crate) fn claim(&self, topic: &str, read_through: Option<Instant>) -> Option<u64> {
        self.countable(read_through?)?.claim(topic)
    }

    /// How old the run's newest proof for a topic is by the run's own clock, in microseconds: the time from it to the newest heartbeat.
    /// None where no heartbeat has been heard.
    pub(crate) fn proof_age_us(
        &self,
        topic: &str,
        read_through: Option<Instant>,
        frame_us: Option<u64>,
    ) -> Option<u64> {
        // Without any proof the age is counted from the run's start.
        let proof = self.claim(topic, read_through).max(frame_us).unwrap_or(0);
        Some(self.beats.back()?.at_us.saturating_sub(proof))
    }

    /// The log's time at a time of the run's own clock.
    pub(crate) fn log_time_ms(&self, at_us: u64) -> i64 {
        let (own_us, log_ms) = self.anchor;
        let ahead_ms = (i128::from(at_us) - i128::from(own_us)) / 1_000;
        log_ms.saturating_add(i64::try_from(ahead_ms).unwrap_or(if ahead_ms < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The run's own time at a time of the log; zero before its start.
    pub(crate) fn own_time_us(&self, log_ms: i64) -> u64 {
        let (own_us, anchor_ms) = self.anchor;
        let own = i128::from(own_us) + (i128::from(log_ms) - i128::from(anchor_ms)) * 1_000;
        u64::try_from(own.max(0)).unwrap_or(u64::MAX)
    }

    /// When its newest heartbeat was appended.
    pub(crate) fn heard_at(&self) -> LogTime {
        self.heard_at
    }

    /// Keeps the newest heartbeat. The one before it goes where it came at the same time, as in a backlog, since it can count no more; or where
    /// the one before that is near enough.
    fn keep(&mut self, beat: Beat) {
        let mut received = self.beats.iter().rev().map(|beat| beat.received);
        let (newest, before) = (received.next(), received.next());
        let is_near = |before: Instant| beat.received.saturating_duration_since(before) < BEATS_APART;
        if newest == Some(beat.received) || before.is_some_and(is_near) {
            self.beats.pop_back();
        }
        self.beats.push_back(beat);
        if self.beats.len() > BEATS_KEPT {
            self.beats.pop_front();
        }
    }

    fn countable(&self, read_through: Instant) -> Option<&Beat> {
        self.beats.iter().rev().find(|beat| beat.received <= read_through)
    }

    /// Whether it still counts, by the log's time.
    pub(crate) fn liveness(&self, now: Reading) -> Liveness {
        if self.left || self.superseded || now.alive_ms - self.heard.alive_ms >= GONE_AFTER_MS {
            Liveness::Ended
        } else if now.elapsed_ms - self.heard.elapsed_ms > MISSING_AFTER_MS {
            Liveness::Missing
        } else {
            Liveness::Live
        }
    }

    fn is_forgettable(&self, now: Reading) -> bool {
        self.liveness(now) == Liveness::Ended && now.elapsed_ms - self.heard.elapsed_ms > FORGOTTEN_AFTER_MS
    }
}

/// All runs heard.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    clock: LogClock,
    /// When the newest heartbeat of anyone was received.
    received: Option<Instant>,
    runs: HashMap<RunKey, Run>,
    /// The runs of each name.
    names: HashMap<Arc<str>, Vec<RunKey>>,
    next: u64,
}

impl Roster {
    /// The log's time.
    pub(crate) fn clock(&self) -> &LogClock {
        &self.clock
    }

    /// When the newest heartbeat of anyone was received.
    pub(crate) fn received(&self) -> Option<Instant> {
        self.received
    }

    /// A run that is still remembered.
    pub(crate) fn run(&self, key: RunKey) -> Option<&Run> {
        self.runs.get(&key)
    }

    /// All runs that have not ended.
    pub(crate) fn alive(&self) -> impl Iterator<Item = (RunKey, &Run, Liveness)> {
        let now = self.clock.now();
        self.runs
            .iter()
            .map(move |(key, run)| (*key, run, run.liveness(now)))
            .filter(|(_, _, liveness)| *liveness != Liveness::Ended)
    }

    /// Takes a heartbeat.
    pub(crate) fn heartbeat(&mut self, heartbeat: Heartbeat, appended: LogTime, received: Instant) {
        let now = self.clock.advance(appended);
        self.received = Some(received);
        let key = self.enter(&heartbeat.interceptor, heartbeat.incarnation, appended, now, heartbeat.at_us);
        let Some(run) = self.runs.get_mut(&key) else { return };
        if run.beats.back().is_some_and(|newest| newest.at_us >= heartbeat.at_us) {
            // Repeated or late: a newer one has said more.
            return;
        }
        let undelivered = undelivered(run.beats.back(), &heartbeat);
        let Heartbeat { at_us, watermark_us, leaving, .. } = heartbeat;
        run.keep(Beat { received, appended, at_us, watermark_us, undelivered });
        run.heard = now;
        run.heard_at = appended;
        run.anchor = (at_us, now.elapsed_ms);
        run.left = leaving;
        // Two interceptors of one name would each replace the other: one that speaks after it was replaced is alive.
        run.superseded = false;
    }

    /// The run of an activation: by its place in the interceptors' topic it replaces earlier runs of the name.
    pub(crate) fn activation(&mut self, frame: &Frame, appended: LogTime) -> RunKey {
        let place = self.clock.place(appended);
        self.enter(&frame.interceptor, frame.incarnation, appended, place, frame.at_us)
    }

    /// The run of a frame. One that no heartbeat has told of counts as heard when the frame was appended.
    pub(crate) fn frame(&mut self, frame: &Frame, appended: LogTime) -> RunKey {
        let place = self.clock.place(appended);
        let Some(key) = self.find(&frame.interceptor, frame.incarnation) else {
            return self.insert(&frame.interceptor, frame.incarnation, appended, place, frame.at_us);
        };
        if let Some(run) = self.runs.get_mut(&key)
            && run.beats.is_empty()
            && place.elapsed_ms > run.heard.elapsed_ms
        {
            (run.heard, run.heard_at, run.anchor) = (place, appended, (frame.at_us, place.elapsed_ms));
        }
        key
    }

    /// When the newest heartbeat was appended that had been received by then.
    pub(crate) fn proven(&self, read_through: Instant) -> LogTime {
        let beats = self.runs.values().filter_map(|run| run.countable(read_through));
        beats.map(|beat| beat.appended).max().unwrap_or_default()
    }

    /// Whether there are runs that ended so long ago that nothing needs them.
    pub(crate) fn has_forgettable(&self) -> bool {
        let now = self.clock.now();
        self.runs.values().any(|run| run.is_forgettable(now))
    }

    /// Forgets runs that ended long ago.
    pub(crate) fn forget(&mut self) {
        let now = self.clock.now();
        self.runs.retain(|_, run| !run.is_forgettable(now));
        self.names.retain(|_, keys| {
            keys.retain(|key| self.runs.contains_key(key));
            !keys.is_empty()
        });
    }

    /// What a manager is told of the interceptors, sorted by name.
    pub(crate) fn states(&self) -> Vec<InterceptorState> {
        let mut states: Vec<_> = self
            .alive()
            .map(|(_, run, liveness)| InterceptorState {
                name: run.name.to_string(),
                incarnation: run.incarnation,
                liveness: match liveness {
                    Liveness::Missing => interceptor_state::Liveness::Missing,
                    Liveness::Live | Liveness::Ended => interceptor_state::Liveness::Live,
                }
                .into(),
                last_heartbeat_unix_ms: run.heard_at.0,
            })
            .collect();
        states.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        states
    }

    /// What keeps runs from vouching for topics that have been read through to `read_through`.
    pub(crate) fn trouble(&self, read_through: Option<Instant>) -> Trouble {
        let mut trouble = Trouble::default();
        for (key, run, liveness) in self.alive() {
            trouble.missing |= liveness == Liveness::Missing;
            let Some(newest) = run.beats.back() else { continue };
            let watermark_us = read_through.map(|as_of| run.countable(as_of).map_or(0, |beat| beat.watermark_us));
            match proof(watermark_us.map_or(0, |watermark_us| newest.at_us.saturating_sub(watermark_us))) {
                Proof::Fresh => {}
                proof => trouble.stuck.push((key, proof)),
            }
            if let Some(undelivered) = &newest.undelivered {
                trouble.undelivering.push(key);
                trouble.undelivered.extend(undelivered.keys().cloned());
            }
        }
        trouble.stuck.sort_unstable();
        trouble.undelivering.sort_unstable();
        trouble
    }

    fn find(&self, name: &str, incarnation: u64) -> Option<RunKey> {
        let keys = self.names.get(name)?;
        keys.iter().copied().find(|key| self.runs.get(key).is_some_and(|run| run.incarnation == incarnation))
    }

    /// Finds a run by a record of the interceptors' topic; a new one ends the others of its name.
    fn enter(&mut self, name: &str, incarnation: u64, appended: LogTime, place: Reading, at_us: u64) -> RunKey {
        // A run that only frames have told of may be the newer one; but then it has not ended the others yet.
        let known = self.find(name, incarnation);
        if let Some(key) = known.filter(|key| self.runs.get(key).is_some_and(|run| !run.beats.is_empty())) {
            return key;
        }
        let key = known.unwrap_or_else(|| self.insert(name, incarnation, appended, place, at_us));
        for other in self.names.get(name).into_iter().flatten().filter(|other| **other != key) {
            if let Some(run) = self.runs.get_mut(other)
                && run.heard.elapsed_ms <= place.elapsed_ms
            {
                run.superseded = true;
            }
        }
        key
    }

    fn insert(&mut self, name: &str, incarnation: u64, appended: LogTime, place: Reading, at_us: u64) -> RunKey {
        let key = RunKey(self.next);
        self.next += 1;
        let name = self.names.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| name.clone());
        self.names.entry(name.clone()).or_default().push(key);
        self.runs.insert(
            key,
            Run {
                name,
                incarnation,
                beats: VecDeque::new(),
                heard: place,
                heard_at: appended,
                anchor: (at_us, place.elapsed_ms),
                superseded: false,
                left: false,
            },
        );
        key
    }
}

/// What keeps runs from vouching for topics.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Some run is missing: no zero is known.
    pub(crate) missing: bool,
    /// Live runs whose countable watermark is old, for all topics.
    pub(crate) stuck: Vec<(RunKey, Proof)>,
    /// Live runs that name undelivered topics.
    pub(crate) undelivering: Vec<RunKey>,
    /// The topics that they name.
    pub(crate) undelivered: HashSet<Topic>,
}

/// How good the newest proof of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proof {
    /// Recent.
    Fresh,
    /// Too old for a zero to be said.
    Old,
    /// Too old for anything to be said.
    TooOld,
}

/// How good a proof of this age is.
pub(crate) fn proof(age_us: u64) -> Proof {
    let age_ms = i64::try_from(age_us / 1_000).unwrap_or(i64::MAX);
    if age_ms > GONE_AFTER_MS {
        Proof::TooOld
    } else if age_ms > MISSING_AFTER_MS {
        Proof::Old
    } else {
        Proof::Fresh
    }
}

/// The topics that a heartbeat excepts, each with what the run vouched for before it named them.
fn undelivered(before: Option<&Beat>, heartbeat: &Heartbeat) -> Option<Arc<Undelivered>> {
    if heartbeat.undelivered.is_empty() {
        return None;
    }
    let known = before.and_then(|beat| beat.undelivered.as_ref());
    let same = known.filter(|known| {
        known.len() == heartbeat.undelivered.len()
            && heartbeat.undelivered.iter().all(|topic| known.contains_key(topic.as_str()))
    });
    if let Some(same) = same {
        return Some(same.clone());
    }
    let claim = |topic: &str| before.and_then(|beat| beat.claim(topic));
    let topics = heartbeat.undelivered.iter();
    Some(Arc::new(topics.map(|topic| (Topic::from(topic.as_str()), claim(topic))).collect()))
}
