//! The fleet of the day: it does what it is told, a little later, and fails.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Chance;
use super::scenario::Scenario;
use crate::plan::{CollectorId, Topic};
use crate::policy::PolicyKind;
use crate::solve::{CollectorInfo, CollectorState};

/// The collectors by group, each group by ordinal.
#[derive(Debug)]
pub(super) struct Collectors<'a> {
    scenario: &'a Scenario,
    kind: PolicyKind,
    groups: BTreeMap<String, Vec<Collector>>,
    /// When one crashes, and which, as a part of the fleet; the latest first.
    crashes: Vec<(f64, f64)>,
}

#[derive(Debug)]
struct Collector {
    id: CollectorId,
    /// Where it runs.
    provider: String,
    ready_from_s: f64,
    /// It is away until then.
    down_until_s: f64,
}

impl Collector {
    fn is_down(&self, now_s: f64) -> bool {
        now_s < self.down_until_s
    }
}

impl<'a> Collectors<'a> {
    pub(super) fn new(scenario: &'a Scenario, kind: PolicyKind) -> Self {
        let crashes = scenario.crashes.map_or_else(Vec::new, |crashes| {
            let mut chance = Chance::new(scenario.seed, "crashes");
            let times = chance.times(crashes.per_day / 24.0, scenario.hours * 3600.0);
            times.into_iter().rev().map(|at| (at, chance.fraction())).collect()
        });
        Self { scenario, kind, groups: BTreeMap::new(), crashes }
    }

    /// Has a group have so many, the new ones ready at a time; those that go are the last.
    pub(super) fn resize(&mut self, group: &str, count: usize, ready_from_s: f64) {
        let collectors = self.groups.entry(group.to_owned()).or_default();
        collectors.truncate(count);
        for ordinal in collectors.len()..count {
            let (id, provider) = match self.kind {
                // Wherever there is room.
                PolicyKind::MaxPerHost => {
                    let providers = &self.scenario.providers;
                    (format!("collector-{ordinal}"), providers[ordinal % providers.len()].name.clone())
                }
                PolicyKind::PerProvider => (format!("collector-{group}-{ordinal}"), group.to_owned()),
            };
            collectors.push(Collector { id, provider, ready_from_s, down_until_s: 0.0 });
        }
    }

    /// Has what fails by now fail.
    pub(super) fn fail(&mut self, now_s: f64) {
        let away_s = self.scenario.crashes.map_or(0.0, |crashes| crashes.minutes * 60.0);
        while let Some((at, which)) = self.crashes.pop_if(|(at, _)| *at <= now_s) {
            let index = (which * self.count() as f64) as usize;
            if let Some(collector) = self.groups.values_mut().flatten().nth(index) {
                collector.down_until_s = collector.down_until_s.max(at + away_s);
            }
        }
        for failure in &self.scenario.failures {
            let from_s = failure.at_hour * 3600.0;
            let until_s = from_s + failure.minutes * 60.0;
            if (from_s..until_s).contains(&now_s) {
                let there =
                    self.groups.values_mut().flatten().filter(|collector| collector.provider == failure.provider);
                there.for_each(|collector| collector.down_until_s = collector.down_until_s.max(until_s));
            }
        }
    }

    /// As the planner sees them.
    pub(super) fn seen(
        &self,
        now_s: f64,
        leaving: &BTreeSet<CollectorId>,
        warm: &mut BTreeMap<CollectorId, BTreeSet<Topic>>,
    ) -> Vec<CollectorInfo> {
        let state = |collector: &Collector| {
            if collector.is_down(now_s) {
                CollectorState::Lost
            } else if now_s < collector.ready_from_s {
                CollectorState::Joining
            } else if leaving.contains(&collector.id) {
                CollectorState::Draining
            } else {
                CollectorState::Ready
            }
        };
        let info = |collector: &Collector| CollectorInfo {
            id: collector.id.clone(),
            provider: collector.provider.clone(),
            state: state(collector),
            warm: warm.remove(&collector.id).unwrap_or_default(),
        };
        self.groups.values().flatten().map(info).collect()
    }

    /// Since when each collector that is there has been reading without a break.
    pub(super) fn up_since(&self, now_s: f64) -> BTreeMap<&str, f64> {
        let up = self.groups.values().flatten().filter(|collector| !collector.is_down(now_s));
        up.map(|collector| (collector.id.as_str(), collector.down_until_s)).collect()
    }

    pub(super) fn sizes(&self) -> BTreeMap<String, usize> {
        self.groups.iter().map(|(group, collectors)| (group.clone(), collectors.len())).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.groups.values().map(Vec::len).sum()
    }
}
