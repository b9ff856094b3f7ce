//! The policy.

use plimsoll_scheduler::policy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The rule that makes the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"kind": "max-per-host", "maxPerHost": 200, "minCollectors": 1, "maxCollectors": 50}))]
pub struct PolicyView {
    /// How topics are grouped.
    pub kind: PolicyKind,
    /// Topics a collector. Exceeded only while all that are ready are full.
    #[schema(minimum = 1)]
    pub max_per_host: u32,
    /// Collectors wanted at least (for each provider that has topics, under `per-provider`).
    #[schema(minimum = 1)]
    pub min_collectors: u32,
    /// Collectors wanted at most, likewise; not less than `minCollectors`.
    #[schema(minimum = 1)]
    pub max_collectors: u32,
}

/// How topics are grouped before they are balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Any collector reads any topic.
    MaxPerHost,
    /// Each provider's topics stay on that provider's collectors; the limits hold inside each.
    PerProvider,
}

impl From<policy::Policy> for PolicyView {
    fn from(policy: policy::Policy) -> Self {
        let policy::Policy { kind, max_per_host, min_collectors, max_collectors } = policy;
        let kind = match kind {
            policy::PolicyKind::MaxPerHost => PolicyKind::MaxPerHost,
            policy::PolicyKind::PerProvider => PolicyKind::PerProvider,
        };
        Self { kind, max_per_host, min_collectors, max_collectors }
    }
}

impl From<PolicyView> for policy::Policy {
    fn from(view: PolicyView) -> Self {
        let PolicyView { kind, max_per_host, min_collectors, max_collectors } = view;
        let kind = match kind {
            PolicyKind::MaxPerHost => policy::PolicyKind::MaxPerHost,
            PolicyKind::PerProvider => policy::PolicyKind::PerProvider,
        };
        Self { kind, max_per_host, min_collectors, max_collectors }
    }
}
