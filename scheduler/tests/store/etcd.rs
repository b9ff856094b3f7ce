//! What only a real etcd can show: leases that run out, outages, freezes, compaction, and what is really written.

use std::time::Duration;

use plimsoll_scheduler::store::{Leadership, Member, Revision, Store, StoreError, StoreHealth};
use tokio::time::{Instant, sleep};

use super::directives::directives;
use super::plans::{collector, leads, plan, until};
use crate::{InEtcd, World};

fn member() -> Member {
    Member { id: collector(1), address: "127.0.0.1:9000".to_owned(), provider: "default".to_owned(), incarnation: 1 }
}

async fn healthy(store: &dyn Store) {
    until(&mut store.health(), "health", |health| *health == StoreHealth::Connected).await;
}

async fn away(store: &dyn Store) {
    until(&mut store.health(), "absence", |health| matches!(health, StoreHealth::Away { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_leader_is_replaced_within_ten_seconds_and_a_crashed_collector_goes() {
    let world = InEtcd::start().await;
    let (a, b) = (world.process().await, world.process().await);
    let campaign_a = a.campaign("manager-a");
    leads(&campaign_a).await;
    let registration = a.register(member()).await.unwrap();
    let campaign_b = b.campaign("manager-b");
    let mut members = b.watch_members();
    until(&mut members, "the collector", |members| members.len() == 1).await;
    let crashed = Instant::now();
    drop((campaign_a, registration));
    leads(&campaign_b).await;
    assert!(crashed.elapsed() < Duration::from_secs(10), "{:?}", crashed.elapsed());
    until(&mut members, "nobody", |members| members.is_empty()).await;
    assert!(crashed.elapsed() < Duration::from_secs(10), "{:?}", crashed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_and_everything_goes_on_after_it() {
    let mut world = InEtcd::start().await;
    let (manager, other) = (world.process().await, world.process().await);
    healthy(&*other).await;
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let _registration = other.register(member()).await.unwrap();
    let revision = manager.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    let (mut plans, mut assignment, mut members) =
        (other.watch_plan(), other.watch_assignment(&collector(1)), manager.watch_members());
    until(&mut plans, "the plan", |stored| stored.plan.generation == 1).await;
    until(&mut assignment, "the assignment", |told| told.generation == 1).await;
    until(&mut members, "the collector", |members| members.len() == 1).await;

    world.0.stop().unwrap();
    away(&*other).await;
    away(&*manager).await;
    let asked = Instant::now();
    let refused = manager.commit(&plan(2, 3, 30), revision, &term).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(other.load().await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    // Longer than any lease.
    sleep(Duration::from_secs(6)).await;
    assert!(matches!(*campaign.leadership().borrow(), Leadership::Follower { .. }), "a lease that is over is no lead");
    assert_eq!(plans.borrow().plan.generation, 1);
    assert_eq!(assignment.borrow().topics.len(), plan(1, 3, 30).assignment(&collector(1)).topics.len());

    world.0.restart().await.unwrap();
    healthy(&*other).await;
    healthy(&*manager).await;
    let back = Instant::now();
    let term = leads(&campaign).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    let stored = manager.load().await.unwrap();
    manager.commit(&plan(stored.plan.generation + 1, 3, 30), stored.revision, &term).await.unwrap();
    let next = stored.plan.generation + 1;
    until(&mut plans, "the next plan", |stored| stored.plan.generation == next).await;
    until(&mut assignment, "the next assignment", |told| told.generation == next).await;
    until(&mut members, "the collector", |members| members.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_is_noticed_and_hangs_nobody() {
    let world = InEtcd::start().await;
    let (manager, other) = (world.process().await, world.process().await);
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let revision = manager.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    let mut plans = other.watch_plan();
    let _registration = other.register(member()).await.unwrap();
    let mut members = manager.watch_members();
    until(&mut plans, "the plan", |stored| stored.plan.generation == 1).await;
    until(&mut members, "the collector", |members| members.len() == 1).await;

    world.0.freeze().unwrap();
    let frozen = Instant::now();
    let refused = manager.commit(&plan(2, 3, 30), revision, &term).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    away(&*manager).await;
    away(&*other).await;
    until(&mut campaign.leadership(), "following", |now| matches!(now, Leadership::Follower { .. })).await;
    assert!(frozen.elapsed() < Duration::from_secs(9), "{:?}", frozen.elapsed());
    sleep(Duration::from_secs(6)).await;

    world.0.thaw().unwrap();
    healthy(&*manager).await;
    let term = leads(&campaign).await;
    let stored = manager.load().await.unwrap();
    let next = stored.plan.generation + 1;
    manager.commit(&plan(next, 3, 30), stored.revision, &term).await.unwrap();
    until(&mut plans, "the next plan", |stored| stored.plan.generation == next).await;
    until(&mut members, "the collector", |members| members.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_stops_no_watcher() {
    let world = InEtcd::start().await;
    let (manager, other) = (world.process().await, world.process().await);
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let mut plans = other.watch_plan();
    let mut revision = Revision::default();
    for generation in 1..=10 {
        revision = manager.commit(&plan(generation, 30, 300), revision, &term).await.unwrap();
        let status = world.0.etcdctl(&["get", "/plimsoll/plan/index", "--write-out=fields"]).await.unwrap();
        let now = status.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
        world.0.etcdctl(&["compact", now.trim()]).await.unwrap();
    }
    let last = until(&mut plans, "the last plan", |stored| stored.plan.generation == 10).await;
    assert!(last.plan == plan(10, 30, 300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changes_is_written_and_nothing_is_left_over() {
    let world = InEtcd::start().await;
    let manager = world.process().await;
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    // What a leader that died while writing has left.
    world.0.etcdctl(&["put", "/plimsoll/plan/parts/collector-1/0.0.0/0000", "[]"]).await.unwrap();
    let first = plan(1, 5, 50);
    let revision = manager.commit(&first, Revision::default(), &term).await.unwrap();
    let before = parts(&world).await;
    assert_eq!(before.len(), 5, "{before:?}");
    let mut second = first.clone();
    second.generation = 2;
    let moved = second.topics.values().find(|placed| placed.placement.incoming.is_none()).unwrap().clone();
    let to = if moved.placement.owner == Some(collector(0)) { collector(1) } else { collector(0) };
    let from = moved.placement.owner.clone().unwrap();
    let mut placed = moved;
    placed.placement.owner = Some(to.clone());
    second.topics.insert(placed);
    manager.commit(&second, revision, &term).await.unwrap();
    let after = parts(&world).await;
    assert_eq!(after.len(), 5, "{after:?}");
    let rewritten: Vec<&String> = after.iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(rewritten.len(), 2, "{rewritten:?}");
    assert!(rewritten.iter().all(|key| key.contains(&from) || key.contains(&to)), "{rewritten:?}");
    assert_eq!(manager.load().await.unwrap().plan, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_may_have_more_topics_than_one_value_holds() {
    let world = InEtcd::start().await;
    let manager = world.process().await;
    let campaign = manager.campaign("manager-a");
    let term = leads(&campaign).await;
    let large = plan(1, 1, 12_000);
    manager.commit(&large, Revision::default(), &term).await.unwrap();
    assert!(parts(&world).await.len() > 5);
    let other = world.process().await;
    assert!(other.load().await.unwrap().plan == large);
    let mut assignment = other.watch_assignment(&collector(0));
    let told = until(&mut assignment, "the assignment", |told| told.generation == 1).await;
    assert_eq!(told.topics.len(), 12_000);
}

async fn parts(world: &InEtcd) -> Vec<String> {
    keys(world, "/plimsoll/plan/parts/").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directives_are_stored_in_parts_and_what_a_crashed_writer_left_is_swept() {
    let world = InEtcd::start().await;
    let (first, second) = (world.process().await, world.process().await);
    world.0.etcdctl(&["put", "/plimsoll/directives/parts/0.0/0000", "{}"]).await.unwrap();
    let revision = first.change_directives(&directives(1, 10_000), Revision::default()).await.unwrap();
    let before = keys(&world, "/plimsoll/directives/parts/").await;
    assert!(before.len() > 3 && before.iter().all(|key| !key.contains("/0.0/")), "{before:?}");
    second.change_directives(&directives(2, 10), revision).await.unwrap();
    assert_eq!(keys(&world, "/plimsoll/directives/parts/").await.len(), 1);
    assert_eq!(first.load_directives().await.unwrap().directives, directives(2, 10));
}

async fn keys(world: &InEtcd, prefix: &str) -> Vec<String> {
    let keys = world.0.etcdctl(&["get", "--prefix", "--keys-only", prefix]).await.unwrap();
    keys.split_whitespace().map(str::to_owned).collect()
}
