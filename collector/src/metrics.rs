//! The collector's own metrics.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A label.
type Labels = [(&'static str, &'static str); 1];

/// A page of `/metrics` in OpenMetrics on which every family has a series, so that its labels can be seen; the values mean nothing.
///
/// # Errors
/// Where a metric can't be encoded.
pub fn described() -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    Metrics::register(&mut registry).interceptors(0, 0);
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

/// What a collector shows of itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) topics: Gauge,
    pub(crate) generation: Gauge,
    pub(crate) frames: Counter,
    pub(crate) frame_bytes: Counter,
    pub(crate) interceptor_records: Counter,
    pub(crate) bad_records: Counter,
    pub(crate) lag: Gauge<f64, AtomicU64>,
    pub(crate) fold_seconds: Histogram,
    pub(crate) answers: Counter,
    pub(crate) subscribers: Gauge,
    interceptors: Family<Labels, Gauge>,
}

impl Metrics {
    /// Metrics registered here.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            topics: Gauge::default(),
            generation: Gauge::default(),
            frames: Counter::default(),
            frame_bytes: Counter::default(),
            interceptor_records: Counter::default(),
            bad_records: Counter::default(),
            lag: Gauge::default(),
            // From 10 us to 2.6 s: a batch, and the evaluation of what it touched.
            fold_seconds: Histogram::new(exponential_buckets(0.000_01, 4.0, 10)),
            answers: Counter::default(),
            subscribers: Gauge::default(),
            interceptors: Family::default(),
        };
        let all = registry.sub_registry_with_prefix("plimsoll_collector");
        all.register("topics", "Topics that this collector reads", metrics.topics.clone());
        all.register("plan_generation", "Generation of the plan that is followed", metrics.generation.clone());
        all.register("frames", "Frames read", metrics.frames.clone());
        all.register_with_unit("frame", "Bytes of frames read", Unit::Bytes, metrics.frame_bytes.clone());
        all.register("interceptor_records", "Heartbeats and activations read", metrics.interceptor_records.clone());
        all.register("bad_records", "Records that could not be understood", metrics.bad_records.clone());
        let help = "How long ago everything that was in the log then had been read, topics that are behind left out";
        all.register_with_unit("lag", help, Unit::Seconds, metrics.lag.clone());
        let help = "Time to fold a batch or to evaluate answers";
        all.register_with_unit("fold", help, Unit::Seconds, metrics.fold_seconds.clone());
        all.register("answers", "Answers that changed and were told", metrics.answers.clone());
        all.register("subscribers", "Managers that listen", metrics.subscribers.clone());
        all.register("interceptors", "Interceptors heard, live or missing", metrics.interceptors.clone());
        metrics
    }

    /// Sets how many interceptors are heard and how many are missing.
    pub(crate) fn interceptors(&self, live: usize, missing: usize) {
        let set = |state, count: usize| {
            self.interceptors.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set("live", live);
        set("missing", missing);
    }
}
