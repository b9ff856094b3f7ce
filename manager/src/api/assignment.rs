//! The plan, and what it would be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentView {
    /// Grows with each change.
    pub generation: u64,
    /// Who leads, where known.
    pub leader: Option<String>,
    /// Each topic's place.
    pub topics: BTreeMap<String, PlaceView>,
}

/// A rebalance that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceView {
    /// How many have been asked for since the beginning, this one included.
    pub asked: u64,
}

/// Where a topic is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// Who answers for it.
    pub owner: Option<String>,
    /// Who is about to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incoming: Option<String>,
    /// Why it is there.
    pub reason: String,
}
