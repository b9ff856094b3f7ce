//! What operators have asked for, beside what follows from the resources and the measured load.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::{CollectorId, Topic};
use crate::policy::Policy;

/// What an operator wants of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollectorDirective {
    /// It keeps what it has, and gets nothing new.
    Cordon,
    /// It is emptied, and stays so.
    Drain,
}

/// A topic that was registered by hand, of a workload that no resource describes (or before one does).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredTopic {
    /// The workload, as `namespace/name`.
    pub workload: String,
    /// Where it runs.
    pub provider: String,
    /// Whether it wants a collector of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dedicated: bool,
}

/// What operators have asked for. It is kept in the store, so it survives a restart between the asking and the doing, and any
/// manager may change it, guarded by its revision; the leader alone acts on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Directives {
    /// The policy in place of the one from the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Topics that are to be read by this very collector, while it is there and well.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<Topic, CollectorId>,
    /// Collectors that are cordoned or drained.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub collectors: BTreeMap<CollectorId, CollectorDirective>,
    /// Topics registered by hand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub registered: BTreeMap<Topic, RegisteredTopic>,
    /// Topics whose deletion was asked for and is not done yet.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<Topic>,
    /// Grows by one with each rebalance that was asked for; the leader balances once for each, inside the dead band too.
    #[serde(skip_serializing_if = "is_zero")]
    pub rebalances: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
