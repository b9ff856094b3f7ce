//! Workloads, live.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::told::Told;

/// One workload, live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `InterceptorRoute` or `HTTPScaledObject`.
    pub kind: String,
    /// Its topic.
    pub topic: String,
    /// Where it runs.
    pub provider: String,
    /// Whether its values are known now. Where not, KEDA gets an error, and the numbers here are the last known ones. A zero is a number here
    /// only where it is known.
    pub known: bool,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unknown_reason: Option<String>,
    /// The collector whose answer this is.
    pub collector: Option<String>,
    /// Requests in flight, held ones included.
    pub in_flight: Option<u64>,
    /// Requests held for a cold start.
    pub held: Option<u64>,
    /// Mean requests in flight over the concurrency window.
    pub concurrency: Option<f64>,
    /// Requests per second over the rate window.
    pub request_rate: Option<f64>,
    /// The windows of both.
    pub window_seconds: Windows,
    /// Requests admitted, over all interceptors that are remembered.
    pub admitted_total: Option<u64>,
    /// Interceptors that contribute.
    pub interceptors: Option<u32>,
    /// When the newest request arrived, by the log's clock, in milliseconds since the Unix epoch.
    pub last_arrival_unix_ms: Option<u64>,
    /// Up to when the values have evidence, likewise.
    pub evidence_unix_ms: Option<u64>,
    /// Whether an interceptor is missing: its last contribution stands, and where a value is zero KEDA gets an error in its place.
    #[serde(default)]
    pub zero_is_unknown: bool,
    /// What KEDA is told now, with the terms that it is made of; none while unknown.
    pub told: Option<Told>,
}

/// The windows of a workload's values, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Windows {
    /// Of the mean concurrency.
    pub concurrency: f64,
    /// Of the request rate.
    pub request_rate: f64,
}
