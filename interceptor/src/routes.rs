//! The routes of now: which workload a request belongs to, and all that its handling needs of it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_wire::resources::{Affinity, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cold_start::ColdStart;
use crate::config::Config;
use crate::endpoints::{Ejection, EndpointSet, Endpoints, Options, Sessions};
use crate::ledger::{Ledger, Totals};
use crate::metrics::{Metrics, RouteMetrics};
use crate::proxy::BodyLimits;
use crate::routing::Index;
use crate::static_routes::StaticRoutes;
use crate::upstream::Backend;

/// How long a request waits before it goes to the fallback, where nobody says (the add-on's time).
const FALLBACK_AFTER: Duration = Duration::from_secs(30);

/// An endpoint that fails again and again is ejected for at most so many times the first time: Envoy's default proportion
/// (30 s and 300 s).
const LONGEST_EJECTION: u32 = 10;

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

/// Makes a new [`Table`] each time the resources change.
#[derive(Debug)]
pub(crate) struct Tables {
    config: Config,
    ledger: Ledger,
    endpoints: Endpoints,
    metrics: Arc<Metrics>,
    routes: HashMap<WorkloadId, Known>,
    current: Arc<ArcSwap<Table>>,
}

/// A route and the resource that it was made of.
#[derive(Debug)]
struct Known {
    route: Arc<Route>,
    made_of: Workload,
}

impl Tables {
    /// No route yet.
    pub(crate) fn new(config: Config, ledger: Ledger, endpoints: Endpoints, metrics: Arc<Metrics>) -> Self {
        let empty = Table { index: Index::new([]), workloads: Arc::default() };
        let current = Arc::new(ArcSwap::from_pointee(empty));
        Self { config, ledger, endpoints, metrics, routes: HashMap::new(), current }
    }

    /// Where the newest table always is.
    pub(crate) fn current(&self) -> Arc<ArcSwap<Table>> {
        self.current.clone()
    }

    /// These are the workloads from now on. Requests in flight go on with the route they have.
    pub(crate) fn apply(&mut self, workloads: Arc<Vec<Workload>>) {
        let known = |workload: &Workload| Known { route: self.route(workload), made_of: workload.clone() };
        let routes = workloads.iter().map(|workload| (workload.id.clone(), known(workload))).collect::<HashMap<_, _>>();
        let index = Index::new(
            workloads.iter().filter_map(|workload| Some((workload, routes.get(&workload.id)?.route.clone()))),
        );
        self.current.store(Arc::new(Table { index, workloads }));
        let before = std::mem::replace(&mut self.routes, routes);
        for (id, known) in before {
            if !self.routes.contains_key(&id) {
                known.route.gone.cancel();
                self.ledger.forget(&id);
                self.metrics.forget(&id);
            }
        }
    }

    /// The route of a workload; what counts and waits is that of the route before it.
    fn route(&self, workload: &Workload) -> Arc<Route> {
        match self.routes.get(&workload.id) {
            Some(known) if known.made_of == *workload => known.route.clone(),
            before => Arc::new(self.new_route(workload, before.map(|known| &*known.route))),
        }
    }

    fn new_route(&self, workload: &Workload, before: Option<&Route>) -> Route {
        let options = self.options(workload);
        let fallback = workload.cold_start.fallback.as_ref();
        let endpoints = self.endpoints.of(&workload.id);
        endpoints.configure(&options);
        let cold_start = ColdStart::of(workload, &self.endpoints);
        if let Some(fallback) = &cold_start.fallback {
            fallback.configure(&Options { ejection: options.ejection, ..Options::default() });
        }
        Route {
            totals: self.ledger.workload(&workload.id),
            endpoints,
            metrics: self.metrics.of(&workload.id),
            limits: Limits::of(workload, &self.config),
            cold_start,
            static_routes: StaticRoutes::of(workload),
            sessions: options.sessions,
            backend: Backend::of(workload, &workload.target.service),
            fallback_backend: fallback.map(|fallback| Backend::of(workload, &fallback.service)),
            gone: before.map(|route| route.gone.clone()).unwrap_or_default(),
        }
    }

    /// How a workload's requests are spread over its endpoints.
    fn options(&self, workload: &Workload) -> Options {
        let Config { eject_after, eject_time, max_pending_requests, ref affinity_key, .. } = self.config;
        let ejection = Ejection {
            after: eject_after,
            base: eject_time,
            longest: eject_time.saturating_mul(LONGEST_EJECTION),
            ramp: eject_time,
        };
        let sessions = workload.affinity.map(|Affinity::Cookie| Sessions {
            key: affinity_key.reveal().into(),
            workload: workload.id.to_string().into(),
        });
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let max_waiting = workload.cold_start.max_pending.map_or(max_pending_requests, count);
        Options {
            limit: workload.concurrency_limit.and_then(|limit| NonZeroUsize::new(count(limit.get()))),
            max_waiting: Some(max_waiting).filter(|bound| *bound > 0),
            sessions,
            ejection,
        }
    }

    /// Follows the resources until `shutdown` is cancelled.
    pub(crate) async fn follow(
        mut self,
        mut resources: watch::Receiver<Arc<Vec<Workload>>>,
        shutdown: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = resources.changed() => if changed.is_err() {
                    // Nobody writes routes any more: the last ones stand.
                    return shutdown.cancelled().await;
                },
            }
            let workloads = resources.borrow_and_update().clone();
            tracing::info!(workloads = workloads.len(), "routes have changed");
            self.apply(workloads);
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::resources::{Backend, Port};

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
