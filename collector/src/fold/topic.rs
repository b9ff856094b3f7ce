//! One topic: the shares of all runs, and the answer that they sum up to.

use std::time::Duration;

use plimsoll_wire::collector::{self as wire, Answer};
use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::{LogError, LogTime, Topic};
use tokio::time::Instant;

use super::Conditions;
use super::roster::{Liveness, Proof, Roster, Run, RunKey, proof};
use super::share::{Edge, Share, Values, Windows};

/// A topic is unknown when it has not been read through for longer than this.
pub(crate) const LAG_LIMIT: Duration = Duration::from_secs(3);

/// A run's evidence in a topic that it can't deliver to may be 15 s old and still be told, and some records may be late.
const READING_MARGIN: Duration = Duration::from_secs(20);

/// What is known of one topic.
#[derive(Debug)]
pub(crate) struct TopicFold {
    topic: Topic,
    windows: Windows,
    /// By run: there are as many as interceptors.
    shares: Vec<Share>,
    /// Reading began then: a proof of completeness from before says nothing of this topic.
    since: Instant,
    /// While the topic is behind the others: up to where it had been read through.
    behind: Option<Option<Instant>>,
    failure: Option<LogError>,
    warm: bool,
    newest: LogTime,
    frames_total: u64,
    bytes_total: u64,
    /// What shares that were dropped had admitted, and their newest arrival by the log's clock.
    admitted_before: u64,
    arrived_before_ms: Option<i64>,
    /// What was told last.
    pub(crate) told: Option<Answer>,
}

/// What an answer is made from besides the topic itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) roster: &'a Roster,
    pub(crate) conditions: &'a Conditions,
    /// Up to where all topics that are not behind have been read through.
    pub(crate) read_through: Option<Instant>,
    /// When the newest heartbeat was appended that counts by then.
    pub(crate) proven: LogTime,
    pub(crate) now: Instant,
}

impl TopicFold {
    pub(crate) fn new(topic: Topic, windows: Windows, since: Instant) -> Self {
        Self {
            topic,
            windows,
            shares: Vec::new(),
            since,
            behind: None,
            failure: None,
            warm: false,
            newest: LogTime(0),
            frames_total: 0,
            bytes_total: 0,
            admitted_before: 0,
            arrived_before_ms: None,
            told: None,
        }
    }

    pub(crate) fn windows(&self) -> Windows {
        self.windows
    }

    /// Answers over other windows from now on.
    pub(crate) fn set_windows(&mut self, windows: Windows) {
        self.windows = windows;
    }

    /// Reading begins anew, from far enough back for the windows. What is known stays: frames may come twice.
    pub(crate) fn read_anew(&mut self, since: Instant) {
        self.since = since;
        self.behind = None;
        self.warm = false;
    }

    /// Takes a frame of the topic, `bytes` long; none for one that came with an activation.
    pub(crate) fn frame(&mut self, run: RunKey, frame: &Frame, appended: LogTime, bytes: Option<usize>) {
        if let Some(bytes) = bytes {
            self.frames_total += 1;
            self.bytes_total += bytes as u64;
            self.failure = None;
        }
        self.newest = self.newest.max(appended);
        let place = match self.shares.binary_search_by_key(&run, |share| share.run) {
            Ok(place) => place,
            Err(place) => {
                self.shares.insert(place, Share::new(run));
                place
            }
        };
        match bytes {
            Some(_) => self.shares[place].read(frame, self.windows),
            None => self.shares[place].apply(frame, self.windows),
        }
    }

    /// The topic is behind the others, which `before` this had been read through to there.
    pub(crate) fn fell_behind(&mut self, before: Option<Instant>) {
        if self.behind.is_none() {
            self.behind = Some(before.filter(|before| *before >= self.since));
        }
    }

    /// The topic has been read through with the others up to there.
    pub(crate) fn caught_up(&mut self, as_of: Instant) {
        if as_of >= self.since {
            self.behind = None;
            self.failure = None;
        }
    }

