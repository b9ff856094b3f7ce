//! Where the plan is kept, and how managers elect the one that may write it.
//!
//! A store holds four things: the plan, what operators have asked for (directives), who is there to read topics (members), and
//! who leads. All writing of the plan is fenced: by the revision that the writer has read, and by its term. Directives may be
//! changed by any manager, guarded by the revision alone. All watching goes on while the store is away: the last value stands,
//! and a newer one comes when the store is back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::directives::Directives;
use crate::plan::{CollectorAssignment, CollectorId, Plan};

mod configmap;
mod etcd;
mod follow;
mod layout;
mod memory;
mod pulse;

pub use configmap::{ConfigMapOptions, ConfigMapStore};
pub use etcd::{EtcdOptions, EtcdStore};
pub use memory::MemoryStore;

/// A version of the stored plan, or of the stored directives; opaque, only good for [`Store::commit`] or
/// [`Store::change_directives`], respectively. The default is that of a store where nothing has been written yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub(crate) i64);

/// A plan as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The plan.
    pub plan: Plan,
    /// Which version of the store that is.
    pub revision: Revision,
}

/// Directives as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredDirectives {
    /// What operators have asked for.
    pub directives: Directives,
    /// Which version of the store that is.
    pub revision: Revision,
}

/// One spell of leadership. No two are alike, also of the same manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Who leads, as it called itself in [`Store::campaign`].
    pub leader: String,
    /// What the store compares.
    pub(crate) fence: i64,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// We do.
    Leader(Term),
    /// Someone else does, or nobody (yet, or as far as can be known).
    Follower {
        /// Who.
        leader: Option<String>,
    },
}

/// A collector that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: CollectorId,
    /// `HOST:PORT` of its gRPC service.
    pub address: String,
    /// Which provider's topics it is for.
    pub provider: String,
    /// This run of it, different after each start.
    pub incarnation: u64,
}

/// Whether the store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Connected,
    /// It does not, or has not yet.
    Away {
        /// Since when.
        since: Instant,
        /// Which store, what was tried, and what came of it.
        reason: String,
    },
}

/// Why a store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Someone else has written since the revision was read. Load, decide again, write.
    #[error("what is stored has changed since it was read: load it and decide again")]
    Conflict,
    /// The term is over. Nothing was written; do not try again with this term.
    #[error("{leader} does not lead any more: nothing was written")]
    NotLeader {
        /// Whose term it was.
        leader: String,
    },
    /// No answer in time. A write may or may not have happened: load before the next one.
    #[error("the store {store} is unavailable: {reason}")]
    Unavailable {
        /// Which store.
        store: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The store answers, and refuses; trying the same again does not help.
    #[error("the store {store} refused {what}: {reason}")]
    Refused {
        /// Which store.
        store: String,
        /// What was asked.
        what: String,
        /// Its reason.
        reason: String,
    },
    /// What is stored can't be read: someone else wrote there, or a newer Plimsoll.
    #[error("what the store holds at {key} is not ours: {reason}; look at it, and delete it if it is a mistake")]
    Corrupt {
        /// Where.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is wrong.
    #[error("bad store setting {setting}: {reason}")]
    BadSetting {
        /// The setting as given.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where the plan is kept.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The plan as of now, whole.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] within a few seconds; [`StoreError::Corrupt`].
    async fn load(&self) -> Result<Stored, StoreError>;

    /// Replaces the plan of revision `expected` if that is still the stored one, and if the term is still on; gives the new revision. Others see the
    /// whole of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::NotLeader`], or [`StoreError::Unavailable`] within a few seconds; load before trying again after any.
    async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError>;

    /// The plan, always: every committed generation or a later one. The empty plan until the store has told its own.
    fn watch_plan(&self) -> watch::Receiver<Arc<Stored>>;

    /// What operators have asked for, as of now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] within a few seconds; [`StoreError::Corrupt`].
    async fn load_directives(&self) -> Result<StoredDirectives, StoreError>;

    /// Replaces the directives of revision `expected` if those are still the stored ones; gives the new revision. Any process may do
    /// so. Others see the whole of them or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], or [`StoreError::Unavailable`] within a few seconds; load before trying again after any.
    async fn change_directives(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError>;

    /// The directives, always. None and revision zero until the store has told its own.
    fn watch_directives(&self) -> watch::Receiver<Arc<StoredDirectives>>;

    /// What this collector reads, always. The empty assignment of generation zero until the store has told more.
    fn watch_assignment(&self, collector: &str) -> watch::Receiver<Arc<CollectorAssignment>>;

    /// Makes a collector known until it leaves, or is silent for some seconds. Its registration is kept alive by a task, and made
    /// anew when the store has lost it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] within a few seconds: nothing goes on then.
    async fn register(&self, member: Member) -> Result<Registration, StoreError>;

    /// The collectors that are registered, always.
    fn watch_members(&self) -> watch::Receiver<Arc<BTreeMap<CollectorId, Member>>>;

    /// Stands for leader in a task of its own, again after each loss, until [`Campaign::resign`]. The candidate's name is shown to others.
    fn campaign(&self, candidate: &str) -> Campaign;

    /// Whether the store answers.
    fn health(&self) -> watch::Receiver<StoreHealth>;

    /// Ends the store's own tasks and awaits them. Watches keep their last value; campaigns and registrations are ended before.
    async fn close(&self);
}

/// A candidacy. Dropping it without resigning is what a crash does: others wait until its lease has run out.
#[derive(Debug)]
pub struct Campaign {
    leadership: watch::Receiver<Leadership>,
    held: Held,
}

impl Campaign {
    pub(crate) fn new(leadership: watch::Receiver<Leadership>, held: Held) -> Self {
        Self { leadership, held }
    }

    /// Who leads, always. A leader that can't renew its lease is a follower before anyone else can lead.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Stands down; if we led, another candidate can lead at once.
    pub async fn resign(self) {
        self.held.release().await;
    }
}

/// A collector's registration. Dropping it without leaving is what a crash does: it stays for the rest of its lease.
#[derive(Debug)]
pub struct Registration {
    held: Held,
}

impl Registration {
    pub(crate) fn new(held: Held) -> Self {
        Self { held }
    }

    /// Takes the collector off the members at once.
    pub async fn leave(self) {
        self.held.release().await;
    }
}

/// Something that a task holds in the store until it is told to let go. Dropped, the task ends where it stands.
#[derive(Debug)]
pub(crate) struct Held {
    release: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Held {
    /// Spawns the task; it lets go and ends when the token is cancelled.
    pub(crate) fn spawn<F>(task: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let release = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(task(release.clone())));
        Self { release, task }
    }

    async fn release(self) {
        self.release.cancel();
        // A panic in it has been reported by the runtime, and nothing is held any more.
        let _ = self.task.await;
    }
}

/// A number that no other store, in this process or another, has; for names of what is being written.
pub(crate) fn unique() -> u64 {
    // Keyed at random by the operating system, anew for each.
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
