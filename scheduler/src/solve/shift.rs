//! The third step: what moves without need of haste. Topics go where they alone may be, collectors are emptied of what must not be
//! there, overfull ones are relieved, load is evened out.
//!
//! The whole is a sequence of steps, each a function of the draft alone, that ends when there is none or the next one is over the
//! budget. So the plan that comes out of it gives itself when it is solved again.

use super::draft::{Collector, Draft, Readers, Seat, Why};
use super::{CollectorState, MOVES_IN_FLIGHT, ROUND_PERCENT, Reason};
use band::Band;
use levels::Levels;
use movable::Movable;

mod balance;
mod band;
mod fair;
mod leave;
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
pub(super) fn shift(draft: &mut Draft<'_>, capacity: usize, rebalance: bool) {
    let band = if rebalance { Band::rebalance() } else { Band::ordinary() };
    if !needed(draft, capacity, band) {
        return;
    }
    let mut shift = Shift::new(draft, capacity, band, if rebalance { Reason::Rebalance } else { Reason::Balance });
    // A pass skips collectors that could not be helped when it came by; what it did may have changed that. The last pass does
    // nothing, and so would the first one of the next plan. It comes to an end since each step leaves less that must leave, less that is
    // overfull, or the two collectors that it concerns nearer to each other.
    while shift.pass() > 0 {}
    leave::tell_strays(draft);
}

/// Whether a look at the collectors alone shows something to do.
fn needed(draft: &Draft<'_>, capacity: usize, band: Band) -> bool {
    let means = fair::means(draft);
    draft.strays
        || draft.seated.iter().any(|&topic| !draft.is_seated(topic))
        || draft.collectors.iter().any(|collector| {
            let Some(mean) = means[collector.group as usize] else { return false };
            match collector.info.state {
                CollectorState::Ready if collector.kept_for.is_some() => collector.topics > 1,
                CollectorState::Ready => {
                    collector.topics > capacity
                        || collector.weight > band.hot(mean)
                        || collector.weight < band.cold(mean)
                }
                CollectorState::Cordoned | CollectorState::Joining => {
                    collector.topics > capacity
                        || collector.weight > band.hot(mean)
                        || (collector.kept_for.is_some() && collector.topics > 1)
                }
                CollectorState::Draining => collector.topics > 0,
                CollectorState::Lost => false,
            }
        })
}

/// The moving of one plan.
struct Shift<'d, 'a> {
    draft: &'d mut Draft<'a>,
    capacity: usize,
    band: Band,
    /// Why load is evened out.
    balance: Reason,
    /// What each collector should carry, by group.
    fair: Vec<u64>,
    /// What may be moving at one time.
    budget: u64,
    levels: Levels,
    movable: Movable,
}

impl<'d, 'a> Shift<'d, 'a> {
    fn new(draft: &'d mut Draft<'a>, capacity: usize, band: Band, balance: Reason) -> Self {
        let total: u64 = draft.entries.iter().map(|entry| entry.weight).sum();
        let (levels, movable) = (Levels::new(draft, capacity), Movable::new(draft));
        let budget = total / 100 * ROUND_PERCENT;
        Self { draft, capacity, band, balance, fair: Vec::new(), budget, levels, movable }
    }

    /// All that is to be done and may be; how many moves that were. What is over the budget has everything after it wait: small
    /// moves would keep a large one from ever beginning.
    fn pass(&mut self) -> usize {
        self.fair = fair::shares(self.draft);
        let mut made = 0;
        if self.leave(&mut made) == Step::OverBudget || self.relieve_overfull(&mut made) == Step::OverBudget {
            return made;
        }
        for group in 0..self.fair.len() {
            if self.balance(group, &mut made) == Step::OverBudget {
                break;
            }
        }
        made
    }

    /// Brings collectors back under the policy's limit while others have room.
    fn relieve_overfull(&mut self, made: &mut usize) -> Step {
        for from in 0..self.draft.collectors.len() {
            let Collector { group, kept_for, .. } = self.draft.collectors[from];
            if self.draft.collectors[from].is(CollectorState::Draining) || kept_for.is_some() {
                continue;
            }
            while self.draft.collectors[from].topics > self.capacity {
                let Some(to) = self.levels.coldest_with_room(group as usize) else { break };
                let full = self.band.full(self.fair[group as usize]);
                let wanting = full.saturating_sub(self.draft.collectors[to].weight);
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

    /// Whether these moves may be in flight beside those that are. Alone they always may: else a topic of more than the budget could never
    /// move, and two that are more together could never change places.
    fn affordable(&self, moves: &[(usize, usize)]) -> bool {
        let paid = || moves.iter().filter(|&&(topic, to)| !self.is_free(topic, to));
        let (count, weight) =
            paid().fold((0, 0), |(count, weight), &(topic, _)| (count + 1, weight + self.draft.entries[topic].weight));
        let all = self.draft.moving + count;
        count == 0 || all == count || (all <= MOVES_IN_FLIGHT && self.draft.moving_weight + weight <= self.budget)
    }

    /// Whether nobody has to warm up for it: no one reads the topic yet, or the one that gets it is warm.
    fn is_free(&self, topic: usize, to: usize) -> bool {
        let entry = &self.draft.entries[topic];
        entry.fresh || self.draft.collectors[to].info.warm.contains(&entry.wanted.spec.topic)
    }

    fn carry_out(&mut self, topic: usize, to: usize, reason: Reason) {
        let from = self.draft.entries[topic].now.owner;
        let percent = |draft: &Draft<'_>, seat: Seat| {
            draft.collector(seat).map_or(0, |collector| {
                let fair = self.fair[collector.group as usize].max(1);
                u16::try_from(u128::from(collector.weight) * 100 / u128::from(fair)).unwrap_or(u16::MAX)
            })
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
        let (weight, seated) = (entry.weight, entry.seat != Seat::NOBODY);
        self.draft.tally(topic);
        if let Some(from) = from.index() {
            self.movable.remove(from, weight, topic);
            self.levels.update(self.draft, from);
        }
        if free && !seated {
            self.movable.insert(to, weight, topic);
        }
        self.levels.update(self.draft, to);
    }
}
