//! The custom resources that describe workloads, and what Plimsoll makes of them.
//!
//! Both kinds of the KEDA HTTP Add-on (`HTTPScaledObject` v1alpha1 and `InterceptorRoute` v1beta1 of `http.keda.sh`) become
//! the same [`Workload`]; nothing outside this module knows which kind it was.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::topic::WorkloadId;

mod backend;
mod check;
pub mod cluster;
mod cold_start;
pub mod crds;
pub mod files;
pub mod http_scaled_object;
pub mod interceptor_route;
mod invalid;
pub mod metadata;
pub mod status;

pub use backend::{Affinity, Backend, BackendProtocol, Port};
pub use cold_start::{
    ColdStart, ConfigMapBody, FixedBody, FixedResponse, INDEX_KEY, INLINE_BODY_MAX, Overflow, RESPONSE_BODY_LABEL,
    ResponseMode, StaticRoute,
};
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
/// The finalizer that the KEDA HTTP Add-on puts on each `HTTPScaledObject`.
pub const ADD_ON_FINALIZER: &str = "httpscaledobject.http.keda.sh";

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
    /// What becomes of requests that come while no endpoint is ready.
    pub cold_start: ColdStart,
    /// Requests that are no load; the first one that matches a request decides.
    pub static_routes: Vec<StaticRoute>,
    /// Requests at once that one endpoint gets at most (annotation `plimsoll.io/concurrency-limit`); none is no bound.
    pub concurrency_limit: Option<NonZeroU32>,
    /// Bytes a second that bodies of requests must bring on the whole (annotation `plimsoll.io/min-body-rate`); none takes the
    /// process-wide value, zero is off.
    pub min_body_rate: Option<u32>,
    /// What keeps a client at one endpoint (annotation `plimsoll.io/affinity`).
    pub affinity: Option<Affinity>,
    /// What its endpoints speak, where the resource says so (annotation `plimsoll.io/backend-protocol`).
    pub backend_protocol: Option<BackendProtocol>,
    /// When the resource was made (RFC 3339 `creationTimestamp`), where it says so: the older one wins among equal routes.
    pub created: Option<String>,
}

impl Workload {
    /// A workload that scales on [`DEFAULT_TARGET_VALUE`] requests in flight for each replica, says nothing else, and has
    /// no rule yet.
    #[must_use]
    pub fn new(id: WorkloadId, target: Backend) -> Self {
        Self {
            id,
            kind: Kind::InterceptorRoute,
            rules: Vec::new(),
            target,
            scaling: Scaling {
                concurrency_target: Some(DEFAULT_TARGET_VALUE.unsigned_abs()),
                rate_target: None,
                concurrency_window: DEFAULT_CONCURRENCY_WINDOW,
                rate_window: DEFAULT_RATE_WINDOW,
                min_replicas: None,
                max_replicas: None,
            },
            provider: DEFAULT_PROVIDER.to_owned(),
            timeouts: Timeouts::default(),
            cold_start: ColdStart::default(),
            static_routes: Vec::new(),
            concurrency_limit: None,
            min_body_rate: None,
            affinity: None,
            backend_protocol: None,
            created: None,
        }
    }
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
    /// Making one connection to an endpoint (annotation `plimsoll.io/connect-timeout`).
    pub connect: Option<Duration>,
    /// Between two pieces of a body, either way (annotation `plimsoll.io/idle-timeout`).
    pub idle: Option<Duration>,
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
