//! The fold against the truth of single requests, through all that may go wrong.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::time::Duration;

use plimsoll_wire::collector::Answer;
use plimsoll_wire::log::LogTime;
use proptest::prelude::*;
use tokio::time::Instant;

use super::roster::Liveness;
use super::simulation::{MS, Reader, Run, S, Scenario, World, topic_name};
use super::topic::Context;
use super::{Conditions, Fold};

/// The reader's step.
const STEP: u64 = 50 * MS;

fn scenario() -> impl Strategy<Value = Scenario> {
    let faults = (0u32..12, 0u32..15, any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u64>(), 50u64..140, 1usize..4, 1usize..5, faults, 0u64..2_000_000_000_000).prop_map(
        |(
            seed,
            length_s,
            topics,
            interceptors,
            (lost_percent, repeated_percent, outage, cut_off, come_and_go),
            broker_ms,
        )| Scenario {
            seed,
            length_s,
            topics,
            interceptors,
            lost_percent,
            repeated_percent,
            outage,
            cut_off,
            come_and_go,
            broker_ms,
        },
    )
}

fn windows() -> impl Strategy<Value = (Duration, Duration)> {
    let window = prop::sample::select(vec![1u64, 2, 7, 15, 60, 600]);
    (window.clone(), window)
        .prop_map(|(concurrency, rate)| (Duration::from_secs(concurrency), Duration::from_secs(rate)))
}

/// One share's truth at the edge that the fold took, and how far its values may be off for want of evidence at a window's end.
struct ShareTruth {
    in_flight: u64,
    busy: Mean,
    burst: Mean,
    arrivals: Mean,
}

#[derive(Default, Clone, Copy)]
struct Mean {
    value: f64,
    doubt: f64,
}

impl Mean {
    fn add(&mut self, other: Self) {
        self.value += other.value;
        self.doubt += other.doubt;
    }

    fn holds(self, value: f64) -> bool {
        (value - self.value).abs() <= self.doubt + 1e-6 * self.value + 1e-9
    }
}

