//! The first step: what of the previous plan still holds, and which moves in flight are over.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::draft::{Draft, Entry, Readers, Seat, Why};
use super::{Problem, TopicLoad, groups, wishes};
use crate::plan::{Placed, Placement, Plan};

/// The draft as the previous plan leaves it, and the topics that nobody reads.
pub(super) fn settle<'a>(problem: &'a Problem, previous: &'a Plan, capacity: usize) -> (Draft<'a>, Vec<usize>) {
    let (mut draft, seats) = Draft::new(&problem.collectors);
    let joined = match join(problem.topics.iter(), problem.topics.len(), previous, &seats) {
        Ok(joined) => joined,
        Err(Unsorted) => {
            let mut topics: Vec<&TopicLoad> = problem.topics.iter().collect();
            topics.sort_by(|a, b| a.spec.topic.cmp(&b.spec.topic));
            topics.dedup_by(|later, earlier| later.spec.topic == earlier.spec.topic);
            // Sorted now, so this can't fail; an empty draft would be safe too, but is never made.
            join(topics.iter().copied(), topics.len(), previous, &seats).unwrap_or_default()
        }
    };
    draft.entries = joined.entries;
    draft.vanished = joined.vanished;
    draft.weigh();
    groups::group(&mut draft, problem.policy.kind);
    wishes::pin(&mut draft, |id| seats.get(id).copied());
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

#[derive(Default)]
struct Joined<'a> {
    entries: Vec<Entry<'a>>,
    vanished: Vec<&'a Arc<Placed>>,
}

/// The topics do not come strictly by name.
struct Unsorted;

/// Finds each topic in the previous plan. Both come by name, so one comparison for each topic is enough where little has changed.
fn join<'a>(
    topics: impl Iterator<Item = &'a TopicLoad>,
    count: usize,
    previous: &'a Plan,
    seats: &FxHashMap<&str, Seat>,
) -> Result<Joined<'a>, Unsorted> {
    let mut joined = Joined { entries: Vec::with_capacity(count), vanished: Vec::new() };
    let mut earlier = previous.topics.shared().peekable();
    for wanted in topics {
        let name = &wanted.spec.topic;
        while let Some(gone) = earlier.next_if(|placed| placed.spec.topic < *name) {
            joined.vanished.push(gone);
        }
        let placed = earlier.next_if(|placed| placed.spec.topic == *name);
        // What was found is in order, since the plan is.
        if placed.is_none() && joined.entries.last().is_some_and(|last| last.wanted.spec.topic >= *name) {
            return Err(Unsorted);
        }
        let before = placed.map_or(Readers::NONE, |placed| readers(&placed.placement, seats));
        let described = placed.is_some_and(|placed| described_alike(placed, wanted));
        joined.entries.push(Entry {
            wanted,
            previous: placed,
            weight: 0,
            before,
            now: before,
            why: Why::Kept,
            group: 0,
            seat: Seat::NOBODY,
            described,
            fresh: false,
        });
    }
    joined.vanished.extend(earlier);
    Ok(joined)
}

fn described_alike(previous: &Placed, wanted: &TopicLoad) -> bool {
    let (was, is) = (&previous.spec, &wanted.spec);
    was.concurrency_window == is.concurrency_window
        && was.rate_window == is.rate_window
        && previous.provider == wanted.provider
}

fn readers(placement: &Placement, seats: &FxHashMap<&str, Seat>) -> Readers {
    let seat = |id: &Option<String>| match id {
        Some(id) => seats.get(id.as_str()).copied().unwrap_or(Seat::UNKNOWN),
        None => Seat::NOBODY,
    };
    Readers { owner: seat(&placement.owner), incoming: seat(&placement.incoming) }
}
