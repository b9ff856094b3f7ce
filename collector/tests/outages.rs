//! A whole collector on real Kafka and etcd, while each of them is away.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_scheduler::store::{EtcdStore, MemoryStore, Store};
use plimsoll_testkit::{Etcd, Kafka, wait_until};
use plimsoll_wire::log::EventLog;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::memory::MemoryLog;
use tokio::time::sleep;

use driver::{Interceptor, LIMIT, Manager, Planner, Served, create_topics, is_known};

const PACE: Duration = Duration::from_millis(250);
/// Servers take their time on a busy machine.
const SERVER_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn while_the_broker_is_away_values_are_unknown_and_never_a_false_zero() -> Result<()> {
    let mut kafka = Kafka::start().await?;
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(KafkaConfig::new(kafka.bootstrap()))?);
    let store = Arc::new(MemoryStore::new());
    create_topics(&*log, 0..2).await?;
    let planner = Planner::new(store.clone());
    planner.assign([0, 1]).await?;
    let collector = Served::start(log.clone(), store, PACE).await?;
    let manager = Manager::subscribe(collector.grpc).await?;
    let interceptor = Interceptor::start("i-0", 1, log);
    interceptor.arrive(0).await;
    manager.answer(0, "active", |answer| is_known(answer) && answer.in_flight == 1).await?;
    manager.answer(1, "idle and known", is_known).await?;
    kafka.stop()?;
    for number in 0..2 {
        let answer = manager.answer(number, "unknown", |answer| !answer.known).await?;
        println!("broker away: {}", answer.unknown_reason);
    }
    kafka.restart().await?;
    manager.answer(0, "active again", |answer| is_known(answer) && answer.in_flight == 1).await?;
    manager.answer(1, "idle and known again", is_known).await?;
    manager.look(|heard| {
        let answers = heard.updates.iter().flat_map(|(_, update)| &update.answers);
        let mut busy =
            answers.filter(|answer| answer.topic == driver::topic(0)).skip_while(|answer| answer.in_flight == 0);
        let false_zero = busy.find(|answer| answer.known && answer.in_flight == 0 && !answer.zero_is_unknown);
        assert!(false_zero.is_none(), "{false_zero:?}");
    });
    interceptor.depart(0);
    manager.answer(0, "idle", |answer| is_known(answer) && answer.in_flight == 0).await?;
    collector.stop().await
}

#[tokio::test]
async fn while_the_store_is_away_answers_go_on_and_the_collector_is_registered_again() -> Result<()> {
    let mut etcd = Etcd::start().await?;
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let store = Arc::new(EtcdStore::new(&[etcd.endpoint()], "/collector-outage/")?);
    create_topics(&*log, [0]).await?;
    let planner = Planner::new(store.clone());
    planner.assign([0]).await?;
    let collector = Served::start(log.clone(), store.clone(), PACE).await?;
    let manager = Manager::subscribe(collector.grpc).await?;
    let interceptor = Interceptor::start("i-0", 1, log);
    manager.answer(0, "known", is_known).await?;
    etcd.stop()?;
    // Longer than the registration's lease.
    for _ in 0..4 {
        interceptor.arrive(0).await;
        manager.answer(0, "active", |answer| is_known(answer) && answer.in_flight == 1).await?;
        sleep(Duration::from_secs(2)).await;
        interceptor.depart(0);
        manager.answer(0, "idle", |answer| is_known(answer) && answer.in_flight == 0).await?;
    }
    etcd.restart().await?;
    let other = EtcdStore::new(&[etcd.endpoint()], "/collector-outage/")?;
    let members = other.watch_members();
    wait_until("registered again", SERVER_LIMIT, async || {
        ensure!(members.borrow().contains_key("c-0"), "{:?}", members.borrow());
        Ok(())
    })
    .await?;
    collector.stop().await?;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn a_collector_that_starts_before_its_broker_and_its_store_is_there_when_they_are() -> Result<()> {
    let mut kafka = Kafka::start().await?;
    let mut etcd = Etcd::start().await?;
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(KafkaConfig::new(kafka.bootstrap()))?);
    create_topics(&*log, [0]).await?;
    kafka.stop()?;
    etcd.stop()?;
    let store: Arc<dyn Store> = Arc::new(EtcdStore::new(&[etcd.endpoint()], "/collector-early/")?);
    let collector = Served::start(log.clone(), store.clone(), PACE).await?;
    let manager = Manager::subscribe(collector.grpc).await?;
    manager.hears("signs of life", |heard| heard.updates.len() >= 3).await?;
    let interceptor = Interceptor::start("i-0", 1, log);
    interceptor.arrive(0).await;
    etcd.restart().await?;
    kafka.restart().await?;
    let planner = Planner::new(store.clone());
    wait_until("a plan", SERVER_LIMIT, async || planner.assign([0]).await).await?;
    manager.answer(0, "active", |answer| is_known(answer) && answer.in_flight == 1).await?;
    let members = store.watch_members();
    wait_until("registered", LIMIT, async || {
        ensure!(members.borrow().contains_key("c-0"), "{:?}", members.borrow());
        Ok(())
    })
    .await?;
    collector.stop().await
}
