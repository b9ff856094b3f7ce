//! Readiness.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether this manager is ready, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyView {
    /// Ready to answer.
    pub ready: bool,
    /// Whether it leads.
    pub leading: bool,
    /// What is wrong or missing, whether or not it keeps the manager from answering.
    pub reasons: Vec<String>,
}
