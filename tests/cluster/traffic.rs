//! Clients that ask without a pause, and remember every answer that is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Pool;

/// Clients at once.
const CLIENTS: usize = 4;

/// Running clients.
pub(crate) struct Traffic {
    stop: CancellationToken,
    tasks: TaskTracker,
    answered: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Traffic {
    /// Asks for this host at this proxy until stopped.
    pub(crate) fn start(proxy: &str, host: &str) -> Self {
        Self::follow(watch::channel(proxy.to_owned()).1, host)
    }

    /// Asks for this host at the proxy of now until stopped.
    pub(crate) fn follow(proxy: watch::Receiver<String>, host: &str) -> Self {
        let traffic = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            answered: Arc::default(),
            failures: Arc::default(),
        };
        for _ in 0..CLIENTS {
            let (stop, answered, failures) = (traffic.stop.clone(), traffic.answered.clone(), traffic.failures.clone());
            let (proxy, host) = (proxy.clone(), host.to_owned());
            traffic.tasks.spawn(async move {
                let mut pool = Pool::new(String::new());
                while !stop.is_cancelled() {
                    let address = proxy.borrow().clone();
                    if pool.address() != address {
                        pool = Pool::new(address);
                    }
                    match pool.get(&host, "/").await {
                        Ok(reply) if reply.status == 200 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(reply) => failures.lock().push(format!("{} {}", reply.status, reply.body)),
                        Err(error) => failures.lock().push(format!("{error:#}")),
                    }
                    // The machine has other things to do as well.
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            });
        }
        traffic.tasks.close();
        traffic
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many were answered, and what became of the others.
    pub(crate) async fn stop(self) -> (u64, Vec<String>) {
        self.stop.cancel();
        self.tasks.wait().await;
        let failures = self.failures.lock().clone();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}
