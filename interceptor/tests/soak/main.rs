//! A soak: random clients, backends that misbehave, endpoints and routes that come and go; and at the end nothing is lost,
//! nothing is left and nothing was mixed up.
//!
//! `PLIMSOLL_SOAK_SECONDS` says how long (20; `make soak` takes five minutes), `PLIMSOLL_SOAK_SEED` begins the random choices of a
//! run again: it prints its seed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod backend;
mod client;
mod content;
mod exchange;
mod process;
mod tally;
mod world;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Visitor;
use crate::process::{descriptors, resident_bytes};
use crate::tally::Tallies;
use crate::world::World;

/// Clients at once.
const VISITORS: u64 = 24;
/// So often a soak is prolonged at most.
const MOST_ROUNDS: u64 = 10;
/// How long everything may take to settle.
const SETTLE: Duration = Duration::from_secs(60);
/// What the allocator may keep, and other noise.
const MEMORY_SLACK: u64 = 96 << 20;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text:?}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_left_or_mixed_up() {
    let seed = from_environment("PLIMSOLL_SOAK_SEED").unwrap_or_else(rand::random);
    let length = Duration::from_secs(from_environment("PLIMSOLL_SOAK_SECONDS").unwrap_or(20));
    println!("soak of {length:?}; again with PLIMSOLL_SOAK_SEED={seed}");
    let runtime = tokio::runtime::Handle::current().metrics();
    let before = (descriptors(), runtime.num_alive_tasks());

    let world = World::start(seed).await;
    // What is made once stays: the baseline is taken after a first round.
    let tallies = Tallies::default();
    soak(&world, &tallies, seed ^ 1, Duration::from_secs(2)).await;
    world.settled(SETTLE).await;
    let (open, memory) = (descriptors(), resident_bytes());
    soak(&world, &tallies, seed, length).await;
    // A machine that has little time for this may need more of it for everything to happen.
    for more in 2..=MOST_ROUNDS {
        if tallies.missing().is_empty() {
            break;
        }
        soak(&world, &tallies, seed.wrapping_add(more), length).await;
    }
    world.settled(SETTLE).await;

    println!("{tallies}");
    assert!(tallies.missing().is_empty(), "{:?}", tallies.missing());
    until_at_most(open, descriptors, "descriptors are open").await;
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown < MEMORY_SLACK, "{} MiB more memory than after the first round", grown >> 20);
    let admitted = world.admitted().await;
    tallies.assert_arrivals(&admitted);
    world.stop(&admitted).await;
    until_at_most(before.0, descriptors, "descriptors are open after the end").await;
    until_at_most(before.1, || runtime.num_alive_tasks(), "tasks are alive after the end").await;
}

/// Lets visitors come and the world change for so long; then visitors leave, and the world is whole.
async fn soak(world: &World, tallies: &Tallies, seed: u64, length: Duration) {
    let end = Instant::now() + length;
    let mut random = StdRng::seed_from_u64(seed);
    let mut visitors = JoinSet::new();
    for number in 0..VISITORS {
        let visitor = Visitor::new(world.proxy(), number, random.random(), tallies.clone());
        visitors.spawn(visitor.run(end));
    }
    world.change_until(end, random.random()).await;
    while let Some(visitor) = visitors.join_next().await {
        visitor.expect("a visitor finds nothing to complain of");
    }
}

/// Waits until a count has come down.
async fn until_at_most(most: usize, count: impl Fn() -> usize, what: &str) {
    let deadline = Instant::now() + SETTLE;
    while count() > most {
        assert!(Instant::now() < deadline, "{} {what}, not {most}", count());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
