//! Calls to the Kubernetes API: each with a deadline, each telling whether the server answers.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Config};
use plimsoll_cluster::chain;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::names::Names;
use crate::store::pulse::Pulse;
use crate::store::{StoreError, StoreHealth};

/// When nothing has been heard for this long, something is asked: a small question, which 100 collectors may ask all the time.
const QUIET: Duration = Duration::from_millis(2500);

/// The way to the API server.
#[derive(Debug)]
pub(super) struct Connection {
    /// Whom errors name.
    pub(super) name: String,
    pub(super) names: Names,
    pub(super) maps: Api<ConfigMap>,
    pub(super) leases: Api<Lease>,
    pub(super) call_timeout: Duration,
    pub(super) pulse: Pulse,
}

/// What the API server says to a call.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// It is done.
    Done(T),
    /// There is no such object.
    Missing,
    /// The object is there already, or has changed.
    Conflict,
}

impl<T> Answer<T> {
    /// Where there being none, or another one, is an answer as well.
    pub(super) fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Missing | Self::Conflict => None,
        }
    }
}

impl Connection {
    pub(super) fn new(
        config: Config,
        namespace: &str,
        names: Names,
        call_timeout: Duration,
    ) -> Result<Arc<Self>, StoreError> {
        let name = format!("Kubernetes at {}, {namespace}/{}", config.cluster_url, names.prefix());
        let mut config = config;
        config.connect_timeout = Some(call_timeout);
        let client = plimsoll_cluster::client(&config).map_err(super::bad_access)?;
        let (maps, leases) = (Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace));
        let pulse = Pulse::new(name.clone(), QUIET);
        Ok(Arc::new(Self { name, names, maps, leases, call_timeout, pulse }))
    }

    pub(super) fn health(&self) -> watch::Receiver<StoreHealth> {
        self.pulse.health()
    }

    /// One call, with the deadline. `what` completes "Kubernetes refused ...".
    pub(super) async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Answer<T>, StoreError> {
        match timeout(self.call_timeout, call).await {
            Ok(Ok(answer)) => {
                self.pulse.heard();
                Ok(Answer::Done(answer))
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.pulse.heard();
                Ok(if status.code == 404 { Answer::Missing } else { Answer::Conflict })
            }
            Ok(Err(error)) => Err(self.failed(what, &error)),
            Err(_) => Err(self.away(format!("no answer to {what} for {} ms", self.call_timeout.as_millis()))),
        }
    }

    /// What the client's error means here.
    pub(super) fn failed(&self, what: &str, error: &kube::Error) -> StoreError {
        let kube::Error::Api(status) = error else { return self.away(format!("{what} failed: {}", chain(error))) };
        let reason = status.message.clone();
        match status.code {
            // Without the permission the store is of no use, so it is not well either.
            401 | 403 => self.pulse.lost(&format!("{what} was refused: {reason}")),
            400 | 405 | 410 | 413 | 415 | 422 => self.pulse.heard(),
            _ => return self.away(format!("{what} failed: {reason}")),
        }
        StoreError::Refused { store: self.name.clone(), what: what.to_owned(), reason }
    }

    pub(super) fn away(&self, reason: String) -> StoreError {
        self.pulse.lost(&reason);
        self.unavailable(reason)
    }

    /// Something did not work, and it does not follow that the server is away.
    pub(super) fn unavailable(&self, reason: String) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), reason }
    }

    /// Asks for a sign of life whenever there was none for a while, so that health does not depend on what else is going on.
    pub(super) async fn probe(&self, stop: CancellationToken) {
        let plan = self.names.plan();
        while self.pulse.silence(&stop).await {
            // Its outcome is in the health.
            let _ = stop.run_until_cancelled(self.call("a probe", self.maps.get_metadata_opt(&plan))).await;
        }
    }
}
