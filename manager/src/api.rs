//! What the REST API speaks: the same types for the server and for `plimsoll ctl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::told::Told;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// How many items the whole list has.
    pub total: usize,
    /// Where this page begins in it.
    pub offset: usize,
}

/// One workload, live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Whether its values are known now. Where not, KEDA gets an error, and the numbers here are the last known ones.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Windows {
    /// Of the mean concurrency.
    pub concurrency: f64,
    /// Of the request rate.
    pub request_rate: f64,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicView {
    /// Its name.
    pub topic: String,
    /// Whose frames it has; none for a name that was shortened and whose workload is gone.
    pub workload: Option<String>,
    /// Where the workload runs.
    pub provider: Option<String>,
    /// The collector that answers for it.
    pub collector: Option<String>,
    /// The collector that it is moving to, which reads it already.
    pub incoming: Option<String>,
    /// `unassigned`, `warming` (its window is being replayed), `ready`, `moving`, `unknown`, or `retired` (its workload is gone).
    pub state: String,
    /// Frames a second.
    pub load: f64,
    /// Why it is where it is.
    pub reason: Option<String>,
}

/// One collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorView {
    /// Its name.
    pub id: String,
    /// Where managers reach it; none if it is not registered now.
    pub address: Option<String>,
    /// Which provider it serves.
    pub provider: Option<String>,
    /// `ready`, `joining` (nothing heard yet), `silent`, or `lost`.
    pub state: String,
    /// Topics that it owns, and topics that are moving to it.
    pub topics: usize,
    /// See `topics`.
    pub incoming: usize,
    /// Frames a second over its topics.
    pub load: f64,
    /// Seconds since everything that was then in the log had been read.
    pub lag_seconds: f64,
    /// Seconds since its newest update.
    pub silent_seconds: f64,
    /// The generation of the plan that it follows.
    pub generation: u64,
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentView {
    /// Grows with each change.
    pub generation: u64,
    /// Who leads, where known.
    pub leader: Option<String>,
    /// Each topic's place.
    pub topics: BTreeMap<String, PlaceView>,
}

/// Where a topic is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// Whether this manager is ready, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyView {
    /// Ready to answer.
    pub ready: bool,
    /// Whether it leads.
    pub leading: bool,
    /// What is wrong or missing, whether or not it keeps the manager from answering.
    pub reasons: Vec<String>,
}

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of error.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What was asked, why it can't be, and what can.
    pub detail: String,
}