    pub(crate) fn failed(&mut self, error: LogError) {
        keep_first(&mut self.failure, error);
    }

    /// Whether anything but the passing of an idle time can change the answer.
    pub(crate) fn is_restless(&self) -> bool {
        !self.warm || self.behind.is_some() || self.failure.is_some()
    }

    /// Requests in flight now, and nothing else: what tells whether the topic has turned active or idle.
    pub(crate) fn in_flight(&self, context: Context<'_>) -> u64 {
        let read_through = self.read_through(context);
        let edge = |share: &Share| {
            Some(edge(share, context.roster.run(share.run)?, (&self.topic, self.windows), context, read_through).1)
        };
        self.shares.iter().filter_map(edge).map(|edge| edge.in_flight).fold(0, u64::saturating_add)
    }

    /// The answer as of now.
    pub(crate) fn answer(&mut self, context: Context<'_>) -> Answer {
        let read_through = self.read_through(context);
        let mut forgotten = false;
        let mut sum = Values::default();
        let mut contributing = 0;
        let mut covered = true;
        let passed = self.has_passed_its_beginning(context.now);
        for share in &mut self.shares {
            let Some(run) = context.roster.run(share.run) else {
                forgotten = true;
                continue;
            };
            let (liveness, edge) = edge(share, run, (&self.topic, self.windows), context, read_through);
            let values = share.values(edge, self.windows);
            share.forget_before(edge, self.windows);
            // The windows of a missing run stand still.
            let passed = passed && liveness != Liveness::Missing;
            covered &= passed || share.covers(edge, self.windows);
            contributing += u32::from(!values.are_zero());
            sum.add(&values);
        }
        if forgotten {
            self.drop_forgotten(context.roster);
        }
        // A window has been replayed: all that was in the log when reading began has been read, and the windows lie in it. Once
        // and for all: when a run comes back that was gone at that time, only the course of its absence is told apart worse.
        self.warm |= read_through.is_some() && context.conditions.replayed && covered;
        let (unknown, zero_is_unknown) = self.doubts(context, read_through);
        let clock = context.roster.clock();
        let since_arrival_us = self.since_arrival_us(context);
        let unix_ms = |ago_us: u64| clock.newest().map_or(0, |newest| newest.0.saturating_sub(ago_us / 1_000));
        Answer {
            topic: self.topic.to_string(),
            in_flight: sum.in_flight,
            held: sum.held,
            concurrency: sum.concurrency,
            burst_concurrency: sum.burst_concurrency,
            request_rate: sum.request_rate,
            concurrency_window_us: self.windows.concurrency_us,
            rate_window_us: self.windows.rate_us,
            last_arrival_unix_ms: since_arrival_us.map_or(0, unix_ms),
            evidence_unix_ms: self.newest.max(self.proven(context, read_through)).0,
            since_arrival_us,
            known: unknown.is_none(),
            unknown_reason: unknown.unwrap_or_default(),
            warm: self.warm,
            zero_is_unknown,
            admitted_total: self.shares.iter().map(Share::admitted).fold(self.admitted_before, u64::saturating_add),
            frames_total: self.frames_total,
            bytes_total: self.bytes_total,
            interceptors: contributing,
        }
    }

    /// What each run contributes now; those that have ended contribute nothing, and are left out.
    pub(crate) fn shares(&self, context: Context<'_>) -> Vec<wire::Share> {
        let read_through = self.read_through(context);
        let of = |share: &Share| {
            let run = context.roster.run(share.run)?;
            let (liveness, edge) = edge(share, run, (&self.topic, self.windows), context, read_through);
            let liveness = match liveness {
                Liveness::Live => wire::interceptor_state::Liveness::Live,
                Liveness::Missing => wire::interceptor_state::Liveness::Missing,
                Liveness::Ended => return None,
            };
            Some(wire::Share {
                interceptor: run.name.to_string(),
                incarnation: run.incarnation,
                in_flight: edge.in_flight,
                held: edge.held,
                admitted_total: share.admitted(),
                liveness: liveness.into(),
            })
        };
        self.shares.iter().filter_map(of).collect()
    }

