//! The last step: the draft as a plan, and what is new in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{Draft, Entry, Readers, Seat, Why};
use super::{Move, Reason, Solution};
use crate::plan::{CollectorId, Placed, Placement, Plan, Topics};

/// Where more than one topic in this many changes, the plan is built anew; else the previous one is patched.
const PATCH_UP_TO_ONE_IN: usize = 16;

/// The solution that the draft comes to.
pub(super) fn tell(
    draft: Draft<'_>,
    previous: &Plan,
    unassigned: &[usize],
    wanted: BTreeMap<String, usize>,
) -> Solution {
    let changed: Vec<usize> = (0..draft.entries.len()).filter(|&topic| differs(&draft, topic)).collect();
    let mut plan = previous.clone();
    if !changed.is_empty() || !draft.vanished.is_empty() {
        plan.generation += 1;
        if (changed.len() + draft.vanished.len()) * PATCH_UP_TO_ONE_IN > draft.entries.len() {
            let all: Vec<Arc<Placed>> =
                (0..draft.entries.len()).filter_map(|topic| place(&draft, topic, plan.generation)).collect();
            plan.topics = Topics::from_sorted(&all);
        } else {
            for placed in &draft.vanished {
                plan.topics.remove(&placed.spec.topic);
            }
            for &topic in &changed {
                if let Some(placed) = place(&draft, topic, plan.generation) {
                    plan.topics.insert(placed);
                }
            }
        }
    }
    let topic_name = |topic: usize| draft.entries[topic].wanted.spec.topic.clone();
    let mut obstacles: Vec<_> =
        draft.obstacles.iter().map(|(topic, obstacle)| (topic_name(*topic), obstacle.clone())).collect();
    obstacles.sort();
    Solution {
        plan,
        moves: changed.iter().filter_map(|&topic| moved(&draft, &draft.entries[topic])).collect(),
        unassigned: unassigned.iter().map(|&topic| topic_name(topic)).collect(),
        obstacles,
        wanted,
    }
}

/// Whether the plan says anything else about this topic than the previous one.
fn differs(draft: &Draft<'_>, topic: usize) -> bool {
    let entry = &draft.entries[topic];
    match entry.previous {
        Some(_) => entry.now != entry.before || !entry.described || realone(draft, topic),
        None => entry.now != Readers::NONE,
    }
}

/// Whether a topic's collector is its own now and was not, or the other way round.
fn realone(draft: &Draft<'_>, topic: usize) -> bool {
    draft.entries[topic].was_alone != draft.is_alone(topic)
}

/// The topic in the new plan: the previous value itself where nothing differs, and none where it has no place.
fn place(draft: &Draft<'_>, topic: usize, generation: u64) -> Option<Arc<Placed>> {
    let entry = &draft.entries[topic];
    let stays = entry.previous.filter(|_| entry.now == entry.before);
    if let Some(previous) = stays {
        if entry.described && !realone(draft, topic) {
            return Some(previous.clone());
        }
        let wanted = entry.wanted;
        return Some(Arc::new(Placed {
            spec: wanted.spec.clone(),
            provider: wanted.provider.clone(),
            alone: draft.is_alone(topic),
            ..Placed::clone(previous)
        }));
    }
    let owner = name(draft, entry.now.owner)?;
    Some(Arc::new(Placed {
        spec: entry.wanted.spec.clone(),
        provider: entry.wanted.provider.clone(),
        placement: Placement { owner: Some(owner), incoming: name(draft, entry.now.incoming) },
        alone: draft.is_alone(topic),
        since: generation,
        reason: reason(draft, entry),
    }))
}

fn name(draft: &Draft<'_>, seat: Seat) -> Option<CollectorId> {
    draft.collector(seat).map(|collector| collector.info.id.clone())
}

/// For people.
fn reason(draft: &Draft<'_>, entry: &Entry<'_>) -> String {
    let was = entry.previous.map(|previous| &previous.placement);
    let owner = was.and_then(|was| was.owner.as_deref()).unwrap_or("nobody");
    let incoming = was.and_then(|was| was.incoming.as_deref()).unwrap_or("nobody");
    match entry.why {
        Why::Moved { from, reason, from_percent, to_percent } => {
            let from = draft.collector(from).map_or(owner, |collector| &collector.info.id);
            match reason {
                Reason::New => "new".to_owned(),
                Reason::Lost => format!("{from} was lost"),
                Reason::Pinned => "pinned here".to_owned(),
                Reason::Dedicated if entry.seat != Seat::NOBODY => "it has this collector for itself".to_owned(),
                Reason::Dedicated => format!("{from} is kept for another topic alone"),
                Reason::Draining => format!("{from} is draining"),
                Reason::Provider => format!("{from} is for another provider's topics"),
                Reason::Overfull => format!("{from} had more topics than allowed"),
                Reason::Balance | Reason::Rebalance => {
                    format!("{reason}: {from} had {from_percent} % of a fair share, the new owner {to_percent} %")
                }
            }
        }
        Why::GivenUp => format!("{incoming} could not take over"),
        Why::TakenOver => format!("{owner} was lost; {incoming} was reading already"),
        // Why it moved is still what matters.
        Why::HandedOver | Why::Kept => entry.previous.map_or_else(String::new, |previous| previous.reason.clone()),
    }
}

/// The move that begins here, if one does.
fn moved(draft: &Draft<'_>, entry: &Entry<'_>) -> Option<Move> {
    let Why::Moved { from, reason, .. } = entry.why else { return None };
    let was = entry.previous.and_then(|previous| previous.placement.owner.clone());
    let (from, to) = (name(draft, from).or(was), name(draft, entry.now.target()));
    // What is free to move may have come back to where it was.
    (from != to).then(|| Move { topic: entry.wanted.spec.topic.clone(), from, to, reason, forced: entry.fresh })
}
