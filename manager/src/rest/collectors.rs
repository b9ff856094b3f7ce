//! Collectors: cordon, uncordon, drain.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use plimsoll_scheduler::directives::CollectorDirective;

use super::body::NoBody;
use super::change::change;
use super::document::{Everywhere, NoSuch, Written};
use super::failure::Failure;
use super::reads::no_collector;
use super::{Rest, Shown, views};
use crate::api::CollectorView;

/// Keeps a collector from getting more topics; what it has it keeps.
#[utoipa::path(post, path = "/api/v1/collectors/{collector}/cordon", tag = "collectors", security(("token" = [])),
    params(("collector" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is cordoned.", body = CollectorView), NoSuch, Written, Everywhere))]
pub async fn cordon(State(rest): Shown, Path(id): Path<String>, _: NoBody) -> Result<Json<CollectorView>, Failure> {
    ask(&rest, &id, Some(CollectorDirective::Cordon)).await.map(Json)
}

/// Lets a collector that was cordoned or drained have topics again.
#[utoipa::path(post, path = "/api/v1/collectors/{collector}/uncordon", tag = "collectors", security(("token" = [])),
    params(("collector" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It takes topics.", body = CollectorView), NoSuch, Written, Everywhere))]
pub async fn uncordon(State(rest): Shown, Path(id): Path<String>, _: NoBody) -> Result<Json<CollectorView>, Failure> {
    ask(&rest, &id, None).await.map(Json)
}

/// Empties a collector: each topic moves when its new collector has read it. It stays empty until it is uncordoned.
#[utoipa::path(post, path = "/api/v1/collectors/{collector}/drain", tag = "collectors", security(("token" = [])),
    params(("collector" = String, Path, description = "Its name.")),
    responses((status = 202, description = "It is being emptied: it is when `topics` and `incoming` are 0.", body = CollectorView), NoSuch, Written, Everywhere))]
pub async fn drain(State(rest): Shown, Path(id): Path<String>, _: NoBody) -> Result<impl IntoResponse, Failure> {
    let view = ask(&rest, &id, Some(CollectorDirective::Drain)).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

async fn ask(rest: &Rest, id: &str, directive: Option<CollectorDirective>) -> Result<CollectorView, Failure> {
    let (known, ()) = change(rest, |known, wanted| {
        if !known.has_collector(rest, id) {
            return Err(no_collector(id));
        }
        match directive {
            Some(directive) => drop(wanted.collectors.insert(id.to_owned(), directive)),
            None => drop(wanted.collectors.remove(id)),
        }
        Ok(())
    })
    .await?;
    let all = views::collectors(rest, &known);
    // One that had gone already, and of which nothing is asked any more, is known no longer.
    Ok(all.into_iter().find(|one| one.id == id).unwrap_or_else(|| views::absent(id)))
}
