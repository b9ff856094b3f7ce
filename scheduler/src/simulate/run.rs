//! Plays the day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::collectors::Collectors;
use super::report::{Report, Sample, Spread, hottest};
use super::scenario::{BadScenario, NamedPolicy, Scenario};
use super::workloads::Workloads;
use crate::plan::{CollectorId, Placed, Plan, Topic};
use crate::scale::{Memory, Seen, Settings, scale};
use crate::solve::{Problem, Solution, solve};

/// Samples are this far apart.
const SAMPLE_S: f64 = 60.0;

/// Plays the scenario's day once for each of its policies.
///
/// # Errors
/// The first field of the scenario that is wrong.
pub fn run(scenario: &Scenario) -> Result<Vec<Report>, BadScenario> {
    scenario.check()?;
    let workloads = Workloads::new(scenario);
    Ok(scenario.policies.iter().map(|policy| Day::new(scenario, policy, &workloads).play()).collect())
}

/// A day under one policy.
struct Day<'a> {
    scenario: &'a Scenario,
    policy: &'a NamedPolicy,
    workloads: &'a Workloads<'a>,
    collectors: Collectors<'a>,
    settings: Settings,
    memory: Memory,
    leaving: BTreeSet<CollectorId>,
    plan: Plan,
    reading: BTreeMap<Topic, Reading>,
    report: Report,
}

/// From when on those who read a topic can answer for it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    owner_from_s: f64,
    incoming_from_s: f64,
}

impl<'a> Day<'a> {
    fn new(scenario: &'a Scenario, policy: &'a NamedPolicy, workloads: &'a Workloads<'a>) -> Self {
        let scaling = scenario.scaling;
        Self {
            scenario,
            policy,
            workloads,
            collectors: Collectors::new(scenario, policy.policy.kind),
            settings: Settings {
                quiet: Duration::from_secs_f64(scaling.quiet_minutes * 60.0),
                replace_after: Duration::from_secs_f64(scaling.replace_after_seconds),
                headroom_percent: scaling.headroom_percent,
                max_load: scaling.max_load,
            },
            memory: Memory::default(),
            leaving: BTreeSet::new(),
            plan: Plan::default(),
            reading: BTreeMap::new(),
            report: Report {
                policy: policy.name.clone(),
                moves: BTreeMap::new(),
                forced_moves: 0,
                collectors: Spread::default(),
                collector_hours: 0.0,
                hottest: Spread::default(),
                unanswered_minutes: 0.0,
                unanswered_most: 0,
                unassigned_minutes: 0.0,
                samples: Vec::new(),
            },
        }
    }

    fn play(mut self) -> Report {
        // The day begins with the fleet that it needs, and everything read.
        let problem = self.problem(0.0);
        for (group, count) in solve(&problem, &self.plan).wanted {
            self.collectors.resize(&group, count, 0.0);
        }
        let problem = self.problem(0.0);
        let solution = solve(&problem, &self.plan);
        self.follow(solution.plan, f64::NEG_INFINITY);

        let (end_s, step_s) = (self.scenario.hours * 3600.0, self.scenario.step_seconds);
        let mut sample = Sample::default();
        let mut next_sample_s = 0.0;
        for step in 1.. {
            let now_s = f64::from(step) * step_s;
            if now_s > end_s {
                break;
            }
            let (problem, moves) = self.step(now_s);
            let unanswered = self.unanswered(now_s);
            self.report.unanswered_minutes += unanswered as f64 * step_s / 60.0;
            self.report.unanswered_most = self.report.unanswered_most.max(unanswered);
            self.report.collector_hours += self.collectors.count() as f64 * step_s / 3600.0;
            sample.moves += moves;
            sample.unanswered = sample.unanswered.max(unanswered);
            if now_s >= next_sample_s {
                next_sample_s = now_s + SAMPLE_S;
                self.report.samples.push(Sample {
                    hour: now_s / 3600.0,
                    load: problem.topics.iter().map(|topic| topic.load).sum(),
                    collectors: self.collectors.count(),
                    hottest: hottest(&problem, &self.plan),
                    ..sample
                });
                sample = Sample::default();
            }
        }
        self.report.summed_up();
        self.report
    }

