//! How well the promises were kept.

use std::time::Duration;

use crate::driver::{
    sampler::{EVERY, Sample},
    truth::Bounds,
};

/// What is printed at the end.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) concurrency: Deviation,
    pub(crate) rate: Deviation,
    errors: usize,
    last_error: Duration,
    slowest_wake: Duration,
}

/// How far values were off, while the windows were full.
#[derive(Default)]
pub(crate) struct Deviation {
    /// Beyond the bounds, against the nearer one.
    worst: f64,
    /// How sharp the truth itself was, each time.
    widths: Vec<f64>,
}

impl Deviation {
    /// A value, and what it may be.
    pub(crate) fn note(&mut self, value: f64, bounds: Bounds) {
        let beyond = if value < bounds.least {
            (bounds.least - value) / bounds.least
        } else if value > bounds.most {
            (value - bounds.most) / bounds.most
        } else {
            0.0
        };
        self.worst = self.worst.max(beyond);
        self.widths.push(bounds.relative_width());
    }
}

impl Figures {
    /// An error that was allowed.
    pub(crate) fn unknown(&mut self, at: Duration) {
        self.errors += 1;
        self.last_error = self.last_error.max(at);
    }

    /// So long after its first request a workload was told as busy.
    pub(crate) fn woken(&mut self, after: Duration) {
        self.slowest_wake = self.slowest_wake.max(after);
    }

    /// Tells all.
    pub(crate) fn print(&self, samples: &[Sample], collector_killed: Duration) {
        let waits = samples.iter().map(|sample| sample.answered - sample.asked);
        let waits = sorted(waits, Duration::cmp);
        println!(
            "{} samples of a workload at a manager, one each {EVERY:?} at best; two answers took p50 {:?}, p99 {:?}",
            samples.len(),
            at(&waits, 0.5),
            at(&waits, 0.99),
        );
        for (what, deviation) in [("concurrency", &self.concurrency), ("request rate", &self.rate)] {
            let widths = sorted(deviation.widths.iter().copied(), f64::total_cmp);
            println!(
                "{what}: at most {:.2} % beyond the truth, which was known to {:.2} % (p50; p99 {:.2} %)",
                deviation.worst * 100.0,
                at(&widths, 0.5) * 100.0,
                at(&widths, 0.99) * 100.0,
            );
        }
        println!("first request to first value above zero: at most {:?}", self.slowest_wake);
        println!(
            "{} errors after the collector was killed, the last one {:?} later",
            self.errors,
            self.last_error.saturating_sub(collector_killed),
        );
    }
}

fn sorted<T>(values: impl Iterator<Item = T>, order: impl FnMut(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_by(order);
    values
}

fn at<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default()
}
