//! Waiting for what may not be under way.

use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

/// A question to the brokers under way. It goes on while records are read.
pub(super) type Job<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Waits for the job; for ever if there is none. Cancel-safe.
pub(super) async fn finish<T>(job: &mut Job<T>) -> T {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever if that is never.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
