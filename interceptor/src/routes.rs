//! The routes of now: which workload a request belongs to, and all that its handling needs of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_wire::resources::Workload;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::endpoints::{Endpoints, Ready};
use crate::ledger::{Ledger, Totals};
use crate::metrics::{Metrics, RouteMetrics};
use crate::routing::Index;

/// One workload as its requests see it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Where its requests are counted.
    pub(crate) totals: Arc<Totals>,
    /// Where its requests can go.
    pub(crate) ready: Arc<Ready>,
    /// How its requests ended.
    pub(crate) metrics: Arc<RouteMetrics>,
    /// How long its requests may take.
    pub(crate) limits: Limits,
    /// Cancelled when the workload has no route any more: requests held for it must not wait on.
    pub(crate) gone: CancellationToken,
}

/// How long a request may take; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Held for a ready endpoint.
    pub(crate) readiness: Option<Duration>,
    /// As a whole.
    pub(crate) request: Option<Duration>,
    /// From the request sent to the response's head.
    pub(crate) response_header: Option<Duration>,
}

impl Limits {
    fn of(workload: &Workload, config: &Config) -> Self {
        let limit =
            |own: Option<Duration>, general: Duration| Some(own.unwrap_or(general)).filter(|limit| !limit.is_zero());
        let own = &workload.timeouts;
        Self {
            readiness: limit(own.readiness, config.readiness_timeout),
            request: limit(own.request, config.request_timeout),
            response_header: limit(own.response_header, config.response_header_timeout),
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
    routes: HashMap<WorkloadId, Arc<Route>>,
    current: Arc<ArcSwap<Table>>,
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
        let routes =
            workloads.iter().map(|workload| (workload.id.clone(), self.route(workload))).collect::<HashMap<_, _>>();
        let index =
            Index::new(workloads.iter().filter_map(|workload| Some((workload, routes.get(&workload.id)?.clone()))));
        self.current.store(Arc::new(Table { index, workloads }));
        let before = std::mem::replace(&mut self.routes, routes);
        for (id, route) in before {
            if !self.routes.contains_key(&id) {
                route.gone.cancel();
                self.ledger.forget(&id);
                self.metrics.forget(&id);
            }
        }
    }

    /// The route of a workload; what counts and waits is that of the route before it.
    fn route(&self, workload: &Workload) -> Arc<Route> {
        let limits = Limits::of(workload, &self.config);
        match self.routes.get(&workload.id) {
            Some(route) if route.limits == limits => route.clone(),
            before => Arc::new(Route {
                totals: self.ledger.workload(&workload.id),
                ready: self.endpoints.of(&workload.id),
                metrics: self.metrics.of(&workload.id),
                limits,
                gone: before.map(|route| route.gone.clone()).unwrap_or_default(),
            }),
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
