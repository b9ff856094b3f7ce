//! What planning gives.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::{CollectorId, Plan, Topic};

/// Why a topic moves. `Display` gives a short word, fit for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The topic was placed nowhere.
    New,
    /// Its owner does not answer any more.
    Lost,
    /// It is pinned to where it goes.
    Pinned,
    /// It gets a collector of its own, or its owner is kept for another topic alone.
    Dedicated,
    /// Its owner is to be emptied.
    Draining,
    /// Its owner is for another provider's topics.
    Provider,
    /// Its owner has more topics than the policy allows.
    Overfull,
    /// Its owner carries more than its share, or the one that it goes to less.
    Balance,
    /// The same, inside the dead band: an operator has asked for it.
    Rebalance,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::New,
        Self::Lost,
        Self::Pinned,
        Self::Dedicated,
        Self::Draining,
        Self::Provider,
        Self::Overfull,
        Self::Balance,
        Self::Rebalance,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Lost => "lost",
            Self::Pinned => "pinned",
            Self::Dedicated => "dedicated",
            Self::Draining => "draining",
            Self::Provider => "provider",
            Self::Overfull => "overfull",
            Self::Balance => "balance",
            Self::Rebalance => "rebalance",
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

/// Why a topic is not where it should be. `Display` gives a sentence for people, without the topic's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// No collector is ready for its provider; empty where any provider's would do.
    NoCollector {
        /// The provider.
        provider: String,
    },
    /// It is pinned to a collector that nobody knows.
    PinnedToUnknown {
        /// The collector.
        collector: CollectorId,
    },
    /// It is pinned to a collector that does not answer, or has not yet; it goes there when that does.
    PinnedToAbsent {
        /// The collector.
        collector: CollectorId,
    },
    /// It is pinned to a collector that is being emptied.
    PinnedToDraining {
        /// The collector.
        collector: CollectorId,
    },
    /// It is pinned to a collector that is for another provider's topics.
    PinnedToOtherProvider {
        /// The collector.
        collector: CollectorId,
        /// The collector's provider.
        provider: String,
    },
    /// It wants a collector of its own, and there is none to spare.
    NoneOfItsOwn,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCollector { provider } if provider.is_empty() => f.write_str("no collector is ready"),
            Self::NoCollector { provider } => write!(f, "no collector of provider {provider} is ready"),
            Self::PinnedToUnknown { collector } => write!(f, "it is pinned to {collector}, which nobody knows"),
            Self::PinnedToAbsent { collector } => write!(f, "it is pinned to {collector}, which does not answer"),
            Self::PinnedToDraining { collector } => write!(f, "it is pinned to {collector}, which is being emptied"),
            Self::PinnedToOtherProvider { collector, provider } => {
                write!(f, "it is pinned to {collector}, which is for provider {provider}")
            }
            Self::NoneOfItsOwn => f.write_str("it wants a collector of its own, and there is none to spare"),
        }
    }
}

/// The next plan, and how it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The previous plan itself, generation and all, where nothing changes.
    pub plan: Plan,
    /// The moves that begin with this plan, by topic. That a move ends (its new owner is warm) is a change of the plan, and no move.
    pub moves: Vec<Move>,
    /// Topics that nobody answers for, by name: no collector is ready for them. They keep their place in the plan if they had one,
    /// so that a collector that comes back finds it.
    pub unassigned: Vec<Topic>,
    /// What could not be done as wanted, by topic; the unassigned are among them, and those that are read, but not where they should be.
    pub obstacles: Vec<(Topic, Obstacle)>,
    /// How many collectors the policy asks for, for each provider that has topics or collectors; under `max-per-host` for all of
    /// them, named "".
    pub wanted: BTreeMap<String, usize>,
}
