//! The admin listener: liveness, readiness, metrics, and what is counted and routed now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::RwLock;
use plimsoll_wire::resources::{Port, Workload};
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::ledger::Ledger;
use crate::routes::Table;

/// What the admin listener shows.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// Whether new clients should be sent here.
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) registry: Arc<RwLock<Registry>>,
    pub(crate) ledger: Ledger,
    pub(crate) table: Arc<ArcSwap<Table>>,
}

/// Serves until `shutdown` is cancelled.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/queue", get(queue))
        .route("/routes", get(routes))
        .with_state(admin);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    // A scraper that keeps its connection open must not keep the interceptor up.
    tokio::select! {
        outcome = server => if let Err(error) = outcome {
            error!("the admin listener stopped: {error}");
        },
        () = shutdown.cancelled() => {}
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry.read()) {
        Ok(()) => (StatusCode::OK, kind, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
    }
}

/// One workload in `/queue`, named as the add-on does.
#[derive(Debug, Serialize)]
struct Queued {
    #[serde(rename = "Concurrency")]
    concurrency: u64,
    #[serde(rename = "RequestCount")]
    request_count: u64,
}

async fn queue(State(admin): State<Admin>) -> Json<BTreeMap<String, Queued>> {
    let totals = admin.ledger.snapshot().into_iter();
    let queued = totals.map(|(workload, totals)| {
        (workload.to_string(), Queued { concurrency: totals.in_flight, request_count: totals.admitted })
    });
    Json(queued.collect())
}

async fn routes(State(admin): State<Admin>) -> Json<Vec<Value>> {
    Json(admin.table.load().workloads.iter().map(shown).collect())
}

fn shown(workload: &Workload) -> Value {
    let rules = workload.rules.iter().map(|rule| {
        let headers = rule.headers.iter().map(|header| json!({ "name": header.name, "value": header.value }));
        json!({ "hosts": rule.hosts, "paths": rule.paths, "headers": headers.collect::<Value>() })
    });
    let port = match &workload.target.port {
        Port::Number(port) => json!(port),
        Port::Name(name) => json!(name),
    };
    json!({
        "workload": workload.id.to_string(),
        "kind": format!("{:?}", workload.kind),
        "rules": rules.collect::<Value>(),
        "target": { "service": workload.target.service, "port": port },
        "created": workload.created,
    })
}
