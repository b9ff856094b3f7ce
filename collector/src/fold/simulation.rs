//! A small world to hold the fold against: interceptors with requests known one by one, written from the design's rules and not from the
//! interceptor's code; a broker that stamps, loses, repeats and goes away; and a reader that hands the log to a fold.
//!
//! All times are microseconds since the world began; a run's own clock begins with the run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use plimsoll_wire::frame::{Frame, InterceptorRecord};
use plimsoll_wire::log::{LogError, LogTime, ReadThrough, StartAt, Topic};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::Fold;

mod publishing;

pub(super) const MS: u64 = 1_000;
pub(super) const S: u64 = 1_000_000;
const TICK: u64 = S;

/// What may go wrong, and how long it goes.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) length_s: u64,
    pub(super) topics: usize,
    pub(super) interceptors: usize,
    /// Of 100 frames so many are acknowledged and yet not there, never two in a row.
    pub(super) lost_percent: u32,
    /// Of 100 records so many come again later.
    pub(super) repeated_percent: u32,
    /// The broker is away for a while.
    pub(super) outage: bool,
    /// Interceptors are cut off from the broker one at a time, for up to 25 s.
    pub(super) cut_off: bool,
    /// Interceptors restart, die with requests open, leave, and join late.
    pub(super) come_and_go: bool,
    /// The broker's clock, in milliseconds since the epoch when the world begins.
    pub(super) broker_ms: u64,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) arrive: u64,
    pub(super) depart: u64,
}

/// A frame as it was cut, by the run's own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) at: u64,
    pub(super) spell_at: u64,
    /// When it was in the log, by the world's time; never where it failed or was lost.
    pub(super) appended: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its requests end with it, and nobody is told.
    Dies,
    /// It drains and says goodbye.
    Leaves,
}

/// One run of an interceptor, with all its requests by topic.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) how: Option<End>,
    pub(super) requests: Vec<Vec<Request>>,
    pub(super) cuts: Vec<Vec<Cut>>,
    pub(super) cut_off: Vec<Range<u64>>,
}

impl Run {
    /// Requests in flight at a time of the run's own clock.
    pub(super) fn in_flight(&self, topic: usize, at: u64) -> u64 {
        self.requests[topic].iter().filter(|r| r.arrive <= at && at < r.depart).count() as u64
    }

    pub(super) fn admitted(&self, topic: usize, at: u64) -> u64 {
        self.requests[topic].iter().filter(|r| r.arrive <= at).count() as u64
    }

    /// Request-microseconds up to a time of the run's own clock.
    pub(super) fn busy(&self, topic: usize, at: u64) -> u64 {
        self.requests[topic].iter().map(|r| r.depart.min(at).saturating_sub(r.arrive)).sum()
    }

    fn frame(&self, topic: usize, at: u64, spell: (u64, u64, u64)) -> Frame {
        let admitted = self.admitted(topic, at);
        Frame {
            interceptor: self.name.clone(),
            incarnation: self.incarnation,
            at_us: at,
            admitted,
            finished: admitted - self.in_flight(topic, at),
            busy_us: self.busy(topic, at),
            held: 0,
            last_arrival_us: self.requests[topic]
                .iter()
                .map(|r| r.arrive)
                .filter(|arrive| *arrive <= at)
                .max()
                .unwrap_or(0),
            spell_at_us: spell.0,
            spell_admitted: spell.1,
            spell_busy_us: spell.2,
            tick_us: TICK,
            open: false,
        }
    }
}

#[derive(Debug, Clone)]
enum Payload {
    Frame(usize, Frame),
    Interceptors(InterceptorRecord),
}

/// What happened, and the log that came of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) runs: Vec<Run>,
    pub(super) outages: Vec<Range<u64>>,
    log: Vec<(u64, Payload)>,
}

