//! The routes of now: which workload a request belongs to, and all that its handling needs of it.
//!
//! A table of routes never changes: `making` makes a new one when the resources change, with the routes of the old one that are
//! still right, and `maker` is the thread that does so, and that frees the old one.

mod maker;
mod making;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::resources::Workload;
use tokio_util::sync::CancellationToken;

pub(crate) use making::Tables;

use crate::cold_start::ColdStart;
use crate::config::Config;
use crate::endpoints::{EndpointSet, Sessions};
use crate::ledger::Totals;
use crate::metrics::RouteMetrics;
use crate::proxy::BodyLimits;
use crate::routing::Index;
use crate::static_routes::StaticRoutes;
use crate::upstream::Backend;

/// How long a request waits before it goes to the fallback, where nobody says (the add-on's time).
const FALLBACK_AFTER: Duration = Duration::from_secs(30);

/// One workload as its requests see it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Where its requests are counted.
    pub(crate) totals: Arc<Totals>,
    /// Where its requests can go.
    pub(crate) endpoints: Arc<EndpointSet>,
    /// How its requests ended.
    pub(crate) metrics: Arc<RouteMetrics>,
    /// How long its requests may take.
    pub(crate) limits: Limits,
    /// What becomes of them while no endpoint is ready.
    pub(crate) cold_start: ColdStart,
    /// Those of them that are no load.
    pub(crate) static_routes: StaticRoutes,
    /// Where a client's requests stay at one endpoint.
    pub(crate) sessions: Option<Sessions>,
    /// What its endpoints speak.
    pub(crate) backend: Backend,
    /// What is spoken with the fallback, where there is one.
    pub(crate) fallback_backend: Option<Backend>,
    /// Cancelled when the workload has no route any more: requests held for it must not wait on.
    pub(crate) gone: CancellationToken,
}

/// How long a request may take; none is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Held for a ready endpoint.
    pub(crate) readiness: Option<Duration>,
    /// As a whole.
    pub(crate) request: Option<Duration>,
    /// From the request sent to the response's head.
    pub(crate) response_header: Option<Duration>,
    /// Making one connection to an endpoint.
    pub(crate) connect: Option<Duration>,
    /// Between two pieces of the response's body.
    pub(crate) idle: Option<Duration>,
    /// The body of the request.
    pub(crate) body: BodyLimits,
}

impl Limits {
    fn of(workload: &Workload, config: &Config) -> Self {
        let limit =
            |own: Option<Duration>, general: Duration| Some(own.unwrap_or(general)).filter(|limit| !limit.is_zero());
        let own = &workload.timeouts;
        let fallback = workload.cold_start.fallback.as_ref();
        Self {
            // Without a limit a fallback would never be used.
            readiness: limit(own.readiness, config.readiness_timeout).or(fallback.map(|_| FALLBACK_AFTER)),
            request: limit(own.request, config.request_timeout),
            response_header: limit(own.response_header, config.response_header_timeout),
            connect: limit(own.connect, config.connect_timeout),
            idle: limit(own.idle, config.response_idle_timeout),
            body: BodyLimits::of(config, workload.min_body_rate.map(u64::from)),
        }
    }
}

/// All routes at one instant.
#[derive(Debug)]
pub(crate) struct Table {
    /// Finds a request's route.
    pub(crate) index: Index<Arc<Route>>,
    /// The resources that the index is made of.
    pub(crate) workloads: Arc<Vec<Workload>>,
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::resources::{Backend, Port};
    use plimsoll_wire::topic::WorkloadId;

    use super::*;

    #[test]
    fn a_limit_is_the_routes_own_or_else_the_processs_and_zero_is_none() {
        let mut config = Config::from_environment().unwrap();
        config.connect_timeout = Duration::from_secs(3);
        config.request_timeout = Duration::from_secs(4);
        let backend = Backend { service: "a".to_owned(), port: Port::Number(80) };
        let mut workload = Workload::new(WorkloadId::new("default", "a"), backend.clone());
        workload.timeouts.request = Some(Duration::ZERO);
        workload.timeouts.idle = Some(Duration::from_secs(5));
        let limits = Limits::of(&workload, &config);
        assert_eq!(limits.connect, Some(Duration::from_secs(3)));
        assert_eq!((limits.request, limits.idle), (None, Some(Duration::from_secs(5))));
        assert_eq!(limits.readiness, None);
        // A fallback that nobody ever turns to would be none.
        workload.cold_start.fallback = Some(backend);
        assert_eq!(Limits::of(&workload, &config).readiness, Some(FALLBACK_AFTER));
        workload.timeouts.readiness = Some(Duration::from_secs(6));
        assert_eq!(Limits::of(&workload, &config).readiness, Some(Duration::from_secs(6)));
    }
}
