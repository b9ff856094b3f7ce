//! The store in a Kubernetes namespace: ConfigMaps for the plan and the directives, Leases for who leads and who is there. Nothing
//! here is called by name from outside: see [`Store`].
//!
//! What a manager's service account must be allowed in the namespace, and no more: `get`, `list`, `watch`, `create`, `update`
//! and `delete` of `configmaps`, and the same of `leases` in `coordination.k8s.io`. A collector's: `get`, `list` and `watch` of
//! `configmaps`, and what a manager may of `leases`: it makes its own, and before it stops it looks whether there are others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use plimsoll_cluster::{Access, AccessError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{
    Campaign, Held, Leadership, Member, Registration, Revision, Store, StoreError, StoreHealth, Stored,
    StoredDirectives, Term,
};
use crate::directives::Directives;
use crate::plan::{CollectorAssignment, CollectorId, Plan};
use crate::store::follow::{self as following, Follow};
use connection::Connection;
use directives::{DirectivesFollower, DirectivesStore};
use election::Candidate;
use follow::{AssignmentFollower, MembersFollower, PlanFollower};
use names::Names;
use read::Reader;
use write::Writer;

mod connection;
mod directives;
mod election;
mod events;
mod follow;
mod members;
mod names;
mod parts;
mod read;
mod write;

/// Where the store is, and how patient.
#[derive(Debug, Clone)]
pub struct ConfigMapOptions {
    /// How to reach the API server.
    pub access: Access,
    /// In which namespace the objects are; else the kubeconfig's, or the pod's own.
    pub namespace: Option<String>,
    /// What the names of all objects begin with; two fleets in one namespace need two prefixes.
    pub prefix: String,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How long a silent collector stays registered, in whole seconds. It is renewed three times in that time: 100 collectors make
    /// 20 writes a second, what 200 nodes do.
    pub member_ttl: Duration,
    /// How long a silent leader leads, in whole seconds.
    pub leader_ttl: Duration,
}

impl Default for ConfigMapOptions {
    fn default() -> Self {
        Self {
            access: Access::default(),
            namespace: None,
            prefix: "plimsoll".to_owned(),
            call_timeout: Duration::from_secs(2),
            member_ttl: Duration::from_secs(15),
            leader_ttl: Duration::from_secs(6),
        }
    }
}

/// The store in a Kubernetes namespace.
#[derive(Debug)]
pub struct ConfigMapStore {
    connection: Arc<Connection>,
    options: ConfigMapOptions,
    writer: Arc<Writer>,
    directives: DirectivesStore,
    watched: Mutex<Watched>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends the tasks when the store is dropped without being closed.
    _stop_on_drop: DropGuard,
}

/// What is being followed already: one task for each, begun when first asked for.
#[derive(Debug, Default)]
struct Watched {
    plan: Option<watch::Receiver<Arc<Stored>>>,
    directives: Option<watch::Receiver<Arc<StoredDirectives>>>,
    members: Option<watch::Receiver<Arc<BTreeMap<CollectorId, Member>>>>,
    assignments: BTreeMap<CollectorId, watch::Receiver<Arc<CollectorAssignment>>>,
}

impl ConfigMapStore {
    /// The store of these options. It connects by itself, and again when the connection is lost.
    ///
    /// # Errors
    /// [`StoreError::BadSetting`]. An API server that is away is no error.
    pub async fn new(options: ConfigMapOptions) -> Result<Self, StoreError> {
        let names = Names::new(&options.prefix)?;
        let config = options.access.config().await.map_err(bad_access)?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let connection = Connection::new(config, &namespace, names, options.call_timeout)?;
        let reader = Reader { connection: connection.clone() };
        let (writer, directives) = (Arc::new(Writer::new(reader)), DirectivesStore::new(connection.clone()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (probed, stopped) = (connection.clone(), stop.clone());
        tasks.spawn(async move { probed.probe(stopped).await });
        let _stop_on_drop = stop.clone().drop_guard();
        let watched = Mutex::default();
        Ok(Self { connection, options, writer, directives, watched, tasks, stop, _stop_on_drop })
    }

    /// Where it is, for people: the API server, the namespace and the prefix.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.connection.name
    }

    fn follow(&self, follower: impl Follow + 'static) {
        self.tasks.spawn(following::run(follower, self.stop.clone()));
    }

    fn reader(&self) -> Reader {
        Reader { connection: self.connection.clone() }
    }
}

#[async_trait]
impl Store for ConfigMapStore {
    async fn load(&self) -> Result<Stored, StoreError> {
        self.writer.load().await
    }

    async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        self.writer.commit(plan, expected, term).await
    }

    fn watch_plan(&self) -> watch::Receiver<Arc<Stored>> {
        let follow = || {
            let (told, plan) = watch::channel(Arc::default());
            self.follow(PlanFollower::new(self.reader(), told));
            plan
        };
        self.watched.lock().plan.get_or_insert_with(follow).clone()
    }

    async fn load_directives(&self) -> Result<StoredDirectives, StoreError> {
        self.directives.load().await
    }

    async fn change_directives(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError> {
        self.directives.change(directives, expected).await
    }

    fn watch_directives(&self) -> watch::Receiver<Arc<StoredDirectives>> {
        let follow = || {
            let (told, directives) = watch::channel(Arc::default());
            self.follow(DirectivesFollower { connection: self.connection.clone(), told });
            directives
        };
        self.watched.lock().directives.get_or_insert_with(follow).clone()
    }

    fn watch_assignment(&self, collector: &str) -> watch::Receiver<Arc<CollectorAssignment>> {
        let follow = || {
            let (told, assignment) = watch::channel(Arc::default());
            self.follow(AssignmentFollower::new(self.reader(), collector, told));
            assignment
        };
        self.watched.lock().assignments.entry(collector.to_owned()).or_insert_with(follow).clone()
    }

    async fn register(&self, member: Member) -> Result<Registration, StoreError> {
        members::register(self.connection.clone(), member, self.options.member_ttl).await
    }

    fn watch_members(&self) -> watch::Receiver<Arc<BTreeMap<CollectorId, Member>>> {
        let follow = || {
            let (told, members) = watch::channel(Arc::default());
            self.follow(MembersFollower::new(self.connection.clone(), self.options.member_ttl, told));
            members
        };
        self.watched.lock().members.get_or_insert_with(follow).clone()
    }

    fn campaign(&self, candidate: &str) -> Campaign {
        let (told, leadership) = watch::channel(Leadership::Follower { leader: None });
        let candidate = Candidate {
            connection: self.connection.clone(),
            writer: self.writer.clone(),
            name: candidate.to_owned(),
            candidacy: format!("{:016x}", super::unique()),
            ttl: self.options.leader_ttl,
            told,
            seen: (None, Instant::now()),
        };
        Campaign::new(leadership, Held::spawn(|release| candidate.run(release)))
    }

    fn health(&self) -> watch::Receiver<StoreHealth> {
        self.connection.health()
    }

    async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn bad_access(error: AccessError) -> StoreError {
    StoreError::BadSetting { setting: error.setting, reason: error.reason }
}
