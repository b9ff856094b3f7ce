//! The store of one process, for `plimsoll dev` and tests: the semantics of the real one, without the network. With a file it
//! survives its process.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Campaign, Held, Leadership, Member, Registration, Revision, Store, StoreError, StoreHealth, Stored,
    StoredDirectives, Term,
};
use crate::directives::Directives;
use crate::plan::{AssignedTopic, CollectorAssignment, CollectorId, Plan};
use file::StateFile;

mod file;

/// A store in memory. Who drops a campaign or a registration here has let go at once: nothing can crash in between.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    plan: watch::Sender<Arc<Stored>>,
    directives: watch::Sender<Arc<StoredDirectives>>,
    members: watch::Sender<Arc<BTreeMap<CollectorId, Member>>>,
    leader: watch::Sender<Option<Leader>>,
    health: watch::Sender<StoreHealth>,
    file: Option<Arc<StateFile>>,
    /// Held while something is written: how many states have been. Writers follow one another, and each sees what the last one wrote.
    writing: tokio::sync::Mutex<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Told what they read with every plan.
    assignments: BTreeMap<CollectorId, watch::Sender<Arc<CollectorAssignment>>>,
    /// By ticket; the lowest leads next.
    candidates: BTreeMap<u64, String>,
    /// Who registered each member.
    registrars: BTreeMap<CollectorId, u64>,
    /// Distinguishes campaigns and registrations.
    tickets: u64,
    terms: i64,
}

#[derive(Debug, Clone)]
struct Leader {
    ticket: u64,
    term: Term,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            plan: watch::Sender::default(),
            directives: watch::Sender::default(),
            members: watch::Sender::default(),
            leader: watch::Sender::default(),
            health: watch::Sender::new(StoreHealth::Connected),
            file: None,
            writing: tokio::sync::Mutex::default(),
        }
    }
}

