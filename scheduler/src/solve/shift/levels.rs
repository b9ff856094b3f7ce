//! Collectors in the order of what they carry.

use std::collections::BTreeSet;

use super::super::CollectorState;
use super::super::draft::Draft;

/// Collectors by weight; ties by number of topics, then by name.
#[derive(Debug)]
pub(super) struct Levels {
    capacity: usize,
    /// The keys under which each collector stands in the sets.
    keys: Vec<(u64, usize, usize)>,
    /// Those that may shed.
    donors: BTreeSet<(u64, usize, usize)>,
    /// Those that may get topics.
    ready: BTreeSet<(u64, usize, usize)>,
    /// Those of them that have room.
    roomy: BTreeSet<(u64, usize, usize)>,
}

impl Levels {
    pub(super) fn new(draft: &Draft<'_>, capacity: usize) -> Self {
        let keys = (0..draft.collectors.len()).map(|index| key(draft, index)).collect();
        let mut levels =
            Self { capacity, keys, donors: BTreeSet::new(), ready: BTreeSet::new(), roomy: BTreeSet::new() };
        for index in 0..draft.collectors.len() {
            levels.update(draft, index);
        }
        levels
    }

    /// Puts a collector where it belongs now.
    pub(super) fn update(&mut self, draft: &Draft<'_>, index: usize) {
        let (old, new) = (self.keys[index], key(draft, index));
        self.keys[index] = new;
        for set in [&mut self.donors, &mut self.ready, &mut self.roomy] {
            set.remove(&old);
        }
        let state = draft.collectors[index].info.state;
        if matches!(state, CollectorState::Ready | CollectorState::Cordoned | CollectorState::Joining) {
            self.donors.insert(new);
        }
        if state == CollectorState::Ready {
            self.ready.insert(new);
            if draft.collectors[index].topics < self.capacity {
                self.roomy.insert(new);
            }
        }
    }

    pub(super) fn coldest(&self) -> Option<usize> {
        self.coldest_first().next()
    }

    pub(super) fn coldest_with_room(&self) -> Option<usize> {
        self.roomy.first().map(|&(_, _, index)| index)
    }

    /// Those that may get topics, the least loaded first.
    pub(super) fn coldest_first(&self) -> impl Iterator<Item = usize> {
        self.ready.iter().map(|&(_, _, index)| index)
    }

    /// Those that may shed, the most loaded first.
    pub(super) fn hottest_first(&self) -> impl Iterator<Item = usize> {
        self.donors.iter().rev().map(|&(_, _, index)| index)
    }
}

fn key(draft: &Draft<'_>, index: usize) -> (u64, usize, usize) {
    (draft.collectors[index].weight, draft.collectors[index].topics, index)
}
