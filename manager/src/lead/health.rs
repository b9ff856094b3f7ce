//! Which collectors are fit to read topics: a state machine for each, driven by what is seen of them. Pure: the clock is handed in.
//!
//! A collector proves its life by its stream, never by its topics: a quiet topic is not a dead topic. What troubles all of them at
//! once (a broker that is away) is nobody's fault, and moves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_scheduler::directives::CollectorDirective;
use plimsoll_scheduler::plan::CollectorId;
use plimsoll_scheduler::solve::CollectorState;
use tokio::time::Instant;

/// A collector that says nothing for this long gets nothing new. It says something twice a second.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A collector that says nothing for this long is lost: its topics go to others at once.
pub const LOST_AFTER: Duration = Duration::from_secs(5);
/// Further behind the log than this, a collector's answers are of little use; it says itself from 3 s on that it does not know.
pub const LAG_BOUND: Duration = Duration::from_secs(5);
/// A lag that lasts for this long is no hiccup.
pub const LAG_LASTS: Duration = Duration::from_secs(5);
/// After its first failure a collector must have been well for this long before it gets topics again; twice that after each further one.
pub const HOLD_OFF: Duration = Duration::from_secs(2);
/// No failure keeps a collector out for longer.
pub const HOLD_OFF_MAX: Duration = Duration::from_secs(300);
/// After this long without a failure the former ones are forgotten.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// What is seen of one collector.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name.
    pub id: CollectorId,
    /// Among whom it may be replaced: its provider where providers count, else the same for all.
    pub group: String,
    /// Whether this manager has ever heard it.
    pub heard: bool,
    /// The run of it that was heard last.
    pub incarnation: u64,
    /// How long it has said nothing.
    pub silent_for: Duration,
    /// It has said goodbye: its stream ended as one does that is ended on purpose.
    pub parted: bool,
    /// It asks to be emptied, since it is about to stop.
    pub leaving: bool,
    /// The fleet gets smaller, and it is the one to go.
    pub retiring: bool,
    /// How far it is behind the log.
    pub lag: Duration,
    /// What an operator wants of it.
    pub directive: Option<CollectorDirective>,
}

/// In which state a collector is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Registered, and not heard yet. It may be out of reach, so it gets nothing; what it has it keeps.
    Joining,
    /// Well.
    Ready,
    /// It has said nothing for a while; it gets nothing new.
    Silent,
    /// It says nothing any more, or has said goodbye: its topics go elsewhere at once.
    Lost,
    /// It can't keep up with the log while others can: it is emptied.
    Lagging,
    /// It is about to stop: it is emptied.
    Leaving,
    /// The fleet gets smaller, and it is the one to go: it is emptied.
    Retiring,
    /// It is well again, and has to stay so for a while before it gets anything.
    HeldOff,
    /// An operator wants it to get nothing new.
    Cordoned,
    /// An operator wants it emptied.
    Draining,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Joining,
        Self::Ready,
        Self::Silent,
        Self::Lost,
        Self::Lagging,
        Self::Leaving,
        Self::Retiring,
        Self::HeldOff,
        Self::Cordoned,
        Self::Draining,
    ];

    /// The word for metrics, events and people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Silent => "silent",
            Self::Lost => "lost",
            Self::Lagging => "lagging",
            Self::Leaving => "leaving",
            Self::Retiring => "retiring",
            Self::HeldOff => "held-off",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }

    /// What that is to the planner.
    #[must_use]
    pub fn for_planning(self) -> CollectorState {
        match self {
            Self::Ready => CollectorState::Ready,
            // Not even what is pinned to it.
            Self::Joining | Self::Silent | Self::HeldOff => CollectorState::Joining,
            Self::Cordoned => CollectorState::Cordoned,
            Self::Lagging | Self::Leaving | Self::Retiring | Self::Draining => CollectorState::Draining,
            Self::Lost => CollectorState::Lost,
        }
    }
}

/// A collector's state, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// For people.
    pub because: String,
}

/// What is remembered of a collector between two looks.
#[derive(Debug, Clone, Default)]
struct Record {
    incarnation: u64,
    /// It was lost or lagging at the last look.
    down: bool,
    /// Failures since the last time that it was well for long.
    failures: u32,
    /// Since when it lags, while others are fine.
    lags_since: Option<Instant>,
    /// Since when it is well without a break.
    well_since: Option<Instant>,
    /// When it was last seen at all.
    seen: Option<Instant>,
}

/// All collectors' health.
#[derive(Debug, Clone, Default)]
pub struct Health {
    records: BTreeMap<CollectorId, Record>,
}

impl Health {
    /// Judges all collectors that are registered or heard. `awake_since` is since when this manager has run without a pause: who has slept has
    /// heard nobody, and nobody's silence began before it woke.
    pub fn judge(&mut self, now: Instant, awake_since: Instant, seen: &[Seen]) -> BTreeMap<CollectorId, Verdict> {
        let awake = now.saturating_duration_since(awake_since);
        let mut verdicts = BTreeMap::new();
        for one in seen {
            let silent_for = one.silent_for.min(awake);
            let others_keep_up = others_keep_up(one, seen);
            let record = self.records.entry(one.id.clone()).or_default();
            record.seen = Some(now);
            verdicts.insert(one.id.clone(), record.judge(now, one, silent_for, others_keep_up));
        }
        take_back_where_nobody_is_left(seen, &mut verdicts);
        self.records.retain(|_, record| record.seen.is_some_and(|seen| now - seen < FORGIVEN_AFTER));
        verdicts
    }
}

