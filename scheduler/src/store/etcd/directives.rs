//! What operators have asked for: parts first, then the index, which makes them the directives all at once. There is no term:
//! any manager may write, and of two at the same time one is told of the conflict.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp};
use tokio::sync::watch;

use super::connection::kv;
use super::read::Reader;
use super::write::{BATCH_OPERATIONS, batches};
use crate::directives::Directives;
use crate::store::follow::{Follow, Pauses};
use crate::store::layout::{self, DirectivesIndex, Version};
use crate::store::{Revision, StoreError, StoredDirectives};

/// Reads and changes directives.
#[derive(Debug)]
pub(super) struct DirectivesStore {
    reader: Reader,
    /// With `attempts` it makes tags that no two processes share.
    process: u64,
    attempts: AtomicU64,
    /// There may be parts that no index names: changes that failed, here or elsewhere.
    untidy: AtomicBool,
}

/// The index as read, with its revision; and the revision of etcd that it was read at.
struct Found {
    index: Option<(DirectivesIndex, Revision)>,
    now: i64,
}

impl DirectivesStore {
    pub(super) fn new(reader: Reader) -> Self {
        let process = crate::store::unique();
        Self { reader, process, attempts: AtomicU64::new(0), untidy: AtomicBool::new(true) }
    }

    /// See [`crate::store::Store::load_directives`].
    pub(super) async fn load(&self) -> Result<StoredDirectives, StoreError> {
        load(&self.reader).await
    }

    /// See [`crate::store::Store::change_directives`].
    pub(super) async fn change(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError> {
        let before = found(&self.reader).await?.index;
        if before.as_ref().map(|(_, revision)| *revision).unwrap_or_default() != expected {
            return Err(StoreError::Conflict);
        }
        let tag = format!("{:016x}.{}", self.process, self.attempts.fetch_add(1, Ordering::Relaxed));
        let prefix = self.reader.keys.directives_parts(&tag);
        let values = layout::encode_directives(directives)?;
        let version = Version { tag, parts: values.len() };
        let puts: Vec<(String, Vec<u8>)> =
            values.into_iter().enumerate().map(|(part, value)| (format!("{prefix}{part:04}"), value)).collect();
        let names: Vec<String> = puts.iter().map(|(key, _)| key.clone()).collect();
        // Until the index is in place these parts are litter, also when this is cancelled.
        let was_untidy = self.untidy.swap(true, Ordering::Relaxed);
        for batch in batches(puts) {
            let operations: Vec<TxnOp> = batch.into_iter().map(|(key, value)| TxnOp::put(key, value, None)).collect();
            self.transaction("the directives' parts", Txn::new().and_then(operations)).await?;
        }
        let Some(revision) = self.commit(version.clone(), &names, expected).await? else {
            let tidied = self.drop_parts(vec![prefix], None).await;
            self.untidy.store(was_untidy || tidied.is_err(), Ordering::Relaxed);
            return Err(StoreError::Conflict);
        };
        // Done. What is left over costs some space until a later change.
        let tidied = match before {
            _ if was_untidy => self.sweep(&version, revision).await,
            Some((old, _)) => self.drop_parts(vec![self.reader.keys.directives_parts(&old.version.tag)], None).await,
            None => Ok(()),
        };
        self.untidy.store(tidied.is_err(), Ordering::Relaxed);
        Ok(revision)
    }

    /// Puts the index in place of the one at this revision, if all its parts are there still: another process may have swept them.
    async fn commit(
        &self,
        version: Version,
        parts: &[String],
        expected: Revision,
    ) -> Result<Option<Revision>, StoreError> {
        let key = self.reader.keys.directives_index();
        let mut holds = vec![Compare::mod_revision(key.as_str(), CompareOp::Equal, expected.0)];
        holds.extend(parts.iter().map(|part| Compare::create_revision(part.as_str(), CompareOp::Greater, 0)));
        let put = TxnOp::put(key, DirectivesIndex::new(version).encode()?, None);
        let done = self.transaction("the directives' index", Txn::new().when(holds).and_then([put])).await?;
        let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(done.succeeded().then_some(Revision(revision)))
    }

    /// Deletes all parts that the index does not name, while it is the one in force.
    async fn sweep(&self, current: &Version, revision: Revision) -> Result<(), StoreError> {
        let keys = &self.reader.keys;
        let kept = keys.directives_parts(&current.tag);
        let mut stale = self.reader.names(&keys.all_directives_parts()).await?;
        stale.retain(|name| !name.starts_with(&kept));
        self.drop_parts(stale, Some(revision)).await
    }

    /// Deletes everything that begins so; while the index is of this revision, if one is given.
    async fn drop_parts(&self, prefixes: Vec<String>, fence: Option<Revision>) -> Result<(), StoreError> {
        let index = self.reader.keys.directives_index();
        let fence: Vec<Compare> =
            fence.into_iter().map(|at| Compare::mod_revision(index.as_str(), CompareOp::Equal, at.0)).collect();
        for batch in prefixes.chunks(BATCH_OPERATIONS) {
            let whole = || Some(DeleteOptions::new().with_prefix());
            let operations = batch.iter().map(|prefix| TxnOp::delete(prefix.as_str(), whole())).collect::<Vec<_>>();
            self.transaction("the end of old directives", Txn::new().when(fence.clone()).and_then(operations)).await?;
        }
        Ok(())
    }

    async fn transaction(&self, what: &str, transaction: Txn) -> Result<etcd_client::TxnResponse, StoreError> {
        self.reader.connection.call(what, |client| async move { kv(&client).txn(transaction).await }).await
    }
}

async fn found(reader: &Reader) -> Result<Found, StoreError> {
    let key = reader.keys.directives_index();
    let asked = key.clone();
    let response = reader
        .connection
        .call("the directives' index", |client| async move { kv(&client).get(asked, None).await })
        .await?;
    let now = response.header().map_or(0, etcd_client::ResponseHeader::revision);
    let index = match response.kvs().first() {
        Some(found) => Some((DirectivesIndex::decode(&key, found.value())?, Revision(found.mod_revision()))),
        None => None,
    };
    Ok(Found { index, now })
}

async fn load(reader: &Reader) -> Result<StoredDirectives, StoreError> {
    let Found { index, now } = found(reader).await?;
    let Some((index, revision)) = index else { return Ok(StoredDirectives::default()) };
    let prefix = reader.keys.directives_parts(&index.version.tag);
    let parts = reader.range(&prefix, now).await?;
    if parts.len() != index.version.parts {
        let reason = format!("the index names {} parts, and there are {}", index.version.parts, parts.len());
        return Err(StoreError::Corrupt { key: prefix, reason });
    }
    let directives = layout::decode_directives(&prefix, parts.iter().map(etcd_client::KeyValue::value))?;
    Ok(StoredDirectives { directives, revision })
}

/// The directives.
pub(super) struct DirectivesFollower {
    pub(super) reader: Reader,
    pub(super) told: watch::Sender<Arc<StoredDirectives>>,
}

impl Follow for DirectivesFollower {
    const WHAT: &'static str = "the directives";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let Found { now, .. } = found(&self.reader).await?;
        let mut events = self.reader.connection.watch(&self.reader.keys.directives_index(), false, now + 1).await?;
        loop {
            let stored = load(&self.reader).await?;
            pauses.reset();
            if self.told.borrow().revision != stored.revision {
                self.told.send_replace(Arc::new(stored));
            }
            events.next().await?;
        }
    }
}
