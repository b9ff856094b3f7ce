//! The manager's own metrics.
//!
//! Labels are made here alone, so that [`described`] has the same ones as a manager that runs.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What the scaler service counts.
#[derive(Debug, Default)]
pub struct ScalerMetrics {
    /// Calls of `IsActive`.
    pub is_active: Counter,
    /// Calls of `GetMetricSpec`.
    pub get_metric_spec: Counter,
    /// Calls of `GetMetrics`.
    pub get_metrics: Counter,
    /// Answers refused because the value is unknown.
    pub unknown: Counter,
    /// Streams of `StreamIsActive` opened.
    pub streams_opened: Counter,
    /// Streams open now.
    pub streams_open: Gauge,
}

impl ScalerMetrics {
    /// Metrics registered here.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("plimsoll_scaler");
        registry.register("is_active_calls", "IsActive calls", metrics.is_active.clone());
        registry.register("get_metric_spec_calls", "GetMetricSpec calls", metrics.get_metric_spec.clone());
        registry.register("get_metrics_calls", "GetMetrics calls", metrics.get_metrics.clone());
        registry.register("unknown_answers", "Answers refused because the value is unknown", metrics.unknown.clone());
        registry.register("streams_opened", "StreamIsActive streams opened", metrics.streams_opened.clone());
        registry.register("streams_open", "StreamIsActive streams open now", metrics.streams_open.clone());
        metrics
    }
}

/// A label.
pub type Labels = [(&'static str, String); 1];

/// By state, of collectors or of topics.
pub fn state(name: impl ToString) -> Labels {
    [("state", name.to_string())]
}

/// By provider.
pub fn provider(name: impl ToString) -> Labels {
    [("provider", name.to_string())]
}

/// By why a topic moves.
pub fn reason(name: impl ToString) -> Labels {
    [("reason", name.to_string())]
}

/// By collector.
pub fn collector(id: impl ToString) -> Labels {
    [("collector", id.to_string())]
}

/// By call of the REST API: method, path with what differs left open, status.
pub fn call(method: String, route: String, status: u16) -> [(&'static str, String); 3] {
    [("method", method), ("route", route), ("status", status.to_string())]
}

/// A page of `/metrics` in OpenMetrics on which every family has a series, so that its labels can be seen; the values mean nothing.
///
/// # Errors
/// Where a metric can't be encoded.
pub fn described() -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    ScalerMetrics::register(&mut registry);
    let control = ControlMetrics::register(&mut registry);
    control.collectors.get_or_create(&state("")).set(0);
    control.wanted_collectors.get_or_create(&provider("")).set(0);
    control.moves.get_or_create(&reason("")).inc();
    let rest = RestMetrics::register(&mut registry);
    rest.requests.get_or_create(&call(String::new(), String::new(), 200)).inc();
    rest.topics.get_or_create(&state("")).set(0);
    rest.load.get_or_create(&collector("")).set(0.0);
    rest.lag.get_or_create(&collector("")).set(0.0);
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

/// What the control loop shows.
#[derive(Debug)]
pub struct ControlMetrics {
    /// 1 on the leader.
    pub leader: Gauge,
    /// Generation of the plan in force.
    pub generation: Gauge,
    /// Workloads known.
    pub workloads: Gauge,
    /// Topics that no collector reads.
    pub unassigned: Gauge,
    /// Collectors by state.
    pub collectors: Family<Labels, Gauge>,
    /// Collectors wanted, by provider; "" where all are alike.
    pub wanted_collectors: Family<Labels, Gauge>,
    /// Moves of topics begun, by reason.
    pub moves: Family<Labels, Counter>,
    /// Seconds to make a plan.
    pub plan_seconds: Histogram,
    /// Seconds from the decision that a topic moves until its new owner answers for it.
    pub arrival_seconds: Histogram,
    /// Store calls that failed.
    pub store_errors: Counter,
    /// Calls to the log's administration that failed.
    pub log_errors: Counter,
}

impl ControlMetrics {
    /// Metrics registered here.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            generation: Gauge::default(),
            workloads: Gauge::default(),
            unassigned: Gauge::default(),
            collectors: Family::default(),
            wanted_collectors: Family::default(),
            moves: Family::default(),
            plan_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 8)),
            arrival_seconds: Histogram::new(exponential_buckets(0.05, 2.0, 12)),
            store_errors: Counter::default(),
            log_errors: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("plimsoll_manager");
        registry.register("leader", "1 where this manager leads", metrics.leader.clone());
        registry.register("plan_generation", "Generation of the plan in force", metrics.generation.clone());
        registry.register("workloads", "Workloads known", metrics.workloads.clone());
        registry.register("topics_unassigned", "Topics that no collector reads", metrics.unassigned.clone());
        registry.register("collectors", "Collectors by state, as the leader sees them", metrics.collectors.clone());
        registry.register(
            "wanted_collectors",
            "Collectors wanted, by provider; empty where all are alike",
            metrics.wanted_collectors.clone(),
        );
        registry.register("moves", "Moves of topics begun, by reason", metrics.moves.clone());
        registry.register("plan_seconds", "Time to make a plan", metrics.plan_seconds.clone());
        registry.register(
            "arrival_seconds",
            "Time from the decision that a topic moves until its new owner answers for it",
            metrics.arrival_seconds.clone(),
        );
        registry.register("store_errors", "Store calls that failed", metrics.store_errors.clone());
        registry.register("log_errors", "Calls to the log's administration that failed", metrics.log_errors.clone());
        metrics
    }

    /// The term is over, and what the leader sees is another's to tell. Left as it was it would be told for as long as this process lives,
    /// beside what the next leader tells.
    pub fn leave_to_the_leader(&self) {
        self.unassigned.set(0);
        self.collectors.clear();
        self.wanted_collectors.clear();
    }
}

/// A gauge of what is no whole number.
pub type Real = Gauge<f64, AtomicU64>;

/// What the REST API counts, and what it is asked for at each scrape.
#[derive(Debug)]
pub struct RestMetrics {
    /// Requests by call and status.
    pub requests: Family<[(&'static str, String); 3], Counter>,
    /// Seconds until an answer began.
    pub seconds: Histogram,
    /// Topics by state.
    pub topics: Family<Labels, Gauge>,
    /// What the topics that each collector owns weigh, in frames a second.
    pub load: Family<Labels, Real>,
    /// Seconds that each collector is behind the log.
    pub lag: Family<Labels, Real>,
    /// The most loaded collector over the mean.
    pub imbalance: Real,
}

impl RestMetrics {
    /// Metrics registered here.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            topics: Family::default(),
            load: Family::default(),
            lag: Family::default(),
            imbalance: Real::default(),
        };
        let own = registry.sub_registry_with_prefix("plimsoll_api");
        own.register("requests", "Requests to the REST API, by call and status", metrics.requests.clone());
        own.register("seconds", "Time until an answer of the REST API began", metrics.seconds.clone());
        let plan = registry.sub_registry_with_prefix("plimsoll_manager");
        plan.register("topics", "Topics by state, as this manager sees them", metrics.topics.clone());
        plan.register(
            "collector_load",
            "What the topics that a collector owns weigh, in frames a second",
            metrics.load.clone(),
        );
        plan.register("collector_lag_seconds", "How far a collector is behind the log", metrics.lag.clone());
        plan.register(
            "load_max_over_mean",
            "Load of the most loaded collector that is ready, over the mean of those",
            metrics.imbalance.clone(),
        );
        metrics
    }
}
