//! What balancing shows of itself to Prometheus. What belongs to one endpoint is in [`super::Shown`].

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of all workloads' endpoints.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Endpoints that were given no requests for a while because they failed.
    pub(crate) ejections: Counter,
    /// Starting endpoints that a probe found to accept connections.
    pub(crate) probed: Counter,
    /// Requests that wait for an endpoint, or for a free place at one.
    pub(crate) waiting: Gauge,
    /// Requests refused because too many waited already.
    pub(crate) refused: Counter,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Times that a failing endpoint was given no requests for a while";
        registry.register("endpoint_ejections", help, self.ejections.clone());
        let help = "Starting endpoints that a probe found to accept connections";
        registry.register("endpoints_probed", help, self.probed.clone());
        let help = "Requests that wait for an endpoint, or for a free place at one";
        registry.register("waiting_requests", help, self.waiting.clone());
        let help = "Requests refused because too many waited already";
        registry.register("waiting_refused_requests", help, self.refused.clone());
    }
}
