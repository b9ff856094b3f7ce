//! A collector that is asked to stop leaves no gap: it goes on answering until others do, or can't.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use plimsoll_scheduler::store::{Member, MemoryStore, Registration, Store};
use plimsoll_wire::log::memory::MemoryLog;
use tokio::time::{Instant, sleep};

use driver::{Interceptor, Manager, Planner, Served, create_topics, is_known};

const PACE: Duration = Duration::from_millis(100);
/// Longer than a test.
const PATIENT: Duration = Duration::from_secs(120);
const IMPATIENT: Duration = Duration::from_secs(4);
/// What an end without waiting takes, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A collector with two topics that are known, and a manager that listens.
struct Stage {
    planner: Planner,
    collector: Served,
    manager: Manager,
    _interceptor: Interceptor,
    store: Arc<MemoryStore>,
}

impl Stage {
    async fn new(patience: Duration) -> Result<Self> {
        let log = Arc::new(MemoryLog::new());
        let store = Arc::new(MemoryStore::new());
        create_topics(&*log, 0..2).await?;
        let planner = Planner::new(store.clone());
        let collector = Served::start_patient(log.clone(), store.clone(), PACE, patience).await?;
        let interceptor = Interceptor::start("i-0", 1, log);
        let manager = Manager::subscribe(collector.grpc).await?;
        planner.assign([0, 1]).await?;
        for number in 0..2 {
            manager.answer(number, "a topic is known", is_known).await?;
        }
        Ok(Self { planner, collector, manager, _interceptor: interceptor, store })
    }

    /// Somebody who could take over.
    async fn another(&self) -> Result<Registration> {
        let (id, address, provider) = ("c-1".to_owned(), "127.0.0.1:1".to_owned(), "aws".to_owned());
        Ok(self.store.register(Member { id, address, provider, incarnation: 1 }).await?)
    }
}

#[tokio::test]
async fn it_asks_for_a_takeover_and_answers_until_it_has_come() -> Result<()> {
    let stage = Stage::new(PATIENT).await?;
    let _another = stage.another().await?;
    stage.collector.ask_to_stop();
    stage.manager.hears("it asks", |heard| heard.updates.last().is_some_and(|(_, last)| last.leaving)).await?;
    stage.planner.assign([1]).await?;
    stage.manager.hears("one topic is released", |heard| heard.answers.len() == 1).await?;
    let beats = stage.manager.look(|heard| heard.updates.len());
    stage.manager.hears("it lives on", |heard| heard.updates.len() > beats + 3).await?;
    stage.manager.look(|heard| {
        assert!(heard.ended.is_none(), "{:?}", heard.ended);
        assert!(heard.answers.values().all(is_known));
    });
    stage.planner.assign([]).await?;
    stage.manager.hears("its goodbye", |heard| heard.ended == Some(Ok(()))).await?;
    stage.collector.stop().await
}

#[tokio::test]
async fn it_does_not_wait_for_others_where_there_are_none_or_where_nobody_listens() -> Result<()> {
    let alone = Stage::new(PATIENT).await?;
    let begun = Instant::now();
    alone.collector.stop().await?;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());

    let unheard = Stage::new(PATIENT).await?;
    let _another = unheard.another().await?;
    drop(unheard.manager);
    let begun = Instant::now();
    unheard.collector.stop().await?;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn one_whose_registration_has_lapsed_does_not_take_the_only_other_one_for_itself() -> Result<()> {
    let stage = Stage::new(PATIENT).await?;
    let _another = stage.another().await?;
    // A newer run of its name that leaves takes the name off.
    let (id, address, provider) = ("c-0".to_owned(), "127.0.0.1:1".to_owned(), "aws".to_owned());
    stage.store.register(Member { id, address, provider, incarnation: 2 }).await?.leave().await;
    stage.collector.ask_to_stop();
    stage.manager.hears("it asks", |heard| heard.updates.last().is_some_and(|(_, last)| last.leaving)).await?;
    stage.planner.assign([]).await?;
    stage.collector.stop().await
}

#[tokio::test]
async fn its_patience_ends() -> Result<()> {
    let stage = Stage::new(IMPATIENT).await?;
    let _another = stage.another().await?;
    let begun = Instant::now();
    stage.collector.ask_to_stop();
    sleep(IMPATIENT / 3).await;
    assert!(stage.manager.look(|heard| heard.ended.is_none()), "it waits");
    stage.collector.stop().await?;
    assert!(begun.elapsed() >= IMPATIENT, "{:?}", begun.elapsed());
    Ok(())
}
