//! Keeping values in this process as they are in etcd.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use etcd_client::{EventType, GetOptions};
use tokio::sync::watch;
use tracing::warn;

use super::connection::{Connection, kv};
use super::keys::Keys;
use super::read::Reader;
use crate::plan::{CollectorAssignment, CollectorId};
use crate::store::follow::{Follow, Pauses, tell};
use crate::store::layout::{Snapshot, Version};
use crate::store::{Member, Revision, StoreError, Stored};

/// The whole plan.
pub(super) struct PlanFollower {
    reader: Reader,
    snapshot: Snapshot,
    told: watch::Sender<Arc<Stored>>,
}

impl PlanFollower {
    pub(super) fn new(reader: Reader, told: watch::Sender<Arc<Stored>>) -> Self {
        Self { reader, snapshot: Snapshot::default(), told }
    }
}

impl Follow for PlanFollower {
    const WHAT: &'static str = "the plan";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let (_, _, now) = self.reader.index().await?;
        let mut events = self.reader.connection.watch(&self.reader.keys.index(), false, now + 1).await?;
        loop {
            self.snapshot = self.reader.snapshot(&self.snapshot).await?;
            pauses.reset();
            // One revision, one plan: comparing plans topic by topic would be slow.
            let stored = &self.snapshot.stored;
            if self.told.borrow().revision != stored.revision {
                self.told.send_replace(Arc::new(stored.clone()));
            }
            events.next().await?;
        }
    }
}

/// What one collector reads.
pub(super) struct AssignmentFollower {
    reader: Reader,
    collector: CollectorId,
    /// What has been told.
    version: Option<Version>,
    told: watch::Sender<Arc<CollectorAssignment>>,
}

impl AssignmentFollower {
    pub(super) fn new(reader: Reader, collector: &str, told: watch::Sender<Arc<CollectorAssignment>>) -> Self {
        Self { reader, collector: collector.to_owned(), version: None, told }
    }

    async fn tell_current(&mut self) -> Result<(), StoreError> {
        let (index, revision, now) = self.reader.index().await?;
        if revision == Revision::default() {
            // No plan yet; or someone has deleted it, and then reading on is better than to stop everything.
            return Ok(());
        }
        let version = index.collectors.get(&self.collector);
        let topics = if version == self.version.as_ref() {
            self.told.borrow().topics.clone()
        } else {
            let placed = match version {
                Some(version) => self.reader.parts(&self.collector, version, now).await?,
                None => Vec::new(),
            };
            placed.into_iter().map(|placed| placed.spec).collect()
        };
        self.version = version.cloned();
        tell(&self.told, CollectorAssignment { generation: index.generation, topics });
        Ok(())
    }
}

impl Follow for AssignmentFollower {
    const WHAT: &'static str = "the assignment";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let (_, _, now) = self.reader.index().await?;
        let mut events = self.reader.connection.watch(&self.reader.keys.index(), false, now + 1).await?;
        loop {
            self.tell_current().await?;
            pauses.reset();
            events.next().await?;
        }
    }
}

/// The collectors that are registered.
pub(super) struct MembersFollower {
    pub(super) connection: Arc<Connection>,
    pub(super) keys: Keys,
    pub(super) told: watch::Sender<Arc<BTreeMap<CollectorId, Member>>>,
}

impl Follow for MembersFollower {
    const WHAT: &'static str = "the members";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let prefix = self.keys.members();
        let (from, options) = (prefix.clone(), GetOptions::new().with_prefix());
        let found = self
            .connection
            .call("the members", |client| async move { kv(&client).get(from, Some(options)).await })
            .await?;
        let mut members: BTreeMap<CollectorId, Member> =
            found.kvs().iter().filter_map(|entry| member(entry.key(), entry.value())).collect();
        let now = found.header().map_or(0, etcd_client::ResponseHeader::revision);
        let mut events = self.connection.watch(&prefix, true, now + 1).await?;
        loop {
            tell(&self.told, members.clone());
            pauses.reset();
            for event in events.next().await? {
                let Some(entry) = event.kv() else { continue };
                match event.event_type() {
                    EventType::Put => members.extend(member(entry.key(), entry.value())),
                    EventType::Delete => members.retain(|id, _| self.keys.member(id).as_bytes() != entry.key()),
                }
            }
        }
    }
}

fn member(key: &[u8], value: &[u8]) -> Option<(CollectorId, Member)> {
    match serde_json::from_slice::<Member>(value) {
        Ok(member) => Some((member.id.clone(), member)),
        Err(error) => {
            warn!(key = %String::from_utf8_lossy(key), %error, "what is registered here is no collector; left out");
            None
        }
    }
}
