//! A fleet of collector processes on real Kafka and etcd, under frames, while collectors join, are drained, stop, die and freeze, and
//! while the leading manager dies and freezes: no value is ever doubled or falsely zero, planned moves leave no gap at all, and what was
//! lost is answered again in time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod children;
mod frames;
mod play;
mod stage;
mod watching;

use anyhow::Result;
use driver::exclusively;
use stage::Size;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_missing_for_long_doubled_or_falsely_zero_whatever_happens_to_the_fleet() -> Result<()> {
    let _alone = exclusively().await;
    play::perform(Size { workloads: 300, collectors: 3, heap_mib: 512 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_runs_its_collectors_itself_grows_heals_and_shrinks_and_leaves_nothing_behind() -> Result<()> {
    let _alone = exclusively().await;
    children::perform().await
}

/// The same in the size that is promised: `make test-fleet`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes many minutes, and a machine of its own: make test-fleet"]
async fn five_thousand_topics_on_eight_collectors() -> Result<()> {
    let _alone = exclusively().await;
    play::perform(Size { workloads: 5_000, collectors: 8, heap_mib: 2_048 }).await
}
