//! Topics are made and deleted in a log: what is deleted too soon is lost, and with it what is known of a workload's load.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use plimsoll_scheduler::plan::{AssignedTopic, Placed, Placement};
use plimsoll_scheduler::store::MemoryStore;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::topic::INTERCEPTORS;
use tokio::time::timeout;

use super::*;
use crate::lead::tests::{leader, workloads};

const GRACE: Duration = Duration::from_secs(600);
const SHOP: &str = "plimsoll.default.shop";
const WEB: &str = "plimsoll.default.web";

/// A leader's care for the topics of `default/shop` and `default/web`, which are in the plan.
struct Stage {
    log: Arc<MemoryLog>,
    leader: Leader,
    life: TopicLife,
    wishes: Wishes,
    plan: Plan,
}

impl Stage {
    /// All topics have been made.
    async fn new() -> Self {
        let log = Arc::new(MemoryLog::new());
        let leader = leader(&["shop", "web"], Arc::new(MemoryStore::new()), log.clone());
        let placed = [SHOP, WEB].map(|topic| Placed {
            spec: AssignedTopic { topic: topic.to_owned(), concurrency_window: GRACE, rate_window: GRACE },
            provider: "default".to_owned(),
            placement: Placement::owned_by("c-0"),
            alone: false,
            since: 1,
            reason: "the test wants it".to_owned(),
        });
        let wishes = Wishes::load(&leader.store).await;
        let plan = Plan { generation: 1, topics: placed.into_iter().collect() };
        let stage = Self { log, leader, life: TopicLife::new(GRACE), wishes, plan };
        stage.cares_for(Duration::from_secs(1)).await;
        assert_eq!(stage.topics().await, [INTERCEPTORS, SHOP, WEB]);
        stage
    }

    /// The resources describe these workloads now.
    fn describes(&self, names: &[&str]) {
        self.leader.catalogue.store(Arc::new(Catalogue::new(&workloads(names))));
    }

    /// The topics that planning keeps though no resource describes their workloads any more.
    fn kept(&self) -> Vec<String> {
        let catalogue = self.leader.catalogue.load_full();
        let kept = self.life.retired(&catalogue, &Directives::default(), &self.plan);
        kept.into_iter().map(|kept| kept.spec.topic).collect()
    }

    async fn care(&self) {
        let awake = Awake::new(Instant::now());
        tokio::join!(keep(&self.leader, &self.life, &self.wishes, &awake), awake.keep_looking());
    }

    async fn cares_for(&self, time: Duration) {
        assert!(timeout(time, self.care()).await.is_err(), "it goes on");
    }

    /// What the log has, in order.
    async fn topics(&self) -> Vec<String> {
        let mut topics = self.log.list_topics().await.unwrap();
        topics.sort_unstable();
        topics
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_deleted_when_its_workload_has_been_gone_for_the_grace_period_and_not_before() {
    let stage = Stage::new().await;
    assert_eq!(stage.kept(), Vec::<String>::new());
    stage.describes(&["shop"]);
    assert_eq!(stage.kept(), [WEB], "it is read on");
    stage.cares_for(GRACE - Duration::from_secs(1)).await;
    assert_eq!((stage.topics().await.len(), stage.kept()), (3, vec![WEB.to_owned()]));
    let before = stage.life.version();
    stage.cares_for(Duration::from_secs(2)).await;
    assert_eq!(stage.topics().await, [INTERCEPTORS, SHOP]);
    assert_eq!(stage.kept(), Vec::<String>::new(), "it leaves the plan");
    assert!(stage.life.version() > before, "planning is told");
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_comes_back_keeps_its_topic_and_has_its_whole_grace_period_again() {
    let stage = Stage::new().await;
    stage.describes(&["shop"]);
    assert_eq!(stage.kept(), [WEB]);
    stage.cares_for(GRACE - Duration::from_secs(1)).await;
    stage.describes(&["shop", "web"]);
    // Nobody has planned since: what is deleted is looked at once more.
    stage.cares_for(Duration::from_secs(2)).await;
    assert_eq!(stage.topics().await.len(), 3);
    assert_eq!(stage.kept(), Vec::<String>::new());
    stage.cares_for(GRACE).await;
    stage.describes(&["shop"]);
    assert_eq!(stage.kept(), [WEB]);
    stage.cares_for(GRACE - Duration::from_secs(1)).await;
    assert_eq!(stage.topics().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn where_no_workload_is_described_any_more_nothing_is_deleted() {
    let stage = Stage::new().await;
    stage.describes(&[]);
    assert_eq!(stage.kept(), [SHOP, WEB]);
    stage.cares_for(2 * GRACE).await;
    assert_eq!((stage.topics().await.len(), stage.kept().len()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_somebody_else_has_deleted_is_made_anew() {
    let stage = Stage::new().await;
    let mut care = std::pin::pin!(stage.care());
    assert!(timeout(Duration::from_secs(1), care.as_mut()).await.is_err());
    assert_eq!(stage.log.delete_topics(&[Topic::from(WEB)]).await, [Ok(true)]);
    assert!(timeout(LIST_EVERY + Duration::from_secs(1), care.as_mut()).await.is_err());
    assert_eq!(stage.topics().await, [INTERCEPTORS, SHOP, WEB]);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_is_not_taken_for_the_topic_that_is_made_anew() {
    let (mut known, start) = (Known::default(), Instant::now());
    let (topic, other) = (Topic::from("t"), Topic::from("other"));
    let wanted = BTreeSet::from([topic.clone(), other.clone()]);
    known.deleted.insert(topic.clone(), start);
    // Somebody else's that was there before.
    known.is_there(&other, false, start);
    known.is_there(&topic, false, start);
    assert!(known.missing(&wanted, start).is_empty(), "it is not asked for again and again");
    let soon = start + RETRY;
    assert_eq!(known.missing(&wanted, soon), std::slice::from_ref(&topic));
    known.is_there(&topic, true, soon);
    assert!(known.missing(&wanted, soon).is_empty());
    // What has been deleted long since is no longer on its way.
    known.deleted.insert(topic.clone(), start);
    known.made.clear();
    let late = start + DELETING;
    assert_eq!(known.missing(&wanted, late), [other.clone(), topic.clone()]);
    known.is_there(&topic, false, late);
    assert_eq!(known.missing(&wanted, late), [other]);
}
