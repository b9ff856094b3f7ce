//! How many clients may be connected at once, all threads together.
//!
//! Over the limit nobody is cut off and nobody refused: accepting pauses, new clients wait in the kernel's queue, and come in
//! as others leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// A client's place, until it is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

/// A client in the gauge of them all, until this is dropped.
#[derive(Debug)]
pub(crate) struct Present(Gauge);

/// File descriptors for everything that is no proxied request: listeners, the log's connections, files.
const RESERVE: u64 = 200;
/// Where the system sets no limit of files.
const NO_FILE_LIMIT: usize = 1 << 20;

/// The places for clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    most: usize,
    /// Threads that accept, and how many of them wait for a place. When all do, nobody accepts.
    threads: usize,
    waiting: AtomicUsize,
    was_full: AtomicBool,
    /// Since when accepting pauses, as far as has been said.
    full_since: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
}

/// The limit where none is given: half of the files that the process may have open, since a proxied request takes two.
pub(crate) fn default_most() -> usize {
    match raise_file_limit() {
        Ok(files) => {
            usize::try_from(files.saturating_sub(RESERVE) / 2).unwrap_or(NO_FILE_LIMIT).clamp(64, NO_FILE_LIMIT)
        }
        Err(error) => {
            debug!("the limit of open files is not known: {error}");
            NO_FILE_LIMIT
        }
    }
}

/// As many open files as the process may have without asking anybody; the usual limit of 1024 is meant for `select`.
fn raise_file_limit() -> nix::Result<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now < most && setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok() {
        return Ok(most);
    }
    Ok(now)
}

impl Present {
    /// One more client.
    pub(crate) fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Crowd {
    /// Places for so many clients, whom so many threads accept.
    pub(crate) fn new(most: usize, threads: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            threads,
            waiting: AtomicUsize::new(0),
            was_full: AtomicBool::new(false),
            full_since: Mutex::default(),
            metrics,
        })
    }

    /// A place for the next client. Who has one and accepts nobody yet keeps it from no one: it accepts.
    pub(crate) async fn place(&self) -> Place {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return place;
            }
            let _waiting = Waiting::begin(self);
            if let Ok(place) = self.places.clone().acquire_owned().await {
                return place;
            }
        }
    }

    /// Says that accepting goes on, if it has for a while: a client that comes for each that leaves is no end of a pause. One
    /// thread calls it, from time to time.
    pub(crate) fn sweep(&self) {
        if self.was_full.swap(false, SeqCst) {
            return;
        }
        if let Some(since) = self.full_since.lock().take() {
            self.metrics.accept_paused.set(0);
            let paused: Duration = since.elapsed();
            info!(?paused, "clients are accepted again");
        }
    }

    fn is_full(&self) {
        self.was_full.store(true, SeqCst);
        let mut since = self.full_since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
            self.metrics.accept_paused.set(1);
            self.metrics.accept_pauses.inc();
            warn!(most = self.most, "no more clients are accepted until others leave: see --max-connections");
        }
    }
}

struct Waiting<'a>(&'a Crowd);

impl<'a> Waiting<'a> {
    fn begin(crowd: &'a Crowd) -> Self {
        if crowd.waiting.fetch_add(1, SeqCst) + 1 == crowd.threads {
            crowd.is_full();
        }
        Self(crowd)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_said_once_when_it_begins_and_once_when_it_has_ended() {
        let metrics = Arc::<Metrics>::default();
        let crowd = Crowd::new(2, 2, metrics.clone());
        let first = crowd.place().await;
        let _second = crowd.place().await;
        for _ in 0..3 {
            // Both threads wait, and look after other things from time to time.
            let waits = [crowd.place(), crowd.place()].map(Box::pin);
            assert!(futures::future::join_all(waits).now_or_never().is_none());
            crowd.sweep();
            assert_eq!((metrics.accept_paused.get(), metrics.accept_pauses.get()), (1, 1));
        }
        drop(first);
        let _third = crowd.place().now_or_never().unwrap();
        crowd.sweep();
        assert_eq!((metrics.accept_paused.get(), metrics.accept_pauses.get()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_thread_that_waits_is_no_pause() {
        let metrics = Arc::<Metrics>::default();
        let crowd = Crowd::new(1, 2, metrics.clone());
        // This thread accepts; the other one waits.
        let _place = crowd.place().await;
        assert!(crowd.place().now_or_never().is_none());
        assert_eq!(metrics.accept_paused.get(), 0);
    }
}
