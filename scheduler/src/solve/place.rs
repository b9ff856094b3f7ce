//! The second step: a collector for every topic that nobody reads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Reason;
use super::draft::{Draft, Readers, Seat, Why};

/// Places the homeless, the heaviest first, each on the least loaded collector that is ready and has room, or on the least loaded
/// where none has room. Gives those that can't be placed because none is ready.
pub(super) fn place(draft: &mut Draft<'_>, mut homeless: Vec<usize>, capacity: usize) -> Vec<usize> {
    if draft.ready().next().is_none() {
        for &topic in &homeless {
            // Its collector may come back.
            let entry = &mut draft.entries[topic];
            entry.now = entry.before;
            entry.why = Why::Kept;
        }
        return homeless;
    }
    // By weight; ties by name, so that the plan does not depend on the order of the problem.
    homeless.sort_unstable_by_key(|&topic| (Reverse(draft.entries[topic].weight), topic));
    let mut roomy = Least::new(draft, capacity);
    let mut crowded = None;
    for topic in homeless {
        let index = match roomy.take() {
            Some(index) => index,
            // Nobody has room any more, and nobody gets room by taking topics.
            None => match crowded.get_or_insert_with(|| Least::new(draft, usize::MAX)).take() {
                Some(index) => index,
                None => continue,
            },
        };
        let entry = &mut draft.entries[topic];
        entry.now = Readers { owner: Seat::at(index), incoming: Seat::NOBODY };
        entry.fresh = true;
        let reason = if entry.previous.is_some() { Reason::Lost } else { Reason::New };
        entry.why = Why::Moved { from: entry.before.owner, reason, from_percent: 0, to_percent: 0 };
        draft.tally(topic);
        crowded.as_mut().unwrap_or(&mut roomy).put_back(draft, index);
    }
    Vec::new()
}

/// The collectors that are ready and have room, the least loaded first; of equals the one with fewer topics, then by name.
struct Least {
    heap: BinaryHeap<Reverse<(u64, usize, usize)>>,
    capacity: usize,
}

impl Least {
    fn new(draft: &Draft<'_>, capacity: usize) -> Self {
        let mut least = Self { heap: BinaryHeap::new(), capacity };
        for index in draft.ready() {
            least.put_back(draft, index);
        }
        least
    }

    fn take(&mut self) -> Option<usize> {
        self.heap.pop().map(|Reverse((_, _, index))| index)
    }

    fn put_back(&mut self, draft: &Draft<'_>, index: usize) {
        let collector = &draft.collectors[index];
        if collector.topics < self.capacity {
            self.heap.push(Reverse((collector.weight, collector.topics, index)));
        }
    }
}
