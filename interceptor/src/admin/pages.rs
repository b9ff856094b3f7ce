//! The admin listener's pages.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_wire::resources::{Port, Workload};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Admin;
use crate::metrics::{Format, write_page};

pub(super) async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    if !*admin.in_force.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "the routes and their endpoints are not known and in force yet\n")
    } else if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let format = Format::asked(accept);
    let failed = |what: String| (StatusCode::INTERNAL_SERVER_ERROR, what).into_response();
    let Ok(_one_at_a_time) = admin.scraping.clone().acquire_owned().await else {
        return failed("the interceptor is stopping\n".to_owned());
    };
    // Tens of thousands of series take their time; the runtime's threads have other work.
    let page = tokio::task::spawn_blocking(move || {
        write_page(&admin.registry.read(), &admin.metrics, &admin.ledger, &admin.endpoints, format)
    });
    match page.await {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Ok(Err(error)) => failed(format!("a metric can't be written: {error}\n")),
        Err(error) => failed(format!("the page can't be made: {error}\n")),
    }
}

/// One workload in `/queue`, named as the add-on does.
#[derive(Debug, Serialize)]
pub(super) struct Queued {
    #[serde(rename = "Concurrency")]
    concurrency: u64,
    #[serde(rename = "RequestCount")]
    request_count: u64,
}

pub(super) async fn queue(State(admin): State<Admin>) -> Json<BTreeMap<String, Queued>> {
    let totals = admin.ledger.snapshot().into_iter();
    let queued = totals.map(|(workload, totals)| {
        (workload.to_string(), Queued { concurrency: totals.in_flight, request_count: totals.admitted })
    });
    Json(queued.collect())
}

pub(super) async fn routes(State(admin): State<Admin>) -> Json<Vec<Value>> {
    Json(admin.table.load().workloads.iter().map(route).collect())
}

fn route(workload: &Workload) -> Value {
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

/// Where each workload's requests can go. A workload without an endpoint is there too: its requests are held.
pub(super) async fn endpoints(State(admin): State<Admin>) -> Json<Vec<Value>> {
    let now = Instant::now();
    let shown = admin.endpoints.all().into_iter().map(|(workload, set)| {
        let endpoints = set.shown().into_iter().map(|endpoint| {
            json!({
                "address": endpoint.address,
                "state": format!("{:?}", endpoint.state).to_lowercase(),
                "inUse": endpoint.in_use,
                "ejectedForSeconds": endpoint.ejected_until.map(|until| (until - now).as_secs_f64()),
                "inFlight": endpoint.in_flight,
                "picks": endpoint.picks,
                "failuresInARow": endpoint.failures,
            })
        });
        let endpoints = endpoints.collect::<Value>();
        json!({ "workload": workload.to_string(), "waiting": set.waiting(), "endpoints": endpoints })
    });
    Json(shown.collect())
}

pub(super) async fn config(State(admin): State<Admin>) -> Json<Value> {
    Json(admin.settings.as_ref().clone())
}
