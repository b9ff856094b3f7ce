//! Asks for a rebalance.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::Shown;
use super::body::NoBody;
use super::change::change;
use super::document::{Everywhere, Written};
use super::failure::Failure;
use crate::api::RebalanceView;

/// Balances once, also where the imbalance is too small to be worth it by itself.
#[utoipa::path(post, path = "/api/v1/assignment/rebalance", tag = "assignment", security(("token" = [])),
    responses((status = 202, description = "The leader will do it in its next round.", body = RebalanceView), Written, Everywhere))]
pub async fn rebalance(State(rest): Shown, _: NoBody) -> Result<impl IntoResponse, Failure> {
    let (_, asked) = change(&rest, |_, wanted| {
        wanted.rebalances += 1;
        Ok(wanted.rebalances)
    })
    .await?;
    Ok((StatusCode::ACCEPTED, Json(RebalanceView { asked })))
}
