//! What each interceptor contributes to a topic, asked of a whole collector.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_scheduler::store::MemoryStore;
use plimsoll_testkit::wait_until;
use plimsoll_wire::collector::SharesRequest;
use plimsoll_wire::collector::collector_client::CollectorClient;
use plimsoll_wire::log::memory::MemoryLog;

use driver::{Interceptor, LIMIT, Planner, Served, create_topics, topic};

#[tokio::test]
async fn each_interceptor_has_its_share_and_a_topic_of_others_has_none() -> Result<()> {
    let (log, store) = (Arc::new(MemoryLog::new()), Arc::new(MemoryStore::new()));
    create_topics(&*log, 0..2).await?;
    let planner = Planner::new(store.clone());
    let collector = Served::start(log.clone(), store, Duration::from_millis(100)).await?;
    let one = Interceptor::start("i-0", 1, log.clone());
    let other = Interceptor::start("i-1", 1, log);
    planner.assign([0]).await?;
    for _ in 0..3 {
        one.arrive(0).await;
    }
    other.arrive(0).await;
    let mut client = CollectorClient::connect(format!("http://{}", collector.grpc)).await?;
    wait_until("both shares are told", LIMIT, async || {
        let reply = client.shares(SharesRequest { topic: topic(0) }).await?.into_inner();
        let told: Vec<(String, u64, u64)> = reply
            .shares
            .iter()
            .map(|share| (share.interceptor.clone(), share.in_flight, share.admitted_total))
            .collect();
        ensure!(told == [("i-0".to_owned(), 3, 3), ("i-1".to_owned(), 1, 1)], "{told:?}");
        Ok(())
    })
    .await?;
    let refused = client.shares(SharesRequest { topic: topic(1) }).await.expect_err("nobody reads it here");
    ensure!(refused.code() == tonic::Code::NotFound, "{refused}");
    collector.stop().await
}
