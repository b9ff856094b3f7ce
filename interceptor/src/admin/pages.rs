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
    let Ok(one_at_a_time) = admin.scraping.clone().acquire_owned().await else {
        return failed("the interceptor is stopping\n".to_owned());
    };
    // Tens of thousands of series take their time; the runtime's threads have other work.
    let page = tokio::task::spawn_blocking(move || {
        // To its end, whether anybody still waits for it or not.
        let _one_at_a_time = one_at_a_time;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use futures::FutureExt as _;
    use tokio::sync::{Semaphore, watch};

    use super::*;
    use crate::config::Config;
    use crate::endpoints::Endpoints;
    use crate::ledger::{Clock, Ledger};
    use crate::metrics::Metrics;
    use crate::routes::Tables;

    fn admin() -> Admin {
        let (ledger, endpoints, metrics) = (Ledger::new(Clock::start()), Endpoints::new(), Arc::<Metrics>::default());
        let config = Config::from_environment().unwrap();
        let table = Tables::new(config, ledger.clone(), endpoints.clone(), metrics.clone()).current();
        Admin {
            ready: Arc::new(AtomicBool::new(true)),
            in_force: watch::channel(true).1,
            registry: Arc::default(),
            metrics,
            ledger,
            endpoints,
            table,
            settings: Arc::default(),
            scraping: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn a_page_of_metrics_whose_client_hangs_up_takes_its_turn_to_the_end() {
        let admin = admin();
        let (hung_up, turns) = {
            let _takes_its_time = admin.registry.write();
            let asked = metrics(State(admin.clone()), HeaderMap::new()).now_or_never();
            (asked.is_none(), admin.scraping.available_permits())
        };
        assert_eq!((hung_up, turns), (true, 0));
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), admin.scraping.acquire());
        assert!(next.await.is_ok(), "the next one has its turn then");
    }
}