fn us(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// How much a total may be off at a time of the run's clock: by what it grew between the frames around, where there is none.
fn doubt(run: &Run, topic: usize, now: u64, at: u64, total: impl Fn(u64) -> u64) -> f64 {
    let mut cuts = run.cuts[topic].iter().filter(|cut| cut.appended.is_some_and(|appended| appended <= now));
    let before = cuts.clone().rfind(|cut| cut.at <= at);
    let after = cuts.find(|cut| cut.at > at);
    let low = before.map_or(0, |cut| cut.at);
    let high = match after {
        // The base totals of the spell after are evidence too.
        Some(after) if after.spell_at > at => after.spell_at - 1,
        Some(after) => after.at,
        None => at,
    };
    if before.is_some_and(|cut| cut.at == at) {
        return 0.0;
    }
    (total(high) - total(low)) as f64
}

fn share_truth(
    run: &Run,
    now: u64,
    topic: usize,
    liveness: Liveness,
    edge: u64,
    windows: (Duration, Duration),
) -> ShareTruth {
    // Of a run that has ended nothing is known after its last frame.
    let last = run.cuts[topic]
        .iter()
        .filter(|cut| cut.appended.is_some_and(|at| at <= now))
        .map(|cut| cut.at)
        .max()
        .unwrap_or(0);
    let known = |at: u64| if liveness == Liveness::Ended { at.min(last) } else { at };
    let mean = |length: u64, unit: f64, total: &dyn Fn(u64) -> u64| {
        let (from, to) = (known(edge.saturating_sub(length)), known(edge));
        Mean {
            value: (total(to) - total(from)) as f64 / unit,
            doubt: (doubt(run, topic, now, from, total) + doubt(run, topic, now, to, total)) / unit,
        }
    };
    let busy = |at: u64| run.busy(topic, at);
    let admitted = |at: u64| run.admitted(topic, at);
    let (concurrency, rate) = (us(windows.0), us(windows.1));
    ShareTruth {
        in_flight: if liveness == Liveness::Ended { 0 } else { run.in_flight(topic, edge) },
        busy: mean(concurrency, concurrency as f64, &busy),
        burst: mean(concurrency / 10, (concurrency / 10) as f64, &busy),
        arrivals: mean(rate, rate as f64 / 1e6, &admitted),
    }
}

/// What two readers of the same log must agree on: all but the totals, which count from where each began.
fn essence(answer: &Answer, horizon_us: u64) -> Answer {
    let mut essence = answer.clone();
    (essence.admitted_total, essence.frames_total, essence.bytes_total) = (0, 0, 0);
    if essence.since_arrival_us.is_none_or(|since| since >= horizon_us) {
        (essence.since_arrival_us, essence.last_arrival_unix_ms) = (None, 0);
    }
    // Sums of floats, whose order is the order in which the runs were first heard.
    for value in [&mut essence.concurrency, &mut essence.burst_concurrency, &mut essence.request_rate] {
        *value = (*value * 1e6).round() / 1e6;
    }
    essence
}

fn context<'a>(fold: &'a Fold, conditions: &'a Conditions, now: Instant) -> Context<'a> {
    let (roster, read_through) = (&fold.roster, fold.read_through);
    Context { roster, conditions, read_through, proven: LogTime(0), now }
}

/// Holds all answers of a reader against the truth; how many there were that are known.
fn check(world: &World, reader: &mut Reader, at: u64, windows: (Duration, Duration)) -> Result<usize, TestCaseError> {
    let now = reader.instant(at);
    let mut known = 0;
    for topic in 0..world.scenario.topics {
        let name = topic_name(topic);
        let answer = reader.fold.evaluate(&name, now).unwrap();
        let told = &reader.told[&name];
        prop_assert_eq!(
            essence(told, 0),
            Answer { evidence_unix_ms: told.evidence_unix_ms, ..essence(&answer, 0) },
            "what was told is out of date at {} s",
            at as f64 / 1e6
        );
        let conditions = reader.fold.conditions(now);
        let fold = &reader.fold;
        let context = context(fold, &conditions, now);
        let mut in_flight = 0;
        let (mut busy, mut burst, mut arrivals) = (Mean::default(), Mean::default(), Mean::default());
        let mut arrived = false;
        for (key, liveness, edge, newest_us) in fold.topics[&name].edges(context) {
            let Some(heard) = fold.roster.run(key) else { continue };
            let run = world.runs.iter().find(|run| run.incarnation == heard.incarnation).unwrap();
            let truth = share_truth(run, at, topic, liveness, edge.at_us, windows);
            in_flight += share_truth(run, at, topic, liveness, newest_us, windows).in_flight;
            arrived |= truth.arrivals.value > 0.0;
            busy.add(truth.busy);
            burst.add(truth.burst);
            arrivals.add(truth.arrivals);
        }
        let what = format!("topic {topic} at {} s: {answer:?}", at as f64 / 1e6);
        prop_assert_eq!(answer.in_flight, in_flight, "{}", what);
        // Of a topic that is behind single frames may be known already, with the activations.
        if answer.known && answer.warm && reader.is_level(topic) {
            prop_assert!(busy.holds(answer.concurrency), "concurrency {} +- {}, {}", busy.value, busy.doubt, what);
            prop_assert!(burst.holds(answer.burst_concurrency), "burst {} +- {}, {}", burst.value, burst.doubt, what);
            prop_assert!(
                arrivals.holds(answer.request_rate),
                "rate {} +- {}, {}",
                arrivals.value,
                arrivals.doubt,
                what
            );
        }
        if answer.known && answer.warm {
            known += 1;
            let zero = reader.is_level(topic)
                && answer.in_flight == 0
                && answer.request_rate == 0.0
                && !answer.zero_is_unknown;
            if zero {
                prop_assert!(!arrived || arrivals.doubt > 0.0, "a zero although requests arrived, {}", what);
            }
            if answer.in_flight == 0 && !answer.zero_is_unknown {
                was_idle(world, topic, at, &what)?;
            }
        }
    }
    Ok(known)
}

/// A zero is only said of a topic that each interceptor within reach really had nothing in flight for, seconds ago at most.
fn was_idle(world: &World, topic: usize, at: u64, what: &str) -> Result<(), TestCaseError> {
    const RECENT: u64 = 8 * S;
    for run in world.runs.iter().filter(|run| run.start + RECENT < at && at < run.end) {
        // One that was silent for its time to live is gone; it takes a moment until it is heard again.
        let within_reach =
            (0..25).all(|ago| !run.cut_off.iter().any(|away| away.contains(&at.saturating_sub(ago * S))));
        // Of one that started while the broker was away nobody knows until its first heartbeat.
        let known = (run.start / S + 2..at / S - 1).any(|second| !world.out_of_reach(run, second * S));
        if within_reach && known {
            let now = at - run.start;
            // An idle stretch begins with a departure.
            let departures = run.requests[topic].iter().map(|request| request.depart);
            let since = now - RECENT;
            let mut recent = departures.filter(|at| (since..=now).contains(at)).chain([since, now]);
            let idle = recent.any(|at| run.in_flight(topic, at) == 0);
            prop_assert!(idle, "a false zero: {} has had requests in flight for {} s, {}", run.name, RECENT / S, what);
        }
    }
    Ok(())
}

fn play(
    scenario: Scenario,
    windows: (Duration, Duration),
    late: Option<f64>,
    stall: Option<(u64, u64)>,
) -> Result<usize, TestCaseError> {
    let world = World::new(scenario);
    let origin = Instant::now();
    let length = world.scenario.length_s * S;
    let mut first = Reader::new(&world, origin, 0, windows);
    let start = late.map(|share| ((length as f64 * share) as u64).next_multiple_of(STEP));
    let mut second: Option<Reader> = None;
    let mut known = 0;
    for step in 1..length / STEP {
        let at = step * STEP;
        if Some(at) == start {
            second = Some(Reader::new(&world, origin, at, windows));
        }
        let stalled = stall.filter(|(from, until)| (*from..*until).contains(&at)).map(|_| 0);
        first.step(&world, at, stalled);
        if let Some(second) = &mut second {
            second.step(&world, at, stalled);
        }
        if step % 25 != 0 {
            continue;
        }
        known += check(&world, &mut first, at, windows)?;
        let Some(second) = &mut second else { continue };
        check(&world, second, at, windows)?;
        for topic in (0..world.scenario.topics).map(topic_name) {
            let now = first.instant(at);
            let (one, other) = (first.fold.evaluate(&topic, now).unwrap(), second.fold.evaluate(&topic, now).unwrap());
            let conditions = second.fold.conditions(now);
            let covered = second.fold.topics[&topic].is_covered(context(&second.fold, &conditions, now));
            if one.warm && other.warm && one.known && other.known && covered {
                // Older arrivals lie before the second one's reading.
                let limit = us(windows.0.max(windows.1));
                prop_assert_eq!(
                    essence(&one, limit),
                    essence(&other, limit),
                    "two readers differ at {} s",
                    at as f64 / 1e6
                );
            }
        }
    }
    Ok(known)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_truth_as_of_the_evidence(scenario in scenario(), windows in windows()) {
        play(scenario, windows, None, None)?;
    }

    #[test]
    fn two_folds_that_have_read_the_same_window_give_the_same_answers(scenario in scenario(), windows in windows(), late in 0.2f64..0.8) {
        play(scenario, windows, Some(late), None)?;
    }

    #[test]
    fn a_topic_whose_reading_lags_is_told_no_falsehood(scenario in scenario(), windows in windows(), from in 5u64..40, length in 1u64..12) {
        play(scenario, windows, None, Some((from * S, (from + length) * S)))?;
    }
}

#[test]
fn in_an_orderly_world_nearly_everything_is_known() {
    let scenario = Scenario {
        seed: 7,
        length_s: 60,
        topics: 3,
        interceptors: 3,
        lost_percent: 0,
        repeated_percent: 0,
        outage: false,
        cut_off: false,
        come_and_go: false,
        broker_ms: 1_700_000_000_000,
    };
    let known = play(scenario, (Duration::from_secs(15), Duration::from_secs(60)), None, None).unwrap();
    assert!(known >= 3 * 44, "known {known} times of {}", 3 * 47);
}
