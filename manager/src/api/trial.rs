//! Plans that are tried out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PolicyView;

/// What is to be tried: the system as it is, with these changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(example = json!({"drain": ["collector-3"], "rebalance": true}))]
pub struct TrialAsked {
    /// Another policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyView>,
    /// Collectors as if they were drained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<String>,
    /// Collectors as if they were lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lose: Vec<String>,
    /// Whether to even out small imbalances too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rebalance: bool,
}

/// What would move, and why. Nothing is changed by asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialView {
    /// The generation of the plan that this begins from.
    pub generation: u64,
    /// The policy that was planned with.
    pub policy: PolicyView,
    /// Rounds until nothing moves any more: only so much moves at a time, and each round waits until the one before has arrived.
    pub rounds: u32,
    /// Whether it came to rest within the rounds that are tried.
    pub settled: bool,
    /// The moves from where topics are to where they would be in the end, by topic; the first 10,000.
    pub moves: Vec<MoveView>,
    /// How many there are.
    pub total_moves: usize,
    /// Topics that nobody would answer for; the first 1,000.
    pub unassigned: Vec<String>,
    /// What could not be done as wanted, by topic; the first 1,000.
    pub obstacles: BTreeMap<String, String>,
    /// Collectors that the policy asks for, by provider; under `max-per-host` for all, named by nothing.
    pub wanted_collectors: BTreeMap<String, usize>,
    /// How the load is spread now.
    pub before: Spread,
    /// How it would be.
    pub after: Spread,
}

/// A topic that would go elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveView {
    /// Which.
    pub topic: String,
    /// Who answers for it now.
    pub from: Option<String>,
    /// Who would.
    pub to: Option<String>,
    /// A short word, as in the metric's label.
    pub reason: String,
    /// Whether it would have to go at once, since nobody else answers.
    pub forced: bool,
    /// What it weighs, in frames a second.
    pub load: f64,
}

/// How load is spread over the collectors that take topics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The most loaded one over the mean; 1 is even.
    pub max_over_mean: f64,
    /// The most topics on one.
    pub most_topics: usize,
    /// The fewest.
    pub fewest_topics: usize,
}
