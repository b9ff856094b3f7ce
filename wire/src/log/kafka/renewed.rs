//! A client that is replaced when it has failed for long, or when files that it was made from have changed.
//!
//! librdkafka reads certificates when a client is made, and never again.
//!
//! librdkafka recovers from outages by itself but for one: told once that the cluster has no brokers, as a broker says that
//! is just about to come back, it may forget all addresses and stay disconnected (confluentinc/librdkafka#5301).

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::KafkaConfig;
use crate::log::LogError;

/// A client that has not worked once in this time is replaced, and again after as long. In an outage that is a waste of some
/// threads, no more.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// How often the files are looked at, while the client is used.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The settings that name files.
const FILES: [&str; 5] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location"];

/// A client with the means to make it anew.
pub(super) struct Renewed<T> {
    what: &'static str,
    make: Box<dyn Fn() -> Result<T, LogError> + Send + Sync>,
    files: Vec<PathBuf>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    client: Arc<T>,
    failing_since: Option<Instant>,
    /// The files as they were before the client was made.
    stamps: Vec<Stamp>,
    look_at: Instant,
}

/// What tells a file from the one that was there before: its inode, when it was written (seconds and nanoseconds), its size. None where
/// there is none.
type Stamp = Option<(u64, i64, i64, u64)>;

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Renewed<T> {
    /// Makes the client; it is made anew from the same settings.
    pub(super) fn new(
        what: &'static str,
        config: &KafkaConfig,
        make: impl Fn() -> Result<T, LogError> + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        let files: Vec<PathBuf> = FILES.iter().filter_map(|key| config.client.get(*key)).map(PathBuf::from).collect();
        let stamps = stamps(&files);
        let client = Arc::new(make()?);
        let current = Current { client, failing_since: None, stamps, look_at: Instant::now() + LOOK_EVERY };
        Ok(Self { what, make: Box::new(make), files, current: Mutex::new(current) })
    }

    /// The client to use now. One that is replaced meanwhile can be used to the end.
    pub(super) fn get(self: &Arc<Self>) -> Arc<T> {
        let mut current = self.current.lock();
        let now = Instant::now();
        if !self.files.is_empty() && now >= current.look_at {
            current.look_at = now + LOOK_EVERY;
            // Making a client takes some milliseconds; whoever asks next has the new one.
            if let Ok(runtime) = Handle::try_current() {
                let this = self.clone();
                drop(runtime.spawn_blocking(move || this.look()));
            }
        }
        current.client.clone()
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
        self.replace(&format!("has failed for {RENEW_AFTER:?}"));
    }

    /// Replaces the client if its files have changed. Blocks.
    fn look(&self) {
        if stamps(&self.files) != self.current.lock().stamps {
            self.replace("was made from files that have changed");
        }
    }

    /// While files do not go together, as in the middle of being replaced, the client there is goes on.
    fn replace(&self, why: &str) {
        let stamps = stamps(&self.files);
        match (self.make)() {
            Ok(new) => {
                info!("the Kafka client for {} {why} and is replaced", self.what);
                let mut current = self.current.lock();
                current.stamps = stamps;
                let old = std::mem::replace(&mut current.client, Arc::new(new));
                drop(current);
                // Waits for its threads; not under the lock.
                drop(old);
            }
            Err(error) => warn!("the Kafka client for {} {why} and can't be replaced: {error}", self.what),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.size()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::advance;

    use super::*;

    /// A client that knows how many were made before it.
    fn counting(config: &KafkaConfig, made: AtomicU32) -> Renewed<u32> {
        Renewed::new("a test", config, move || Ok(made.fetch_add(1, Ordering::Relaxed))).expect("it is made")
    }

    #[tokio::test]
    async fn a_client_is_replaced_when_a_file_it_was_made_from_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let mut config = KafkaConfig::default();
        config.client.insert("ssl.ca.location".into(), file.display().to_string());
        let client = counting(&config, AtomicU32::new(0));
        client.look();
        assert_eq!(client.current.lock().client.as_ref(), &0, "nothing is there, as before");
        fs::write(&file, "one").expect("it is written");
        client.look();
        client.look();
        assert_eq!(client.current.lock().client.as_ref(), &1);
        fs::write(folder.path().join("new"), "two").expect("it is written");
        fs::rename(folder.path().join("new"), &file).expect("it is put in its place");
        client.look();
        assert_eq!(client.current.lock().client.as_ref(), &2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_replaced_when_it_has_failed_for_long_and_only_then() {
        let made = AtomicU32::new(0);
        let client = Arc::new(counting(&KafkaConfig::default(), made));
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
