//! Who leads: one key on its leader's lease. Its create revision is the term, so a deposed leader's writes can be told.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connection::{Connection, kv};
use super::lease::Lease;
use crate::store::follow::Pauses;
use crate::store::{Leadership, StoreError, Term};

/// Stands for leader.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) connection: Arc<Connection>,
    /// The leader's key.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) ttl: Duration,
    pub(super) told: watch::Sender<Leadership>,
    /// Of a seat that is not ours any more, or may not be: it would keep everyone out for its lifetime, ourselves included.
    pub(super) left_over: Option<Lease>,
}

/// What the leader's key says.
struct Seat {
    leader: Option<(String, i64)>,
    /// When etcd said so.
    revision: i64,
}

impl Candidate {
    /// Until released: waits for a vacancy, leads, and begins again when the lead is lost.
    pub(super) async fn run(mut self, release: CancellationToken) {
        let mut pauses = Pauses::new();
        while !release.is_cancelled() {
            match self.stand(&release).await {
                Ok(Some((lease, term))) => {
                    pauses.reset();
                    self.lead(lease, term, &release).await;
                }
                Ok(None) => pauses.reset(),
                Err(error) => {
                    debug!(%error, "can't stand for leader");
                    self.tell(Leadership::Follower { leader: None });
                    pauses.wait(&release).await;
                }
            }
        }
        self.tell(Leadership::Follower { leader: None });
    }

    /// Waits while someone leads, then tries to take the seat.
    async fn stand(&mut self, release: &CancellationToken) -> Result<Option<(Lease, Term)>, StoreError> {
        if let Some(lease) = self.left_over.take() {
            self.give_back(lease).await;
        }
        let seat = self.seat().await?;
        if let Some((leader, _)) = seat.leader {
            self.tell(Leadership::Follower { leader: Some(leader) });
            let mut events = self.connection.watch(&self.key, false, seat.revision + 1).await?;
            if let Some(outcome) = release.run_until_cancelled(events.next()).await {
                outcome?;
            }
            return Ok(None);
        }
        let lease = Lease::grant(&self.connection, self.ttl).await?;
        // Nothing may interrupt this: the seat would be taken, and nobody on it.
        match self.take_seat(&lease).await {
            Ok(Some(fence)) => Ok(Some((lease, Term { leader: self.name.clone(), fence }))),
            Ok(None) => {
                self.give_back(lease).await;
                Ok(None)
            }
            Err(error) => {
                // It may be taken all the same.
                self.give_back(lease).await;
                Err(error)
            }
        }
    }

    /// Puts the key where there is none; gives its create revision.
    async fn take_seat(&self, lease: &Lease) -> Result<Option<i64>, StoreError> {
        let vacant = Compare::create_revision(self.key.as_str(), CompareOp::Equal, 0);
        let put = TxnOp::put(self.key.as_str(), self.name.as_str(), Some(PutOptions::new().with_lease(lease.id)));
        let transaction = Txn::new().when([vacant]).and_then([put]);
        let taken =
            self.connection.call("the election", |client| async move { kv(&client).txn(transaction).await }).await?;
        Ok(taken.succeeded().then(|| taken.header().map_or(0, etcd_client::ResponseHeader::revision)))
    }

    /// Leads until released, or until the lease or the seat is lost.
    async fn lead(&mut self, mut lease: Lease, term: Term, release: &CancellationToken) {
        self.tell(Leadership::Leader(term.clone()));
        tokio::select! {
            _ = lease.keep(release) => {}
            () = self.deposed(term.fence) => {}
        }
        // Follower first: nobody else may lead before.
        self.tell(Leadership::Follower { leader: None });
        self.give_back(lease).await;
    }

    async fn give_back(&mut self, lease: Lease) {
        self.left_over = lease.revoke().await.err();
    }

    /// Returns when the seat is another's or nobody's. That etcd is away says nothing about the seat: the lease decides then.
    async fn deposed(&self, fence: i64) {
        let watching = async || {
            loop {
                let seat = self.seat().await?;
                if seat.leader.is_none_or(|(_, term)| term != fence) {
                    return Ok::<(), StoreError>(());
                }
                self.connection.watch(&self.key, false, seat.revision + 1).await?.next().await?;
            }
        };
        let (mut pauses, never) = (Pauses::new(), CancellationToken::new());
        while watching().await.is_err() {
            pauses.wait(&never).await;
        }
    }

    async fn seat(&self) -> Result<Seat, StoreError> {
        let key = self.key.clone();
        let found =
            self.connection.call("the leader's name", |client| async move { kv(&client).get(key, None).await }).await?;
        let leader = found.kvs().first();
        Ok(Seat {
            leader: leader.map(|entry| (String::from_utf8_lossy(entry.value()).into_owned(), entry.create_revision())),
            revision: found.header().map_or(0, etcd_client::ResponseHeader::revision),
        })
    }

    fn tell(&self, leadership: Leadership) {
        self.told.send_if_modified(|current| {
            let news = *current != leadership;
            *current = leadership;
            news
        });
    }
}
