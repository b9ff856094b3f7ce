//! The custom resources that describe workloads, and what Plimsoll makes of them.
//!
//! Both kinds of the KEDA HTTP Add-on (`HTTPScaledObject` v1alpha1 and `InterceptorRoute` v1beta1 of `http.keda.sh`) become
//! the same [`Workload`]; nothing outside this module knows which kind it was.

use std::time::Duration;

use crate::topic::WorkloadId;

mod check;
pub mod files;
pub mod http_scaled_object;
pub mod interceptor_route;
mod invalid;
pub mod metadata;

pub use invalid::Invalid;

/// The window of concurrency where the resource names none (annotation `plimsoll.io/concurrency-window`).
pub const DEFAULT_CONCURRENCY_WINDOW: Duration = Duration::from_secs(15);
/// The window of the request rate where the resource names none.
pub const DEFAULT_RATE_WINDOW: Duration = Duration::from_secs(60);
/// Both windows' borders.
pub const WINDOW_BORDERS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// The target of a metric that names none.
pub const DEFAULT_TARGET_VALUE: i32 = 100;
/// The provider of a workload that names none (annotation `plimsoll.io/provider`).
pub const DEFAULT_PROVIDER: &str = "default";

/// A workload as its resource describes it, whichever kind that was; validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub id: WorkloadId,
    /// Which kind it came from; KEDA's metric names differ.
    pub kind: Kind,
    /// Which requests are its own; none match where this is empty.
    pub rules: Vec<Rule>,
    /// Where they go.
    pub target: Backend,
    /// What KEDA is told.
    pub scaling: Scaling,
    /// Where it runs.
    pub provider: String,
    /// How long its requests may take; none takes the process-wide value, zero is off.
    pub timeouts: Timeouts,
    /// When the resource was made (RFC 3339 `creationTimestamp`), where it says so: the older one wins among equal routes.
    pub created: Option<String>,
}

/// Which custom resource described a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `InterceptorRoute` v1beta1.
    InterceptorRoute,
    /// `HTTPScaledObject` v1alpha1.
    HttpScaledObject,
}

/// One alternative of what a workload's requests look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Exact (`example.com`), wildcard (`*.example.com`) or catch-all (`*`), in lower case; never empty.
    pub hosts: Vec<String>,
    /// Prefixes of whole segments, with a slash at the start and none at the end; `/` alone matches all. Never empty.
    pub paths: Vec<String>,
    /// All must match.
    pub headers: Vec<HeaderRule>,
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// Its name, in lower case.
    pub name: String,
    /// Its value; none asks for its presence only.
    pub value: Option<String>,
}

/// A service and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// In a cluster a Service of the workload's namespace; in route files a host name or an address.
    pub service: String,
    /// Its port.
    pub port: Port,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By the name it has in the Service.
    Name(String),
}

/// What a workload scales on: at least one of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Requests in flight for each replica; none where the workload does not scale on it.
    pub concurrency_target: Option<u32>,
    /// Requests per second for each replica; none where the workload does not scale on it.
    pub rate_target: Option<u32>,
    /// Over what the mean concurrency is taken.
    pub concurrency_window: Duration,
    /// Over what the request rate is taken.
    pub rate_window: Duration,
    /// Replicas at least and at most, where the resource says so (`HTTPScaledObject` only).
    pub min_replicas: Option<u32>,
    /// See `min_replicas`.
    pub max_replicas: Option<u32>,
}

/// How long a request may take; `None` takes the process-wide value, zero is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Waiting for a ready endpoint.
    pub readiness: Option<Duration>,
    /// The whole request.
    pub request: Option<Duration>,
    /// From the request sent to the response's header.
    pub response_header: Option<Duration>,
}

/// A resource that can't be used, and why. The others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, and the line in it where known.
    pub place: String,
    /// `namespace/name` where that much could be read.
    pub workload: Option<WorkloadId>,
    /// What is wrong: the field, its value, and the remedy.
    pub what: String,
}
