//! What whole-system tests drive the product with, from the outside only: programs, HTTP, REST, and KEDA's gRPC.

#![allow(dead_code, reason = "each test binary uses its own part of the driver")]

pub(crate) mod accuracy;
pub(crate) mod backend;
pub(crate) mod deployment;
pub(crate) mod http;
pub(crate) mod keda;
pub(crate) mod load;
pub(crate) mod own_runtime;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod rest;
pub(crate) mod routes;
pub(crate) mod sampler;
pub(crate) mod truth;

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many tests of a binary run at a time at most.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Lets one test of a binary run at a time: their load fills a small machine, and they measure time.
pub(crate) async fn exclusively() -> SemaphorePermit<'static> {
    TURNS.acquire_many(2).await.expect("it is never closed")
}

/// Lets two tests of a binary run at a time: those that wait for most of their time, and have little load.
pub(crate) async fn side_by_side() -> SemaphorePermit<'static> {
    TURNS.acquire().await.expect("it is never closed")
}
