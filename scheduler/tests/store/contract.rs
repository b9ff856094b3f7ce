//! The promises of every store.

use std::time::Duration;

use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::store::{Leadership, Member, Revision, StoreError};
use tokio::time::Instant;

use super::plans::{collector, leads, plan, until};
use crate::World;

pub async fn a_plan_is_replaced_only_at_the_revision_that_was_read(world: &dyn World) {
    let store = world.process().await;
    let campaign = store.campaign("manager-a");
    let term = leads(&campaign).await;
    let empty = store.load().await.unwrap();
    assert_eq!(empty.plan, Plan::default());
    assert_eq!(empty.revision, Revision::default());
    let first = store.commit(&plan(1, 3, 30), empty.revision, &term).await.unwrap();
    assert_eq!(store.commit(&plan(2, 3, 30), empty.revision, &term).await, Err(StoreError::Conflict));
    assert_eq!(store.load().await.unwrap().plan, plan(1, 3, 30));
    let second = store.commit(&plan(2, 3, 30), first, &term).await.unwrap();
    let stored = world.process().await.load().await.unwrap();
    assert_eq!((stored.plan, stored.revision), (plan(2, 3, 30), second));
    // Fewer topics, fewer collectors, then none.
    let third = store.commit(&plan(3, 1, 2), second, &term).await.unwrap();
    assert_eq!(world.process().await.load().await.unwrap().plan, plan(3, 1, 2));
    store.commit(&plan(4, 1, 0), third, &term).await.unwrap();
    assert_eq!(world.process().await.load().await.unwrap().plan, plan(4, 1, 0));
}

pub async fn a_deposed_leaders_plan_is_refused(world: &dyn World) {
    let (store_a, store_b) = (world.process().await, world.process().await);
    let campaign_a = store_a.campaign("manager-a");
    let term_a = leads(&campaign_a).await;
    let revision = store_a.commit(&plan(1, 3, 30), Revision::default(), &term_a).await.unwrap();
    campaign_a.resign().await;
    let refused = Err(StoreError::NotLeader { leader: "manager-a".to_owned() });
    // Nobody leads; then another does; then the same manager again, in a new term.
    assert_eq!(store_a.commit(&plan(2, 3, 30), revision, &term_a).await, refused);
    let campaign_b = store_b.campaign("manager-b");
    let term_b = leads(&campaign_b).await;
    assert_eq!(store_a.commit(&plan(2, 3, 30), revision, &term_a).await, refused);
    let revision_b = store_b.commit(&plan(2, 4, 40), revision, &term_b).await.unwrap();
    assert_eq!(store_a.commit(&plan(3, 3, 30), revision, &term_a).await, refused);
    campaign_b.resign().await;
    let again = store_a.campaign("manager-a");
    leads(&again).await;
    assert_eq!(store_a.commit(&plan(3, 3, 30), revision_b, &term_a).await, refused);
    assert_eq!(world.process().await.load().await.unwrap().plan, plan(2, 4, 40));
}

pub async fn watchers_see_whole_plans_only_and_the_last_one_always(world: &dyn World) {
    const LAST: u64 = 12;
    let store = world.process().await;
    let watcher = world.process().await;
    let mut watched = watcher.watch_plan();
    let seen = tokio::spawn(async move {
        let mut generations = vec![];
        loop {
            let stored = watched.borrow_and_update().clone();
            generations.push(stored.plan.generation);
            if stored.plan.generation > 0 {
                assert!(stored.plan == plan(stored.plan.generation, 300, 3000), "half a plan");
            }
            if stored.plan.generation == LAST {
                return generations;
            }
            watched.changed().await.unwrap();
        }
    });
    let campaign = store.campaign("manager-a");
    let term = leads(&campaign).await;
    let mut revision = Revision::default();
    for generation in 1..=LAST {
        revision = store.commit(&plan(generation, 300, 3000), revision, &term).await.unwrap();
    }
    let generations = tokio::time::timeout(super::plans::LIMIT, seen).await.unwrap().unwrap();
    assert!(generations.is_sorted(), "{generations:?}");
}

