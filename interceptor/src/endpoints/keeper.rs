//! What endpoints need besides requests: ejected ones return when their time has come, and starting ones are probed.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Common, EndpointSet};

/// Between two looks at the sets that change with time.
const EVERY: Duration = Duration::from_millis(50);
/// After a probe that failed; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A starting endpoint is found to accept connections at most this long after it does.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Connections of probes at once. When they are all out, further probes wait.
const PROBES_AT_ONCE: usize = 128;

/// Looks after all sets until `shutdown` is cancelled. `connect_timeout` is how long one attempt of a probe may take; without
/// one nothing is probed.
pub(super) async fn keep(common: Arc<Common>, connect_timeout: Option<Duration>, shutdown: CancellationToken) {
    let mut sets: Vec<Weak<EndpointSet>> = Vec::new();
    let mut probes = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(PROBES_AT_ONCE));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = common.news.notified() => {}
            () = tokio::time::sleep(EVERY), if !sets.is_empty() => {}
            Some(_) = probes.join_next() => continue,
        }
        sets.append(&mut common.restless.lock());
        sets.retain(|weak| {
            let Some(set) = weak.upgrade() else { return false };
            if let Some(timeout) = connect_timeout {
                for address in set.take_unprobed() {
                    probes.spawn(probe(weak.clone(), address, timeout, at_once.clone()));
                }
            }
            set.review()
        });
    }
    probes.shutdown().await;
}

/// Tries to connect until the endpoint accepts, or need not any more.
async fn probe(set: Weak<EndpointSet>, address: SocketAddr, timeout: Duration, at_once: Arc<Semaphore>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if !set.upgrade().is_some_and(|set| set.is_probed(address)) {
            return;
        }
        let connected = {
            let Ok(_permit) = at_once.acquire().await else { return };
            tokio::time::timeout(timeout, TcpStream::connect(address)).await
        };
        match connected {
            Ok(Ok(_accepted)) => {
                debug!(%address, "a starting endpoint accepts connections");
                if let Some(set) = set.upgrade() {
                    set.accepted(address);
                }
                return;
            }
            // It refuses, or is not reachable yet.
            Ok(Err(_)) | Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
