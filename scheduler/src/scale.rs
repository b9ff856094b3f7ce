//! How many collectors there should be. Pure: the clock, the fleet's size and what was decided before are handed in.
//!
//! Out at once, in after a quiet time, one at a time, and always emptied first. See [`scale`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::CollectorId;
use crate::solve::{CollectorState, Problem, Solution};

mod demand;
#[cfg(test)]
mod tests;
mod why;

use demand::{Demand, Group};
pub use why::{TopicWait, Why};

/// How eagerly the fleet is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Fewer collectors must have been enough for this long before one is emptied.
    pub quiet: Duration,
    /// A collector that has been lost for this long is replaced by one more. Shorter than a restart takes, and each restart makes one more.
    pub replace_after: Duration,
    /// So much more topics and load, in percent, must fit without another collector: that one is there before it is needed.
    pub headroom_percent: u32,
    /// What the topics on a collector may weigh together; none: only their number counts.
    pub max_load: Option<f64>,
}

impl Default for Settings {
    /// As many collectors as the topics need by their number; in after 5 minutes, as the Kubernetes HPA does it by default.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(300),
            replace_after: Duration::from_secs(60),
            headroom_percent: 0,
            max_load: None,
        }
    }
}

/// So much more, in percent of topics and load, must fit on the fewer collectors than on the present ones, so that a load that
/// trembles about a threshold does not have collectors come and go.
pub const SLACK_PERCENT: u32 = 5;

/// What is to be decided about.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was planned last, with those in [`Scaled::drain`] as [`CollectorState::Draining`].
    pub problem: &'a Problem,
    /// What came of it.
    pub solution: &'a Solution,
    /// How many collectors each provider's part of the fleet is asked to have now, whether they are there yet or not; under
    /// `max-per-host` all of them, named "".
    pub sizes: &'a BTreeMap<String, usize>,
    /// Those that are draining because they are about to stop. Most are only restarted: they are replaced like those that are lost.
    pub stopping: &'a BTreeSet<CollectorId>,
    /// The time, by any clock that only goes forward.
    pub now: Duration,
}

/// What is remembered from one decision to the next. A new leader begins with an empty one: the quiet time begins anew.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    groups: BTreeMap<String, GroupMemory>,
    /// Since when collectors are lost, or about to be.
    lost: BTreeMap<CollectorId, Duration>,
}

#[derive(Debug, Clone, Default)]
struct GroupMemory {
    /// Since when fewer collectors would be enough.
    quiet_since: Option<Duration>,
    /// The one that is being emptied.
    leaving: Option<CollectorId>,
    /// Those that have been released, and are still there.
    released: BTreeSet<CollectorId>,
}

/// What is to be done about one provider's collectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    /// How many there shall be.
    pub collectors: usize,
    /// Those that are to be [`CollectorState::Draining`] in the next problem, whatever else they are: they leave.
    pub drain: BTreeSet<CollectorId>,
    /// The one that may be stopped now: nobody needs it any more. It is the last by ordinal, so that asking for
    /// [`Scaled::collectors`] is all that a StatefulSet needs.
    pub release: Option<CollectorId>,
    /// Why.
    pub why: Why,
}

/// Decides how many collectors each provider shall have.
///
/// * Out at once: when topics (or load, where [`Settings::max_load`] says so) do not fit, when a collector has been lost (or stopping) for
///   [`Settings::replace_after`] (no more than carry the topics: where new ones are lost too, more do not help), when an operator drains
///   one. Never beyond the policy's `maxCollectors`.
/// * In after [`Settings::quiet`], one at a time: the last by ordinal is emptied, then released. Not while a topic is unassigned or moving, a collector is
///   lost, joining or drained by an operator; not while a topic is pinned to the last one. It ends at once when the rest would not be enough any more.
/// * Fewer are enough only if [`SLACK_PERCENT`] more would fit on them too, and on those alone that take topics.
///
/// To be called after each [`solve`](crate::solve::solve). Carrying it out may take its time: what is asked for is a size, and asking twice asks
/// for the same.
#[must_use]
pub fn scale(seen: &Seen<'_>, settings: &Settings, memory: &mut Memory) -> BTreeMap<String, Scaled> {
    remember_lost(seen, memory);
    let groups = demand::groups(seen.problem, seen.sizes);
    memory.groups.retain(|name, _| groups.contains_key(name.as_str()));
    let mut decided = BTreeMap::new();
    for (name, group) in groups {
        let remembered = memory.groups.entry(name.to_owned()).or_default();
        let demand = Demand { policy: &seen.problem.policy, settings, group: &group };
        let mut scaled = decide(seen, &demand, remembered, &memory.lost);
        remembered.released.retain(|id| group.collectors.iter().any(|info| info.id == *id));
        scaled.drain = remembered.released.iter().chain(&remembered.leaving).cloned().collect();
        decided.insert(name.to_owned(), scaled);
    }
    decided
}

