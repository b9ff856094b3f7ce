//! The third step: what moves without need of haste. Draining collectors are emptied, overfull ones relieved, load is evened out.
//!
//! The whole is a sequence of steps, each a function of the draft alone, that ends when there is none or the next one is over the
//! budget. So the plan that comes out of it gives itself when it is solved again.

use std::cmp::Reverse;

use super::draft::{Draft, Readers, Seat, Why};
use super::{CollectorState, DEAD_BAND_PERCENT, MOVES_IN_FLIGHT, ROUND_PERCENT, Reason};
use levels::Levels;
use movable::Movable;

mod balance;
mod fair;
mod levels;
mod movable;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Made,
    /// There is one, but it must wait until others are over.
    OverBudget,
    Nothing,
}

/// Plans the moves that can wait, as many as may be in flight.
pub(super) fn shift(draft: &mut Draft<'_>, capacity: usize) {
    if !needed(draft, capacity) {
        return;
    }
    let mut shift = Shift::new(draft, capacity);
    // A pass skips collectors that could not be helped when it came by; what it did may have changed that. The last pass does
    // nothing, and so would the first one of the next plan. It comes to an end since each step leaves less to drain, less that is
    // overfull, or the two collectors that it concerns nearer to each other.
    while shift.pass() > 0 {}
}

/// Whether a look at the collectors alone shows something to do.
fn needed(draft: &Draft<'_>, capacity: usize) -> bool {
    let Some(mean) = fair::mean(draft) else { return false };
    draft.collectors.iter().any(|collector| match collector.info.state {
        CollectorState::Ready => {
            collector.topics > capacity || collector.weight > hot(mean) || collector.weight < cold(mean)
        }
        CollectorState::Cordoned | CollectorState::Joining => {
            collector.topics > capacity || collector.weight > hot(mean)
        }
        CollectorState::Draining => collector.topics > 0,
        CollectorState::Lost => false,
    })
}

/// Above this a collector must shed.
fn hot(fair: u64) -> u64 {
    fair + fair * DEAD_BAND_PERCENT / 100
}

/// Below this a collector must get more.
fn cold(fair: u64) -> u64 {
    fair - fair * DEAD_BAND_PERCENT / 100
}

/// The moving of one plan.
struct Shift<'d, 'a> {
    draft: &'d mut Draft<'a>,
    capacity: usize,
    /// What each collector should carry.
    fair: u64,
    /// What may be moving at one time.
    budget: u64,
    levels: Levels,
    movable: Movable,
}

impl<'d, 'a> Shift<'d, 'a> {
    fn new(draft: &'d mut Draft<'a>, capacity: usize) -> Self {
        let total: u64 = draft.entries.iter().map(|entry| entry.weight).sum();
        let (levels, movable) = (Levels::new(draft, capacity), Movable::new(draft));
        Self { fair: fair::share(draft), budget: total / 100 * ROUND_PERCENT, capacity, levels, movable, draft }
    }

    /// All that is to be done and may be; how many moves that were.
    fn pass(&mut self) -> usize {
        let mut made = 0;
        if self.drain(&mut made) != Step::OverBudget && self.relieve_overfull(&mut made) != Step::OverBudget {
            self.balance(&mut made);
        }
        made
    }

    /// Empties what is draining, the heaviest topic first, also onto full collectors: who drains a collector wants it gone.
    fn drain(&mut self, made: &mut usize) -> Step {
        let leaving =
            |collector: &super::draft::Collector<'_>| collector.is(CollectorState::Draining) && collector.topics > 0;
        if !self.draft.collectors.iter().any(leaving) {
            return Step::Nothing;
        }
        let draft = &self.draft;
        let mut topics: Vec<usize> = (0..draft.entries.len())
            .filter(|&topic| draft.collector(draft.entries[topic].now.target()).is_some_and(leaving))
            .collect();
        topics.sort_unstable_by_key(|&topic| (Reverse(self.draft.entries[topic].weight), topic));
        for topic in topics {
            let Some(to) = self.levels.coldest_with_room().or(self.levels.coldest()) else { return Step::Nothing };
            match self.try_move(topic, to, Reason::Draining) {
                Step::Made => *made += 1,
                other => return other,
            }
        }
        Step::Nothing
    }

    /// Brings collectors back under the policy's limit while others have room.
    fn relieve_overfull(&mut self, made: &mut usize) -> Step {
        for from in 0..self.draft.collectors.len() {
            if self.draft.collectors[from].is(CollectorState::Draining) {
                continue;
            }
            while self.draft.collectors[from].topics > self.capacity {
                let Some(to) = self.levels.coldest_with_room() else { return Step::Nothing };
                let wanting = balance::full(self.fair).saturating_sub(self.draft.collectors[to].weight);
                let topics = self.movable.of(self.draft, from);
                let Some((_, topic)) = topics.largest_up_to(wanting).or(topics.smallest()) else { break };
                match self.try_move(topic, to, Reason::Overfull) {
                    Step::Made => *made += 1,
                    other => return other,
                }
            }
        }
        Step::Nothing
    }

    fn try_move(&mut self, topic: usize, to: usize, reason: Reason) -> Step {
        if !self.affordable(&[(topic, to)]) {
            return Step::OverBudget;
        }
        self.carry_out(topic, to, reason);
        Step::Made
    }

    /// Whether these moves may be in flight beside those that are. One alone always may: else a topic of more than the budget could never move.
    fn affordable(&self, moves: &[(usize, usize)]) -> bool {
        let paid = || moves.iter().filter(|&&(topic, to)| !self.is_free(topic, to));
        let (count, weight) =
            paid().fold((0, 0), |(count, weight), &(topic, _)| (count + 1, weight + self.draft.entries[topic].weight));
        let all = self.draft.moving + count;
        count == 0 || all == 1 || (all <= MOVES_IN_FLIGHT && self.draft.moving_weight + weight <= self.budget)
    }

    /// Whether nobody has to warm up for it: no one reads the topic yet, or the one that gets it is warm.
    fn is_free(&self, topic: usize, to: usize) -> bool {
        let entry = &self.draft.entries[topic];
        entry.fresh || self.draft.collectors[to].info.warm.contains(&entry.wanted.spec.topic)
    }

    fn carry_out(&mut self, topic: usize, to: usize, reason: Reason) {
        let from = self.draft.entries[topic].now.owner;
        let percent = |draft: &Draft<'_>, seat: Seat| {
            let weight = draft.collector(seat).map_or(0, |collector| collector.weight);
            u16::try_from(weight * 100 / self.fair.max(1)).unwrap_or(u16::MAX)
        };
        let (from_percent, to_percent) = (percent(self.draft, from), percent(self.draft, Seat::at(to)));
        let free = self.is_free(topic, to);
        self.draft.untally(topic);
        let entry = &mut self.draft.entries[topic];
        if free {
            entry.now = Readers { owner: Seat::at(to), incoming: Seat::NOBODY };
        } else {
            entry.now.incoming = Seat::at(to);
        }
        if !entry.fresh {
            entry.why = Why::Moved { from, reason, from_percent, to_percent };
        }
        let weight = entry.weight;
        self.draft.tally(topic);
        if let Some(from) = from.index() {
            self.movable.remove(from, weight, topic);
            self.levels.update(self.draft, from);
        }
        if free {
            self.movable.insert(to, weight, topic);
        }
        self.levels.update(self.draft, to);
    }
}
