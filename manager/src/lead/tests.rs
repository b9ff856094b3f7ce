//! What a manager does with its lead, and without it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::plan::{CollectorAssignment, Plan};
use plimsoll_scheduler::store::{
    Member, MemoryStore, Registration, Revision, StoreError, StoreHealth, Stored, StoredDirectives,
};
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{Topic, TopicSpec};
use plimsoll_wire::resources::{Backend, Port};
use plimsoll_wire::topic::{self, WorkloadId};
use prometheus_client::registry::Registry;
use tokio::time::{sleep, timeout};

use super::*;
use crate::fleet::Given;
use crate::metrics::provider;

/// The workloads of these names, in the namespace `default`.
pub(super) fn workloads(names: &[&str]) -> Vec<Workload> {
    let workload = |name: &&str| {
        let target = Backend { service: "web".to_owned(), port: Port::Number(80) };
        Workload::new(WorkloadId::new("default", *name), target)
    };
    names.iter().map(workload).collect()
}

/// A manager that knows the workloads of these names, and leads as soon as it can.
pub(super) fn leader(names: &[&str], store: Arc<dyn Store>, log: Arc<dyn EventLog>) -> Leader {
    let all = workloads(names);
    Leader {
        catalogue: Arc::new(ArcSwap::from_pointee(Catalogue::new(&all))),
        board: Arc::new(Board::new(Duration::from_secs(30))),
        store,
        log,
        name: "m".to_owned(),
        leadership: watch::channel(NOBODY).0,
        policy: Policy::default(),
        scale: Settings::default(),
        fleet: Arc::new(Given),
        topic_grace: Duration::from_secs(600),
        metrics: Arc::new(ControlMetrics::register(&mut Registry::default())),
        decisions: Arc::default(),
        retiring: Arc::default(),
        health: Arc::default(),
        known: watch::channel(true).1,
        workloads: watch::channel(Arc::new(all)).1,
        operator: None,
        shutdown: CancellationToken::new(),
    }
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Whether it leads, the topics that nobody reads, and the collectors that it wants.
fn told(metrics: &ControlMetrics) -> (i64, i64, i64) {
    let wanted = metrics.wanted_collectors.get_or_create(&provider("")).get();
    (metrics.leader.get(), metrics.unassigned.get(), wanted)
}

#[tokio::test(start_paused = true)]
async fn who_leads_no_more_tells_no_more_what_it_saw_as_the_leader() {
    let leader = leader(&["web"], Arc::new(MemoryStore::new()), Arc::new(MemoryLog::new()));
    let (metrics, shutdown) = (leader.metrics.clone(), leader.shutdown.clone());
    let leading = tokio::spawn(run(leader));
    until("it sees that nobody reads the topic", async || told(&metrics) == (1, 1, 1)).await;
    shutdown.cancel();
    leading.await.expect("it ends");
    assert_eq!(told(&metrics), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_tells_the_generation_that_the_leader_has_made() {
    let store = Arc::new(MemoryStore::new());
    let other = store.campaign("other");
    let Leadership::Leader(term) = other.leadership().borrow().clone() else { panic!("nobody else stands") };
    let leader = leader(&["web"], store.clone(), Arc::new(MemoryLog::new()));
    let (metrics, shutdown) = (leader.metrics.clone(), leader.shutdown.clone());
    let following = tokio::spawn(run(leader));
    let mut revision = Revision::default();
    for generation in [7, 8] {
        let plan = Plan { generation, ..Plan::default() };
        revision = store.commit(&plan, revision, &term).await.expect("it leads");
        until("the generation is told", async || metrics.generation.get() == generation as i64).await;
    }
    shutdown.cancel();
    following.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn who_was_frozen_deletes_no_topic_before_it_can_know_whether_it_leads() {
    let (store, log) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLog::new()));
    let removed: Topic = WorkloadId::new("default", "removed").topic().into();
    let specs = [TopicSpec { topic: removed.clone(), retention: topic::RETENTION }];
    assert!(log.create_topics(&specs).await.iter().all(Result::is_ok));
    let leader = leader(&["web"], store.clone(), log.clone());
    let (metrics, shutdown) = (leader.metrics.clone(), leader.shutdown.clone());
    let leading = tokio::spawn(run(leader));
    until("it leads", async || told(&metrics) == (1, 1, 1)).await;
    let is_there = async || log.list_topics().await.expect("it is in memory").contains(&removed.to_string());
    let directives = Directives { removed: [removed.to_string()].into(), ..Directives::default() };
    store.change_directives(&directives, Revision::default()).await.expect("nobody else changes them");
    // Nothing of it runs, and then all of it is due at once.
    tokio::time::advance(Duration::from_secs(20)).await;
    sleep(Duration::from_secs(1)).await;
    assert!(is_there().await, "another may lead by now, and may want the topic");
    until("the topic is deleted", async || !is_there().await).await;
    shutdown.cancel();
    leading.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn who_stands_no_more_by_a_fault_stands_anew() {
    let store = FirstCandidacyEnds { inner: MemoryStore::new(), stood: AtomicUsize::new(0) };
    let leader = leader(&["web"], Arc::new(store), Arc::new(MemoryLog::new()));
    let (metrics, shutdown) = (leader.metrics.clone(), leader.shutdown.clone());
    let leading = tokio::spawn(run(leader));
    until("it leads again", async || told(&metrics) == (1, 1, 1)).await;
    shutdown.cancel();
    leading.await.expect("it ends");
}

/// A store in which the task of the first candidacy ends by itself, as by a panic.
#[derive(Debug)]
struct FirstCandidacyEnds {
    inner: MemoryStore,
    stood: AtomicUsize,
}

#[async_trait]
impl Store for FirstCandidacyEnds {
    async fn load(&self) -> Result<Stored, StoreError> {
        self.inner.load().await
    }

    async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        self.inner.commit(plan, expected, term).await
    }

    fn watch_plan(&self) -> watch::Receiver<Arc<Stored>> {
        self.inner.watch_plan()
    }

    async fn load_directives(&self) -> Result<StoredDirectives, StoreError> {
        self.inner.load_directives().await
    }

    async fn change_directives(&self, directives: &Directives, expected: Revision) -> Result<Revision, StoreError> {
        self.inner.change_directives(directives, expected).await
    }

    fn watch_directives(&self) -> watch::Receiver<Arc<StoredDirectives>> {
        self.inner.watch_directives()
    }

    fn watch_assignment(&self, collector: &str) -> watch::Receiver<Arc<CollectorAssignment>> {
        self.inner.watch_assignment(collector)
    }

    async fn register(&self, member: Member) -> Result<Registration, StoreError> {
        self.inner.register(member).await
    }

    fn watch_members(&self) -> watch::Receiver<Arc<BTreeMap<CollectorId, Member>>> {
        self.inner.watch_members()
    }

    fn campaign(&self, candidate: &str) -> Campaign {
        if self.stood.fetch_add(1, Ordering::Relaxed) > 0 {
            return self.inner.campaign(candidate);
        }
        // The task ends with the runtime that it is on.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let guard = runtime.enter();
        let campaign = self.inner.campaign(candidate);
        drop(guard);
        runtime.shutdown_background();
        campaign
    }

    fn health(&self) -> watch::Receiver<StoreHealth> {
        self.inner.health()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
