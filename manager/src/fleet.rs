//! The collectors as a whole, and the means to have more or fewer of them.
//!
//! * [`Given`]: collectors that somebody else starts and that register themselves; it can only say how many are wanted.
//! * [`Local`]: collectors that this process runs: as tasks (`inline`, for `plimsoll dev`), or as child processes ([`processes`]).
//! * [`StatefulSets`]: collectors in a Kubernetes cluster, which a StatefulSet for each provider runs.

mod given;
mod kubernetes;
mod local;
mod process;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

pub use given::Given;
pub use kubernetes::{StatefulSets, StatefulSetsOptions};
pub use local::{Local, Run, Unit};
pub use process::{PARENT, ProcessOptions, processes};

/// Why a fleet could not be asked or changed. Trying again later may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {fleet} fleet can't {what}: {reason}")]
pub struct FleetError {
    /// Which kind of fleet.
    pub fleet: &'static str,
    /// What was tried.
    pub what: String,
    /// What came of it, and the remedy where there is one.
    pub reason: String,
}

/// How many collectors each provider's part has; where collectors are all alike, the whole, named "".
pub type Sizes = BTreeMap<String, usize>;

/// The means to have more or fewer collectors. Only the leader uses it; asking twice asks for the same.
#[async_trait]
pub trait Fleet: fmt::Debug + Send + Sync + 'static {
    /// For people: `static`, `process`, ...
    fn kind(&self) -> &'static str;

    /// How many collectors are asked for now, whether they are there yet or not; none where this fleet can't be scaled, only watched.
    ///
    /// # Errors
    /// [`FleetError`] where whoever runs them can't be asked.
    async fn sizes(&self) -> Result<Option<Sizes>, FleetError>;

    /// Asks for so many collectors of this provider ("": of all alike). Fewer stop the last by ordinal, which the caller has emptied before.
    ///
    /// # Errors
    /// [`FleetError`]; nothing has changed then, or not all of it.
    async fn scale(&self, provider: &str, collectors: usize) -> Result<(), FleetError>;

    /// Whether collectors of a provider that has none yet would be started when they are needed.
    ///
    /// # Errors
    /// [`FleetError`] where whoever runs them can't be asked.
    async fn can_serve(&self, _provider: &str) -> Result<bool, FleetError> {
        Ok(self.sizes().await?.is_some())
    }

    /// Ends the collectors that this process runs, and waits for them. What others run goes on.
    async fn close(&self);
}
