//! The API's description: OpenAPI for machines, and a page of it for people.

mod page;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, response::Response};
use serde_json::Value;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Rest;
use super::{collectors, events, explain, history, live, policy, probes, reads, rebalance, shares, topics, trial};
use crate::api::Problem;

/// Errors that calls have in common: each a status, and what it means there.
macro_rules! errors {
    ($($(#[$what:meta])* $set:ident { $($name:ident $status:tt $means:tt)* })*) => { $(
        $(#[$what])*
        #[derive(IntoResponses)]
        #[expect(dead_code, reason = "read by utoipa only")]
        pub enum $set {
            $(
                #[response(status = $status, description = $means, content_type = "application/problem+json")]
                $name(Problem),
            )*
        }
    )* };
}

errors! {
    /// What every call may be answered.
    Everywhere {
        NoToken 401 "The token is missing or not known."
        NotAllowed 403 "The role is not enough, or a page of another site asks."
        Misdirected 421 "The API listens on loopback and was asked under another name."
        TooMany 429 "Too much was asked, or too many wrong tokens were shown; `Retry-After` says when to try again."
    }
    /// What a call about one thing may be answered.
    NoSuch {
        NotFound 404 "It is not known."
    }
    /// What a call with parameters may be answered.
    BadQuery {
        BadRequest 400 "A parameter is not known, or its value is wrong."
    }
    /// What a call that changes something may be answered.
    Written {
        NotJson 415 "The content type is not JSON. A POST without a body says it too."
        StoreAway 503 "The store is away, or the resources are not known yet; the detail says whether anything was changed."
    }
    /// What a call that takes a body may be answered.
    Taken {
        NoJson 400 "The body is no JSON."
        TooSlow 408 "The body did not come in time. Nothing was changed."
        TooLong 413 "The body is too long."
        BadField 422 "A field is missing, not known, or wrong: `errors` names it. Nothing was changed."
    }
    /// What a call guarded by `If-Match` may be answered.
    Stale {
        Changed 412 "It has changed since it was looked at. Nothing was changed."
    }
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
        .routes(routes!(live::live))
        .routes(routes!(history::history))
        .routes(routes!(shares::shares))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
}

/// What `/openapi.json` says, without a manager that runs.
#[must_use]
pub fn openapi() -> Value {
    // What has been made of Rust's types can be written.
    serde_json::to_value(calls().into_openapi()).unwrap_or_default()
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