pub async fn a_collectors_own_watch_tells_what_the_plan_says(world: &dyn World) {
    let store = world.process().await;
    let other = world.process().await;
    let mut early = other.watch_assignment(&collector(1));
    assert_eq!(early.borrow().generation, 0);
    let campaign = store.campaign("manager-a");
    let term = leads(&campaign).await;
    let mut revision = Revision::default();
    for generation in 1..=3 {
        revision = store.commit(&plan(generation, 3, 30), revision, &term).await.unwrap();
        let told = until(&mut early, "the assignment", |told| told.generation == generation).await;
        assert_eq!(*told, plan(generation, 3, 30).assignment(&collector(1)));
    }
    let late_process = world.process().await;
    let mut late = late_process.watch_assignment(&collector(2));
    let told = until(&mut late, "the assignment", |told| told.generation == 3).await;
    assert_eq!(*told, plan(3, 3, 30).assignment(&collector(2)));
    // A plan that changes nothing for a collector still tells it the generation.
    let same = Plan { generation: 4, ..plan(3, 3, 30) };
    revision = store.commit(&same, revision, &term).await.unwrap();
    let told = until(&mut early, "the generation", |told| told.generation == 4).await;
    assert_eq!(told.topics, same.assignment(&collector(1)).topics);
    // One that has nothing any more is told so.
    store.commit(&plan(5, 1, 10), revision, &term).await.unwrap();
    let told = until(&mut early, "the release", |told| told.generation == 5).await;
    assert!(told.topics.is_empty());
}

fn member(id: &str, incarnation: u64) -> Member {
    Member { id: id.to_owned(), address: "127.0.0.1:9000".to_owned(), provider: "default".to_owned(), incarnation }
}

pub async fn collectors_come_and_go(world: &dyn World) {
    let (a, b) = (world.process().await, world.process().await);
    let other = world.process().await;
    let mut members = other.watch_members();
    let first = a.register(member("collector-a", 1)).await.unwrap();
    let second = b.register(member("collector-b", 1)).await.unwrap();
    let found = until(&mut members, "both", |members| members.len() == 2).await;
    assert_eq!(found["collector-a"], member("collector-a", 1));
    first.leave().await;
    until(&mut members, "one", |members| members.len() == 1 && members.contains_key("collector-b")).await;
    second.leave().await;
    until(&mut members, "none", |members| members.is_empty()).await;
}

pub async fn a_newer_run_of_a_collector_outlives_the_older_one(world: &dyn World) {
    let (older, newer) = (world.process().await, world.process().await);
    let other = world.process().await;
    let mut members = other.watch_members();
    let first = older.register(member("collector-a", 1)).await.unwrap();
    let _second = newer.register(member("collector-a", 2)).await.unwrap();
    first.leave().await;
    until(&mut members, "the newer run", |members| {
        members.get("collector-a").is_some_and(|member| member.incarnation == 2)
    })
    .await;
    let others = world.process().await;
    let mut fresh = others.watch_members();
    until(&mut fresh, "the newer run alone", |members| members.len() == 1).await;
}

pub async fn one_candidate_leads_and_hands_over_when_it_resigns(world: &dyn World) {
    let (a, b) = (world.process().await, world.process().await);
    let campaign_a = a.campaign("manager-a 10.0.0.1:8088");
    let term_a = leads(&campaign_a).await;
    assert_eq!(term_a.leader, "manager-a 10.0.0.1:8088");
    let campaign_b = b.campaign("manager-b 10.0.0.2:8088");
    let follows = Leadership::Follower { leader: Some(term_a.leader.clone()) };
    until(&mut campaign_b.leadership(), "following", |now| *now == follows).await;
    let mut left = campaign_a.leadership();
    let resigned = Instant::now();
    campaign_a.resign().await;
    let term_b = leads(&campaign_b).await;
    assert!(resigned.elapsed() < Duration::from_secs(2), "{:?}", resigned.elapsed());
    assert_ne!(term_a, term_b);
    until(&mut left, "having left", |now| matches!(now, Leadership::Follower { .. })).await;
}

pub async fn the_next_manager_goes_on_from_the_stored_plan(world: &dyn World) {
    let first = world.process().await;
    let campaign = first.campaign("manager-a");
    let term = leads(&campaign).await;
    first.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    campaign.resign().await;
    first.close().await;
    drop(first);
    let next = world.process().await;
    let stored = next.load().await.unwrap();
    assert_eq!(stored.plan, plan(1, 3, 30));
    let campaign = next.campaign("manager-a");
    let term = leads(&campaign).await;
    next.commit(&plan(2, 3, 30), stored.revision, &term).await.unwrap();
    next.close().await;
}

pub async fn a_plan_bigger_than_one_value_is_stored_and_read(world: &dyn World) {
    let (store, other) = (world.process().await, world.process().await);
    let campaign = store.campaign("manager-a");
    let term = leads(&campaign).await;
    let mut watched = other.watch_plan();
    let large = plan(1, 100, 20_000);
    let begun = Instant::now();
    let revision = store.commit(&large, Revision::default(), &term).await.unwrap();
    let (written, begun) = (begun.elapsed(), Instant::now());
    let stored = world.process().await.load().await.unwrap();
    assert!(stored.plan == large && stored.revision == revision);
    let read = begun.elapsed();
    until(&mut watched, "the plan", |stored| stored.revision == revision).await;
    assert!(watched.borrow().plan == large);
    println!("20,000 topics on 100 collectors: written in {written:?}, read in {read:?}");
}