    /// Up to where this topic has been read through; none before the first time.
    fn read_through(&self, context: Context<'_>) -> Option<Instant> {
        match self.behind {
            Some(before) => before,
            None => context.read_through.filter(|as_of| *as_of >= self.since),
        }
    }

    /// Up to which append time silence is evidence.
    fn proven(&self, context: Context<'_>, read_through: Option<Instant>) -> LogTime {
        match (self.behind, read_through) {
            (None, Some(_)) => context.proven,
            (Some(_), Some(before)) => context.roster.proven(before),
            (_, None) => LogTime(0),
        }
    }

    /// Whether the windows lie after the beginning of the reading by now: where frames are missing nothing else tells.
    fn has_passed_its_beginning(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > reading_back(self.windows)
    }

    /// Why the values must not be told, if they must not; and whether a zero must not.
    fn doubts(&self, context: Context<'_>, read_through: Option<Instant>) -> (Option<String>, bool) {
        let conditions = context.conditions;
        let mut zero_is_unknown = conditions.trouble.missing;
        let mut unproven = None;
        let stuck = conditions.trouble.stuck.iter().map(|(key, _)| *key);
        let named = stuck.chain(conditions.trouble.undelivering.iter().copied());
        // What all runs vouch for is old where the topic has not been read so far.
        let behind = context.roster.alive().filter(|_| self.behind.is_some()).map(|(key, _, _)| key);
        for key in named.chain(behind) {
            let Some(run) = context.roster.run(key) else { continue };
            let share = self.shares.binary_search_by_key(&key, |share| share.run);
            let frame_us = share.ok().map(|place| self.shares[place].newest_us());
            match run.proof_age_us(&self.topic, read_through, frame_us).map_or(Proof::Fresh, proof) {
                Proof::Fresh => {}
                Proof::Old => zero_is_unknown = true,
                Proof::TooOld => {
                    unproven.get_or_insert_with(|| {
                        format!(
                            "nothing proves what interceptor {} has in topic {} for over 15 s",
                            run.name, self.topic
                        )
                    });
                }
            }
        }
        let unknown = conditions.unknown.clone().or_else(|| self.unread(context, read_through)).or(unproven);
        (unknown, zero_is_unknown)
    }

    /// Why the topic's own reading does not allow an answer.
    fn unread(&self, context: Context<'_>, read_through: Option<Instant>) -> Option<String> {
        let topic = &self.topic;
        if let Some(error) = &self.failure
            && !matches!(error, LogError::Unavailable { .. })
        {
            return Some(format!("topic {topic} can't be read: {error}"));
        }
        let because = || self.failure.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        let lag = context.now.saturating_duration_since(read_through.unwrap_or(self.since));
        match read_through {
            Some(_) if lag <= LAG_LIMIT => {
                (!self.warm).then(|| format!("the window of topic {topic} is not replayed yet"))
            }
            Some(_) => Some(format!("topic {topic} has not been read to its end for over {}{}", over(lag), because())),
            None if lag <= LAG_LIMIT => Some(format!("topic {topic} is being replayed")),
            None => Some(format!("topic {topic} is still being replayed after {}{}", over(lag), because())),
        }
    }

    /// How long ago the newest arrival was, by the log's time and since then by ours.
    fn since_arrival_us(&self, context: Context<'_>) -> Option<u64> {
        let newest_ms = self.shares.iter().filter_map(|share| log_arrival_ms(share, context.roster)).max();
        let arrived_ms = newest_ms.max(self.arrived_before_ms)?;
        let ago_ms = context.roster.clock().now().elapsed_ms.saturating_sub(arrived_ms);
        let idle =
            context.roster.received().map_or(Duration::ZERO, |heard| context.now.saturating_duration_since(heard));
        let ago_us = i64::try_from(idle.as_micros()).unwrap_or(i64::MAX).saturating_add(ago_ms.saturating_mul(1_000));
        Some(u64::try_from(ago_us).unwrap_or(0))
    }

