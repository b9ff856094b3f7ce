//! Why a broker could not be asked.

use std::sync::Arc;

use super::address::Address;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The broker is away, hangs, or has closed the connection; trying again may help.
    #[error("{0}")]
    Lost(Arc<str>),
    /// The broker does not want us, or we do not trust it; only a person can help.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried, with which broker.
        what: Arc<str>,
        /// Why it is refused, and the remedy.
        reason: Arc<str>,
    },
}

impl Failure {
    pub(super) fn lost(broker: &Address, what: impl std::fmt::Display) -> Self {
        Self::Lost(format!("broker {broker}: {what}").into())
    }

    pub(super) fn refused(broker: &Address, tried: impl std::fmt::Display, reason: impl Into<Arc<str>>) -> Self {
        Self::Refused { what: format!("{tried} at broker {broker}").into(), reason: reason.into() }
    }
}
