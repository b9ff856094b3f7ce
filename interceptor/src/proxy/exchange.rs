//! A request's life, from its admission to its departure.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::End;
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
    /// None for a request that is no load.
    in_flight: Option<InFlight>,
    method: &'static str,
    status: Option<StatusCode>,
    /// The client has gone, unless it turns out otherwise.
    end: End,
    hold: Hold,
}

/// Whether a request waits for a cold start, or has.
#[derive(Debug, Clone, Copy)]
enum Hold {
    Never,
    Since(Instant),
    Over,
}

impl Exchange {
    /// Counts an arrival.
    pub(crate) fn begin(route: Arc<Route>, method: &Method) -> Self {
        let in_flight = route.totals.admit();
        Self::new(route, method, Some(in_flight))
    }

    /// A request that is no load: it wakes no workload and keeps none up.
    pub(crate) fn uncounted(route: Arc<Route>, method: &Method) -> Self {
        Self::new(route, method, None)
    }

    fn new(route: Arc<Route>, method: &Method, in_flight: Option<InFlight>) -> Self {
        Self {
            route,
            began: Instant::now(),
            in_flight,
            method: method_label(method),
            status: None,
            end: End::ClientGone,
            hold: Hold::Never,
        }
    }

    /// It waits for a cold start from now on.
    pub(crate) fn hold(&mut self) {
        self.hold = Hold::Since(Instant::now());
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.hold();
        }
    }

    /// It waits no more.
    pub(crate) fn release(&mut self) {
        if let Hold::Since(since) = self.hold {
            self.hold = Hold::Over;
            self.route.metrics.cold_start.observe(since.elapsed());
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.release();
        }
    }

    /// Whether it is load of its workload.
    pub(crate) fn counts(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether it has waited for a cold start.
    pub(crate) fn was_held(&self) -> bool {
        !matches!(self.hold, Hold::Never)
    }

    /// It is sent to an endpoint now. `waited_until` is none where it did not have to wait for anything.
    pub(crate) fn sent(&mut self, waited_until: Option<Instant>) {
        if let Some(until) = waited_until {
            self.route.metrics.queue.observe(until - self.began);
        }
    }

    /// The response has this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// It ends so. The last word counts; without one the client has gone.
    pub(crate) fn ends(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // A client that leaves while it is held never sees a release.
        self.release();
        self.route.metrics.ended(self.method, self.status, self.end, self.began.elapsed());
    }
}
