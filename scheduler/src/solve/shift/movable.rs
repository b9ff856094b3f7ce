//! The topics of each collector that may move, by weight.

use std::collections::BTreeSet;

use super::super::draft::{Draft, Seat};

/// The topics of every collector that may as well be on another of their group: those that are not moving already, and not seated. Few collectors are ever looked at, so each is sorted when it first is.
#[derive(Debug)]
pub(super) struct Movable {
    collectors: Vec<Topics>,
}

/// The movable topics of one collector, by weight, then by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    unsorted: Vec<usize>,
    sorted: BTreeSet<(u64, usize)>,
}

impl Movable {
    pub(super) fn new(draft: &Draft<'_>) -> Self {
        let mut collectors: Vec<Topics> = Vec::new();
        collectors.resize_with(draft.collectors.len(), Topics::default);
        for (topic, entry) in draft.entries.iter().enumerate() {
            if let Some(index) = entry.now.owner.index()
                && !entry.now.moving()
                && entry.seat == Seat::NOBODY
                && draft.collectors[index].group == entry.group
            {
                collectors[index].unsorted.push(topic);
            }
        }
        Self { collectors }
    }

    pub(super) fn of(&mut self, draft: &Draft<'_>, collector: usize) -> &Topics {
        let topics = &mut self.collectors[collector];
        topics.sorted.extend(topics.unsorted.drain(..).map(|topic| (draft.entries[topic].weight, topic)));
        topics
    }

    pub(super) fn insert(&mut self, collector: usize, weight: u64, topic: usize) {
        self.collectors[collector].sorted.insert((weight, topic));
    }

    /// Takes a topic out, if the collector has been looked at: of no other can the topic be chosen.
    pub(super) fn remove(&mut self, collector: usize, weight: u64, topic: usize) {
        self.collectors[collector].sorted.remove(&(weight, topic));
    }
}

impl Topics {
    pub(super) fn largest_up_to(&self, weight: u64) -> Option<(u64, usize)> {
        self.sorted.range(..=(weight, usize::MAX)).next_back().copied()
    }

    pub(super) fn smallest_from(&self, weight: u64) -> Option<(u64, usize)> {
        self.sorted.range((weight, 0)..).next().copied()
    }

    pub(super) fn smallest(&self) -> Option<(u64, usize)> {
        self.sorted.first().copied()
    }

    /// The heaviest first.
    pub(super) fn descending(&self) -> impl Iterator<Item = (u64, usize)> {
        self.sorted.iter().rev().copied()
    }
}
