//! The workloads of the day, and what they weigh when.

use std::f64::consts::TAU;
use std::time::Duration;

use super::chance::Chance;
use super::scenario::{Provider, Scenario};
use crate::plan::AssignedTopic;
use crate::solve::TopicLoad;

/// What an idle topic weighs: reading it costs something too.
const IDLE_LOAD: f64 = 0.1;
/// An hour, in seconds.
const HOUR_S: f64 = 3600.0;

/// Every workload of the day, in the order of their topics' names.
#[derive(Debug)]
pub(super) struct Workloads<'a> {
    all: Vec<Workload<'a>>,
}

#[derive(Debug)]
struct Workload<'a> {
    topic: TopicLoad,
    provider: &'a Provider,
    /// What it weighs on average.
    base: f64,
    from_s: f64,
    until_s: f64,
    /// Bursts, from and until.
    bursts: Vec<(f64, f64)>,
}

impl<'a> Workloads<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let end_s = scenario.hours * HOUR_S;
        let mut all: Vec<Workload<'_>> =
            scenario.providers.iter().flat_map(|provider| of_provider(provider, scenario.seed, end_s)).collect();
        all.sort_by(|a, b| a.topic.spec.topic.cmp(&b.topic.spec.topic));
        Self { all }
    }

    /// The topics at a time, by name.
    pub(super) fn at(&self, now_s: f64) -> Vec<TopicLoad> {
        let there = self.all.iter().filter(|workload| workload.from_s <= now_s && now_s < workload.until_s);
        there.map(|workload| TopicLoad { load: workload.load(now_s), ..workload.topic.clone() }).collect()
    }
}

impl Workload<'_> {
    fn load(&self, now_s: f64) -> f64 {
        let Provider { daily, peak_hour, bursts, .. } = self.provider;
        let sine = 1.0 + daily * ((now_s / HOUR_S - peak_hour) / 24.0 * TAU).cos();
        let burst = self.bursts.iter().any(|(from, until)| *from <= now_s && now_s < *until);
        let factor = bursts.filter(|_| burst).map_or(1.0, |bursts| bursts.factor);
        IDLE_LOAD + self.base * sine * factor
    }
}

fn of_provider<'a>(provider: &'a Provider, seed: u64, end_s: f64) -> Vec<Workload<'a>> {
    let mut chance = Chance::new(seed, &provider.name);
    let count = provider.workloads;
    let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-provider.zipf)).collect();
    let unit = provider.mean_load * count as f64 / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut all: Vec<Workload<'_>> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| made(provider, index, weight * unit, (0.0, f64::INFINITY)))
        .collect();
    for at in chance.times(provider.churn_per_hour, end_s) {
        // One goes, and one like another comes.
        let there: Vec<usize> = (0..all.len()).filter(|&index| all[index].until_s > at).collect();
        if there.is_empty() {
            break;
        }
        all[there[chance.index(there.len())]].until_s = at;
        let base = all[there[chance.index(there.len())]].base;
        let index = all.len();
        all.push(made(provider, index, base, (at, f64::INFINITY)));
    }
    if let Some(bursts) = provider.bursts {
        for at in chance.times(bursts.per_hour, end_s) {
            let index = chance.index(all.len());
            if let Some(workload) = all.get_mut(index) {
                workload.bursts.push((at, at + bursts.minutes * 60.0));
            }
        }
    }
    all
}

fn made(provider: &Provider, index: usize, base: f64, (from_s, until_s): (f64, f64)) -> Workload<'_> {
    let spec = AssignedTopic {
        topic: format!("plimsoll.{}.workload-{index:06}", provider.name),
        concurrency_window: Duration::from_secs(15),
        rate_window: Duration::from_secs(60),
    };
    let topic = TopicLoad::new(spec, provider.name.clone(), 0.0);
    Workload { topic, provider, base, from_s, until_s, bursts: Vec::new() }
}