pub(super) fn topic_name(topic: usize) -> Topic {
    Topic::from(format!("plimsoll.default.w{topic}"))
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Self {
        let mut rng = StdRng::seed_from_u64(scenario.seed);
        let length = scenario.length_s * S;
        let mut outages = Vec::new();
        if scenario.outage {
            let start = rng.random_range(length / 4..length / 2);
            outages.push(start..start + rng.random_range(S..25 * S));
        }
        let mut runs = Vec::new();
        for name in 0..scenario.interceptors {
            let mut start = if scenario.come_and_go && rng.random_bool(0.3) {
                rng.random_range(0..length / 2)
            } else {
                rng.random_range(0..S)
            };
            let mut incarnation = rng.random();
            while start < length {
                let ends = scenario.come_and_go && rng.random_bool(0.5);
                let end = if ends { (start + rng.random_range(2 * S..length)).min(length + 1) } else { length + 1 };
                let how = (end <= length).then(|| if rng.random_bool(0.6) { End::Dies } else { End::Leaves });
                let mut cut_off = Vec::new();
                if scenario.cut_off && rng.random_bool(0.5) {
                    let begin = rng.random_range(0..length);
                    cut_off.push(begin..begin + rng.random_range(S..25 * S));
                }
                let requests = (0..scenario.topics).map(|topic| requests(&mut rng, topic, end - start)).collect();
                let cuts = vec![Vec::new(); scenario.topics];
                runs.push(Run { name: format!("i{name}"), incarnation, start, end, how, requests, cuts, cut_off });
                incarnation = rng.random();
                // Restarted at once, after a while, or not any more.
                start = if how.is_some() && rng.random_bool(0.8) {
                    end + rng.random_range(50 * MS..20 * S)
                } else {
                    u64::MAX
                };
            }
        }
        let mut world = Self { scenario, runs, outages, log: Vec::new() };
        for run in 0..world.runs.len() {
            world.publish(run, &mut rng);
        }
        world.log.sort_by_key(|(appended, _)| *appended);
        world
    }

    pub(super) fn out_of_reach(&self, run: &Run, at: u64) -> bool {
        self.outages.iter().chain(&run.cut_off).any(|away| away.contains(&at))
    }
}

/// Bursts far shorter than a tick, requests of seconds, some of minutes, and long stretches of nothing.
fn requests(rng: &mut StdRng, topic: usize, length: u64) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut at = rng.random_range(0..20 * S);
    while at < length && requests.len() < 400 {
        let (count, lasting) = match rng.random_range(0..10) {
            0..4 => (rng.random_range(1..20), 500..400 * MS),
            4..7 => (rng.random_range(1..6), 100 * MS..5 * S),
            7..9 => (1, 5 * S..60 * S),
            _ => (rng.random_range(20..60), 100..20 * MS),
        };
        for _ in 0..count {
            let arrive = at + rng.random_range(0..300 * MS);
            if arrive < length {
                requests.push(Request { arrive, depart: (arrive + rng.random_range(lasting.clone())).min(length) });
            }
        }
        // The first topic is busy, the others ever less.
        at += rng.random_range(10 * MS..(4 + 8 * topic as u64) * S);
    }
    requests
}

/// Reads a world's log as the collector does, and keeps what the fold told.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) fold: Fold,
    pub(super) told: BTreeMap<Topic, plimsoll_wire::collector::Answer>,
    origin: Instant,
    interceptors_read: usize,
    topics_read: Vec<usize>,
    /// When the interceptors' topic was read last, and each of the others.
    heard_at: u64,
    read_at: Vec<u64>,
    windows: (Duration, Duration),
    /// Where reading of the topics began; none before the interceptors' topic has been replayed.
    from: Option<u64>,
}

