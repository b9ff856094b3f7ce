//! The policy: look, set, reset.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_scheduler::policy::Policy;

use super::body::Body;
use super::change::change;
use super::document::{Everywhere, Stale, Taken, Written};
use super::failure::Failure;
use super::known::Known;
use super::reads::has_tag;
use super::{Rest, Shown};
use crate::api::PolicyView;

/// The policy in force: what was set here, or the manager's flags.
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy",
    responses((status = 200, description = "It.", body = PolicyView, headers(("ETag" = String, description = "For `If-Match`."))), Everywhere))]
pub async fn get(State(rest): Shown) -> Response {
    answer(in_force(&rest, &Known::now(&rest)))
}

/// Sets the policy. With `If-Match` only where it still is what was looked at.
#[utoipa::path(put, path = "/api/v1/policy", tag = "policy", request_body = PolicyView, security(("token" = [])),
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of the policy that is to be replaced.")),
    responses((status = 200, description = "It is in force.", body = PolicyView, headers(("ETag" = String, description = "For `If-Match`."))), Stale, Taken, Written, Everywhere))]
pub async fn put(State(rest): Shown, headers: HeaderMap, Body(view): Body<PolicyView>) -> Result<Response, Failure> {
    let policy = Policy::from(view);
    policy.check().map_err(|bad| Failure::field(bad.field, bad.reason))?;
    set(&rest, &headers, Some(policy)).await
}

/// Resets the policy to what the manager's flags say.
#[utoipa::path(delete, path = "/api/v1/policy", tag = "policy", security(("token" = [])),
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of the policy that is to be reset.")),
    responses((status = 200, description = "It is reset; this is in force now.", body = PolicyView, headers(("ETag" = String, description = "For `If-Match`."))), Stale, Written, Everywhere))]
pub async fn delete(State(rest): Shown, headers: HeaderMap) -> Result<Response, Failure> {
    set(&rest, &headers, None).await
}

async fn set(rest: &Rest, headers: &HeaderMap, policy: Option<Policy>) -> Result<Response, Failure> {
    let (known, ()) = change(rest, |known, wanted| {
        let now = tag(in_force(rest, known));
        if headers.contains_key(header::IF_MATCH) && !has_tag(headers, header::IF_MATCH, &now) {
            return Err(Failure::new(
                StatusCode::PRECONDITION_FAILED,
                format!("the policy has changed since: its ETag is {now} now; nothing was changed"),
            ));
        }
        wanted.policy = policy;
        Ok(())
    })
    .await?;
    Ok(answer(in_force(rest, &known)))
}

/// What was set, or else what the flags say.
pub fn in_force(rest: &Rest, known: &Known) -> Policy {
    known.directives.directives.policy.unwrap_or(rest.default_policy)
}

fn answer(policy: Policy) -> Response {
    ([(header::ETAG, tag(policy))], Json(PolicyView::from(policy))).into_response()
}

/// A policy is its own version: what is the same again is what was looked at.
fn tag(policy: Policy) -> String {
    // A struct of numbers can always be written.
    let text = serde_json::to_vec(&policy).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    let hex: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
