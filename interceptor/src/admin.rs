//! The admin listener: liveness, readiness, metrics, and what is counted, routed and set now.

mod pages;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::endpoints::Endpoints;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::routes::Table;

/// What the admin listener shows.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// Whether new clients should be sent here.
    pub(crate) ready: Arc<AtomicBool>,
    /// Whether the routes and their endpoints are known and requests go by them: false until a cluster has told all of them.
    pub(crate) in_force: watch::Receiver<bool>,
    pub(crate) registry: Arc<RwLock<Registry>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ledger: Ledger,
    pub(crate) endpoints: Endpoints,
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// The settings in force, without secrets.
    pub(crate) settings: Arc<Value>,
    /// One page of metrics is made at a time, however many ask: it may be large.
    pub(crate) scraping: Arc<Semaphore>,
}

/// Serves until `shutdown` is cancelled.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let pages = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(pages::readyz))
        .route("/metrics", get(pages::metrics))
        .route("/queue", get(pages::queue))
        .route("/routes", get(pages::routes))
        .route("/endpoints", get(pages::endpoints))
        .route("/config", get(pages::config))
        .with_state(admin);
    plimsoll_wire::admin::serve(listener, pages, shutdown).await;
}