/// How many collectors each provider's topics need, where somebody else runs them and can only be told: as [`scale`] counts them, without
/// what follows from who is lost or drained, which is theirs to see to.
#[must_use]
pub fn needed(problem: &Problem, settings: &Settings) -> BTreeMap<String, usize> {
    let needed = |group: &Group<'_>| {
        let demand = Demand { policy: &problem.policy, settings, group };
        demand.collectors(settings.headroom_percent, 0).collectors
    };
    demand::groups(problem, &BTreeMap::new()).iter().map(|(name, group)| ((*name).to_owned(), needed(group))).collect()
}

fn remember_lost(seen: &Seen<'_>, memory: &mut Memory) {
    let lost = seen.problem.collectors.iter().filter(|info| info.state == CollectorState::Lost);
    let lost: BTreeSet<&CollectorId> = lost.map(|info| &info.id).chain(seen.stopping).collect();
    memory.lost.retain(|id, _| lost.contains(id));
    for id in lost {
        memory.lost.entry(id.clone()).or_insert(seen.now);
    }
}

fn decide(
    seen: &Seen<'_>,
    demand: &Demand<'_>,
    memory: &mut GroupMemory,
    lost: &BTreeMap<CollectorId, Duration>,
) -> Scaled {
    let group = demand.group;
    let stays = |collectors, why| Scaled { collectors, drain: BTreeSet::new(), release: None, why };
    // What has been released does not count, unless it is asked back.
    let released = std::mem::take(&mut memory.released);
    memory.released = released.into_iter().filter(|id| group.is_beyond_size(id)).collect();
    let gone = |id: &CollectorId| {
        memory.released.contains(id)
            || lost.get(id).is_some_and(|since| seen.now - *since >= demand.settings.replace_after)
    };
    let missing: Vec<CollectorId> = group.missing(memory.leaving.as_ref(), seen.stopping, gone);

    let out = demand.collectors(demand.settings.headroom_percent, missing.len());
    if out.collectors > group.size {
        (memory.quiet_since, memory.leaving) = (None, None);
        return stays(out.collectors, if missing.is_empty() { out.why } else { Why::Replaces { collectors: missing } });
    }
    let unable = missing.len() + group.cordoned(memory.leaving.as_ref());
    let enough = demand.collectors(demand.settings.headroom_percent + SLACK_PERCENT, unable);
    if enough.collectors >= group.size {
        (memory.quiet_since, memory.leaving) = (None, None);
        return stays(group.size, out.why);
    }
    let since = *memory.quiet_since.get_or_insert(seen.now);
    if let Some(leaving) = memory.leaving.clone().filter(|id| group.last().is_some_and(|last| last.id == *id)) {
        return release(seen, group, memory, leaving);
    }
    memory.leaving = None;
    let too_many = group.size > demand.policy.max_collectors as usize;
    if !too_many && seen.now - since < demand.settings.quiet {
        return stays(
            group.size,
            Why::Quiet { enough: enough.collectors, left: demand.settings.quiet - (seen.now - since) },
        );
    }
    if let Some(hindrance) = demand::hindrance(seen, group) {
        return stays(group.size, hindrance);
    }
    let Some(last) = group.last() else {
        // The last one has never come, so there is nothing to empty.
        return stays(group.size - 1, Why::Enough { topics: group.topics });
    };
    memory.leaving = Some(last.id.clone());
    release(seen, group, memory, last.id.clone())
}

/// Releases the collector that leaves once nobody reads a topic from it.
fn release(seen: &Seen<'_>, group: &Group<'_>, memory: &mut GroupMemory, leaving: CollectorId) -> Scaled {
    let topics = demand::read_by(seen, &leaving);
    // Emptied by a plan that knows that it leaves: an empty one that does not may get topics by the next plan.
    let knows = group.last().is_some_and(|info| matches!(info.state, CollectorState::Draining | CollectorState::Lost));
    if topics > 0 || !knows {
        let why = Why::Draining { collector: leaving, topics };
        return Scaled { collectors: group.size, drain: BTreeSet::new(), release: None, why };
    }
    memory.leaving = None;
    memory.released.insert(leaving.clone());
    let why = Why::Released { collector: leaving.clone() };
    Scaled { collectors: group.size - 1, drain: BTreeSet::new(), release: Some(leaving), why }
}
