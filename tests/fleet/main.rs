//! A fleet of collector processes on real Kafka and etcd, under frames, while collectors join, are drained, stop, die and freeze, and
//! while the leading manager dies and freezes: no value is ever doubled or falsely zero, planned moves leave no gap at all, and what was
//! lost is answered again in time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod asked;
mod children;
mod frames;
mod play;
mod stage;
mod watching;
mod wishes;

use anyhow::Result;
use driver::{exclusively, program::PROGRAM, side_by_side};
use stage::Size;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_missing_for_long_doubled_or_falsely_zero_whatever_happens_to_the_fleet() -> Result<()> {
    let _alone = exclusively().await;
    play::perform(Size { workloads: 300, collectors: 3, heap_mib: 512 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_runs_its_collectors_itself_grows_heals_and_shrinks_and_leaves_nothing_behind() -> Result<()> {
    let _turn = side_by_side().await;
    children::perform().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_outlives_the_managers_and_is_done_by_the_next_ones_and_is_refused_without_a_store()
-> Result<()> {
    let _turn = side_by_side().await;
    asked::perform().await
}

/// The same in the size that is promised: `make test-fleet`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes many minutes, and a machine of its own: make test-fleet"]
async fn five_thousand_topics_on_eight_collectors() -> Result<()> {
    let _alone = exclusively().await;
    // What the tests are built with is several times slower: it would be the measure of nothing.
    anyhow::ensure!(std::env::var_os(PROGRAM).is_some(), "name a release build in {PROGRAM}, as make test-fleet does");
    play::perform(Size { workloads: 5_000, collectors: 8, heap_mib: 2_048 }).await
}
