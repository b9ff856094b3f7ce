//! What becomes of a workload's requests while none of its endpoints is ready.

use std::sync::Arc;

use plimsoll_wire::resources::{Overflow, Workload};
use plimsoll_wire::topic::WorkloadId;

use crate::endpoints::{EndpointSet, Endpoints};
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
    pub(crate) fallback: Option<Arc<EndpointSet>>,
    /// Whether requests wait for an endpoint; else the placeholder answers at once.
    pub(crate) holds: bool,
    /// An answer that needs no endpoint.
    placeholder: Option<FixedResponse>,
    overflow: Overflow,
}

impl ColdStart {
    /// The cold start that a workload's resource describes.
    pub(crate) fn of(workload: &Workload, endpoints: &Endpoints) -> Self {
        let said = &workload.cold_start;
        Self {
            fallback: said.fallback.as_ref().map(|_| endpoints.of(&fallback_of(&workload.id))),
            holds: said.holds(),
            placeholder: said.placeholder.as_ref().map(|said| FixedResponse::new(said).asking_to_retry()),
            overflow: said.overflow,
        }
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
