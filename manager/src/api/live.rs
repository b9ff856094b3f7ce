//! What a page that stays open is told, and each workload's last hour.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CollectorView, PolicyView};

/// How the fleet is at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetView {
    /// When, by this manager's clock, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Tells this run of the manager from all others.
    pub run: String,
    /// Whether this manager leads.
    pub leading: bool,
    /// Who leads, where known.
    pub leader: Option<String>,
    /// Why the store can't be reached; none while it can.
    pub store_away: Option<String>,
    /// The plan's generation.
    pub generation: u64,
    /// Topics of the plan.
    pub topics: usize,
    /// Those that nobody reads.
    pub unassigned: usize,
    /// The number of the newest decision.
    pub newest_decision: u64,
    /// The policy in force.
    pub policy: PolicyView,
    /// The collectors.
    pub collectors: Vec<CollectorView>,
    /// Moves under way; the first 200.
    pub moves: Vec<MovingView>,
    /// How many there are.
    pub total_moves: usize,
    /// The interceptors that collectors hear.
    pub interceptors: Vec<InterceptorView>,
}

/// A topic that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovingView {
    /// Which.
    pub topic: String,
    /// Who answers for it.
    pub from: Option<String>,
    /// Who is about to.
    pub to: String,
    /// Whether that one has replayed the topic's window.
    pub warm: bool,
}

/// An interceptor, as collectors hear it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorView {
    /// Its name.
    pub name: String,
    /// This run of it.
    pub incarnation: u64,
    /// False: its heartbeats are missing, its last contribution stands, and no zero is told where it contributes.
    pub live: bool,
    /// Its newest heartbeat by the log's clock, in milliseconds since the Unix epoch: up to then all its frames are in the log.
    pub last_heartbeat_unix_ms: u64,
    /// How many collectors hear it.
    pub heard_by: usize,
}

/// A workload's values in a message of rows: id, flags, requests in flight, held ones, mean concurrency, requests per second, wanted
/// replicas.
pub type LiveRow = (u32, u8, u64, u64, f64, f64, Option<u32>);

/// A whole row: namespace, name, provider, targets of concurrency and rate, least and most replicas, collector, values.
pub type WholeRow<S = String> = (S, S, S, Option<u32>, Option<u32>, Option<u32>, Option<u32>, Option<S>, LiveRow);

/// The values are known; where not, they are the last known ones.
pub const KNOWN: u8 = 1;
/// KEDA is told that the workload is active.
pub const ACTIVE: u8 = 2;
/// An interceptor is missing: a zero is not told.
pub const ZERO_IS_UNKNOWN: u8 = 4;
/// Some collector has answered, so there are numbers at all.
pub const HEARD: u8 = 8;

/// A message of the live stream about workloads: rows in a form that costs little, as there may be 10,000.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RowsView<S = String> {
    /// When, by this manager's clock, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What was told before is void.
    pub reset: bool,
    /// How many rows there are; with fewer known yet, more follow.
    pub total: usize,
    /// Rows that are new, or of which more than values has changed.
    pub whole: Vec<WholeRow<S>>,
    /// Values that have changed.
    pub live: Vec<LiveRow>,
    /// Ids of rows that are no more.
    pub gone: Vec<u32>,
}

/// One workload's last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// The workload, as `namespace/name`.
    pub workload: String,
    /// Seconds of one point.
    pub step_seconds: u64,
    /// The newest last, one for each step since this manager looks; an hour at most.
    pub points: Vec<PointView>,
    /// Its cold starts of late, the newest last; twenty at most.
    pub cold_starts: Vec<ColdStartView>,
}

/// The values of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointView {
    /// When it began, by this manager's clock, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Whether the values were known all the time. Where not, the others say nothing.
    pub known: bool,
    /// The most requests in flight that were seen.
    pub in_flight: u32,
    /// The most held requests that were seen.
    pub held: u32,
    /// Mean requests in flight over the workload's window, at the end of the step.
    pub concurrency: f64,
    /// Requests per second over the workload's window, likewise.
    pub request_rate: f64,
}

/// A spell in which requests were held because no replica was ready.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColdStartView {
    /// When the first request was held, by the log's clock, in milliseconds since the Unix epoch.
    pub began_unix_ms: u64,
    /// Until none was held any more, in seconds: up to one tick (1 s) more than it took. None while some are.
    pub seconds: Option<f64>,
    /// The most held at once, as far as was told.
    pub held: u64,
}

/// What each interceptor contributes to a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharesView {
    /// Those that count, by name.
    pub interceptors: Vec<ShareView>,
    /// Why they are not known now, where they are not.
    pub missing: Option<String>,
}

/// What one run of an interceptor contributes to a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareView {
    /// Its name.
    pub name: String,
    /// This run of it.
    pub incarnation: u64,
    /// False: its heartbeats are missing, and what it said last stands.
    pub live: bool,
    /// Requests in flight by its newest evidence, held ones included.
    pub in_flight: u64,
    /// Requests held for a cold start.
    pub held: u64,
    /// Requests that it has admitted since the collector's first frame of this run.
    pub admitted_total: u64,
}
