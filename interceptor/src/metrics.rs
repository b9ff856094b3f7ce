//! What the interceptor shows of itself to Prometheus.
//!
//! A request costs three atomic additions and no look-up: each route has its own counters, and labels are written only when
//! somebody scrapes.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::RwLock;
use plimsoll_wire::topic::WorkloadId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::ledger::Ledger;

/// The upper bounds of the duration's buckets, in microseconds: the add-on's.
const BOUNDS_US: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000, 5_000_000,
    7_500_000, 10_000_000,
];

/// Pairs of method and status code that a route tells apart. Few routes have more than ten.
const ANSWERS: usize = 32;

/// What clients that left before their response are counted as (nginx's code for it).
pub(crate) const CLIENT_GONE: u16 = 499;

/// All metrics of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: RwLock<HashMap<WorkloadId, Arc<RouteMetrics>>>,
    /// Requests that no route matched.
    pub(crate) unrouted: Counter,
    /// Requests that were held for a cold start.
    pub(crate) held: Counter,
    /// Connections opened to endpoints.
    pub(crate) connects: Counter,
    /// Attempts to connect that failed.
    pub(crate) connect_failures: Counter,
    /// Requests sent again on another connection because the first had been closed by the endpoint.
    pub(crate) resent: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
    /// Clients' connections now.
    pub(crate) clients: Gauge,
}

impl Metrics {
    /// Registers all of them; the concurrency is read from the ledger.
    pub(crate) fn register(self: &Arc<Self>, registry: &mut Registry, ledger: Ledger) {
        registry.register_collector(Box::new(PerRoute { metrics: self.clone(), ledger }));
        let prefixed = registry.sub_registry_with_prefix("interceptor");
        prefixed.register("unrouted_requests", "Requests that no route matched", self.unrouted.clone());
        prefixed.register("held_requests", "Requests held for a cold start", self.held.clone());
        prefixed.register("upstream_connects", "Connections opened to endpoints", self.connects.clone());
        prefixed.register(
            "upstream_connect_failures",
            "Attempts to connect to an endpoint that failed",
            self.connect_failures.clone(),
        );
        prefixed.register(
            "resent_requests",
            "Requests sent again because the endpoint had closed the connection",
            self.resent.clone(),
        );
        prefixed.register("panics", "Handlers that panicked", self.panics.clone());
        prefixed.register("client_connections", "Clients' connections now", self.clients.clone());
    }

    /// The metrics of a route; the same ones each time.
    pub(crate) fn of(&self, workload: &WorkloadId) -> Arc<RouteMetrics> {
        self.routes.write().entry(workload.clone()).or_default().clone()
    }

    /// The route is gone: its series end.
    pub(crate) fn forget(&self, workload: &WorkloadId) {
        self.routes.write().remove(workload);
    }
}

/// The counters of one route.
pub(crate) struct RouteMetrics {
    /// Filled from the front, never emptied.
    answers: [OnceLock<Answers>; ANSWERS],
    /// Requests that found no place there: only a client that plays with methods gets so far.
    more_answers: AtomicU64,
    /// By bucket, the last one without a bound.
    durations: [AtomicU64; BOUNDS_US.len() + 1],
    duration_us: AtomicU64,
}

/// Requests of one method with one status code.
struct Answers {
    method: &'static str,
    code: u16,
    count: AtomicU64,
}

impl Default for RouteMetrics {
    fn default() -> Self {
        Self {
            answers: [const { OnceLock::new() }; ANSWERS],
            more_answers: AtomicU64::new(0),
            durations: [const { AtomicU64::new(0) }; BOUNDS_US.len() + 1],
            duration_us: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteMetrics").finish_non_exhaustive()
    }
}

impl RouteMetrics {
    /// A request has ended: with this status, or none where the client left before there was one.
    pub(crate) fn ended(&self, method: &'static str, status: Option<StatusCode>, after: Duration) {
        let code = status.map_or(CLIENT_GONE, |status| status.as_u16());
        self.answers(method, code).fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.durations[bucket].fetch_add(1, Ordering::Relaxed);
        self.duration_us.fetch_add(us, Ordering::Relaxed);
    }

    fn answers(&self, method: &'static str, code: u16) -> &AtomicU64 {
        for slot in &self.answers {
            let answers = slot.get_or_init(|| Answers { method, code, count: AtomicU64::new(0) });
            if answers.code == code && answers.method == method {
                return &answers.count;
            }
        }
        &self.more_answers
    }
}

/// The method's label: clients must not make new series by making up methods.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

/// Writes the series of all routes when somebody scrapes.
#[derive(Debug)]
struct PerRoute {
    metrics: Arc<Metrics>,
    ledger: Ledger,
}

impl Collector for PerRoute {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let routes: Vec<_> =
            self.metrics.routes.read().iter().map(|(workload, metrics)| (workload.clone(), metrics.clone())).collect();

        let help = "Requests that have ended";
        let mut family = encoder.encode_descriptor("interceptor_request_count", help, None, MetricType::Counter)?;
        for (workload, metrics) in &routes {
            let seen = metrics.answers.iter().filter_map(OnceLock::get);
            let seen = seen.map(|answers| (answers.code, answers.method, answers.count.load(Ordering::Relaxed)));
            let more = metrics.more_answers.load(Ordering::Relaxed);
            for (code, method, count) in seen.chain((more > 0).then_some((0, "other", more))) {
                let code = code.to_string();
                let labels = [
                    ("code", code.as_str()),
                    ("method", method),
                    ("route_name", &workload.name),
                    ("route_namespace", &workload.namespace),
                ];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }

        let help = "From a request's arrival to the last byte of its response";
        let mut family =
            encoder.encode_descriptor("interceptor_request_duration_seconds", help, None, MetricType::Histogram)?;
        for (workload, metrics) in &routes {
            let counts: Vec<u64> = metrics.durations.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let count: u64 = counts.iter().sum();
            if count == 0 {
                continue;
            }
            let bounds = BOUNDS_US.iter().map(|us| Duration::from_micros(*us).as_secs_f64()).chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let sum = Duration::from_micros(metrics.duration_us.load(Ordering::Relaxed)).as_secs_f64();
            let labels = route_labels(workload);
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }

        let help = "Requests in flight, held ones included";
        let mut family = encoder.encode_descriptor("interceptor_request_concurrency", help, None, MetricType::Gauge)?;
        let mut held = Vec::new();
        for (workload, totals) in self.ledger.snapshot() {
            ConstGauge::new(totals.in_flight).encode(family.encode_family(&route_labels(&workload))?)?;
            held.push((workload, totals.held));
        }
        let help = "Requests held for a cold start now";
        let mut family = encoder.encode_descriptor("interceptor_request_held", help, None, MetricType::Gauge)?;
        for (workload, held) in held {
            ConstGauge::new(held).encode(family.encode_family(&route_labels(&workload))?)?;
        }
        Ok(())
    }
}

fn route_labels(workload: &WorkloadId) -> [(&'static str, &str); 2] {
    [("route_name", &workload.name), ("route_namespace", &workload.namespace)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_makes_up_methods_makes_no_series_without_end() {
        let metrics = RouteMetrics::default();
        for code in 100..600 {
            metrics.ended("GET", StatusCode::from_u16(code).ok(), Duration::ZERO);
        }
        assert_eq!(metrics.more_answers.load(Ordering::Relaxed), 500 - ANSWERS as u64);
        assert_eq!(metrics.durations[0].load(Ordering::Relaxed), 500);
    }
}
