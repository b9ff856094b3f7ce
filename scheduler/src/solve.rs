//! Planning: a pure function from what there is and the previous plan to the next one.
//!
//! See [`solve`] for what it promises.

use crate::plan::Plan;

mod draft;
mod groups;
mod join;
mod place;
mod problem;
mod settle;
mod shift;
mod solution;
mod tell;
#[cfg(test)]
mod tests;
mod wishes;

pub use problem::{CollectorInfo, CollectorState, Problem, TopicLoad};
pub use solution::{Move, Obstacle, Reason, Solution};

/// How far a collector may be from its fair share before load moves. Measured load trembles; moves cost a replay each.
pub const DEAD_BAND_PERCENT: u64 = 10;
/// The dead band while an operator has load evened out. Narrower, and topics would move for what is noise in their measured load.
pub const REBALANCE_BAND_PERCENT: u64 = 2;
/// How much of all load may be moving at one time (Slicer, OSDI '16, section 4.4.1).
pub const ROUND_PERCENT: u64 = 9;
/// How many topics may be moving at one time: each is read twice, and replayed.
pub const MOVES_IN_FLIGHT: usize = 1000;

/// Makes the next plan.
///
/// * Every topic is placed, by the least loaded collector that is ready, the heaviest topic first; on a full one when all are full:
///   a topic that nobody answers for is worse. Where none is ready it is told as unassigned.
/// * A collector is responsible for no more topics than the policy allows, where there is room. While a topic moves, its owner reads it too.
/// * Nothing moves that need not: the same problem gives the same plan again, and no collector sheds or gets load while all are within
///   [`DEAD_BAND_PERCENT`] of their fair share.
/// * What moves without need of haste is made before it is broken: the new collector is incoming first, and the owner when it reports the
///   topic warm. Moves in flight at one time weigh [`ROUND_PERCENT`] of all load at most (or are one
///   topic, or two that change places), and are no more than [`MOVES_IN_FLIGHT`].
/// * Topics of a collector that is lost go at once to whoever is incoming for them, or to the least loaded.
#[must_use]
pub fn solve(problem: &Problem, previous: &Plan) -> Solution {
    let policy = problem.policy;
    let capacity = usize::try_from(policy.max_per_host.max(1)).unwrap_or(usize::MAX);
    let (mut draft, homeless) = settle::settle(problem, previous, capacity);
    let unassigned = place::place(&mut draft, homeless, capacity);
    shift::shift(&mut draft, capacity, problem.rebalance);
    let wanted = groups::wanted(&draft, &policy, capacity);
    tell::tell(draft, previous, &unassigned, wanted)
}
