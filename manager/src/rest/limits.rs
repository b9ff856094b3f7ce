//! How often one client may do something: a token bucket for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Clients remembered at most. Beyond, those that have been quiet go first; while all are busy, newcomers share one bucket.
const REMEMBERED: usize = 10_000;

/// Token buckets by client.
#[derive(Debug)]
pub struct Limits<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    of: HashMap<K, Bucket>,
    shared: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn fill(&mut self, burst: f64, per_second: f64, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(burst);
        self.at = now;
    }
}

impl<K: Hash + Eq + Clone> Limits<K> {
    /// So many at once, and so many a second in the long run; `per_second` is above zero.
    pub fn new(burst: u32, per_second: f64) -> Self {
        let shared = Bucket { tokens: f64::from(burst), at: Instant::now() };
        Self { burst: f64::from(burst), per_second, buckets: Mutex::new(Buckets { of: HashMap::new(), shared }) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long it takes until there is one again.
    pub fn take(&self, client: &K) -> Result<(), Duration> {
        self.with(client, |bucket| {
            self.has_one(bucket)?;
            bucket.tokens -= 1.0;
            Ok(())
        })
    }

    /// Whether there is one to take.
    ///
    /// # Errors
    /// How long it takes until there is.
    pub fn look(&self, client: &K) -> Result<(), Duration> {
        self.with(client, |bucket| self.has_one(bucket))
    }

    fn has_one(&self, bucket: &Bucket) -> Result<(), Duration> {
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second));
        }
        Ok(())
    }

    fn with<T>(&self, client: &K, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let now = Instant::now();
        let mut buckets = self.buckets.lock();
        let Buckets { of, shared } = &mut *buckets;
        if !of.contains_key(client) && of.len() >= REMEMBERED {
            of.retain(|_, bucket| {
                bucket.fill(self.burst, self.per_second, now);
                bucket.tokens < self.burst
            });
        }
        let bucket = if of.contains_key(client) || of.len() < REMEMBERED {
            of.entry(client.clone()).or_insert(Bucket { tokens: self.burst, at: now })
        } else {
            shared
        };
        bucket.fill(self.burst, self.per_second, now);
        act(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_so_many_a_second() {
        let limits = Limits::new(3, 2.0);
        let taken = |limits: &Limits<u32>, client| (0..10).filter(|_| limits.take(&client).is_ok()).count();
        assert_eq!(taken(&limits, 1), 3);
        assert_eq!(taken(&limits, 2), 3, "another client has a bucket of its own");
        assert_eq!(limits.take(&1), Err(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&limits, 1), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&limits, 1), 3, "a bucket holds no more than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_without_number_cost_no_memory_without_bound() {
        let limits = Limits::new(1, 0.001);
        for client in 0..REMEMBERED {
            assert!(limits.take(&client).is_ok());
        }
        assert!(limits.take(&REMEMBERED).is_ok(), "the shared bucket");
        assert!(limits.take(&(REMEMBERED + 1)).is_err(), "which is shared");
        assert_eq!(limits.buckets.lock().of.len(), REMEMBERED);
        tokio::time::advance(Duration::from_secs(2_000)).await;
        assert!(limits.take(&(REMEMBERED + 2)).is_ok(), "the quiet ones are forgotten");
        assert_eq!(limits.buckets.lock().of.len(), 1);
    }
}
