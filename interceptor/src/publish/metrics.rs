//! What the publisher shows of itself to Prometheus.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The publisher's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) frames_delivered: Counter,
    pub(super) frames_failed: Counter,
    pub(super) activations_delivered: Counter,
    pub(super) activations_failed: Counter,
    pub(super) heartbeats_delivered: Counter,
    pub(super) heartbeats_failed: Counter,
    pub(super) busy_workloads: Gauge,
    pub(super) undelivered_topics: Gauge,
    pub(super) round: Gauge,
    delivery: Histogram,
}

impl Metrics {
    /// The metrics, registered; their names begin with `publish_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("publish");
        let metrics = Self {
            frames_delivered: Counter::default(),
            frames_failed: Counter::default(),
            activations_delivered: Counter::default(),
            activations_failed: Counter::default(),
            heartbeats_delivered: Counter::default(),
            heartbeats_failed: Counter::default(),
            busy_workloads: Gauge::default(),
            undelivered_topics: Gauge::default(),
            round: Gauge::default(),
            // 0.25 ms to 8 s.
            delivery: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
        };
        for (name, help, counter) in [
            ("frames", "Frames that the log has acknowledged", &metrics.frames_delivered),
            ("frame_failures", "Frames that the log has not acknowledged; newer totals follow", &metrics.frames_failed),
            ("activations", "Activations that the log has acknowledged", &metrics.activations_delivered),
            ("activation_failures", "Activations that the log has not acknowledged", &metrics.activations_failed),
            ("heartbeats", "Heartbeats that the log has acknowledged", &metrics.heartbeats_delivered),
            ("heartbeat_failures", "Heartbeats that the log has not acknowledged", &metrics.heartbeats_failed),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register("busy_workloads", "Workloads with totals to publish", metrics.busy_workloads.clone());
        registry.register(
            "undelivered_topics",
            "Topics whose newest totals the log had not acknowledged at the last tick",
            metrics.undelivered_topics.clone(),
        );
        registry.register(
            "round_ticks",
            "Ticks within which each busy workload is published: 1 while the frame budget suffices",
            metrics.round.clone(),
        );
        registry.register_with_unit(
            "delivery",
            "From the appending of a frame to its acknowledgement",
            Unit::Seconds,
            metrics.delivery.clone(),
        );
        metrics
    }

    /// Frames have been acknowledged this long after their batch's turn came.
    pub(super) fn delivered(&self, frames: usize, after: Duration) {
        self.frames_delivered.inc_by(u64::try_from(frames).unwrap_or(u64::MAX));
        for _ in 0..frames {
            self.delivery.observe(after.as_secs_f64());
        }
    }
}
