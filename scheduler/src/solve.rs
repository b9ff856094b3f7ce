//! Planning: a pure function from what there is and the previous plan to the next one.
//!
//! See [`solve`] for what it promises.

use std::collections::BTreeSet;
use std::fmt;

use crate::plan::{AssignedTopic, CollectorId, Plan, Topic};

mod draft;
mod place;
mod settle;
mod shift;
mod tell;
#[cfg(test)]
mod tests;

/// How far a collector may be from its fair share before load moves. Measured load trembles; moves cost a replay each.
pub const DEAD_BAND_PERCENT: u64 = 10;
/// How much of all load may be moving at one time (Slicer, OSDI '16, section 4.4.1).
pub const ROUND_PERCENT: u64 = 9;
/// How many topics may be moving at one time: each is read twice, and replayed.
pub const MOVES_IN_FLIGHT: usize = 1000;

/// A topic and what it weighs.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicLoad {
    /// What its readers need to know.
    pub spec: AssignedTopic,
    /// Where its workload runs.
    pub provider: String,
    /// What reading it costs, in frames per second or so; what is negative or no number counts as nothing.
    pub load: f64,
}

/// What a collector is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CollectorState {
    /// It takes topics.
    Ready,
    /// It keeps what it has, and gets nothing new.
    Cordoned,
    /// It still answers, and is to be emptied.
    Draining,
    /// It does not answer: its topics go elsewhere at once.
    Lost,
}

/// A collector as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorInfo {
    /// Its name.
    pub id: CollectorId,
    /// Which provider's topics it is for.
    pub provider: String,
    /// What it is good for.
    pub state: CollectorState,
    /// The topics that it reports warm. Those that it is incoming for are enough; others do no harm while it reads them.
    pub warm: BTreeSet<Topic>,
}

/// The rule that makes the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// So many topics a collector at most, whatever their provider.
    MaxPerHost {
        /// Topics a collector, at least one. Exceeded only while all that are ready are full.
        max_per_host: u32,
        /// Collectors wanted at least.
        min_collectors: u32,
        /// Collectors wanted at most.
        max_collectors: u32,
    },
}

/// What is to be planned. Neither list needs an order; planning is quickest when topics come sorted by name. Of topics or collectors
/// named twice the first counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Every topic that must be read.
    pub topics: Vec<TopicLoad>,
    /// Every collector known. One that is missing here counts as lost.
    pub collectors: Vec<CollectorInfo>,
    /// The rule.
    pub policy: Policy,
}

/// Why a topic moves. `Display` gives a short word, fit for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The topic was placed nowhere.
    New,
    /// Its owner does not answer any more.
    Lost,
    /// Its owner is to be emptied.
    Draining,
    /// Its owner has more topics than the policy allows.
    Overfull,
    /// Its owner carries more than its share, or the one that it goes to less.
    Balance,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::Overfull => "overfull",
            Self::Balance => "balance",
        })
    }
}

/// A topic that goes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub topic: Topic,
    /// Its owner until now; none where it is new.
    pub from: Option<CollectorId>,
    /// Its owner, at once or when it is warm.
    pub to: Option<CollectorId>,
    /// Why.
    pub reason: Reason,
    /// True: the new owner takes over at once, since nobody else answers. False: it takes over when it is warm.
    pub forced: bool,
}

/// The next plan, and how it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The previous plan itself, generation and all, where nothing changes.
    pub plan: Plan,
    /// The moves that begin with this plan, by topic. That a move ends (its new owner is warm) is a change of the plan, and no move.
    pub moves: Vec<Move>,
    /// Topics that nobody answers for: no collector is ready. They keep their place in the plan if they had one, so that a
    /// collector that comes back finds it.
    pub unassigned: Vec<Topic>,
    /// How many collectors the policy asks for.
    pub wanted_collectors: usize,
}

/// Makes the next plan.
///
/// * Every topic is placed, by the least loaded collector that is ready, the heaviest topic first; on a full one when all are full:
///   a topic that nobody answers for is worse. Where none is ready it is told as unassigned.
/// * A collector is responsible for no more topics than the policy allows, where there is room. While a topic moves, its owner reads it too.
/// * Nothing moves that need not: the same problem gives the same plan again, and no collector sheds or gets load while all are within
///   [`DEAD_BAND_PERCENT`] of their fair share.
/// * What moves without need of haste is made before it is broken: the new collector is incoming first, and the owner when it reports the
///   topic warm. Moves in flight at one time weigh [`ROUND_PERCENT`] of all load at most (or are one topic), and are no more than [`MOVES_IN_FLIGHT`].
/// * Topics of a collector that is lost go at once to whoever is incoming for them, or to the least loaded.
#[must_use]
pub fn solve(problem: &Problem, previous: &Plan) -> Solution {
    let Policy::MaxPerHost { max_per_host, min_collectors, max_collectors } = problem.policy;
    let capacity = usize::try_from(max_per_host.max(1)).unwrap_or(usize::MAX);
    let (mut draft, homeless) = settle::settle(problem, previous);
    let unassigned = place::place(&mut draft, homeless, capacity);
    shift::shift(&mut draft, capacity);
    let wanted = draft.entries.len().div_ceil(capacity).max(min_collectors as usize).min(max_collectors as usize);
    tell::tell(draft, previous, &unassigned, wanted)
}
