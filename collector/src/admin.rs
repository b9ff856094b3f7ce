//! Probes and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// What `/readyz` tells. A log or a store that goes away later changes nothing: the collector goes on with what it has, and its
/// answers say themselves what they are worth.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    registered: AtomicBool,
    replayed: AtomicBool,
}

impl Readiness {
    /// The collector is known to the managers.
    pub(crate) fn registered(&self) {
        self.registered.store(true, Ordering::Relaxed);
    }

    /// The interceptors' topic has been replayed.
    pub(crate) fn replayed(&self) {
        self.replayed.store(true, Ordering::Relaxed);
    }

    fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.registered.load(Ordering::Relaxed) {
            missing.push("not registered in the store yet");
        }
        if !self.replayed.load(Ordering::Relaxed) {
            missing.push("the interceptors' topic has not been read to its end yet");
        }
        missing
    }
}

#[derive(Debug, Clone)]
struct Shown {
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
}

/// `/livez`, `/readyz`, `/metrics`.
pub(crate) fn router(registry: Registry, readiness: Arc<Readiness>, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shown { registry: Arc::new(registry), readiness, shutdown })
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let mut missing = shown.readiness.missing();
    if shown.shutdown.is_cancelled() {
        missing.push("stopping");
    }
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &shown.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("can't write the metrics: {error}\n")).into_response()
        }
    }
}