    /// One plan, and what follows from it; how many moves began.
    fn step(&mut self, now_s: f64) -> (Problem, usize) {
        self.collectors.fail(now_s);
        let problem = self.problem(now_s);
        let solution = solve(&problem, &self.plan);
        for planned in &solution.moves {
            *self.report.moves.entry(planned.reason.to_string()).or_default() += 1;
            self.report.forced_moves += usize::from(planned.forced && planned.from.is_some());
        }
        self.report.unassigned_minutes += solution.unassigned.len() as f64 * self.scenario.step_seconds / 60.0;
        self.scale(&problem, &solution, now_s);
        let moves = solution.moves.len();
        self.follow(solution.plan, now_s);
        (problem, moves)
    }

    fn scale(&mut self, problem: &Problem, solution: &Solution, now_s: f64) {
        let sizes = self.collectors.sizes();
        let (stopping, now) = (BTreeSet::new(), Duration::from_secs_f64(now_s));
        let seen = Seen { problem, solution, sizes: &sizes, stopping: &stopping, now };
        let decided = scale(&seen, &self.settings, &mut self.memory);
        self.leaving = decided.values().flat_map(|scaled| scaled.drain.iter().cloned()).collect();
        for (group, scaled) in decided {
            self.collectors.resize(&group, scaled.collectors, now_s + self.scenario.start_seconds);
        }
    }

    fn problem(&self, now_s: f64) -> Problem {
        let mut warm: BTreeMap<CollectorId, BTreeSet<Topic>> = BTreeMap::new();
        for (topic, reading) in self.reading.iter().filter(|(_, reading)| reading.incoming_from_s <= now_s) {
            if let Some(incoming) = self.plan.topics.get(topic).and_then(|placed| placed.placement.incoming.clone()) {
                warm.entry(incoming).or_default().insert(topic.clone());
            } else {
                debug_assert!(!reading.incoming_from_s.is_finite(), "only what is incoming becomes warm");
            }
        }
        Problem {
            topics: self.workloads.at(now_s),
            collectors: self.collectors.seen(now_s, &self.leaving, &mut warm),
            policy: self.policy.policy,
            rebalance: false,
        }
    }

    /// Takes a plan over: who begins to read needs a while until it answers.
    fn follow(&mut self, plan: Plan, now_s: f64) {
        let warm_from_s = now_s + self.scenario.warm_seconds;
        for (before, after) in self.plan.topics.differing(&plan.topics) {
            let Some(after) = after else {
                if let Some(before) = before {
                    self.reading.remove(&before.spec.topic);
                }
                continue;
            };
            let was = self.reading.get(&after.spec.topic).copied();
            let reading = read_on(before, after, was, warm_from_s);
            self.reading.insert(after.spec.topic.clone(), reading);
        }
        self.plan = plan;
    }

    /// How many topics nobody answers for now.
    fn unanswered(&self, now_s: f64) -> usize {
        let up_since = self.collectors.up_since(now_s);
        let answers = |(topic, placed): (&Topic, &Placed)| {
            let Some(reading) = self.reading.get(topic) else { return false };
            let Some(up_since) = placed.placement.owner.as_deref().and_then(|owner| up_since.get(owner)) else {
                return false;
            };
            let replayed_s = if *up_since > 0.0 { up_since + self.scenario.warm_seconds } else { 0.0 };
            now_s >= reading.owner_from_s.max(replayed_s)
        };
        self.plan.topics.iter().filter(|entry| !answers(*entry)).count()
    }
}

fn read_on(before: Option<&Placed>, after: &Placed, was: Option<Reading>, warm_from_s: f64) -> Reading {
    let (had, has) = (before.map(|placed| &placed.placement), &after.placement);
    let owner_from_s = match (had, was) {
        (Some(had), Some(was)) if had.owner == has.owner => was.owner_from_s,
        (Some(had), Some(was)) if had.incoming == has.owner => was.incoming_from_s,
        _ => warm_from_s,
    };
    let incoming_from_s = match (had, was) {
        _ if has.incoming.is_none() => f64::INFINITY,
        (Some(had), Some(was)) if had.incoming == has.incoming => was.incoming_from_s,
        _ => warm_from_s,
    };
    Reading { owner_from_s, incoming_from_s }
}