impl MemoryStore {
    /// An empty store. Clones are the same store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that goes on from what this file holds, and keeps it there with every change. It is one process's: nobody else
    /// may use the file meanwhile.
    ///
    /// # Errors
    /// [`StoreError::BadSetting`] if it can't be read or written, or another process has it; [`StoreError::Corrupt`].
    pub fn with_file(path: &Path) -> Result<Self, StoreError> {
        let (file, stored, directives) = StateFile::open(path)?;
        let shared = Shared {
            plan: watch::Sender::new(Arc::new(stored)),
            directives: watch::Sender::new(Arc::new(directives)),
            file: Some(Arc::new(file)),
            ..Shared::default()
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Stored, StoreError> {
        Ok((**self.shared.plan.borrow()).clone())
    }

    async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        let shared = &self.shared;
        let mut writing = shared.writing.lock().await;
        if shared.leader.borrow().as_ref().is_none_or(|leader| leader.term != *term) {
            return Err(StoreError::NotLeader { leader: term.leader.clone() });
        }
        if shared.plan.borrow().revision != expected {
            return Err(StoreError::Conflict);
        }
        let stored = Arc::new(Stored { plan: plan.clone(), revision: Revision(expected.0 + 1) });
        let directives = shared.directives.borrow().clone();
        shared.save(&mut writing, &stored, &directives).await?;
        let (state, revision) = (shared.state.lock(), stored.revision);
        shared.plan.send_replace(stored);
        state.tell_assignments(plan);
        Ok(revision)
    }

    fn watch_plan(&self) -> watch::Receiver<Arc<Stored>> {
        self.shared.plan.subscribe()
    }

    async fn load_directives(&self) -> Result<StoredDirectives, StoreError> {
        Ok((**self.shared.directives.borrow()).clone())
    }

    async fn change_directives(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError> {
        let shared = &self.shared;
        let mut writing = shared.writing.lock().await;
        if shared.directives.borrow().revision != expected {
            return Err(StoreError::Conflict);
        }
        let revision = Revision(expected.0 + 1);
        let changed = Arc::new(StoredDirectives { directives: directives.clone(), revision });
        let stored = shared.plan.borrow().clone();
        shared.save(&mut writing, &stored, &changed).await?;
        shared.directives.send_replace(changed);
        Ok(revision)
    }

    fn watch_directives(&self) -> watch::Receiver<Arc<StoredDirectives>> {
        self.shared.directives.subscribe()
    }

    fn watch_assignment(&self, collector: &str) -> watch::Receiver<Arc<CollectorAssignment>> {
        let mut state = self.shared.state.lock();
        match state.assignments.entry(collector.to_owned()) {
            Entry::Occupied(known) => known.get().subscribe(),
            Entry::Vacant(new) => {
                let current = self.shared.plan.borrow().plan.assignment(collector);
                new.insert(watch::Sender::new(Arc::new(current))).subscribe()
            }
        }
    }

    async fn register(&self, member: Member) -> Result<Registration, StoreError> {
        let registered = Registered::new(self.shared.clone(), member);
        Ok(Registration::new(Held::spawn(|release: CancellationToken| async move {
            release.cancelled().await;
            drop(registered);
        })))
    }

    fn watch_members(&self) -> watch::Receiver<Arc<BTreeMap<CollectorId, Member>>> {
        self.shared.members.subscribe()
    }

    fn campaign(&self, candidate: &str) -> Campaign {
        let candidacy = Candidacy::new(self.shared.clone(), candidate);
        let mut leader = self.shared.leader.subscribe();
        let (told, leadership) = watch::channel(candidacy.leadership(leader.borrow_and_update().as_ref()));
        let held = Held::spawn(|release: CancellationToken| async move {
            while let Some(Ok(())) = release.run_until_cancelled(leader.changed()).await {
                told.send_replace(candidacy.leadership(leader.borrow_and_update().as_ref()));
            }
            drop(candidacy);
            told.send_replace(Leadership::Follower { leader: None });
        });
        Campaign::new(leadership, held)
    }

    fn health(&self) -> watch::Receiver<StoreHealth> {
        self.shared.health.subscribe()
    }

    async fn close(&self) {}
}

impl State {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Tells everyone who watches an assignment, in one pass over the plan.
    fn tell_assignments(&self, plan: &Plan) {
        let mut topics: BTreeMap<&str, Vec<AssignedTopic>> =
            self.assignments.keys().map(|collector| (collector.as_str(), Vec::new())).collect();
        for placed in plan.topics.values() {
            for reader in placed.placement.readers() {
                if let Some(topics) = topics.get_mut(reader.as_str()) {
                    topics.push(placed.spec.clone());
                }
            }
        }
        for (collector, topics) in topics {
            let assignment = Arc::new(CollectorAssignment { generation: plan.generation, topics });
            self.assignments[collector].send_replace(assignment);
        }
    }
}

impl Shared {
    /// Puts this state into the file, if there is one. When it fails the file is as it was, and health says so until it works.
    async fn save(
        &self,
        states: &mut u64,
        stored: &Arc<Stored>,
        directives: &Arc<StoredDirectives>,
    ) -> Result<(), StoreError> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        *states += 1;
        let number = *states;
        let (stored, directives, name) = (stored.clone(), directives.clone(), file.name());
        let write = move || {
            let state = file::encode(&stored, &directives)?;
            Ok(file.replace(number, &state).map_err(|error| format!("it can't be written: {error}")))
        };
        let written = tokio::task::spawn_blocking(write).await;
        let outcome = match written {
            Ok(outcome) => outcome?,
            Err(error) => Err(format!("the writing of it ended: {error}")),
        };
        let Err(reason) = outcome else {
            self.health
                .send_if_modified(|health| std::mem::replace(health, StoreHealth::Connected) != StoreHealth::Connected);
            return Ok(());
        };
        self.health.send_if_modified(|health| {
            let since = match health {
                StoreHealth::Connected => Instant::now(),
                StoreHealth::Away { since, .. } => *since,
            };
            let away = StoreHealth::Away { since, reason: format!("{name}: {reason}") };
            std::mem::replace(health, away.clone()) != away
        });
        Err(StoreError::Unavailable { store: name, reason })
    }

    /// Lets the oldest candidate lead where nobody does.
    fn elect(&self, state: &mut State) {
        let vacant = self.leader.borrow().is_none();
        if let Some((&ticket, name)) = state.candidates.first_key_value()
            && vacant
        {
            state.terms += 1;
            let term = Term { leader: name.clone(), fence: state.terms };
            self.leader.send_replace(Some(Leader { ticket, term }));
        }
    }
}

/// A candidate, until dropped.
struct Candidacy {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Candidacy {
    fn new(shared: Arc<Shared>, candidate: &str) -> Self {
        let mut state = shared.state.lock();
        let ticket = state.ticket();
        state.candidates.insert(ticket, candidate.to_owned());
        shared.elect(&mut state);
        drop(state);
        Self { shared, ticket }
    }

    fn leadership(&self, leader: Option<&Leader>) -> Leadership {
        match leader {
            Some(leader) if leader.ticket == self.ticket => Leadership::Leader(leader.term.clone()),
            other => Leadership::Follower { leader: other.map(|leader| leader.term.leader.clone()) },
        }
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.candidates.remove(&self.ticket);
        let leads = self.shared.leader.borrow().as_ref().is_some_and(|leader| leader.ticket == self.ticket);
        if leads {
            self.shared.leader.send_replace(None);
            self.shared.elect(&mut state);
        }
    }
}

/// A member, until dropped.
struct Registered {
    shared: Arc<Shared>,
    id: CollectorId,
    ticket: u64,
}

impl Registered {
    fn new(shared: Arc<Shared>, member: Member) -> Self {
        let mut state = shared.state.lock();
        let (id, ticket) = (member.id.clone(), state.ticket());
        state.registrars.insert(id.clone(), ticket);
        shared.members.send_modify(|members| {
            Arc::make_mut(members).insert(id.clone(), member);
        });
        drop(state);
        Self { shared, id, ticket }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        // A newer run under the same name stays.
        if state.registrars.get(&self.id) == Some(&self.ticket) {
            state.registrars.remove(&self.id);
            self.shared.members.send_modify(|members| {
                Arc::make_mut(members).remove(&self.id);
            });
        }
    }
}
