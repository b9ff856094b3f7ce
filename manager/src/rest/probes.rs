//! For kubelets and Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Shown;
use super::failure::Failure;
use super::views;
use crate::api::ReadyView;

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "It does.", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the manager can answer, and what is amiss. A store that is away is told, and does not stop the answers.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "It can.", body = ReadyView),
    (status = 503, description = "It can't.", body = ReadyView),
))]
pub async fn readyz(State(rest): Shown) -> Response {
    let view: ReadyView = views::ready(&rest);
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view)).into_response()
}

/// The manager's metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses((status = 200, description = "In OpenMetrics' text form.", body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(State(rest): Shown) -> Response {
    views::measure(&rest);
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &rest.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            let detail = format!("metrics can't be written: {error}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}