    /// Drops the shares of runs that are forgotten; what they admitted stays counted.
    fn drop_forgotten(&mut self, roster: &Roster) {
        let admitted_before = &mut self.admitted_before;
        self.shares.retain(|share| {
            let remembered = roster.run(share.run).is_some();
            if !remembered {
                *admitted_before = admitted_before.saturating_add(share.admitted());
            }
            remembered
        });
    }

    /// Keeps in mind when requests last arrived at runs that are about to be forgotten.
    pub(crate) fn keep_arrivals(&mut self, roster: &Roster) {
        let has_ended = |run: &Run| run.liveness(roster.clock().now()) == Liveness::Ended;
        let ended = self.shares.iter().filter(|share| roster.run(share.run).is_some_and(has_ended));
        let newest_ms = ended.filter_map(|share| log_arrival_ms(share, roster)).max();
        self.arrived_before_ms = self.arrived_before_ms.max(newest_ms);
    }

    /// Whether all windows lie in what has been read.
    #[cfg(test)]
    pub(crate) fn is_covered(&self, context: Context<'_>) -> bool {
        let edges = self.edges(context);
        self.shares.iter().zip(edges).all(|(share, (_, _, edge, _))| share.covers(edge, self.windows))
    }

    /// The windows' ends, and up to when what is in flight is known, for tests that hold the values against the truth.
    #[cfg(test)]
    pub(crate) fn edges(&self, context: Context<'_>) -> Vec<(RunKey, Liveness, Edge, u64)> {
        let read_through = self.read_through(context);
        let of = |share: &Share| {
            let (liveness, edge) =
                edge(share, context.roster.run(share.run)?, (&self.topic, self.windows), context, read_through);
            Some((share.run, liveness, edge, edge.at_us.max(share.newest_us())))
        };
        self.shares.iter().filter_map(of).collect()
    }
}

/// Whether the run still counts, and where the windows of its share end.
fn edge(
    share: &Share,
    run: &Run,
    (topic, windows): (&str, Windows),
    context: Context<'_>,
    read_through: Option<Instant>,
) -> (Liveness, Edge) {
    let now = context.roster.clock().now();
    let liveness = run.liveness(now);
    let edge = match liveness {
        Liveness::Live | Liveness::Missing => share.edge_on_tick(run.claim(topic, read_through), windows),
        // Its clock stands; the log's goes on, and moves its history out of the windows.
        Liveness::Ended => {
            Edge { at_us: run.own_time_us(now.elapsed_ms).max(share.newest_us()), in_flight: 0, held: 0 }
        }
    };
    (liveness, edge)
}

/// How far back before the evidence a topic has to be read.
pub(crate) fn reading_back(windows: Windows) -> Duration {
    Duration::from_micros(windows.longest_us()) + READING_MARGIN
}

fn log_arrival_ms(share: &Share, roster: &Roster) -> Option<i64> {
    Some(roster.run(share.run)?.log_time_ms(share.last_arrival_us()?))
}

/// Keeps the failure that stands, unless this one is of another kind: a reason that changes with every attempt would be told to all,
/// each time.
pub(crate) fn keep_first(failure: &mut Option<LogError>, error: LogError) {
    let same = failure.as_ref().is_some_and(|known| std::mem::discriminant(known) == std::mem::discriminant(&error));
    if !same {
        *failure = Some(error);
    }
}

/// A duration as a limit that has been passed: coarse, so that an answer does not change with every look.
pub(crate) fn over(duration: Duration) -> &'static str {
    const LIMITS: [(u64, &str); 7] =
        [(3_600, "1 h"), (900, "15 min"), (300, "5 min"), (60, "1 min"), (30, "30 s"), (10, "10 s"), (3, "3 s")];
    LIMITS.iter().find(|(seconds, _)| duration.as_secs() >= *seconds).map_or("a moment", |(_, text)| text)
}
