//! `make bench`: what Plimsoll costs and how fast it is, beside a peer where there is one. Prints figures; asserts nothing.
//!
//! Every part is the released program in processes of its own; Kafka, etcd and nginx are the real ones. How to read and repeat the
//! figures is in `docs/benchmarks.md`.

mod activation;
mod figures;
mod get_metrics;
mod line;
mod log;
mod proxy;
mod routing;
mod scheduler;
mod traffic;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures Plimsoll on this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// What to measure; all if none is named.
    #[arg(value_enum)]
    what: Vec<What>,
    /// Idle workloads woken for each row of `activation`.
    #[arg(long, default_value_t = 200)]
    wakes: usize,
    /// Other workloads that are busy meanwhile, for the rows of `activation` that are not idle.
    #[arg(long, default_value_t = 2_000)]
    busy: usize,
    /// Workloads of `get-metrics`.
    #[arg(long, default_value_t = 10_000)]
    workloads: usize,
    /// Rounds of `proxy`: the contenders take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Idle connections of clients in `proxy`.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Seconds of load for each measurement of `proxy` and `get-metrics`.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Plans of each kind in `scheduler`, of which the middle one counts.
    #[arg(long, default_value_t = 5)]
    plans: usize,
    #[command(flatten)]
    log: log::Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// First request at idle to `StreamIsActive` true.
    Activation,
    /// The proxy's throughput, CPU, latency and memory, beside nginx, HAProxy and Go's.
    Proxy,
    /// `GetMetrics` calls a second.
    GetMetrics,
    /// Looking up a request's route among 10 to 100,000, and replacing the table.
    Routing,
    /// Planning: time, moves and balance, up to 100,000 topics on 1,000 collectors.
    Scheduler,
    /// What the log costs by the number of topics. Not part of all: it takes a quarter of an hour.
    Log,
    /// One row of it.
    #[value(hide = true)]
    LogRow,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.what.contains(&What::LogRow) {
        return log::run_row(&cli.log).await;
    }
    let wanted = |what| cli.what.is_empty() || cli.what.contains(&what);
    println!("{}", figures::machine());
    if wanted(What::Activation) {
        activation::run(cli.wakes, cli.busy).await?;
    }
    if wanted(What::Proxy) {
        proxy::run(cli.rounds, cli.seconds, cli.idle).await?;
    }
    if wanted(What::GetMetrics) {
        get_metrics::run(cli.workloads, cli.seconds).await?;
    }
    if wanted(What::Routing) {
        routing::run().await?;
    }
    if wanted(What::Scheduler) {
        scheduler::run(cli.plans)?;
    }
    if cli.what.contains(&What::Log) {
        log::run(&cli.log).await?;
    }
    Ok(())
}
