//! The second step: a collector for every topic that nobody reads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::draft::{Draft, Readers, Seat, Why};
use super::{Obstacle, Reason, settle};

/// Places the homeless: each where it alone may be; the others, the heaviest first, on the least loaded collector of their group
/// that is open and has room, or on the least loaded where none has room. Gives those that can't be placed, by name.
pub(super) fn place(draft: &mut Draft<'_>, homeless: Vec<usize>, capacity: usize) -> Vec<usize> {
    let (seated, mut others): (Vec<usize>, Vec<usize>) =
        homeless.into_iter().partition(|&topic| draft.entries[topic].seat != Seat::NOBODY);
    for topic in seated {
        let seat = draft.entries[topic].seat;
        put(draft, topic, seat);
    }
    settle::give_up_unwelcome(draft);
    // By weight; ties by name, so that the plan does not depend on the order of the problem.
    others.sort_unstable_by_key(|&topic| (Reverse(draft.entries[topic].weight), topic));
    let mut least: Vec<Option<Least>> = Vec::new();
    least.resize_with(draft.groups.len(), || None);
    let mut unassigned = Vec::new();
    for topic in others {
        let group = draft.entries[topic].group;
        let least = least[group as usize].get_or_insert_with(|| Least::new(draft, group, capacity));
        match least.take(draft) {
            Some(index) => {
                put(draft, topic, Seat::at(index));
                least.put_back(draft, index);
            }
            None => {
                // Its collector may come back.
                let entry = &mut draft.entries[topic];
                entry.now = entry.before;
                entry.why = Why::Kept;
                unassigned.push(topic);
                let provider = draft.groups[group as usize].name.to_owned();
                draft.obstacles.push((topic, Obstacle::NoCollector { provider }));
            }
        }
    }
    unassigned.sort_unstable();
    unassigned
}

fn put(draft: &mut Draft<'_>, topic: usize, seat: Seat) {
    let entry = &mut draft.entries[topic];
    entry.now = Readers { owner: seat, incoming: Seat::NOBODY };
    entry.fresh = true;
    let reason = if entry.previous.is_some() { Reason::Lost } else { Reason::New };
    entry.why = Why::Moved { from: entry.before.owner, reason, from_percent: 0, to_percent: 0 };
    draft.tally(topic);
}

/// The open collectors of a group, the least loaded first; of equals the one with fewer topics, then by name.
struct Least {
    group: u32,
    heap: BinaryHeap<Reverse<(u64, usize, usize)>>,
    capacity: usize,
}

impl Least {
    fn new(draft: &Draft<'_>, group: u32, capacity: usize) -> Self {
        let mut least = Self { group, heap: BinaryHeap::new(), capacity };
        for index in draft.open(group) {
            least.put_back(draft, index);
        }
        least
    }

    fn take(&mut self, draft: &Draft<'_>) -> Option<usize> {
        if self.heap.is_empty() && self.capacity < usize::MAX {
            // Nobody has room any more, and nobody gets room by taking topics.
            *self = Self::new(draft, self.group, usize::MAX);
        }
        self.heap.pop().map(|Reverse((_, _, index))| index)
    }

    fn put_back(&mut self, draft: &Draft<'_>, index: usize) {
        let collector = &draft.collectors[index];
        if collector.topics < self.capacity {
            self.heap.push(Reverse((collector.weight, collector.topics, index)));
        }
    }
}
