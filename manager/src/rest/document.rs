//! The API's description: OpenAPI for machines, and a page of it for people.

mod page;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, response::Response};
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Rest;
use super::{collectors, events, explain, policy, probes, reads, rebalance, topics, trial};
use crate::api::Problem;

/// What every call may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum Everywhere {
    #[response(
        status = 401,
        description = "The token is missing or not known.",
        content_type = "application/problem+json"
    )]
    NoToken(Problem),
    #[response(
        status = 403,
        description = "The role is not enough, or a page of another site asks.",
        content_type = "application/problem+json"
    )]
    NotAllowed(Problem),
    #[response(
        status = 421,
        description = "The API listens on loopback and was asked under another name.",
        content_type = "application/problem+json"
    )]
    Misdirected(Problem),
    #[response(
        status = 429,
        description = "Too much was asked, or too many wrong tokens were shown; `Retry-After` says when to try again.",
        content_type = "application/problem+json"
    )]
    TooMany(Problem),
}

/// What a call about one thing may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum NoSuch {
    #[response(status = 404, description = "It is not known.", content_type = "application/problem+json")]
    NotFound(Problem),
}

/// What a call with parameters may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum BadQuery {
    #[response(
        status = 400,
        description = "A parameter is not known, or its value is wrong.",
        content_type = "application/problem+json"
    )]
    BadRequest(Problem),
}

/// What a call that changes something may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum Written {
    #[response(
        status = 415,
        description = "The content type is not JSON. A POST without a body says it too.",
        content_type = "application/problem+json"
    )]
    NotJson(Problem),
    #[response(
        status = 503,
        description = "The store is away; the detail says whether anything was changed.",
        content_type = "application/problem+json"
    )]
    StoreAway(Problem),
}

/// What a call that takes a body may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum Taken {
    #[response(status = 400, description = "The body is no JSON.", content_type = "application/problem+json")]
    NoJson(Problem),
    #[response(status = 413, description = "The body is too long.", content_type = "application/problem+json")]
    TooLong(Problem),
    #[response(
        status = 422,
        description = "A field is missing, not known, or wrong: `errors` names it. Nothing was changed.",
        content_type = "application/problem+json"
    )]
    BadField(Problem),
}

/// What a call guarded by `If-Match` may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub enum Stale {
    #[response(
        status = 412,
        description = "It has changed since it was looked at. Nothing was changed.",
        content_type = "application/problem+json"
    )]
    Changed(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Plimsoll",
        description = "What a manager knows, and what can be asked of it. Every manager answers all of it; the one that leads \
                       acts on what is asked. Errors are `application/problem+json` (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "workloads", description = "What is scaled, live."),
        (name = "topics", description = "Where the load of each workload is published, and who reads it."),
        (name = "collectors", description = "The workers that read topics."),
        (name = "assignment", description = "The plan: which collector reads which topic."),
        (name = "policy", description = "The rule that makes the plan."),
        (name = "events", description = "What happens, as it happens."),
        (name = "probes", description = "For kubelets and Prometheus."),
    ),
    modifiers(&Bearer),
)]
struct Api;

/// Says how to log in.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut Description) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `--api-token-file`. On loopback without such a file, none is needed."))
            .build();
        let components = description.components.get_or_insert_default();
        components.security_schemes.insert("token".to_owned(), SecurityScheme::Http(bearer).into());
    }
}

/// All calls, each with its description.
pub fn calls() -> OpenApiRouter<Arc<Rest>> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(reads::workloads))
        .routes(routes!(reads::workload))
        .routes(routes!(reads::topics, topics::add))
        .routes(routes!(reads::topic, topics::delete))
        .routes(routes!(explain::explain))
        .routes(routes!(topics::pin, topics::unpin))
        .routes(routes!(reads::collectors))
        .routes(routes!(reads::collector))
        .routes(routes!(collectors::cordon))
        .routes(routes!(collectors::uncordon))
        .routes(routes!(collectors::drain))
        .routes(routes!(reads::assignment))
        .routes(routes!(trial::plan))
        .routes(routes!(rebalance::rebalance))
        .routes(routes!(policy::get, policy::put, policy::delete))
        .routes(routes!(events::events))
        .routes(routes!(events::decisions))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
}

/// The description, written out once.
pub struct Document {
    json: String,
    page: String,
}

impl Document {
    pub fn new(description: &Description) -> Self {
        // What has been made of Rust's types can be written.
        Self { json: description.to_pretty_json().unwrap_or_default(), page: page::page(description) }
    }
}

/// `/openapi.json` and `/docs`.
pub fn routes<S: Clone + Send + Sync + 'static>(document: Arc<Document>) -> Router<S> {
    Router::new().route("/openapi.json", get(json)).route("/docs", get(docs)).with_state(document)
}

async fn json(State(document): State<Arc<Document>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.json.clone()).into_response()
}

async fn docs(State(document): State<Arc<Document>>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (
            CONTENT_SECURITY_POLICY,
            format!(
                "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                page::style_hash()
            ),
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, document.page.clone()).into_response()
}
