//! What the leader keeps right in the cluster: a KEDA ScaledObject for each resource that wants one, and the `Ready` condition of
//! each resource.
//!
//! * Deciding is pure: `scaled_object` says what a resource's ScaledObject should be, with `trigger`; `claims` who wins a rule that
//!   two resources claim, `verdict` what the condition says, `writers` who else writes an object, `plan` what is to be written for
//!   all that.
//! * `cluster` is what is known of the cluster, `uses` which resources name a Service, `queue` which resources are to be looked at
//!   and when; `work` has them looked at, `calls` writes.
//!
//! Writing is by server-side apply: what others have written into the same objects stays theirs.

mod calls;
mod claims;
mod cluster;
mod plan;
mod queue;
mod scaled_object;
mod trigger;
mod uses;
mod verdict;
mod work;
mod writers;

use std::sync::Arc;

use kube::Client;
use plimsoll_wire::resources::Workload;
use tokio::sync::watch;

pub use trigger::{AuthenticationRef, BadAuthenticationRef, Scaler};

/// Who wrote it, as the API server records it.
pub(crate) const FIELD_MANAGER: &str = "plimsoll";

/// The API group of the resources.
const GROUP: &str = "http.keda.sh";

/// What the operator stands on.
#[derive(Clone)]
pub struct Operator {
    /// The cluster.
    pub client: Client,
    /// The one namespace to look after; none is all.
    pub namespace: Option<String>,
    /// How KEDA reaches the managers' scaler.
    pub scaler: Scaler,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client: _, namespace, scaler } = self;
        f.debug_struct("Operator").field("namespace", namespace).field("scaler", scaler).finish()
    }
}

impl Operator {
    /// Keeps everything right for as long as it is polled. `workloads` are those in use, of all resources.
    pub(crate) async fn run(&self, workloads: watch::Receiver<Arc<Vec<Workload>>>) {
        work::run(self, workloads).await;
    }
}

/// Which of the two kinds a resource is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    /// An `InterceptorRoute`.
    Route,
    /// An `HTTPScaledObject`.
    Object,
}

impl Which {
    fn kind(self) -> plimsoll_wire::resources::Kind {
        match self {
            Self::Route => plimsoll_wire::resources::Kind::InterceptorRoute,
            Self::Object => plimsoll_wire::resources::Kind::HttpScaledObject,
        }
    }

    /// The kind's name.
    fn name(self) -> &'static str {
        match self {
            Self::Route => "InterceptorRoute",
            Self::Object => "HTTPScaledObject",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::Route => "http.keda.sh/v1beta1",
            Self::Object => "http.keda.sh/v1alpha1",
        }
    }
}

/// A resource.
type Key = (Which, plimsoll_wire::topic::WorkloadId);