/// Whether this collector's lag is its own: others answer, and at least half of them are near the log's end.
fn others_keep_up(one: &Seen, all: &[Seen]) -> bool {
    let answering =
        |other: &&Seen| other.id != one.id && other.heard && !other.parted && other.silent_for < SILENT_AFTER;
    let (mut fine, mut count) = (0, 0);
    for other in all.iter().filter(answering) {
        count += 1;
        fine += usize::from(other.lag <= LAG_BOUND);
    }
    count > 0 && fine * 2 >= count
}

/// A collector that has failed before is better than none: where no other of its group takes topics, those held off do.
fn take_back_where_nobody_is_left(seen: &[Seen], verdicts: &mut BTreeMap<CollectorId, Verdict>) {
    let held_off = |id: &CollectorId, verdicts: &BTreeMap<CollectorId, Verdict>| {
        verdicts.get(id).is_some_and(|verdict| verdict.state == State::HeldOff)
    };
    for one in seen {
        if !held_off(&one.id, verdicts) {
            continue;
        }
        let group = || seen.iter().filter(|other| other.group == one.group);
        let ready = |other: &Seen| verdicts.get(&other.id).is_some_and(|verdict| verdict.state == State::Ready);
        if group().any(ready) {
            continue;
        }
        let all: Vec<&Seen> = group().filter(|other| held_off(&other.id, verdicts)).collect();
        for other in all {
            let because = "it has failed of late, but no other takes topics".to_owned();
            verdicts.insert(other.id.clone(), Verdict { state: State::Ready, because });
        }
    }
}

impl Record {
    fn judge(&mut self, now: Instant, seen: &Seen, silent_for: Duration, others_keep_up: bool) -> Verdict {
        let verdict = |state, because: String| Verdict { state, because };
        if seen.parted {
            // A goodbye is no failure, and a new run of it begins anew.
            (self.down, self.lags_since, self.well_since) = (false, None, None);
            self.incarnation = 0;
            return verdict(State::Lost, "it has said goodbye".to_owned());
        }
        if silent_for >= LOST_AFTER {
            let because = format!("nothing has been heard of it for {} s", seen.silent_for.as_secs());
            if seen.heard {
                self.fail();
            }
            return verdict(State::Lost, because);
        }
        if !seen.heard {
            return verdict(State::Joining, "it is registered, and has not been heard yet".to_owned());
        }
        if silent_for >= SILENT_AFTER {
            self.well_since = None;
            return verdict(State::Silent, format!("nothing has been heard of it for {} s", seen.silent_for.as_secs()));
        }
        if std::mem::replace(&mut self.incarnation, seen.incarnation) != seen.incarnation && self.well_since.is_some() {
            // It has started anew without a word: that is a crash, however short.
            self.fail();
            self.down = false;
        }
        let lagging = self.lags(now, seen, others_keep_up);
        if seen.leaving {
            return verdict(State::Leaving, "it is about to stop".to_owned());
        }
        if lagging {
            let because = format!("it is {:.1} s behind the log while others are not", seen.lag.as_secs_f64());
            return verdict(State::Lagging, because);
        }
        self.down = false;
        if self.lags_since.is_some() {
            self.well_since = None;
        }
        let well_for = now.saturating_duration_since(*self.well_since.get_or_insert(now));
        if well_for >= FORGIVEN_AFTER {
            self.failures = 0;
        }
        let hold_off = hold_off(self.failures);
        if seen.retiring {
            return verdict(State::Retiring, "fewer collectors are enough".to_owned());
        }
        match seen.directive {
            Some(CollectorDirective::Drain) => verdict(State::Draining, "an operator drains it".to_owned()),
            Some(CollectorDirective::Cordon) => verdict(State::Cordoned, "an operator has cordoned it".to_owned()),
            None if well_for < hold_off => {
                let (failures, seconds) = (self.failures, hold_off.as_secs());
                verdict(
                    State::HeldOff,
                    format!("it has failed {failures} times of late: it must be well for {seconds} s"),
                )
            }
            None => verdict(State::Ready, "it is well".to_owned()),
        }
    }

    /// Whether it has lagged for long; who has once, does so until it has caught up well.
    fn lags(&mut self, now: Instant, seen: &Seen, others_keep_up: bool) -> bool {
        let was_down = self.down && self.lags_since.is_some();
        let caught_up = if was_down { LAG_BOUND / 2 } else { LAG_BOUND };
        if seen.lag <= caught_up {
            self.lags_since = None;
            return false;
        }
        if was_down {
            return true;
        }
        if !others_keep_up {
            self.lags_since = None;
            return false;
        }
        let since = *self.lags_since.get_or_insert(now);
        let lasts = now.saturating_duration_since(since) >= LAG_LASTS;
        if lasts {
            self.fail();
            self.lags_since = Some(since);
        }
        lasts
    }

    /// Counts a failure, once for each time that it begins.
    fn fail(&mut self) {
        if !std::mem::replace(&mut self.down, true) {
            self.failures = self.failures.saturating_add(1);
        }
        (self.well_since, self.lags_since) = (None, None);
    }
}

/// How long a collector with so many failures must have been well.
fn hold_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => HOLD_OFF.saturating_mul(1_u32.checked_shl(more - 1).unwrap_or(u32::MAX)).min(HOLD_OFF_MAX),
    }
}

#[cfg(test)]
mod tests;
