//! A histogram of times that a thread adds to without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Times by bucket. `N` upper bounds in microseconds, growing; what is over the last one has a bucket of its own.
pub(crate) struct Histogram<const N: usize> {
    bounds_us: &'static [u64; N],
    counts: [AtomicU64; N],
    over: AtomicU64,
    sum_us: AtomicU64,
}

/// A histogram as of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Each bucket's upper bound, none for the last one, and how many are in it alone.
    pub(crate) buckets: Vec<(Option<Duration>, u64)>,
    /// Of all times.
    pub(crate) sum: Duration,
}

impl Snapshot {
    /// Times in all buckets together.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram.
    pub(crate) fn new(bounds_us: &'static [u64; N]) -> Self {
        Self { bounds_us, counts: [const { AtomicU64::new(0) }; N], over: AtomicU64::new(0), sum_us: AtomicU64::new(0) }
    }

    /// Adds a time; gives the number of its bucket.
    pub(crate) fn observe(&self, time: Duration) -> usize {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_us.iter().position(|bound| us <= *bound).unwrap_or(N);
        self.counts.get(bucket).unwrap_or(&self.over).fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        bucket
    }

    /// As of now. Times added meanwhile may be in the sum and not in a bucket, or the other way round.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let bounds = self.bounds_us.iter().map(|us| Some(Duration::from_micros(*us))).chain([None]);
        let counts = self.counts.iter().chain([&self.over]).map(|count| count.load(Relaxed));
        Snapshot { buckets: bounds.zip(counts).collect(), sum: Duration::from_micros(self.sum_us.load(Relaxed)) }
    }
}

impl<const N: usize> fmt::Debug for Histogram<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[10, 20]);
        for (us, bucket) in [(0, 0), (10, 0), (11, 1), (20, 1), (21, 2), (1_000_000, 2)] {
            assert_eq!(histogram.observe(Duration::from_micros(us)), bucket, "{us}");
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(snapshot.buckets[2].0, None);
        assert_eq!((snapshot.count(), snapshot.sum), (6, Duration::from_micros(1_000_062)));
    }
}
