//! deploy/compose on a real Docker engine: from zero up, collectors out and in, each container killed in turn, all of it taken down and
//! started again. `make test-compose` builds the images and starts the engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../driver/mod.rs"]
mod driver;

mod play;
mod stack;
mod values;
mod versions;

use anyhow::{Context, Result};
use driver::exclusively;
use play::{Kafka, Play};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs a Docker engine and images: make test-compose"]
async fn one_host_keeps_its_promises() -> Result<()> {
    let _alone = exclusively().await;
    played(Kafka::Plain, all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs a Docker engine and images: make test-compose"]
async fn a_kafka_with_tls_and_a_password_does_as_well() -> Result<()> {
    let _alone = exclusively().await;
    played(Kafka::Secured, async |play: &mut Play, began| {
        play.wakes_from_zero().await?;
        done(began, "over TLS and with a password the demo has come from zero");
        Ok(())
    })
    .await
}

/// Everything is up, this happens, and nothing is left.
async fn played(kafka: Kafka, what: impl AsyncFnOnce(&mut Play, Instant) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    let mut play = Play::begin(kafka).await?;
    done(began, "everything is up and well");
    let outcome = what(&mut play, began).await;
    if outcome.is_err() {
        eprintln!("{}", play.stack.told().await.unwrap_or_else(|error| format!("no logs: {error:#}")));
    }
    let left = play.end().await;
    outcome?;
    left.context("something is left behind")
}

fn done(began: Instant, what: &str) {
    println!("{:6.1} s: {what}", began.elapsed().as_secs_f64());
}

async fn all(play: &mut Play, began: Instant) -> Result<()> {
    let done = |what: &str| done(began, what);
    play.wakes_from_zero().await?;
    done("the demo has come from zero");
    play.load_is_told_as_it_is().await?;
    done("the load is told as it is, and the demo has grown");
    play.collectors_come_and_go().await?;
    done("4 collectors, and 2 again: no value was missing");
    play.each_container_is_killed().await?;
    done("each container was killed, and came back");
    play.the_assignment_outlives_down_and_up().await?;
    done("down and up: the assignment is as it was");
    Ok(())
}
