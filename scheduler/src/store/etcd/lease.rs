//! A lease: what is put under it goes away some seconds after its holder has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::store::StoreError;

/// After a failed renewal: some tries fit into what is left of the lease.
const RETRY: Duration = Duration::from_millis(300);

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Arc<Connection>,
    pub(super) id: i64,
    ttl: Duration,
    /// Until then it holds for certain: etcd counts from when it was asked, at the earliest.
    until: Instant,
}

impl Lease {
    pub(super) async fn grant(connection: &Arc<Connection>, ttl: Duration) -> Result<Self, StoreError> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let asked = Instant::now();
        let granted = connection
            .call("a lease", |client| async move { client.lease_client().grant(seconds, None).await })
            .await?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
        Ok(Self { connection: connection.clone(), id: granted.id(), ttl, until: asked + ttl })
    }

    /// Renews it until it is released (true), or can't be relied on any more (false).
    pub(super) async fn keep(&mut self, release: &CancellationToken) -> bool {
        loop {
            // Three tries in a lifetime.
            let due = self.until - self.ttl + self.ttl / 3;
            if release.run_until_cancelled(sleep_until(due)).await.is_none() {
                return true;
            }
            while !self.renew().await {
                if Instant::now() + RETRY >= self.until {
                    return false;
                }
                if release.run_until_cancelled(sleep(RETRY)).await.is_none() {
                    return true;
                }
            }
            if Instant::now() >= self.until {
                return false;
            }
        }
    }

    /// Asks for a whole lifetime more. When etcd has forgotten the lease there is nothing left to wait for.
    async fn renew(&mut self) -> bool {
        let (id, asked) = (self.id, Instant::now());
        let renewing = self.connection.call("a lease's renewal", |client| async move {
            match client.lease_client().keep_alive(id).await {
                Ok(_) => Ok(true),
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
                Err(error) => Err(error),
            }
        });
        match tokio::time::timeout_at(self.until, renewing).await {
            Ok(Ok(true)) => {
                self.until = asked + self.ttl;
                true
            }
            Ok(Ok(false)) => {
                self.until = Instant::now();
                false
            }
            _ => false,
        }
    }

    /// Gives it back: what is under it goes at once. Where that fails the lease is still there, and runs out by itself.
    pub(super) async fn revoke(self) -> Result<(), Self> {
        let id = self.id;
        let revoked =
            self.connection.call("a lease's end", |client| async move { client.lease_client().revoke(id).await }).await;
        match revoked {
            Err(error @ StoreError::Unavailable { .. }) => {
                tracing::debug!(%error, "a lease is not given back");
                Err(self)
            }
            // Refused: it has run out.
            _ => Ok(()),
        }
    }
}