impl Reader {
    /// Starts reading at `start`.
    pub(super) fn new(world: &World, origin: Instant, start: u64, windows: (Duration, Duration)) -> Self {
        let since = origin + Duration::from_micros(start);
        let mut fold = Fold::new(since);
        for topic in 0..world.scenario.topics {
            fold.assign(topic_name(topic), windows.0, windows.1, since);
        }
        let (topics_read, read_at) = (vec![0; world.scenario.topics], vec![0; world.scenario.topics]);
        let told = BTreeMap::new();
        Self { fold, told, origin, interceptors_read: 0, topics_read, heard_at: 0, read_at, windows, from: None }
    }

    /// Whether no activation is known that is ahead of the frames read of its topic.
    pub(super) fn is_level(&self, topic: usize) -> bool {
        self.read_at[topic] >= self.heard_at
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_micros(at)
    }

    /// One step of the reader's loop. Steps are 50 ms apart: the interceptors' topic is read at each, the others at every fifth,
    /// completeness is proven at every tenth. A stalled topic is not read, and named.
    pub(super) fn step(&mut self, world: &World, at: u64, stalled: Option<usize>) {
        let now = self.instant(at);
        if world.outages.iter().any(|away| away.contains(&at)) {
            self.tell(now, at);
            return;
        }
        self.heard_at = at;
        while let Some((appended, payload)) =
            world.log.get(self.interceptors_read).filter(|(appended, _)| *appended <= at)
        {
            let offset = self.interceptors_read as u64;
            self.interceptors_read += 1;
            if let Payload::Interceptors(record) = payload {
                self.fold.interceptor_record(record.clone(), offset, log_time(world, *appended), now);
            }
        }
        let mut turned = Vec::new();
        self.fold.turned(now, &mut turned);
        let step = at / (50 * MS);
        if step.is_multiple_of(5) && self.from.is_some() {
            for topic in (0..self.topics_read.len()).filter(|topic| Some(*topic) != stalled) {
                self.read(world, topic, at);
            }
        }
        if step.is_multiple_of(10) {
            self.fold.interceptors_read_through(&ReadThrough { as_of: now, behind: Vec::new() });
            let behind: Vec<_> = stalled.into_iter().map(topic_name).collect();
            self.fold.read_through(&ReadThrough { as_of: now, behind });
            if self.from.is_none() {
                // All topics have the same clock here.
                self.from = Some(match self.fold.reads_from(self.windows.0, self.windows.1, now) {
                    StartAt::From { time, .. } => time.0.saturating_sub(world.scenario.broker_ms) * MS,
                    _ => 0,
                });
                for topic in 0..world.scenario.topics {
                    self.fold.read_anew(&topic_name(topic), now + Duration::from_micros(1));
                }
            }
        } else if step % 10 == 1
            && let Some(stalled) = stalled
        {
            self.fold
                .failed(&topic_name(stalled), LogError::Unavailable { log: "here".into(), reason: "stalled".into() });
        }
        self.fold.turned(now, &mut turned);
        for answer in turned {
            self.told.insert(Topic::from(answer.topic.as_str()), answer);
        }
        self.tell(now, at);
    }

    fn read(&mut self, world: &World, topic: usize, at: u64) {
        self.read_at[topic] = at;
        let name = topic_name(topic);
        let position = &mut self.topics_read[topic];
        while let Some((appended, payload)) = world.log.get(*position).filter(|(appended, _)| *appended <= at) {
            *position += 1;
            if let Payload::Frame(of, frame) = payload
                && *of == topic
                && self.from.is_some_and(|from| *appended >= from)
            {
                assert!(self.fold.frame(&name, frame, log_time(world, *appended), 100));
            }
        }
    }

    fn tell(&mut self, now: Instant, at: u64) {
        if (at / (50 * MS)).is_multiple_of(5) {
            let mut told = Vec::new();
            self.fold.answers(now, &mut told);
            for answer in told {
                self.told.insert(Topic::from(answer.topic.as_str()), answer);
            }
        }
    }
}

fn log_time(world: &World, at: u64) -> LogTime {
    LogTime(world.scenario.broker_ms + at / MS)
}
