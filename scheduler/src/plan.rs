//! The plan: which collector reads which topic, and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

mod topics;

pub use topics::Topics;

/// A collector's name.
pub type CollectorId = String;
/// A topic's name.
pub type Topic = String;

/// What a collector needs to know of a topic that it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedTopic {
    /// Its name.
    pub topic: Topic,
    /// Over what its mean concurrency is taken.
    #[serde(rename = "concurrencyWindowMs", with = "milliseconds")]
    pub concurrency_window: Duration,
    /// Over what its request rate is taken.
    #[serde(rename = "rateWindowMs", with = "milliseconds")]
    pub rate_window: Duration,
}

/// As what a collector reads a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its answers count.
    Owner,
    /// It reads already, to be warm before the owner is released.
    Incoming,
}

/// Everything that one collector reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorAssignment {
    /// The generation of the plan that this is part of; zero before the first plan.
    pub generation: u64,
    /// The topics it owns and those it is incoming for, by name.
    pub topics: Vec<AssignedTopic>,
}

/// Who reads a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Whose answers count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<CollectorId>,
    /// Who reads along, to become the owner when it is warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoming: Option<CollectorId>,
}

impl Placement {
    /// A topic that stays where it is.
    #[must_use]
    pub fn owned_by(owner: impl Into<CollectorId>) -> Self {
        Self { owner: Some(owner.into()), incoming: None }
    }

    /// As what this collector reads the topic, if it does.
    #[must_use]
    pub fn role_of(&self, collector: &str) -> Option<Role> {
        if self.owner.as_deref() == Some(collector) {
            Some(Role::Owner)
        } else if self.incoming.as_deref() == Some(collector) {
            Some(Role::Incoming)
        } else {
            None
        }
    }

    /// Everyone who reads the topic: the owner first.
    pub fn readers(&self) -> impl Iterator<Item = &CollectorId> {
        self.owner.iter().chain(&self.incoming)
    }
}

/// A topic of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// What its readers need to know.
    #[serde(flatten)]
    pub spec: AssignedTopic,
    /// Where its workload runs.
    pub provider: String,
    /// Who reads it.
    #[serde(flatten)]
    pub placement: Placement,
    /// Whether the collector that has it, or will have it, is kept for it alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// The generation that placed it so.
    pub since: u64,
    /// Why it is there: a sentence for people.
    pub reason: String,
}

/// Which collector reads which topic. Cloning is cheap: two plans share the topics in which they agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Grows by one with every plan that differs; zero is the empty plan from before the first.
    pub generation: u64,
    /// Every topic, by name.
    pub topics: Topics,
}

impl Plan {
    /// What this collector reads.
    #[must_use]
    pub fn assignment(&self, collector: &str) -> CollectorAssignment {
        let topics = self.topics.iter().filter(|(_, placed)| placed.placement.role_of(collector).is_some());
        CollectorAssignment {
            generation: self.generation,
            topics: topics.map(|(_, placed)| placed.spec.clone()).collect(),
        }
    }
}

/// Durations as whole milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
