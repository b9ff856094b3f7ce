//! Keeping values in this process as they are in the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::StoreError;

/// Between attempts of what goes on for ever: quick at first, since most failures are short.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A value that is kept in this process as it is in the store.
pub(super) trait Follow: Send {
    /// What it is, for logs.
    const WHAT: &'static str;

    /// Reads it, tells it, and goes on with each change until something fails. Whoever was told before keeps that meanwhile.
    fn follow(&mut self, pauses: &mut Pauses) -> impl Future<Output = Result<Infallible, StoreError>> + Send;
}

/// Follows until stopped, each time from a fresh reading: so nothing is missed, whatever ended the last watch.
pub(super) async fn run<F: Follow>(mut follower: F, stop: CancellationToken) {
    let mut pauses = Pauses::new();
    while let Some(Err(error)) = stop.run_until_cancelled(follower.follow(&mut pauses)).await {
        debug!(%error, "watching {} begins again", F::WHAT);
        if !pauses.wait(&stop).await {
            return;
        }
    }
}

pub(super) fn tell<T: PartialEq>(told: &watch::Sender<Arc<T>>, value: T) {
    told.send_if_modified(|current| {
        let news = **current != value;
        if news {
            *current = Arc::new(value);
        }
        news
    });
}

/// The pauses between attempts of something that goes on for ever.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: PAUSE_MIN }
    }

    /// It worked: the next failure is a new one.
    pub(super) fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }

    /// Waits; false when it was stopped meanwhile.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.next;
        self.next = (self.next * 2).min(PAUSE_MAX);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}
