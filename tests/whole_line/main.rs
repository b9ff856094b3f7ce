//! The whole line under known traffic, while parts of it are killed: what KEDA is told stays right, and is never falsely zero.
//!
//! The same play runs on two deployments: everything in this process on the in-memory log and store, and separate
//! processes on a real Kafka and a real etcd.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod complaints;
mod figures;
mod in_memory;
mod phases;
mod play;
mod scene;
mod truth_of_known_requests;
mod verdict;

use anyhow::Result;
use driver::{
    exclusively,
    load::Load,
    processes::{Processes, Shape},
};

/// Three interceptors, two collectors, two managers.
const INTERCEPTORS: usize = 3;
const COLLECTORS: usize = 2;
const MANAGERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_process_what_keda_is_told_is_the_truth_whatever_is_killed() -> Result<()> {
    let _alone = exclusively().await;
    let load = Load::new()?;
    let scene = scene::set(&load).await?;
    let mut line = in_memory::InMemory::start(&scene).await?;
    play::perform(&mut line, &load, &scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_are_told_exactly_wherever_they_lie_between_two_ticks() -> Result<()> {
    let _alone = exclusively().await;
    phases::pass().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_and_etcd_what_keda_is_told_is_the_truth_whatever_is_killed() -> Result<()> {
    let _alone = exclusively().await;
    let load = Load::new()?;
    let scene = scene::set(&load).await?;
    let shape = Shape { interceptors: INTERCEPTORS, collectors: COLLECTORS, managers: MANAGERS, ..Shape::default() };
    let mut line = Processes::start(&shape, &scene.routes()).await?;
    let outcome = play::perform(&mut line, &load, &scene).await;
    if outcome.is_err() {
        println!("{}", line.logs());
    }
    outcome
}
