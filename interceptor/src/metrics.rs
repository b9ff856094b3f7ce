//! What the interceptor shows of itself to Prometheus.
//!
//! A request costs two atomic additions and no look-up: each route has its own counters, and labels are written only when
//! somebody scrapes.

mod described;
mod histogram;
mod page;
mod route;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::RwLock;
use plimsoll_wire::topic::WorkloadId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::endpoints::Endpoints;
use crate::proxy::End;
use crate::publish;
use crate::server::tls::TlsMetrics;

pub use described::described;
pub(crate) use page::write as write_page;
pub(crate) use route::{Exemplar, RouteMetrics, method_label};
pub(crate) use text::Format;

/// All metrics of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: RwLock<HashMap<WorkloadId, Arc<RouteMetrics>>>,
    /// Requests that no route matched, counted as the add-on does: as a route without a name.
    pub(crate) no_route: RouteMetrics,
    /// The same as one number.
    pub(crate) unrouted: Counter,
    /// 1 while no client is accepted because there are as many as may be.
    pub(crate) accept_paused: Gauge,
    /// How often that has begun.
    pub(crate) accept_pauses: Counter,
    /// Requests that were not let in.
    pub(crate) not_let_in: Counter,
    /// Connections opened to endpoints.
    pub(crate) connects: Counter,
    /// Attempts to connect that failed.
    pub(crate) connect_failures: Counter,
    /// Idle connections to endpoints, as of each thread's last sweep.
    pub(crate) pooled: Gauge,
    /// Requests sent again on another connection because the first had been closed by the endpoint.
    pub(crate) resent: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
    /// Clients' connections now, upgraded ones included.
    pub(crate) clients: Gauge,
    /// Those of them that wait for a request and hold nothing but their socket.
    pub(crate) parked: Gauge,
    /// TLS to clients.
    pub(crate) tls: TlsMetrics,
    /// 1 while the files of TLS to workloads can't be used as they are.
    pub(crate) upstream_tls_problems: Gauge,
    /// The same of TLS to the collector of traces.
    pub(crate) otlp_tls_problems: Gauge,
    /// Lines of the access log that were not written.
    pub(crate) access_log_dropped: Counter,
    /// Spans that a collector has taken.
    pub(crate) spans_sent: Counter,
    /// Spans that none has.
    pub(crate) spans_dropped: Counter,
}

impl Metrics {
    /// Registers all that an interceptor shows but what [`write_page`] adds; gives the publisher's.
    pub(crate) fn register_all(&self, registry: &mut Registry, endpoints: &Endpoints) -> publish::Metrics {
        self.register(registry);
        endpoints.metrics().register(registry.sub_registry_with_prefix("interceptor"));
        publish::Metrics::register(registry.sub_registry_with_prefix("interceptor"))
    }

    /// Registers all but those of routes, which [`write_page`] adds.
    fn register(&self, registry: &mut Registry) {
        let prefixed = registry.sub_registry_with_prefix("interceptor");
        for (name, help, counter) in [
            ("unrouted_requests", "Requests that no route matched", &self.unrouted),
            (
                "refused_requests",
                "Requests not let in: malformed, with too long a head, or too slow with it",
                &self.not_let_in,
            ),
            (
                "accept_pauses",
                "How often accepting has paused because there were as many clients as may be",
                &self.accept_pauses,
            ),
            ("upstream_connects", "Connections opened to endpoints", &self.connects),
            ("upstream_connect_failures", "Attempts to connect to an endpoint that failed", &self.connect_failures),
            ("resent_requests", "Requests sent again because the endpoint had closed the connection", &self.resent),
            ("panics", "Handlers that panicked", &self.panics),
            (
                "access_log_dropped_lines",
                "Lines of the access log that were not written, since nobody read them fast enough",
                &self.access_log_dropped,
            ),
            ("spans", "Spans that the collector of traces has taken", &self.spans_sent),
            ("dropped_spans", "Spans that were dropped, since the collector did not take them", &self.spans_dropped),
        ] {
            prefixed.register(name, help, counter.clone());
        }
        let help = "1 while no client is accepted because there are as many as may be";
        prefixed.register("accept_paused", help, self.accept_paused.clone());
        prefixed.register("client_connections", "Clients' connections now", self.clients.clone());
        let help = "Clients' connections that wait for a request and hold no buffers";
        prefixed.register("parked_client_connections", help, self.parked.clone());
        let help = "Idle connections to endpoints that are kept for reuse, as of the last second";
        prefixed.register("upstream_idle_connections", help, self.pooled.clone());
        let help = "1 while the files of TLS to workloads can't be used as they are; what they held before is";
        prefixed.register("upstream_tls_problems", help, self.upstream_tls_problems.clone());
        let help =
            "1 while the files of TLS to the collector of traces can't be used as they are; what they held before is";
        prefixed.register("otlp_tls_problems", help, self.otlp_tls_problems.clone());
        self.tls.register(prefixed);
    }

    /// A request that belongs to no route has been answered with this status.
    pub(crate) fn refused(&self, method: &Method, status: StatusCode) {
        self.no_route.ended(method_label(method), Some(status), End::Refused, Duration::ZERO);
    }

    /// The metrics of a route; the same ones each time.
    pub(crate) fn of(&self, workload: &WorkloadId) -> Arc<RouteMetrics> {
        self.routes.write().entry(workload.clone()).or_default().clone()
    }

    /// The route is gone: its series end.
    pub(crate) fn forget(&self, workload: &WorkloadId) {
        self.routes.write().remove(workload);
    }

    /// All routes, in the order of their names.
    fn routes(&self) -> Vec<(WorkloadId, Arc<RouteMetrics>)> {
        let routes = self.routes.read();
        let mut routes: Vec<_> = routes.iter().map(|(workload, metrics)| (workload.clone(), metrics.clone())).collect();
        routes.sort_by(|(a, _), (b, _)| a.cmp(b));
        routes
    }
}
