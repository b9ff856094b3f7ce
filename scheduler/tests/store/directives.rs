//! The promises of every store about what operators have asked for.

use plimsoll_scheduler::directives::{CollectorDirective, Directives, RegisteredTopic};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::store::{Revision, StoreError, StoredDirectives};

use super::plans::{LIMIT, collector, until};
use crate::World;

/// Directives in which everything says their number: this many topics, each registered and pinned.
pub fn directives(number: u64, topics: u64) -> Directives {
    let topic = |index: u64| format!("plimsoll.shop.topic-{index:06}");
    let registered = |index: u64| RegisteredTopic {
        workload: format!("shop/topic-{index:06}"),
        provider: format!("provider-{number}"),
        dedicated: false,
    };
    Directives {
        policy: Some(Policy { max_per_host: u32::try_from(number).unwrap(), ..Policy::default() }),
        pins: (0..topics).map(|index| (topic(index), collector(number))).collect(),
        collectors: [(collector(number), CollectorDirective::Drain)].into(),
        registered: (0..topics).map(|index| (topic(index), registered(index))).collect(),
        removed: [topic(number)].into(),
        rebalances: number,
    }
}

pub async fn directives_are_replaced_only_at_the_revision_that_was_read(world: &dyn World) {
    let store = world.process().await;
    assert_eq!(store.load_directives().await.unwrap(), StoredDirectives::default());
    let first = store.change_directives(&directives(1, 10), Revision::default()).await.unwrap();
    let stale = store.change_directives(&directives(2, 10), Revision::default()).await;
    assert_eq!(stale, Err(StoreError::Conflict));
    assert_eq!(store.load_directives().await.unwrap().directives, directives(1, 10));
    let second = world.process().await.change_directives(&directives(2, 3), first).await.unwrap();
    assert_eq!(store.change_directives(&directives(3, 3), first).await, Err(StoreError::Conflict));
    let stored = world.process().await.load_directives().await.unwrap();
    assert_eq!(stored, StoredDirectives { directives: directives(2, 3), revision: second });
    // Nothing is asked for any more.
    store.change_directives(&Directives::default(), second).await.unwrap();
    let stored = world.process().await.load_directives().await.unwrap();
    assert_eq!(stored.directives, Directives::default());
    assert_ne!(stored.revision, Revision::default(), "what was taken back has been asked for once");
}

pub async fn many_directives_are_seen_whole_or_not_at_all(world: &dyn World) {
    const LAST: u64 = 6;
    const TOPICS: u64 = 10_000;
    let (store, watcher) = (world.process().await, world.process().await);
    let mut watched = watcher.watch_directives();
    let seen = tokio::spawn(async move {
        loop {
            let stored = watched.borrow_and_update().clone();
            let number = stored.directives.rebalances;
            if number > 0 {
                assert!(stored.directives == directives(number, TOPICS), "half of the directives");
            }
            if number == LAST {
                return stored.revision;
            }
            watched.changed().await.unwrap();
        }
    });
    let mut revision = Revision::default();
    for number in 1..=LAST {
        revision = store.change_directives(&directives(number, TOPICS), revision).await.unwrap();
    }
    assert_eq!(tokio::time::timeout(LIMIT, seen).await.unwrap().unwrap(), revision);
}

pub async fn of_two_that_change_directives_at_once_both_know_what_came_of_it(world: &dyn World) {
    const EACH: u64 = 10;
    // Each writer counts on what it has read; a lost count is a lost wish of an operator.
    let mut writers = vec![];
    for _ in 0..2 {
        let store = world.process().await;
        writers.push(tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let stored = store.load_directives().await.unwrap();
                let next = directives(stored.directives.rebalances + 1, 2_000);
                match store.change_directives(&next, stored.revision).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    for writer in writers {
        tokio::time::timeout(3 * LIMIT, writer).await.unwrap().unwrap();
    }
    let stored = world.process().await.load_directives().await.unwrap();
    assert!(stored.directives == directives(2 * EACH, 2_000));
}

pub async fn directives_outlive_the_manager_that_wrote_them(world: &dyn World) {
    let first = world.process().await;
    let revision = first.change_directives(&directives(1, 10), Revision::default()).await.unwrap();
    first.close().await;
    drop(first);
    let next = world.process().await;
    let mut watched = next.watch_directives();
    let told = until(&mut watched, "the directives", |told| told.revision == revision).await;
    assert_eq!(told.directives, directives(1, 10));
    next.close().await;
}
