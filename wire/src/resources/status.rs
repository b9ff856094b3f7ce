//! What Plimsoll writes back into the resources of a cluster: the conditions that say whether it can use them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition that says whether a resource is in use as it stands.
pub const READY: &str = "Ready";

/// The status of an `InterceptorRoute`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// What is to be said of the resource, one condition of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The status of an `HTTPScaledObject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// What is to be said of the resource, one condition of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The service that requests go to, with its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_service: Option<String>,
    /// What is scaled: API version, kind and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_workload: Option<String>,
}

/// One thing that is to be said of a resource, as Kubernetes' own resources have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When `status` became what it is, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// A sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the resource that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// A word for programs.
    #[schemars(length(min = 1, max = 1024), extend("pattern" = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Whether it holds.
    #[schemars(with = "String", extend("enum" = ["True", "False", "Unknown"]))]
    pub status: Holds,
    /// What is said, such as `Ready`.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        extend("pattern" = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$")
    )]
    pub type_: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
    /// That can't be told.
    Unknown,
}

// === impl Condition ===

impl Condition {
    /// Whether the other one says the same; when it began to be so apart.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let Self { last_transition_time: _, message, observed_generation, reason, status, type_ } = self;
        (message, observed_generation, reason, status, type_)
            == (&other.message, &other.observed_generation, &other.reason, &other.status, &other.type_)
    }
}
