//! Every error answer, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use plimsoll_scheduler::store::StoreError;

use crate::api::{FieldProblem, Problem};

/// What problems are sent as.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What of axum's own words for an error is read at most.
const OWN_WORDS_BYTES: usize = 4096;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub status: StatusCode,
    pub detail: String,
    pub errors: Vec<FieldProblem>,
    /// When it is worth another try.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// A field of the body that is wrong: nothing was changed.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        let detail = format!("{field}: {reason}; nothing was changed");
        Self { errors: vec![FieldProblem { field, reason }], ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// The store could not be read, so nothing has been written either.
    pub fn store_away(error: &StoreError) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(2)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("nothing was changed: {error}"))
        }
    }

    /// The store broke off while it was written to: whether it has written is not known.
    pub fn store_broke_off(error: &StoreError) -> Self {
        let detail = format!("whether it was changed is not known, ask again before trying again: {error}");
        Self { retry_after: Some(Duration::from_secs(2)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error").to_owned();
        let problem = Problem { title, status: self.status.as_u16(), detail: self.detail, errors: self.errors };
        // A struct of strings and numbers can always be written.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs_f64().ceil().max(1.0);
            if let Ok(value) = HeaderValue::from_str(&format!("{seconds:.0}")) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"plimsoll\""));
        }
        response
    }
}

/// Puts the errors that axum makes by itself into the same form.
pub async fn as_problem(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let is_problem = response.headers().get(CONTENT_TYPE) == Some(&PROBLEM_JSON);
    if !(status.is_client_error() || status.is_server_error()) || is_problem || is_json(&response) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let own = axum::body::to_bytes(body, OWN_WORDS_BYTES).await.unwrap_or_default();
    let own = String::from_utf8_lossy(&own).trim().to_owned();
    let allowed = parts.headers.get(ALLOW).cloned();
    let detail = match (&allowed, status) {
        (Some(allowed), StatusCode::METHOD_NOT_ALLOWED) => {
            format!("{asked} can't be: there one can {}", allowed.to_str().unwrap_or("do other things"))
        }
        _ if own.is_empty() => format!("{asked} failed: /openapi.json says what can be asked"),
        _ => format!("{asked}: {own}"),
    };
    let mut failure = Failure::new(status, detail).into_response();
    if let Some(allowed) = allowed {
        failure.headers_mut().insert(ALLOW, allowed);
    }
    failure
}

/// `/readyz` answers 503 with a body of its own.
fn is_json(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json")
}
