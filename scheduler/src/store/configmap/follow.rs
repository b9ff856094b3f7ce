//! Keeping the plan, an assignment and the members in this process as they are in Kubernetes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::events::{Change, Events, OneMap};
use super::members;
use super::names::Kind;
use super::read::{Indexed, Reader};
use crate::plan::{CollectorAssignment, CollectorId};
use crate::store::follow::{Follow, Pauses, tell};
use crate::store::layout::{Snapshot, Version};
use crate::store::{Member, Revision, StoreError, Stored};

/// A lease that has not been renewed for so many of its lifetimes is deleted: nobody will.
const LIFETIMES_TO_DELETION: u32 = 10;

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
        let (mut object, mut map) = OneMap::open(&self.reader.connection, self.reader.connection.names.plan()).await?;
        loop {
            // Where a part is gone, the next index is on its way.
            if let Some(snapshot) = self.reader.read(Indexed::of(object.as_ref())?, &self.snapshot).await? {
                self.snapshot = snapshot;
                pauses.reset();
                // One revision, one plan: comparing plans topic by topic would be slow.
                let stored = &self.snapshot.stored;
                if self.told.borrow().revision != stored.revision {
                    self.told.send_replace(Arc::new(stored.clone()));
                }
            }
            object = map.next().await?;
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

    async fn tell(&mut self, indexed: &Indexed) -> Result<(), StoreError> {
        if indexed.revision == Revision::default() {
            // No plan yet; or someone has deleted it, and then reading on is better than to stop everything.
            return Ok(());
        }
        let version = indexed.index.collectors.get(&self.collector);
        let topics = if version == self.version.as_ref() {
            self.told.borrow().topics.clone()
        } else {
            let placed = match version {
                Some(version) => self.reader.assigned(version).await?,
                None => Some(Vec::new()),
            };
            // Where a part is gone, the next index is on its way.
            let Some(placed) = placed else { return Ok(()) };
            placed.into_iter().map(|placed| placed.spec).collect()
        };
        self.version = version.cloned();
        tell(&self.told, CollectorAssignment { generation: indexed.index.generation, topics });
        Ok(())
    }
}

impl Follow for AssignmentFollower {
    const WHAT: &'static str = "the assignment";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let (mut object, mut map) = OneMap::open(&self.reader.connection, self.reader.connection.names.plan()).await?;
        loop {
            self.tell(&Indexed::of(object.as_ref())?).await?;
            pauses.reset();
            object = map.next().await?;
        }
    }
}

/// The collectors that are registered.
pub(super) struct MembersFollower {
    connection: Arc<Connection>,
    ttl: Duration,
    /// By the lease's name.
    known: BTreeMap<String, Known>,
    told: watch::Sender<Arc<BTreeMap<CollectorId, Member>>>,
}

/// A collector's lease.
struct Known {
    lease: Lease,
    member: Member,
    /// When it was seen to change last.
    renewed: Instant,
}

impl MembersFollower {
    pub(super) fn new(
        connection: Arc<Connection>,
        ttl: Duration,
        told: watch::Sender<Arc<BTreeMap<CollectorId, Member>>>,
    ) -> Self {
        Self { connection, ttl, known: BTreeMap::new(), told }
    }

    /// Takes in what there is, and gives the version from which on to watch.
    async fn list(&mut self) -> Result<String, StoreError> {
        let params = ListParams::default().labels(&self.connection.names.selector(Kind::Collector));
        let list = self.connection.call("the members", self.connection.leases.list(&params)).await?;
        let list = list.done().ok_or_else(|| self.connection.unavailable("the members are nowhere".to_owned()))?;
        let names: Vec<String> = list.items.iter().map(kube::ResourceExt::name_any).collect();
        self.known.retain(|name, _| names.contains(name));
        for lease in list.items {
            let same = self.known.get(&lease.name_any());
            if same.is_none_or(|known| known.lease.resource_version() != lease.resource_version()) {
                self.renewed(lease);
            }
        }
        Ok(list.metadata.resource_version.unwrap_or_default())
    }

    fn renewed(&mut self, lease: Lease) {
        if let Some(member) = members::member(&lease) {
            self.known.insert(lease.name_any(), Known { lease, member, renewed: Instant::now() });
        }
    }

    /// When the first of those that are told is due to go.
    fn due(&self) -> Instant {
        let alive = self.known.values().map(|known| known.renewed + self.ttl).filter(|due| *due > Instant::now());
        alive.min().unwrap_or_else(|| Instant::now() + self.ttl)
    }

    /// Tells those that are alive.
    fn tell(&self) {
        let alive = self.known.values().filter(|known| known.renewed.elapsed() < self.ttl);
        tell(&self.told, alive.map(|known| (known.member.id.clone(), known.member.clone())).collect());
    }

    /// Deletes the leases of those that are long gone.
    async fn bury(&self) -> Result<(), StoreError> {
        for known in self.known.values().filter(|known| known.renewed.elapsed() > self.ttl * LIFETIMES_TO_DELETION) {
            members::delete(&self.connection, &known.lease).await?;
        }
        Ok(())
    }
}

impl Follow for MembersFollower {
    const WHAT: &'static str = "the members";

    async fn follow(&mut self, pauses: &mut Pauses) -> Result<Infallible, StoreError> {
        let from = self.list().await?;
        // While the server was away nobody could renew: from here on each has a whole lifetime to do so. That those who had gone
        // before are told again for that time does no harm, for a collector's own stream is the proof of its life.
        let now = Instant::now();
        self.known.values_mut().for_each(|known| known.renewed = now);
        let params = WatchParams::default().labels(&self.connection.names.selector(Kind::Collector));
        let mut events = Events::open(&self.connection, &self.connection.leases, &params, &from).await?;
        pauses.reset();
        self.tell();
        loop {
            tokio::select! {
                change = events.next() => match change? {
                    Some(Change::Put(lease)) => self.renewed(*lease),
                    Some(Change::Deleted(lease)) => {
                        self.known.remove(&lease.name_any());
                    }
                    // Nobody is there; or the watch is dead, and whoever is there is due.
                    None => {}
                },
                () = sleep_until(self.due()) => {
                    // It may be us who have slept, or the server: what it says now decides.
                    self.list().await?;
                    self.bury().await?;
                }
            }
            self.tell();
        }
    }
}
