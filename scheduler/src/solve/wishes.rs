//! Topics that may only be on one collector: those that are pinned, and those that have one of their own.
//!
//! Such a topic has a [`seat`](super::draft::Entry::seat). What can't be done as wanted becomes an obstacle, and the topic is
//! treated like any other until it can.

use super::draft::{Draft, Seat};
use super::{CollectorState, Obstacle};

/// Finds the seat of each topic that is pinned. Comes before moves are settled: one in flight to elsewhere is given up.
pub(super) fn pin(draft: &mut Draft<'_>, pinned: &[usize], seat_of: impl Fn(&str) -> Option<Seat>) {
    for &topic in pinned {
        let entry = &draft.entries[topic];
        let Some(id) = &entry.wanted.pinned else { continue };
        let Some(seat) = seat_of(id) else {
            draft.obstacles.push((topic, Obstacle::PinnedToUnknown { collector: id.clone() }));
            continue;
        };
        match hindered(draft, topic, seat) {
            Some(obstacle) => draft.obstacles.push((topic, obstacle)),
            None => {
                draft.entries[topic].seat = seat;
                draft.seated.push(topic);
            }
        }
    }
}

/// What keeps a topic from the collector that it is pinned to.
fn hindered(draft: &Draft<'_>, topic: usize, seat: Seat) -> Option<Obstacle> {
    let entry = &draft.entries[topic];
    let to = draft.collector(seat)?;
    let collector = to.info.id.clone();
    if to.group != entry.group {
        return Some(Obstacle::PinnedToOtherProvider { collector, provider: to.info.provider.clone() });
    }
    match to.info.state {
        CollectorState::Ready | CollectorState::Cordoned => None,
        CollectorState::Draining => Some(Obstacle::PinnedToDraining { collector }),
        // Who has it keeps it, whether heard yet or not.
        CollectorState::Joining if entry.before.owner == seat => None,
        CollectorState::Joining | CollectorState::Lost => Some(Obstacle::PinnedToAbsent { collector }),
    }
}

/// Finds collectors for topics that want one of their own.
///
/// Who has one keeps it, as long as one is left for the others. Who has none gets the one where least must make way, if the others
/// then still have room. Pins are stronger: a collector that others are pinned to is nobody's own.
pub(super) fn dedicate(draft: &mut Draft<'_>, capacity: usize) {
    if draft.groups.iter().all(|group| group.dedicated.is_empty()) {
        return;
    }
    let mut pins = vec![0_usize; draft.collectors.len()];
    for seat in draft.seated.iter().filter_map(|&topic| draft.entries[topic].seat.index()) {
        pins[seat] += 1;
    }
    let staying = staying(draft);
    for group in 0..draft.groups.len() {
        let dedicated = draft.groups[group].dedicated.clone();
        let mut spare = Spare {
            open: draft.groups[group].collectors.iter().filter(|&&index| draft.collectors[index].is_open()).count(),
            others: draft.groups[group].topics,
            capacity,
        };
        let (having, wanting): (Vec<usize>, Vec<usize>) = dedicated.into_iter().partition(|&topic| {
            let own = own(draft, topic, &pins).filter(|&own| spare.keeps(draft.collectors[own].is_open()));
            own.is_some_and(|own| give(draft, topic, own))
        });
        debug_assert!(having.iter().all(|&topic| draft.is_alone(topic)), "who has its own is there");
        for topic in wanting {
            if spare.could_give()
                && let Some(index) = least_in_the_way(draft, topic, &pins, &staying)
            {
                spare.give();
                give(draft, topic, index);
            } else {
                draft.obstacles.push((topic, Obstacle::NoneOfItsOwn));
            }
        }
    }
    draft.seated.sort_unstable();
    draft.seated.dedup();
}

/// How many collectors of a group can be given away.
struct Spare {
    open: usize,
    /// Topics that have no collector of their own.
    others: usize,
    capacity: usize,
}

impl Spare {
    /// Counts one that is kept by who has it, if that leaves one for the others.
    fn keeps(&mut self, open: bool) -> bool {
        let ok = !open || self.others == 1 || self.open > 1;
        if ok {
            self.open -= usize::from(open);
            self.others -= 1;
        }
        ok
    }

    /// Whether the others have room without one more.
    fn could_give(&self) -> bool {
        self.open > (self.others - 1).div_ceil(self.capacity)
    }

    fn give(&mut self) {
        self.open -= 1;
        self.others -= 1;
    }
}

/// The collector that a topic has for itself already, if it may keep it.
fn own(draft: &Draft<'_>, topic: usize, pins: &[usize]) -> Option<usize> {
    let entry = &draft.entries[topic];
    let at = entry.now.target();
    let pinned = entry.seat != Seat::NOBODY;
    let index = at.index().filter(|_| entry.was_alone && (!pinned || entry.seat == at))?;
    let collector = &draft.collectors[index];
    let well =
        matches!(collector.info.state, CollectorState::Ready | CollectorState::Cordoned | CollectorState::Joining);
    let free = collector.group == entry.group && collector.kept_for.is_none() && pins[index] == usize::from(pinned);
    (well && free).then_some(index)
}

/// What each collector carries, without what is pinned to another: that leaves it in any case. Were it counted until its move begins, which
/// may have to wait, the same collector would look dearer to one plan than to the next.
fn staying(draft: &Draft<'_>) -> Vec<u64> {
    let mut weights: Vec<u64> = draft.collectors.iter().map(|collector| collector.weight).collect();
    for &topic in draft.seated.iter().filter(|&&topic| !draft.is_seated(topic)) {
        if let Some(at) = draft.entries[topic].now.target().index() {
            weights[at] -= draft.entries[topic].weight;
        }
    }
    weights
}

/// Where a topic could be for itself with the least that must move: what is there, and the topic, unless it is there already.
fn least_in_the_way(draft: &Draft<'_>, topic: usize, pins: &[usize], staying: &[u64]) -> Option<usize> {
    let entry = &draft.entries[topic];
    let pinned = entry.seat.index();
    let cost = |index: usize| {
        let here = entry.now.target() == Seat::at(index);
        let weight = staying[index];
        if here { weight - entry.weight } else { weight + entry.weight }
    };
    draft
        .open(entry.group)
        .filter(|&index| {
            pins[index] == usize::from(pinned == Some(index)) && pinned.is_none_or(|pinned| pinned == index)
        })
        .min_by_key(|&index| (cost(index), index))
}

fn give(draft: &mut Draft<'_>, topic: usize, index: usize) -> bool {
    draft.collectors[index].kept_for = Some(topic);
    draft.entries[topic].seat = Seat::at(index);
    draft.seated.push(topic);
    true
}
