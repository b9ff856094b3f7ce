//! The REST API (reading), the probes and `/metrics`.

mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use plimsoll_scheduler::store::{Leadership, Member, StoreHealth, Stored};
use plimsoll_wire::topic::WorkloadId;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{AssignmentView, Page, Problem, ReadyView};
use crate::board::Board;
use crate::catalogue::Catalogue;

/// Items of a page, unless the caller asks for fewer or more.
const PAGE: usize = 500;
const PAGE_MAX: usize = 10_000;

/// What the API shows.
pub struct Rest {
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    pub board: Arc<Board>,
    pub plan: watch::Receiver<Arc<Stored>>,
    pub members: watch::Receiver<Arc<BTreeMap<String, Member>>>,
    pub leadership: watch::Receiver<Leadership>,
    pub health: watch::Receiver<StoreHealth>,
    pub activity_window: Duration,
    pub registry: Arc<Registry>,
}

/// Serves until shutdown.
pub async fn serve(rest: Rest, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/api/v1/workloads", get(workloads))
        .route("/api/v1/workloads/{namespace}/{name}", get(workload))
        .route("/api/v1/topics", get(topics))
        .route("/api/v1/topics/{topic}", get(topic))
        .route("/api/v1/collectors", get(collectors))
        .route("/api/v1/assignment", get(assignment))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(no_such_path)
        .with_state(Arc::new(rest));
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

type Shown = State<Arc<Rest>>;

/// Which part of a list.
#[derive(Debug, Deserialize)]
struct Paging {
    limit: Option<usize>,
    offset: Option<usize>,
}

impl Paging {
    fn page<T, V>(&self, all: &[T], view: impl Fn(&T) -> V) -> Json<Page<V>> {
        let offset = self.offset.unwrap_or(0);
        let items = all.iter().skip(offset).take(self.limit.unwrap_or(PAGE).min(PAGE_MAX)).map(view).collect();
        Json(Page { items, total: all.len(), offset })
    }
}

type PagingQuery = Result<Query<Paging>, axum::extract::rejection::QueryRejection>;

fn paging(query: PagingQuery) -> Result<Paging, Failure> {
    query.map(|Query(paging)| paging).map_err(|error| Failure {
        status: StatusCode::BAD_REQUEST,
        detail: format!("{}: limit and offset are whole numbers", error.body_text()),
    })
}

async fn workloads(State(rest): Shown, query: PagingQuery) -> Result<Response, Failure> {
    let catalogue = rest.catalogue.load();
    Ok(paging(query)?.page(catalogue.entries(), |entry| views::workload(&rest, entry)).into_response())
}

async fn workload(State(rest): Shown, Path((namespace, name)): Path<(String, String)>) -> Result<Response, Failure> {
    let id = WorkloadId::new(namespace, name);
    let catalogue = rest.catalogue.load();
    let entry = catalogue
        .get(&id)
        .ok_or_else(|| Failure::not_found(format!("workload {id} is not known: GET /api/v1/workloads lists all")))?;
    Ok(Json(views::workload(&rest, entry)).into_response())
}

async fn topics(State(rest): Shown, query: PagingQuery) -> Result<Response, Failure> {
    let all = views::topic_names(&rest);
    Ok(paging(query)?.page(&all, |topic| views::topic(&rest, topic)).into_response())
}

async fn topic(State(rest): Shown, Path(topic): Path<String>) -> Result<Response, Failure> {
    match views::topic_names(&rest).binary_search(&topic) {
        Ok(_) => Ok(Json(views::topic(&rest, &topic)).into_response()),
        Err(_) => Err(Failure::not_found(format!("topic {topic} is not known: GET /api/v1/topics lists all"))),
    }
}

async fn collectors(State(rest): Shown, query: PagingQuery) -> Result<Response, Failure> {
    Ok(paging(query)?.page(&views::collectors(&rest), Clone::clone).into_response())
}

async fn assignment(State(rest): Shown) -> Response {
    let view: AssignmentView = views::assignment(&rest);
    let tag = format!("\"{}\"", view.generation);
    ([(header::ETAG, tag)], Json(view)).into_response()
}

/// 200 while the manager can answer. A store that is away is told, and does not stop the answers.
async fn ready(State(rest): Shown) -> Response {
    let view: ReadyView = views::ready(&rest);
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view)).into_response()
}

async fn metrics(State(rest): Shown) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &rest.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            Failure { status: StatusCode::INTERNAL_SERVER_ERROR, detail: format!("metrics can't be written: {error}") }
                .into_response()
        }
    }
}

async fn no_such_path(uri: Uri) -> Failure {
    Failure::not_found(format!(
        "nothing is at {}: see /api/v1/workloads, /topics, /collectors, /assignment there, /healthz, /readyz, /metrics",
        uri.path()
    ))
}

/// An error answer.
struct Failure {
    status: StatusCode,
    detail: String,
}

impl Failure {
    fn not_found(detail: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, detail }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error").to_owned();
        let problem = Problem { title, status: self.status.as_u16(), detail: self.detail };
        (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            serde_json::to_string(&problem).unwrap_or_default(),
        )
            .into_response()
    }
}
