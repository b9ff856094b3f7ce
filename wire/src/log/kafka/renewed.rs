//! A client that is replaced when it has failed for long.
//!
//! librdkafka recovers from outages by itself but for one: told once that the cluster has no brokers, as a broker says that
//! is just about to come back, it may forget all addresses and stay disconnected (confluentinc/librdkafka#5301).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::log::LogError;

/// A client that has not worked once in this time is replaced, and again after as long. In an outage that is a waste of some
/// threads, no more.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// A client with the means to make it anew.
pub(super) struct Renewed<T> {
    what: &'static str,
    make: Box<dyn Fn() -> Result<T, LogError> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    client: Arc<T>,
    failing_since: Option<Instant>,
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<T> Renewed<T> {
    pub(super) fn new(
        what: &'static str,
        make: impl Fn() -> Result<T, LogError> + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        let client = Arc::new(make()?);
        Ok(Self { what, make: Box::new(make), current: Mutex::new(Current { client, failing_since: None }) })
    }

    /// The client to use now. One that is replaced meanwhile can be used to the end.
    pub(super) fn get(&self) -> Arc<T> {
        self.current.lock().client.clone()
    }

    /// An answer came.
    pub(super) fn worked(&self) {
        self.current.lock().failing_since = None;
    }

    /// No answer came. Blocks while the client is replaced, which few calls do: not for asynchronous code.
    pub(super) fn failed(&self) {
        {
            let mut current = self.current.lock();
            let now = Instant::now();
            let since = *current.failing_since.get_or_insert(now);
            if now - since < RENEW_AFTER {
                return;
            }
            // Others that fail now do not replace it, too.
            current.failing_since = Some(now);
        }
        match (self.make)() {
            Ok(new) => {
                info!("the Kafka client for {} has failed for {RENEW_AFTER:?} and is replaced", self.what);
                let old = std::mem::replace(&mut self.current.lock().client, Arc::new(new));
                // Waits for its threads; not under the lock.
                drop(old);
            }
            Err(error) => warn!("the Kafka client for {} can't be replaced: {error}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_replaced_when_it_has_failed_for_long_and_only_then() {
        let made = AtomicU32::new(0);
        let client = Renewed::new("a test", move || Ok(made.fetch_add(1, Ordering::Relaxed))).expect("it is made");
        client.failed();
        advance(RENEW_AFTER).await;
        client.worked();
        client.failed();
        assert_eq!(*client.get(), 0, "it has worked in between");
        advance(RENEW_AFTER).await;
        client.failed();
        client.failed();
        assert_eq!(*client.get(), 1);
        advance(RENEW_AFTER).await;
        client.failed();
        assert_eq!(*client.get(), 2);
    }
}
