//! Writing the plan: parts first, under names that nobody reads yet; then the index, which makes them the plan all at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp, TxnResponse};
use tokio::sync::Mutex;

use super::connection::kv;
use super::read::Reader;
use crate::plan::{CollectorId, Plan};
use crate::store::layout::{self, Index, Snapshot, Version};
use crate::store::{Revision, StoreError, Term};

/// etcd takes 128 operations a transaction, the fence among them.
pub(super) const BATCH_OPERATIONS: usize = 100;
/// etcd takes 1.5 MiB a request.
const BATCH_BYTES: usize = 1 << 20;

/// Writes plans, one at a time.
#[derive(Debug)]
pub(super) struct Writer {
    reader: Reader,
    /// The newest plan that was read or written here: what a commit differs from.
    known: Mutex<Snapshot>,
    attempts: AtomicU64,
    /// There may be parts that no index names: attempts that failed, here or elsewhere.
    untidy: AtomicBool,
}

impl Writer {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, known: Mutex::default(), attempts: AtomicU64::new(0), untidy: AtomicBool::new(true) }
    }

    /// The plan as of now.
    pub(super) async fn load(&self) -> Result<Snapshot, StoreError> {
        let mut known = self.known.lock().await;
        *known = self.reader.snapshot(&known).await?;
        Ok(known.clone())
    }

    /// See [`crate::store::Store::commit`].
    pub(super) async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        let mut known = self.known.lock().await;
        if known.stored.revision != expected {
            *known = self.reader.snapshot(&known).await?;
        }
        if known.stored.revision != expected {
            self.check(term).await?;
            return Err(StoreError::Conflict);
        }
        let tag = format!("{}.{}.{}", plan.generation, term.fence, self.attempts.fetch_add(1, Ordering::Relaxed));
        let touched = layout::touched(&known.stored.plan, plan);
        let parts = layout::encode_parts(plan, &touched)?;
        let mut index = known.index.clone();
        index.generation = plan.generation;
        let mut replaced: Vec<(CollectorId, String)> = Vec::new();
        let mut puts = Vec::new();
        for (collector, values) in parts {
            let version = Version { tag: tag.clone(), parts: values.len() };
            let old = match values.is_empty() {
                true => index.collectors.remove(collector),
                false => index.collectors.insert(collector.to_owned(), version),
            };
            replaced.extend(old.map(|old| (collector.to_owned(), old.tag)));
            let prefix = self.reader.keys.parts(collector, &tag);
            puts.extend(values.into_iter().enumerate().map(|(part, value)| (format!("{prefix}{part:04}"), value)));
        }
        // Until the index is in place these parts are litter, also when this is cancelled.
        let was_untidy = self.untidy.swap(true, Ordering::Relaxed);
        for batch in batches(puts) {
            let operations: Vec<TxnOp> = batch.into_iter().map(|(key, value)| TxnOp::put(key, value, None)).collect();
            self.fenced(term, operations).await?;
        }
        let revision = self.commit_index(&index, expected, term).await?;
        *known = Snapshot { stored: crate::store::Stored { plan: plan.clone(), revision }, index };
        // The plan is committed. What is left over costs some space until a later commit.
        let tidied = match was_untidy {
            true => self.sweep(&known.index, term).await,
            false => {
                self.drop_parts(replaced.iter().map(|(collector, tag)| self.reader.keys.parts(collector, tag)), term)
                    .await
            }
        };
        self.untidy.store(tidied.is_err(), Ordering::Relaxed);
        Ok(revision)
    }

    async fn commit_index(&self, index: &Index, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        let key = self.reader.keys.index();
        let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, expected.0);
        let put = TxnOp::put(key, index.encode()?, None);
        let committed = self
            .transaction("the plan's index", Txn::new().when([self.fence(term), unchanged]).and_then([put]))
            .await?;
        if committed.succeeded() {
            return Ok(Revision(committed.header().map_or(0, etcd_client::ResponseHeader::revision)));
        }
        self.check(term).await?;
        Err(StoreError::Conflict)
    }

    /// Holds only in this term: the leader's key is the one that was made when it began.
    fn fence(&self, term: &Term) -> Compare {
        Compare::create_revision(self.reader.keys.leader(), CompareOp::Equal, term.fence)
    }

    async fn fenced(&self, term: &Term, operations: Vec<TxnOp>) -> Result<(), StoreError> {
        let done =
            self.transaction("the plan's parts", Txn::new().when([self.fence(term)]).and_then(operations)).await?;
        if done.succeeded() { Ok(()) } else { Err(StoreError::NotLeader { leader: term.leader.clone() }) }
    }

    /// Fails when the term is over.
    async fn check(&self, term: &Term) -> Result<(), StoreError> {
        self.fenced(term, Vec::new()).await
    }

    async fn transaction(&self, what: &str, transaction: Txn) -> Result<TxnResponse, StoreError> {
        self.reader.connection.call(what, |client| async move { kv(&client).txn(transaction).await }).await
    }

    /// Deletes everything that begins with one of these.
    async fn drop_parts(&self, prefixes: impl Iterator<Item = String>, term: &Term) -> Result<(), StoreError> {
        let prefixes: Vec<String> = prefixes.collect();
        for batch in prefixes.chunks(BATCH_OPERATIONS) {
            let whole = || Some(DeleteOptions::new().with_prefix());
            let operations = batch.iter().map(|prefix| TxnOp::delete(prefix.as_str(), whole())).collect::<Vec<_>>();
            self.fenced(term, operations).await?;
        }
        Ok(())
    }

    /// Deletes all parts that the index does not name. The fence keeps it from deleting what a later leader is writing.
    async fn sweep(&self, index: &Index, term: &Term) -> Result<(), StoreError> {
        let keys = &self.reader.keys;
        let current: std::collections::BTreeSet<String> =
            index.collectors.iter().map(|(collector, version)| keys.parts(collector, &version.tag)).collect();
        let mut stale: Vec<String> = self.reader.names(&keys.all_parts()).await?;
        stale.retain(|name| !name.rsplit_once('/').is_some_and(|(prefix, _)| current.contains(&format!("{prefix}/"))));
        self.drop_parts(stale.into_iter(), term).await
    }
}

/// Cuts writes into requests that etcd takes.
pub(super) fn batches(puts: Vec<(String, Vec<u8>)>) -> Vec<Vec<(String, Vec<u8>)>> {
    let mut batches: Vec<Vec<(String, Vec<u8>)>> = Vec::new();
    let mut bytes = usize::MAX;
    for (key, value) in puts {
        let size = key.len() + value.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_OPERATIONS && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push((key, value));
            }
            _ => {
                bytes = size;
                batches.push(vec![(key, value)]);
            }
        }
    }
    batches
}
