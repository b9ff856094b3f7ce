//! How long it takes from the decision to move a topic until its new owner answers for it.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_scheduler::plan::{CollectorId, Plan, Topic};
use plimsoll_scheduler::solve::Move;
use tokio::time::Instant;

use super::decisions::What;
use crate::board::Board;

/// Between two looks: each takes time in proportion to the topics on the move.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Topics whose new owner does not answer yet. There are no more than topics.
#[derive(Debug, Default)]
pub struct Arrivals {
    awaited: BTreeMap<Topic, Awaited>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Awaited {
    by: CollectorId,
    since: Instant,
    generation: u64,
}

impl Arrivals {
    /// A plan with these moves is in force.
    pub fn decided(&mut self, moves: &[Move], generation: u64, now: Instant) {
        for planned in moves {
            match &planned.to {
                Some(to) => {
                    let awaited = Awaited { by: to.clone(), since: now, generation };
                    self.awaited.insert(planned.topic.clone(), awaited);
                }
                None => drop(self.awaited.remove(&planned.topic)),
            }
        }
    }

    /// Those that have arrived since the last look, and how long that took. What the plan has sent elsewhere meanwhile is forgotten.
    pub fn arrived(&mut self, plan: &Plan, board: &Board, now: Instant) -> Vec<(What, Duration)> {
        if self.awaited.is_empty() || self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return Vec::new();
        }
        self.looked = Some(now);
        let mut arrived = Vec::new();
        self.awaited.retain(|topic, awaited| {
            let Some(placed) = plan.topics.get(topic) else { return false };
            let (owner, incoming) = (placed.placement.owner.as_ref(), placed.placement.incoming.as_ref());
            if incoming == Some(&awaited.by) {
                return true;
            }
            if owner != Some(&awaited.by) || incoming.is_some() {
                return false;
            }
            if !board.cell(&topic.as_str().into()).good_on(&awaited.by, awaited.generation) {
                return true;
            }
            let took = now - awaited.since;
            let (topic, collector) = (topic.clone(), awaited.by.clone());
            arrived.push((What::Arrived { topic, collector, seconds: took.as_secs_f64() }, took));
            false
        });
        arrived
    }
}
