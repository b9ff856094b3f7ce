//! The store in etcd. Nothing here is called by name from outside: see [`Store`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
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
use keys::Keys;
use read::Reader;
use write::Writer;

mod connection;
mod directives;
mod election;
mod follow;
mod keys;
mod lease;
mod members;
mod read;
mod write;

/// How patient the store is.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How long a silent collector stays registered, in whole seconds.
    pub member_ttl: Duration,
    /// How long a silent leader leads, in whole seconds.
    pub leader_ttl: Duration,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(2),
            member_ttl: Duration::from_secs(5),
            leader_ttl: Duration::from_secs(4),
        }
    }
}

/// The store in etcd.
#[derive(Debug)]
pub struct EtcdStore {
    connection: Arc<Connection>,
    keys: Keys,
    options: EtcdOptions,
    writer: Writer,
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

impl EtcdStore {
    /// A store under this prefix (`/plimsoll/`, say), in the etcd at these endpoints (`http://HOST:PORT`). It connects by itself, and again when the
    /// connection is lost. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::BadSetting`]. An etcd that is away is no error.
    pub fn new<E: AsRef<str>>(endpoints: &[E], prefix: &str) -> Result<Self, StoreError> {
        Self::with_options(endpoints, prefix, EtcdOptions::default())
    }

    /// Like [`EtcdStore::new`], with its own patience.
    ///
    /// # Errors
    /// [`StoreError::BadSetting`].
    pub fn with_options<E: AsRef<str>>(
        endpoints: &[E],
        prefix: &str,
        options: EtcdOptions,
    ) -> Result<Self, StoreError> {
        let connection = Arc::new(Connection::new(endpoints, options.call_timeout)?);
        let keys = Keys::new(prefix);
        let reader = Reader { connection: connection.clone(), keys: keys.clone() };
        let (writer, directives) = (Writer::new(reader.clone()), DirectivesStore::new(reader));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (probed, key, stopped) = (connection.clone(), keys.leader(), stop.clone());
        tasks.spawn(async move { probed.probe(key, stopped).await });
        let _stop_on_drop = stop.clone().drop_guard();
        Ok(Self {
            connection,
            keys,
            options,
            writer,
            directives,
            watched: Mutex::default(),
            tasks,
            stop,
            _stop_on_drop,
        })
    }

    fn follow(&self, follower: impl Follow + 'static) {
        self.tasks.spawn(following::run(follower, self.stop.clone()));
    }

    fn reader(&self) -> Reader {
        Reader { connection: self.connection.clone(), keys: self.keys.clone() }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn load(&self) -> Result<Stored, StoreError> {
        Ok(self.writer.load().await?.stored)
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
            self.follow(DirectivesFollower { reader: self.reader(), told });
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
        members::register(self.connection.clone(), &self.keys, member, self.options.member_ttl).await
    }

    fn watch_members(&self) -> watch::Receiver<Arc<BTreeMap<CollectorId, Member>>> {
        let follow = || {
            let (told, members) = watch::channel(Arc::default());
            self.follow(MembersFollower { connection: self.connection.clone(), keys: self.keys.clone(), told });
            members
        };
        self.watched.lock().members.get_or_insert_with(follow).clone()
    }

    fn campaign(&self, candidate: &str) -> Campaign {
        let (told, leadership) = watch::channel(Leadership::Follower { leader: None });
        let candidate = Candidate {
            connection: self.connection.clone(),
            key: self.keys.leader(),
            name: candidate.to_owned(),
            ttl: self.options.leader_ttl,
            told,
            left_over: None,
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
