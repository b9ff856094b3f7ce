//! Topics that must not stay where they are.

use std::cmp::Reverse;

use super::super::draft::{Draft, Seat, Why};
use super::super::{CollectorState, Obstacle, Reason};
use super::{Shift, Step};

impl Shift<'_, '_> {
    /// Brings topics to where they alone may be, then empties collectors of what must not be there; the heaviest first, also onto
    /// full collectors: who drains a collector wants it gone.
    pub(super) fn leave(&mut self, made: &mut usize) -> Step {
        let step = self.seat(made);
        if step == Step::OverBudget || !may_be_misplaced(self.draft) {
            return step;
        }
        for (topic, reason) in heaviest_first(self.draft, misplaced(self.draft)) {
            let group = self.draft.entries[topic].group as usize;
            let Some(to) = self.levels.coldest_with_room(group).or(self.levels.coldest(group)) else { continue };
            match self.try_move(topic, to, reason) {
                Step::Made => *made += 1,
                other => return other,
            }
        }
        Step::Nothing
    }

    fn seat(&mut self, made: &mut usize) -> Step {
        let unseated = |&topic: &usize| !self.draft.entries[topic].now.moving() && !self.draft.is_seated(topic);
        let reason = |topic: usize| match self.draft.collector(self.draft.entries[topic].seat) {
            Some(to) if to.kept_for == Some(topic) => Reason::Dedicated,
            _ => Reason::Pinned,
        };
        let topics = self.draft.seated.iter().copied().filter(unseated).map(|topic| (topic, reason(topic))).collect();
        for (topic, reason) in heaviest_first(self.draft, topics) {
            let Some(to) = self.draft.entries[topic].seat.index() else { continue };
            match self.try_move(topic, to, reason) {
                Step::Made => *made += 1,
                other => return other,
            }
            if reason == Reason::Dedicated {
                self.call_back_others(topic, to);
            }
        }
        Step::Nothing
    }

    /// Gives up the moves of other topics to a collector that is now one topic's own.
    fn call_back_others(&mut self, topic: usize, to: usize) {
        for other in 0..self.draft.entries.len() {
            if other == topic || self.draft.entries[other].now.incoming != Seat::at(to) {
                continue;
            }
            self.draft.untally(other);
            let entry = &mut self.draft.entries[other];
            entry.now.incoming = Seat::NOBODY;
            entry.why = if entry.before.moving() { Why::GivenUp } else { Why::Kept };
            let (owner, weight, seated) = (entry.now.owner.index(), entry.weight, entry.seat != Seat::NOBODY);
            self.draft.tally(other);
            if let Some(owner) = owner {
                if !seated && self.draft.collectors[owner].group == self.draft.entries[other].group {
                    self.movable.insert(owner, weight, other);
                }
                self.levels.update(self.draft, owner);
            }
            self.levels.update(self.draft, to);
        }
    }
}

fn heaviest_first(draft: &Draft<'_>, mut topics: Vec<(usize, Reason)>) -> Vec<(usize, Reason)> {
    topics.sort_unstable_by_key(|&(topic, _)| (Reverse(draft.entries[topic].weight), topic));
    topics
}

/// Whether there is a reason to look at every topic.
fn may_be_misplaced(draft: &Draft<'_>) -> bool {
    draft.strays
        || draft.collectors.iter().any(|collector| {
            (collector.is(CollectorState::Draining) && collector.topics > 0)
                || (collector.kept_for.is_some() && collector.topics > 1)
        })
}

/// Tells of topics that are read by another provider's collector because none of their own is ready.
pub(super) fn tell_strays(draft: &mut Draft<'_>) {
    if !draft.strays {
        return;
    }
    let stray = |topic: &usize| {
        let entry = &draft.entries[*topic];
        let owner = draft.collector(entry.now.owner);
        !entry.now.moving()
            && owner.is_some_and(|owner| owner.group != entry.group && !owner.is(CollectorState::Lost))
            && draft.open(entry.group).next().is_none()
    };
    let strays: Vec<usize> = (0..draft.entries.len()).filter(stray).collect();
    for topic in strays {
        let provider = draft.groups[draft.entries[topic].group as usize].name.to_owned();
        draft.obstacles.push((topic, Obstacle::NoCollector { provider }));
    }
}

/// The topics that stand where they must not be and that may go anywhere in their group, with the reason.
fn misplaced(draft: &Draft<'_>) -> Vec<(usize, Reason)> {
    let misplaced = |topic: usize| {
        let entry = &draft.entries[topic];
        if entry.now.moving() || entry.seat != Seat::NOBODY {
            return None;
        }
        let owner = draft.collector(entry.now.owner)?;
        let reason = if owner.is(CollectorState::Lost) {
            // Nobody is ready for it.
            None
        } else if owner.group != entry.group {
            Some(Reason::Provider)
        } else if owner.is(CollectorState::Draining) {
            Some(Reason::Draining)
        } else if draft.is_taken(owner, topic) {
            Some(Reason::Dedicated)
        } else {
            None
        };
        reason.map(|reason| (topic, reason))
    };
    (0..draft.entries.len()).filter_map(misplaced).collect()
}
