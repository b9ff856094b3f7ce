//! One address of a workload, and a request that is there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::set::EndpointSet;

/// One address of a workload.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    in_flight: AtomicUsize,
    picks: AtomicU64,
    /// Failures in a row, and [`NEVER_ANSWERED`].
    failures: AtomicU32,
    leaving: AtomicBool,
    home: Home,
}

/// Stands beside the failures until the first success: so one look tells a success that there is nothing to do.
const NEVER_ANSWERED: u32 = 1 << 31;

/// What an endpoint knows of the set that it belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Home {
    /// How many requests wait there.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) set: Weak<EndpointSet>,
}

impl Endpoint {
    /// An endpoint without a request.
    pub(super) fn new(address: SocketAddr, home: Home) -> Self {
        Self {
            address,
            in_flight: AtomicUsize::new(0),
            picks: AtomicU64::new(0),
            failures: AtomicU32::new(NEVER_ANSWERED),
            leaving: AtomicBool::new(false),
            home,
        }
    }

    /// One more request in flight there, until the guard is dropped.
    pub(super) fn enter(self: Arc<Self>) -> AtEndpoint {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.picks.fetch_add(1, Ordering::Relaxed);
        AtEndpoint { endpoint: self }
    }

    /// Requests in flight there.
    pub(crate) fn in_flight(&self) -> usize {
        // One of the four accesses that `AtEndpoint::drop` speaks of.
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests that have been given to it since it came.
    pub(crate) fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// Failures since its last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed) & !NEVER_ANSWERED
    }

    /// Whether it ever answered a request.
    pub(super) fn has_answered(&self) -> bool {
        self.failures.load(Ordering::Relaxed) & NEVER_ANSWERED == 0
    }

    /// Its failures are forgotten.
    pub(super) fn forgive(&self) {
        self.failures.fetch_and(NEVER_ANSWERED, Ordering::Relaxed);
    }

    /// Whether it gets no more requests, for now or for ever: nobody needs its idle connections.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// It gets no more requests, or gets them again.
    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }
}

/// A request in flight at an endpoint.
#[derive(Debug)]
#[must_use = "the request is there no more when this is dropped"]
pub(crate) struct AtEndpoint {
    endpoint: Arc<Endpoint>,
}

impl AtEndpoint {
    /// The endpoint's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// The endpoint.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The endpoint has answered, whatever the answer says.
    pub(crate) fn succeeded(&self) {
        let failures = &self.endpoint.failures;
        // Mostly there is nothing to forget, and looking is cheaper than writing.
        if failures.load(Ordering::Relaxed) > 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// The endpoint can't be connected to, broke off, or did not answer in time.
    pub(crate) fn failed(&self) {
        self.endpoint.failures.fetch_add(1, Ordering::Relaxed);
        let failures = self.endpoint.failures();
        if let Some(set) = self.endpoint.home.set.upgrade() {
            set.failed(&self.endpoint, failures);
        }
    }
}

impl Drop for AtEndpoint {
    fn drop(&mut self) {
        // A request that begins to wait first says so and then looks for a free place; here the place becomes free first, and
        // then it is looked who waits. All four are sequentially consistent, so one of the two sees the other.
        self.endpoint.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.endpoint.home.waiting.load(Ordering::SeqCst) > 0
            && let Some(set) = self.endpoint.home.set.upgrade()
        {
            set.place_freed();
        }
    }
}
