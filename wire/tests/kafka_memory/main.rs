//! What bad brokers cost in memory: one that hangs, and one whose answers are changed on their way. In a process of their own and one after the
//! other, since they look at the memory of the process.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod meddler;
mod pressure;
#[allow(dead_code, reason = "the other tests of the log use the rest")]
#[path = "../event_log/reading.rs"]
mod reading;
mod spoilt;

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// What this process has in memory.
fn resident_kib() -> u64 {
    plimsoll_testkit::resident_kib(std::process::id()).unwrap()
}
