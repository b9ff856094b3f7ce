//! A request's life, from its admission to its departure.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::End;
use crate::ledger::InFlight;
use crate::metrics::method_label;
use crate::observe::{Ended, Trail};
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
    /// None where nobody wants to know of single requests.
    trail: Option<Box<Trail>>,
    /// The client has gone, unless it turns out otherwise.
    end: End,
    hold: Hold,
    /// It had to wait, and has been sent since.
    was_sent: bool,
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
    pub(crate) fn begin(route: Arc<Route>, method: &Method, trail: Option<Box<Trail>>) -> Self {
        let in_flight = route.totals.admit();
        Self::new(route, method, Some(in_flight), trail)
    }

    /// A request that is no load: it wakes no workload and keeps none up.
    pub(crate) fn uncounted(route: Arc<Route>, method: &Method, trail: Option<Box<Trail>>) -> Self {
        Self::new(route, method, None, trail)
    }

    fn new(route: Arc<Route>, method: &Method, in_flight: Option<InFlight>, trail: Option<Box<Trail>>) -> Self {
        Self {
            route,
            began: Instant::now(),
            in_flight,
            method: method_label(method),
            status: None,
            trail,
            end: End::ClientGone,
            hold: Hold::Never,
            was_sent: false,
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
            let held = since.elapsed();
            self.hold = Hold::Over;
            self.route.metrics.cold_start.observe(held);
            if let Some(trail) = &mut self.trail {
                trail.held(since - self.began, held);
            }
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

    /// It is sent to this endpoint now. `waited_until` is none where it did not have to wait for anything.
    pub(crate) fn sent(&mut self, endpoint: SocketAddr, waited_until: Option<Instant>) {
        if let Some(until) = waited_until
            && !std::mem::replace(&mut self.was_sent, true)
        {
            self.route.metrics.queue.observe(until - self.began);
        }
        if let Some(trail) = &mut self.trail {
            trail.sent(endpoint);
        }
    }

    /// Its trail, where somebody wants to know.
    pub(crate) fn trail(&mut self) -> Option<&mut Trail> {
        self.trail.as_deref_mut()
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
        let (after, metrics) = (self.began.elapsed(), &self.route.metrics);
        let workload = Some(self.route.totals.id());
        let ended = Ended { workload, status: self.status, end: self.end, after };
        match self.trail.take().and_then(|trail| trail.ended(&ended)) {
            Some(seen) => metrics.ended_with(self.method, self.status, self.end, seen),
            None => metrics.ended(self.method, self.status, self.end, after),
        }
    }
}
