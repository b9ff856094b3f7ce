//! What becomes of a workload's requests while none of its endpoints is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plimsoll_wire::resources::{Overflow, Workload};
use plimsoll_wire::topic::WorkloadId;

use crate::config::Config;
use crate::endpoints::{Endpoints, Ready};
use crate::fixed_response::FixedResponse;

/// The key under which [`Endpoints`] has the addresses of a workload's fallback service. No workload can have this name.
#[must_use]
pub fn fallback_of(workload: &WorkloadId) -> WorkloadId {
    WorkloadId::new(workload.namespace.clone(), format!("{}/fallback", workload.name))
}

/// One workload's cold start.
#[derive(Debug)]
pub(crate) struct ColdStart {
    /// Where a request goes that has waited for as long as it may.
    pub(crate) fallback: Option<Arc<Ready>>,
    /// Whether requests wait for an endpoint; else the placeholder answers at once.
    pub(crate) holds: bool,
    /// Requests that may wait at once; none is no bound.
    max_pending: Option<usize>,
    /// Requests that wait. Shared with the routes before and after this one.
    pending: Arc<AtomicUsize>,
    /// An answer that needs no endpoint.
    placeholder: Option<FixedResponse>,
    overflow: Overflow,
}

impl ColdStart {
    /// The cold start that a workload's resource and the interceptor's settings describe.
    ///
    /// `before` is the cold start that this one replaces: who waits there, waits here too.
    pub(crate) fn of(workload: &Workload, config: &Config, endpoints: &Endpoints, before: Option<&Self>) -> Self {
        let said = &workload.cold_start;
        let max_pending = said.max_pending.map_or(config.max_pending_requests, |most| most as usize);
        Self {
            fallback: said.fallback.as_ref().map(|_| endpoints.of(&fallback_of(&workload.id))),
            holds: said.holds(),
            max_pending: Some(max_pending).filter(|most| *most > 0),
            pending: before.map(|before| before.pending.clone()).unwrap_or_default(),
            placeholder: said.placeholder.as_ref().map(|said| FixedResponse::new(said).asking_to_retry()),
            overflow: said.overflow,
        }
    }

    /// A place to wait in, until it is dropped.
    ///
    /// # Errors
    /// The number of requests that wait, where no more may.
    pub(crate) fn wait(&self) -> Result<Pending, usize> {
        let pending = Pending(self.pending.clone());
        let waiting = self.pending.fetch_add(1, Ordering::Relaxed);
        if self.max_pending.is_some_and(|most| waiting >= most) { Err(waiting) } else { Ok(pending) }
    }

    /// Whether a request may be answered with the placeholder.
    pub(crate) fn has_placeholder(&self) -> bool {
        self.placeholder.is_some()
    }

    /// The answer to a request that does not wait.
    pub(crate) fn placeholder(&self) -> Option<&FixedResponse> {
        self.placeholder.as_ref()
    }

    /// The answer to a request for which there is no room to wait; none is 503.
    pub(crate) fn on_overflow(&self) -> Option<&FixedResponse> {
        self.placeholder.as_ref().filter(|_| self.overflow == Overflow::Placeholder)
    }
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Pending(Arc<AtomicUsize>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
