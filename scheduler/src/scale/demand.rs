//! What a provider's collectors have to carry, and who they are.

use std::collections::{BTreeMap, BTreeSet};

use super::why::TopicWait;
use super::{Seen, Settings, Why};
use crate::plan::CollectorId;
use crate::policy::{Policy, PolicyKind};
use crate::solve::{CollectorInfo, CollectorState, Problem};

/// A provider's topics and collectors; all of them under `max-per-host`.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    /// How many collectors it is asked to have.
    pub(super) size: usize,
    pub(super) topics: usize,
    /// Topics that want a collector of their own.
    dedicated: usize,
    /// What the others weigh.
    load: f64,
    /// Those that there are, by ordinal.
    pub(super) collectors: Vec<&'a CollectorInfo>,
}

/// Sorts topics and collectors into groups. One without either counts while the fleet has a size for it.
pub(super) fn groups<'a>(problem: &'a Problem, sizes: &'a BTreeMap<String, usize>) -> BTreeMap<&'a str, Group<'a>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    let by_provider = problem.policy.kind == PolicyKind::PerProvider;
    if !by_provider {
        groups.entry("").or_default();
    }
    for info in &problem.collectors {
        groups.entry(if by_provider { &info.provider } else { "" }).or_default().collectors.push(info);
    }
    for topic in &problem.topics {
        let name = if by_provider { topic.provider.as_str() } else { "" };
        let group = match groups.get_mut(name) {
            Some(group) => group,
            None => groups.entry(name).or_default(),
        };
        group.topics += 1;
        group.dedicated += usize::from(topic.dedicated);
        if !topic.dedicated && topic.load > 0.0 && topic.load.is_finite() {
            group.load += topic.load;
        }
    }
    for (name, size) in sizes {
        // Another policy's groups are nobody's: what they should have is not known here.
        if by_provider != name.is_empty() {
            groups.entry(name).or_default().size = *size;
        }
    }
    for group in groups.values_mut() {
        group.collectors.sort_by(|a, b| (ordinal(&a.id), &a.id).cmp(&(ordinal(&b.id), &b.id)));
    }
    groups
}

/// The number that a name ends in; those without come first.
fn ordinal(id: &str) -> Option<u64> {
    let digits = id.len() - id.bytes().rev().take_while(u8::is_ascii_digit).count();
    id[digits..].parse().ok()
}

impl<'a> Group<'a> {
    /// Whether a collector is beyond the number that is asked for.
    pub(super) fn is_beyond_size(&self, id: &CollectorId) -> bool {
        match ordinal(id) {
            Some(ordinal) => ordinal >= self.size as u64,
            None => self.collectors.iter().position(|info| info.id == *id).is_none_or(|at| at >= self.size),
        }
    }

    /// The one that leaves when there is to be one less; none where that one is not there.
    pub(super) fn last(&self) -> Option<&'a CollectorInfo> {
        let inside = self.collectors.iter().rfind(|info| !self.is_beyond_size(&info.id));
        inside.copied().filter(|info| ordinal(&info.id).is_none_or(|ordinal| ordinal + 1 == self.size as u64))
    }

    /// Those that are asked for and carry nothing: they have been lost for long, or are emptied by an operator.
    pub(super) fn missing(
        &self,
        leaving: Option<&CollectorId>,
        stopping: &BTreeSet<CollectorId>,
        gone: impl Fn(&CollectorId) -> bool,
    ) -> Vec<CollectorId> {
        let carries_nothing = |info: &&&CollectorInfo| match info.state {
            CollectorState::Draining if stopping.contains(&info.id) => gone(&info.id),
            CollectorState::Draining => leaving != Some(&info.id),
            CollectorState::Lost => gone(&info.id),
            _ => false,
        };
        let inside = self.collectors.iter().filter(|info| !self.is_beyond_size(&info.id));
        inside.filter(carries_nothing).map(|info| info.id.clone()).collect()
    }

    /// How many take nothing more.
    pub(super) fn cordoned(&self, leaving: Option<&CollectorId>) -> usize {
        let cordoned = |info: &&&CollectorInfo| info.state == CollectorState::Cordoned && leaving != Some(&info.id);
        self.collectors.iter().filter(cordoned).count()
    }
}

/// A number of collectors, and what makes it.
#[derive(Debug)]
pub(super) struct Needed {
    pub(super) collectors: usize,
    pub(super) why: Why,
}

/// What decides how many are needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand<'a> {
    pub(super) policy: &'a Policy,
    pub(super) settings: &'a Settings,
    pub(super) group: &'a Group<'a>,
}

impl Demand<'_> {
    /// How many collectors are needed for so much more than there is, in percent, beside those that carry nothing.
    pub(super) fn collectors(&self, more_percent: u32, beside: usize) -> Needed {
        let Self { policy, settings, group } = self;
        if group.topics == 0 && policy.kind == PolicyKind::PerProvider {
            return Needed { collectors: 0, why: Why::NoTopics };
        }
        let shared = ((group.topics - group.dedicated) * (100 + more_percent as usize)).div_ceil(100);
        let by_topics = shared.div_ceil(policy.max_per_host.max(1) as usize);
        let (by_load, max_load) = match settings.max_load.filter(|max| *max > 0.0) {
            // Out of range saturates, and the policy's limit holds all the same.
            Some(max) => ((group.load * f64::from(100 + more_percent) / 100.0 / max).ceil() as usize, max),
            None => (0, f64::INFINITY),
        };
        let carry = by_topics.max(by_load).saturating_add(group.dedicated);
        // Where new ones are lost as well (their provider has failed), still more would be, too.
        let needed = carry.saturating_add(beside.min(carry));
        let (least, most) = (policy.min_collectors as usize, policy.max_collectors as usize);
        let why = if needed > most {
            Why::Maximum { needed, max_collectors: policy.max_collectors }
        } else if needed < least {
            Why::Minimum { min_collectors: policy.min_collectors }
        } else if by_load > by_topics {
            Why::Load { load: group.load, max_load }
        } else {
            Why::Topics { topics: group.topics, max_per_host: policy.max_per_host }
        };
        Needed { collectors: needed.max(least).min(most), why }
    }
}

/// What must be over, or well, before a collector leaves.
pub(super) fn hindrance(seen: &Seen<'_>, group: &Group<'_>) -> Option<Why> {
    let unwell = |info: &&&CollectorInfo| {
        !group.is_beyond_size(&info.id) && !matches!(info.state, CollectorState::Ready | CollectorState::Cordoned)
    };
    if let Some(info) = group.collectors.iter().find(unwell) {
        return Some(Why::Unwell { collector: info.id.clone() });
    }
    let waits = |topic: &String, what| Some(Why::Topic { topic: topic.clone(), what });
    if let Some(topic) = seen.solution.unassigned.first() {
        return waits(topic, TopicWait::Unassigned);
    }
    let last = &group.last()?.id;
    if let Some(topic) = seen.problem.topics.iter().find(|topic| topic.pinned.as_ref() == Some(last)) {
        return waits(&topic.spec.topic, TopicWait::Pinned);
    }
    let moving = seen.solution.plan.topics.iter().find(|(_, placed)| placed.placement.incoming.is_some());
    moving.and_then(|(topic, _)| waits(topic, TopicWait::Moving))
}

/// How many topics a collector reads, by the new plan.
pub(super) fn read_by(seen: &Seen<'_>, collector: &str) -> usize {
    let placed = seen.solution.plan.topics.values();
    placed.filter(|placed| placed.placement.role_of(collector).is_some()).count()
}
