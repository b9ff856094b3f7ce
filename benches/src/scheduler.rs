//! What planning costs, how much it moves and how evenly it spreads, beside a consistent-hash and a least-weighted assignor.
//!
//! The grid is that of Kafka's KIP-848: {full, stable, join, leave, topics added}, each with equal and with Zipf-distributed loads. A
//! plan converges over several rounds, since few topics may move at a time: moves are counted over all of them, times for each.

mod fleet;
mod grid;
mod peers;

use anyhow::Result;

use fleet::{Fleet, Loads};
use grid::{Case, Row};

const TOPICS: [usize; 3] = [1_000, 10_000, 100_000];
const COLLECTORS: [usize; 3] = [10, 100, 1_000];

/// Prints a table for each size of the fleet.
pub fn run(rounds: usize) -> Result<()> {
    println!(
        "\nscheduler: milliseconds of processor time for the first plan after the change (quickest and middle of {rounds} tries) and for the slowest of those until all is \
         still; how many plans that are, and moves; topics and load moved over the least possible; hottest collector over the mean, and what the hottest topic forces"
    );
    println!(
        "{:>7} {:>5} {:>5} {:>12} | {:>8} {:>8} {:>8} | {:>5} {:>6} {:>5} {:>5} {:>6} {:>7} | {:>18} | {:>18}",
        "topics",
        "coll.",
        "loads",
        "case",
        "quickest",
        "middle",
        "slowest",
        "plans",
        "moves",
        "x",
        "load",
        "hot",
        "forced",
        "consistent hash",
        "least weighted"
    );
    for topics in TOPICS {
        for collectors in COLLECTORS {
            for loads in [Loads::Equal, Loads::Zipf] {
                let before = grid::settled(&Fleet::new(topics, collectors, loads))?;
                for case in Case::ALL.into_iter().filter(|case| case.fits(collectors)) {
                    println!("{}", Row::measure(&before, case, rounds)?);
                }
            }
        }
    }
    Ok(())
}
