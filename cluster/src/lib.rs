//! The way to a Kubernetes API server, for whatever part needs one.
//!
//! * [`Access`]: the flag that says how, and the settings and the client made of it.
//! * [`provider`]: at which provider a node runs.

mod access;
mod client;
pub mod provider;
mod renewed;

use std::error::Error;

pub use access::Access;
pub use client::client;

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} can't be used: {reason}")]
pub struct AccessError {
    /// What was tried: a kubeconfig, or an entry of it.
    pub setting: String,
    /// What is wrong with it, and the remedy where there is one.
    pub reason: String,
}

/// An error with its causes: the outermost one seldom says what is wrong.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}
