//! What each collector should carry.

use super::super::CollectorState;
use super::super::draft::{Collector, Draft, Entry, Seat};

/// What the open collectors of each group carry on average, when those that must be emptied are. None for a group where none is open.
pub(super) fn means(draft: &Draft<'_>) -> Vec<Option<u64>> {
    let totals = totals(draft);
    totals.iter().map(|total| (total.collectors > 0).then(|| total.weight / total.collectors)).collect()
}

/// The fair share in each group: the mean, leaving out what can't be divided and alone is more than that: a topic, or those pinned to
/// a collector. It has a collector for itself, and the others share the rest; against the plain mean they would all look as if they
/// wanted more.
pub(super) fn shares(draft: &Draft<'_>) -> Vec<u64> {
    let mut totals = totals(draft);
    let pinned = pinned(draft);
    let mut oversized_from = vec![u64::MAX; totals.len()];
    loop {
        let shares: Vec<u64> = totals.iter().map(|total| total.weight / total.collectors.max(1)).collect();
        // Those between this share and the one before: each round finds fewer than there are collectors left, since together they
        // weigh no more than what is shared.
        let mut found = vec![Total::default(); totals.len()];
        let mut find = |group: u32, weight: u64| {
            let group = group as usize;
            if weight > shares[group] && weight <= oversized_from[group] {
                found[group].collectors += 1;
                found[group].weight += weight;
            }
        };
        for entry in &draft.entries {
            if entry.weight > shares[entry.group as usize]
                && entry.seat == Seat::NOBODY
                && draft.collector(entry.now.target()).is_some_and(|at| shares_out(at) && at.group == entry.group)
            {
                find(entry.group, entry.weight);
            }
        }
        for (collector, pinned) in draft.collectors.iter().zip(&pinned) {
            if collector.is_open() {
                find(collector.group, *pinned);
            }
        }
        let mut changed = false;
        for (group, found) in found.iter().enumerate() {
            if found.collectors > 0 && found.collectors < totals[group].collectors {
                totals[group].collectors -= found.collectors;
                totals[group].weight -= found.weight;
                oversized_from[group] = shares[group];
                changed = true;
            }
        }
        if !changed {
            return shares;
        }
    }
}

/// What a group's open collectors share.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    collectors: u64,
    weight: u64,
}

fn totals(draft: &Draft<'_>) -> Vec<Total> {
    let mut totals = vec![Total::default(); draft.groups.len()];
    for collector in draft.collectors.iter().filter(|collector| shares_out(collector)) {
        let total = &mut totals[collector.group as usize];
        total.collectors += u64::from(collector.is_open());
        total.weight += collector.weight;
        // What a topic has for itself it does not share; what is still beside it is on its way to the others.
        if let Some(kept) = collector.kept_for.filter(|&kept| draft.is_seated(kept)) {
            total.weight -= draft.entries[kept].weight;
        }
    }
    totals
}

/// What is pinned to each collector.
fn pinned(draft: &Draft<'_>) -> Vec<u64> {
    let mut pinned = vec![0; draft.collectors.len()];
    for &topic in &draft.seated {
        let Entry { now, weight, .. } = draft.entries[topic];
        if let Some(index) = now.target().index().filter(|_| draft.is_seated(topic)) {
            pinned[index] += weight;
        }
    }
    pinned
}

/// Whether what is on a collector is shared by those that are open.
fn shares_out(collector: &Collector<'_>) -> bool {
    collector.kept_for.is_some() || matches!(collector.info.state, CollectorState::Ready | CollectorState::Draining)
}
