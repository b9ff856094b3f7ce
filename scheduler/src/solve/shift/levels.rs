//! Collectors in the order of what they carry.

use std::collections::BTreeSet;

use super::super::CollectorState;
use super::super::draft::Draft;

/// Collectors by weight; ties by number of topics, then by name.
#[derive(Debug)]
pub(super) struct Levels {
    capacity: usize,
    /// The keys under which each collector stands in the sets.
    keys: Vec<Key>,
    /// By group.
    groups: Vec<Ordered>,
}

type Key = (u64, usize, usize);

#[derive(Debug, Default)]
struct Ordered {
    /// Those that may shed.
    donors: BTreeSet<Key>,
    /// Those that may get topics.
    open: BTreeSet<Key>,
    /// Those of them that have room.
    roomy: BTreeSet<Key>,
}

impl Levels {
    pub(super) fn new(draft: &Draft<'_>, capacity: usize) -> Self {
        let keys = (0..draft.collectors.len()).map(|index| key(draft, index)).collect();
        let mut levels = Self { capacity, keys, groups: Vec::new() };
        levels.groups.resize_with(draft.groups.len(), Ordered::default);
        for index in 0..draft.collectors.len() {
            levels.update(draft, index);
        }
        levels
    }

    /// Puts a collector where it belongs now.
    pub(super) fn update(&mut self, draft: &Draft<'_>, index: usize) {
        let (old, new) = (self.keys[index], key(draft, index));
        self.keys[index] = new;
        let collector = &draft.collectors[index];
        let Ordered { donors, open, roomy } = &mut self.groups[collector.group as usize];
        for set in [&mut *donors, &mut *open, &mut *roomy] {
            set.remove(&old);
        }
        let gives =
            matches!(collector.info.state, CollectorState::Ready | CollectorState::Cordoned | CollectorState::Joining);
        if gives && collector.kept_for.is_none() {
            donors.insert(new);
        }
        if collector.is_open() {
            open.insert(new);
            if collector.topics < self.capacity {
                roomy.insert(new);
            }
        }
    }

    pub(super) fn coldest(&self, group: usize) -> Option<usize> {
        self.coldest_first(group).next()
    }

    pub(super) fn coldest_with_room(&self, group: usize) -> Option<usize> {
        self.groups[group].roomy.first().map(|&(_, _, index)| index)
    }

    /// Those that may get topics, the least loaded first.
    pub(super) fn coldest_first(&self, group: usize) -> impl Iterator<Item = usize> {
        self.groups[group].open.iter().map(|&(_, _, index)| index)
    }

    /// Those that may shed, the most loaded first.
    pub(super) fn hottest_first(&self, group: usize) -> impl Iterator<Item = usize> {
        self.groups[group].donors.iter().rev().map(|&(_, _, index)| index)
    }
}

fn key(draft: &Draft<'_>, index: usize) -> Key {
    (draft.collectors[index].weight, draft.collectors[index].topics, index)
}
