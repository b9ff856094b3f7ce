//! Why the fleet has the size that it has.

use std::fmt;
use std::time::Duration;

use crate::plan::{CollectorId, Topic};

/// Why there are so many collectors. `Display` gives a sentence for people.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// Nobody has a topic for this provider.
    NoTopics,
    /// The topics, by their number, need so many.
    Topics {
        /// How many topics.
        topics: usize,
        /// How many a collector takes.
        max_per_host: u32,
    },
    /// The topics' load needs so many.
    Load {
        /// It.
        load: f64,
        /// What a collector takes.
        max_load: f64,
    },
    /// The policy asks for no fewer.
    Minimum {
        /// How many.
        min_collectors: u32,
    },
    /// More would be needed than the policy allows.
    Maximum {
        /// How many would be.
        needed: usize,
        /// How many are allowed.
        max_collectors: u32,
    },
    /// Others do not answer, or are being emptied by an operator.
    Replaces {
        /// Which.
        collectors: Vec<CollectorId>,
    },
    /// Fewer are enough, and must have been for a while.
    Quiet {
        /// How many are enough.
        enough: usize,
        /// For how much longer.
        left: Duration,
    },
    /// Fewer are enough; this is waited for.
    Topic {
        /// The topic that is not where it belongs, or pinned to the collector that would leave.
        topic: Topic,
        /// Which of these.
        what: TopicWait,
    },
    /// Fewer are enough; a collector must be well first, or gone.
    Unwell {
        /// Which.
        collector: CollectorId,
    },
    /// Fewer are enough: this one is being emptied.
    Draining {
        /// Which.
        collector: CollectorId,
        /// Topics that it still reads.
        topics: usize,
    },
    /// Fewer are enough, and this one is empty.
    Released {
        /// Which.
        collector: CollectorId,
    },
    /// Fewer are enough.
    Enough {
        /// For how many topics.
        topics: usize,
    },
}

/// What keeps a collector from leaving for a topic's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicWait {
    /// Nobody answers for it.
    Unassigned,
    /// It is moving.
    Moving,
    /// It is pinned to the collector that would leave.
    Pinned,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopics => f.write_str("there are no topics"),
            Self::Topics { topics, max_per_host } => write!(f, "{topics} topics, {max_per_host} a collector at most"),
            Self::Load { load, max_load } => write!(f, "a load of {load:.0}, {max_load:.0} a collector at most"),
            Self::Minimum { min_collectors } => write!(f, "the policy asks for {min_collectors} at least"),
            Self::Maximum { needed, max_collectors } => {
                write!(f, "{needed} are needed, and the policy allows {max_collectors} at most")
            }
            Self::Replaces { collectors } => write!(f, "in place of {}", collectors.join(", ")),
            Self::Quiet { enough, left } => {
                write!(f, "{enough} are enough; one leaves if that is so for another {} s", left.as_secs())
            }
            Self::Topic { topic, what } => match what {
                TopicWait::Unassigned => write!(f, "fewer are enough, but nobody answers for {topic}"),
                TopicWait::Moving => write!(f, "fewer are enough; {topic} is moving, which comes first"),
                TopicWait::Pinned => write!(f, "fewer are enough, but {topic} is pinned to the last one"),
            },
            Self::Unwell { collector } => write!(f, "fewer are enough, but {collector} is not well, or away"),
            Self::Draining { collector, topics } => {
                write!(f, "fewer are enough; {collector} is being emptied, {topics} topics are left")
            }
            Self::Released { collector } => write!(f, "fewer are enough, and {collector} is empty"),
            Self::Enough { topics } => write!(f, "fewer are enough for {topics} topics"),
        }
    }
}
