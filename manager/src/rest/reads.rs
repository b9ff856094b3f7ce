//! What can be looked at.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_wire::topic::WorkloadId;

use super::Shown;
use super::body::Asked;
use super::document::{BadQuery, Everywhere, NoSuch};
use super::failure::Failure;
use super::known::Known;
use super::lists::{self, CollectorsAsked, Part, TopicsAsked, WorkloadsAsked, has, is};
use super::views;
use crate::api::{AssignmentView, CollectorView, Page, TopicView, WorkloadView};
use crate::lead::health;

/// Every workload with its live values, and what KEDA is told; by namespace, then name.
#[utoipa::path(get, path = "/api/v1/workloads", tag = "workloads", params(WorkloadsAsked),
    responses((status = 200, description = "A page of them.", body = Page<WorkloadView>), BadQuery, Everywhere))]
pub async fn workloads(State(rest): Shown, Asked(asked): Asked<WorkloadsAsked>) -> Response {
    let catalogue = rest.catalogue.load();
    let wanted = catalogue.entries().iter().filter(|entry| {
        let workload = &entry.workload;
        is(asked.namespace.as_ref(), &workload.id.namespace)
            && is(asked.provider.as_ref(), &workload.provider)
            && (asked.q.is_none() || has(asked.q.as_ref(), &workload.id.to_string()))
            && asked.known.is_none_or(|known| known == rest.board.cell(&entry.topic).best().is_ok())
    });
    let part = Part { limit: asked.limit, offset: asked.offset };
    part.of(wanted, |entry| views::workload(&rest, entry)).into_response()
}

/// One workload.
#[utoipa::path(get, path = "/api/v1/workloads/{namespace}/{name}", tag = "workloads",
    params(("namespace" = String, Path, description = "Its namespace."), ("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It.", body = WorkloadView), NoSuch, Everywhere))]
pub async fn workload(
    State(rest): Shown,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<WorkloadView>, Failure> {
    let id = WorkloadId::new(namespace, name);
    let catalogue = rest.catalogue.load();
    let entry = catalogue
        .get(&id)
        .ok_or_else(|| Failure::not_found(format!("workload {id} is not known: GET /api/v1/workloads lists all")))?;
    Ok(Json(views::workload(&rest, entry)))
}

/// Every topic, by name: whose it is, which collector reads it, its load.
#[utoipa::path(get, path = "/api/v1/topics", tag = "topics", params(TopicsAsked),
    responses((status = 200, description = "A page of them.", body = Page<TopicView>), BadQuery, Everywhere))]
pub async fn topics(State(rest): Shown, Asked(asked): Asked<TopicsAsked>) -> Result<Json<Page<TopicView>>, Failure> {
    let known = Known::now(&rest);
    let state = asked.state.as_deref().map(lists::topic_state).transpose()?;
    let wanted = known.topics().filter(|topic| {
        if asked.takes_all() {
            // Looking things up for each of a hundred thousand is most of the work.
            return true;
        }
        let about = views::About::new(&known, topic);
        asked.q.as_ref().is_none_or(|part| {
            topic.contains(part.as_str()) || about.workload().is_some_and(|id| id.to_string().contains(part.as_str()))
        }) && asked.provider.as_ref().is_none_or(|provider| about.provider() == Some(provider))
            && asked.collector.as_ref().is_none_or(|collector| about.is_read_by(collector))
            && state.is_none_or(|state| about.state(&rest) == state)
    });
    let part = Part { limit: asked.limit, offset: asked.offset };
    Ok(part.of(wanted, |topic| views::About::new(&known, topic).view(&rest)))
}

/// One topic.
#[utoipa::path(get, path = "/api/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It.", body = TopicView), NoSuch, Everywhere))]
pub async fn topic(State(rest): Shown, Path(topic): Path<String>) -> Result<Json<TopicView>, Failure> {
    let known = Known::now(&rest);
    if !known.has_topic(&topic) {
        return Err(no_topic(&topic));
    }
    Ok(Json(views::About::new(&known, &topic).view(&rest)))
}

pub fn no_topic(topic: &str) -> Failure {
    Failure::not_found(format!("topic {topic} is not known: GET /api/v1/topics lists all"))
}

/// The collectors, by name: state, provider, topics, load, lag.
#[utoipa::path(get, path = "/api/v1/collectors", tag = "collectors", params(CollectorsAsked),
    responses((status = 200, description = "A page of them.", body = Page<CollectorView>), BadQuery, Everywhere))]
pub async fn collectors(State(rest): Shown, Asked(asked): Asked<CollectorsAsked>) -> Result<Response, Failure> {
    let state = asked.state.as_deref().map(lists::collector_state).transpose()?.map(health::State::name);
    let all = views::collectors(&rest, &Known::now(&rest));
    let wanted = all.into_iter().filter(|one| {
        asked.provider.as_ref().is_none_or(|provider| one.provider.as_ref() == Some(provider))
            && state.is_none_or(|state| one.state == state)
            && has(asked.q.as_ref(), &one.id)
    });
    let part = Part { limit: asked.limit, offset: asked.offset };
    Ok(part.of(wanted, |one| one).into_response())
}

/// One collector.
#[utoipa::path(get, path = "/api/v1/collectors/{collector}", tag = "collectors",
    params(("collector" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It.", body = CollectorView), NoSuch, Everywhere))]
pub async fn collector(State(rest): Shown, Path(id): Path<String>) -> Result<Json<CollectorView>, Failure> {
    let all = views::collectors(&rest, &Known::now(&rest));
    all.into_iter().find(|one| one.id == id).map(Json).ok_or_else(|| no_collector(&id))
}

pub fn no_collector(id: &str) -> Failure {
    Failure::not_found(format!("collector {id} is not known: GET /api/v1/collectors lists all"))
}

/// The whole plan. Its `ETag` is its generation: with `If-None-Match` it is sent only when it has changed.
#[utoipa::path(get, path = "/api/v1/assignment", tag = "assignment",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the plan that is known already.")),
    responses(
        (status = 200, description = "It.", body = AssignmentView, headers(("ETag" = String, description = "Its generation, in quotes."))),
        (status = 304, description = "It is still the one that is known."),
        Everywhere,
    ))]
pub async fn assignment(State(rest): Shown, headers: HeaderMap) -> Response {
    let known = Known::now(&rest);
    let tag = format!("\"{}\"", known.stored.plan.generation);
    if has_tag(&headers, header::IF_NONE_MATCH, &tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(views::assignment(&rest, &known))).into_response()
}

/// Whether a header names this tag, or any. Weak tags are as good as strong ones here: what is the same has the same bytes.
pub fn has_tag(headers: &HeaderMap, name: header::HeaderName, tag: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.trim_start_matches("W/") == tag)
}
