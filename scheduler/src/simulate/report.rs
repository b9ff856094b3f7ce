//! What came of a day.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::plan::Plan;
use crate::policy::PolicyKind;
use crate::solve::{CollectorState, Problem};

/// What came of a day under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// Moves by reason.
    pub moves: BTreeMap<String, usize>,
    /// Moves made without waiting for the new owner, since the old one did not answer.
    pub forced_moves: usize,
    /// Collectors in use.
    pub collectors: Spread,
    /// Collectors in use, summed up over time.
    pub collector_hours: f64,
    /// The hottest collector over the mean of its group, or over the hottest topic where that alone is more: 1 is as even as can be.
    pub hottest: Spread,
    /// Summed up over topics: how long nobody answered for one.
    pub unanswered_minutes: f64,
    /// Topics that nobody answered for at one time, at most.
    pub unanswered_most: usize,
    /// Summed up over topics: how long one had no collector that it could have been given to.
    pub unassigned_minutes: f64,
    /// A minute each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

/// The course of a figure over the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Its mean.
    pub mean: f64,
    /// What it was at most for 95 % of the time.
    pub p95: f64,
    /// The most it was.
    pub max: f64,
}

/// A minute of the day, or a step where steps are longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When, in hours.
    pub hour: f64,
    /// What all topics weigh.
    pub load: f64,
    /// Collectors in use.
    pub collectors: usize,
    /// See [`Report::hottest`].
    pub hottest: f64,
    /// Moves that began in it.
    pub moves: usize,
    /// Topics that nobody answered for, at most.
    pub unanswered: usize,
}

impl Spread {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let Some(&max) = values.last() else { return Self::default() };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self { mean, p95: values[(values.len() * 95 / 100).min(values.len() - 1)], max }
    }
}

impl Report {
    pub(super) fn summed_up(&mut self) {
        self.collectors = Spread::of(self.samples.iter().map(|sample| sample.collectors as f64));
        self.hottest = Spread::of(self.samples.iter().map(|sample| sample.hottest));
    }
}

/// How even the load is, in the group where it is least so; see [`Report::hottest`].
pub(super) fn hottest(problem: &Problem, plan: &Plan) -> f64 {
    let by_provider = problem.policy.kind == PolicyKind::PerProvider;
    let alone: BTreeSet<&str> = plan
        .topics
        .values()
        .filter(|placed| placed.alone)
        .filter_map(|placed| placed.placement.owner.as_deref())
        .collect();
    let mut carried: BTreeMap<&str, (&str, f64)> = problem
        .collectors
        .iter()
        .filter(|info| info.state == CollectorState::Ready && !alone.contains(info.id.as_str()))
        .map(|info| (info.id.as_str(), (if by_provider { info.provider.as_str() } else { "" }, 0.0)))
        .collect();
    let mut heaviest: BTreeMap<&str, f64> = BTreeMap::new();
    for topic in &problem.topics {
        let owner = plan.topics.get(&topic.spec.topic).and_then(|placed| placed.placement.owner.as_deref());
        if let Some((group, load)) = owner.and_then(|owner| carried.get_mut(owner)) {
            *load += topic.load;
            let heaviest = heaviest.entry(group).or_default();
            *heaviest = heaviest.max(topic.load);
        }
    }
    let mut groups: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for (group, load) in carried.into_values() {
        let (count, sum, most) = groups.entry(group).or_default();
        (*count, *sum, *most) = (*count + 1.0, *sum + load, most.max(load));
    }
    let ratio = |(group, (count, sum, most)): (&str, (f64, f64, f64))| {
        most / (sum / count).max(heaviest.get(group).copied().unwrap_or(0.0)).max(f64::MIN_POSITIVE)
    };
    groups.into_iter().filter(|(_, (_, sum, _))| *sum > 0.0).map(ratio).fold(1.0, f64::max)
}
