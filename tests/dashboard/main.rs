//! The dashboard as people use it: in a real browser, on real programs.
//!
//! What a person does is in `page/*.mjs`; what happens to the servers meanwhile is here. Pictures of each view are kept in
//! `target/dashboard/`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod browser;
mod crowd;
mod stage;

use anyhow::Result;
use driver::exclusively;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_what_is_so_and_changes_it_by_the_dashboard() -> Result<()> {
    let _alone = exclusively().await;
    stage::tour().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_workloads_are_there_soon_and_scroll_smoothly() -> Result<()> {
    let _alone = exclusively().await;
    crowd::ten_thousand().await
}
