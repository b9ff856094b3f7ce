//! The first step: what of the previous plan still holds, and which moves in flight are over.

use super::draft::{Draft, Readers, Seat, Why};
use super::join::{Unsorted, join};
use super::{Problem, TopicLoad, groups, wishes};
use crate::plan::Plan;

/// The draft as the previous plan leaves it, and the topics that nobody reads.
pub(super) fn settle<'a>(problem: &'a Problem, previous: &'a Plan, capacity: usize) -> (Draft<'a>, Vec<usize>) {
    let (mut draft, seats) = Draft::new(&problem.collectors);
    let mut topics: Vec<&TopicLoad> = problem.topics.iter().collect();
    let joined = match join(&topics, previous, &seats) {
        Ok(joined) => joined,
        Err(Unsorted) => {
            topics.sort_by(|a, b| a.spec.topic.cmp(&b.spec.topic));
            topics.dedup_by(|later, earlier| later.spec.topic == earlier.spec.topic);
            // Sorted now, so this can't fail; an empty draft would be safe too, but is never made.
            join(&topics, previous, &seats).unwrap_or_default()
        }
    };
    draft.entries = joined.entries;
    draft.vanished = joined.vanished;
    draft.weigh();
    groups::group(&mut draft, problem.policy.kind, &joined.dedicated);
    wishes::pin(&mut draft, &joined.pinned, |id| seats.get(id).copied());
    let mut homeless = Vec::new();
    for topic in 0..draft.entries.len() {
        let (now, why) = settled(&draft, topic);
        if now.owner == Seat::NOBODY {
            homeless.push(topic);
        }
        let group = draft.entries[topic].group;
        draft.strays |= draft.collector(now.owner).is_some_and(|owner| owner.group != group);
        draft.entries[topic].now = now;
        draft.entries[topic].why = why;
        draft.tally(topic);
    }
    wishes::dedicate(&mut draft, capacity);
    (draft, homeless)
}

/// Where a topic stands, seeing who still answers and who has become warm.
fn settled(draft: &Draft<'_>, topic: usize) -> (Readers, Why) {
    let entry = &draft.entries[topic];
    let Readers { owner, incoming } = entry.before;
    let keeps = Readers { owner, incoming: Seat::NOBODY };
    let arrives = Readers { owner: incoming, incoming: Seat::NOBODY };
    match (draft.answers(owner), draft.answers(incoming)) {
        (false, false) => (Readers::NONE, Why::Kept),
        (false, true) => (arrives, Why::TakenOver),
        (true, _) if incoming == Seat::NOBODY => (keeps, Why::Kept),
        (true, false) => (keeps, Why::GivenUp),
        (true, true) if !draft.welcomes(incoming, topic) => (keeps, Why::GivenUp),
        (true, true) => match draft.collector(incoming) {
            Some(to) if to.info.warm.contains(&entry.wanted.spec.topic) => (arrives, Why::HandedOver),
            _ => (entry.before, Why::Kept),
        },
    }
}

/// Gives up moves to collectors that have become another topic's own, and those of topics that have one of their own elsewhere.
pub(super) fn give_up_unwelcome(draft: &mut Draft<'_>) {
    if draft.collectors.iter().all(|collector| collector.kept_for.is_none()) {
        return;
    }
    for topic in 0..draft.entries.len() {
        let now = draft.entries[topic].now;
        if now.moving() && !draft.welcomes(now.incoming, topic) {
            draft.untally(topic);
            draft.entries[topic].now.incoming = Seat::NOBODY;
            draft.entries[topic].why = Why::GivenUp;
            draft.tally(topic);
        }
    }
}
