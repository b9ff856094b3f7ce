//! Errors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"title": "Not Found", "status": 404, "detail": "topic plimsoll.shop.web is not known: GET /api/v1/topics lists all"}))]
pub struct Problem {
    /// What kind of error.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What was asked, why it can't be, and what can.
    pub detail: String,
    /// The fields of the request that are wrong, where it is that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Which.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}
