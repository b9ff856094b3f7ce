//! Collectors.

use plimsoll_scheduler::directives::CollectorDirective;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorView {
    /// Its name.
    pub id: String,
    /// Where managers reach it; none if it is not registered now.
    pub address: Option<String>,
    /// Which provider it serves.
    pub provider: Option<String>,
    /// `ready`; `joining` (nothing heard yet); `silent` (for 3 s); `lost` (for 5 s, or it has said goodbye); `lagging` behind the
    /// log; `leaving` (it is about to stop); `held-off` (it has failed and must be well for a while); `retiring` (fewer are enough, and it is emptied; only the manager that leads
    /// knows); `cordoned`; `draining`.
    pub state: String,
    /// Why it is seen in that state.
    #[serde(default)]
    pub because: Option<String>,
    /// What an operator has asked of it; none if nothing.
    #[serde(default)]
    pub wish: Option<CollectorWish>,
    /// Topics that it owns, and topics that are moving to it.
    pub topics: usize,
    /// See `topics`.
    pub incoming: usize,
    /// What its topics weigh together: see a topic's `load`.
    pub load: f64,
    /// Seconds since everything that was then in the log had been read.
    pub lag_seconds: f64,
    /// Seconds since its newest update.
    pub silent_seconds: f64,
    /// The generation of the plan that it follows.
    pub generation: u64,
}

/// What an operator has asked of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CollectorWish {
    /// It keeps what it has, and gets nothing new.
    Cordon,
    /// It is emptied, and stays so.
    Drain,
}

impl From<CollectorDirective> for CollectorWish {
    fn from(directive: CollectorDirective) -> Self {
        match directive {
            CollectorDirective::Cordon => Self::Cordon,
            CollectorDirective::Drain => Self::Drain,
        }
    }
}
