//! What is to be planned.

use std::collections::BTreeSet;

use crate::plan::{AssignedTopic, CollectorId, Topic};
use crate::policy::Policy;

/// A topic, what it weighs, and what is wanted for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicLoad {
    /// What its readers need to know.
    pub spec: AssignedTopic,
    /// Where its workload runs.
    pub provider: String,
    /// What reading it costs, in frames per second or so; what is negative or no number counts as nothing.
    pub load: f64,
    /// The collector that is to read it, while that is there and well. A pin is stronger than a cordon and than another topic's
    /// wish for a collector of its own, and weaker than a drain.
    pub pinned: Option<CollectorId>,
    /// It wants a collector of its own.
    pub dedicated: bool,
}

impl TopicLoad {
    /// A topic that nothing is wanted for but to be read.
    #[must_use]
    pub fn new(spec: AssignedTopic, provider: impl Into<String>, load: f64) -> Self {
        Self { spec, provider: provider.into(), load, pinned: None, dedicated: false }
    }
}

/// What a collector is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollectorState {
    /// It takes topics.
    Ready,
    /// It keeps what it has, and gets nothing new but what is pinned to it.
    Cordoned,
    /// It has been told of, but has not answered yet: it keeps what it has, and gets nothing new at all.
    Joining,
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
    /// Whether to even out the load inside the dead band too. It takes several rounds: leave it on until a plan begins no move
    /// and has none in flight.
    pub rebalance: bool,
}
