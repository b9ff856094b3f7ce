//! Kubernetes as the store, for leadership and as the fleet: the real programs on a real API server, as service accounts that may do
//! what the guides say and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod cluster;
mod kubelet;
mod line;
mod nodes;
mod play;
mod renewed;
mod sets;

use anyhow::Result;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_knows_its_stateful_sets_and_says_what_is_wrong_with_them() -> Result<()> {
    sets::perform(cluster::exclusively().await?.cluster()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_that_is_renewed_in_its_files_counts_without_a_restart() -> Result<()> {
    renewed::perform(cluster::exclusively().await?.cluster()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_can_not_learn_its_provider_says_why() -> Result<()> {
    nodes::perform(cluster::exclusively().await?.cluster()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_scales_each_providers_stateful_set_and_goes_on_after_the_api_server_was_away() -> Result<()> {
    play::perform(cluster::exclusively().await?.cluster()).await
}
