//! A request's life, from its admission to its departure.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::ledger::InFlight;
use crate::metrics::method_label;
use crate::routes::Route;

/// A request that has been admitted. It departs when this is dropped, so it goes wherever the request goes: into the
/// response's body, or with an upgraded connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) route: Arc<Route>,
    /// When it arrived.
    pub(crate) began: Instant,
    in_flight: InFlight,
    method: &'static str,
    status: Option<StatusCode>,
    was_held: bool,
}

impl Exchange {
    /// Counts an arrival.
    pub(crate) fn begin(route: Arc<Route>, method: &Method) -> Self {
        let in_flight = route.totals.admit();
        Self { route, began: Instant::now(), in_flight, method: method_label(method), status: None, was_held: false }
    }

    /// It waits for a cold start from now on.
    pub(crate) fn hold(&mut self) {
        self.was_held = true;
        self.in_flight.hold();
    }

    /// It waits no more.
    pub(crate) fn release(&mut self) {
        self.in_flight.release();
    }

    /// Whether it has waited for a cold start.
    pub(crate) fn was_held(&self) -> bool {
        self.was_held
    }

    /// The response has this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.route.metrics.ended(self.method, self.status, self.began.elapsed());
    }
}
