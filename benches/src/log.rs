//! What the log costs and how fast it is, by the number of topics: one frame a second into each, all of them read.

mod row;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use plimsoll_testkit::{Folder, Kafka, KafkaSettings, Process};
use plimsoll_wire::log::kafka::LogClient;
use plimsoll_wire::topic::INTERCEPTORS;

/// A row takes some 40 s, and longer where the brokers are slow; one that does not end by then is given up.
const ROW_LIMIT: Duration = Duration::from_secs(180);

/// Which rows, and how long each.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Topics of each row of `log`.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 10_000, 20_000])]
    topics: Vec<usize>,
    /// Clients of `log`.
    #[arg(long, value_delimiter = ',', default_values_t = LogClient::ALL.map(|client| client.name().to_owned()))]
    clients: Vec<String>,
    /// Seconds that each row of `log` writes, and then writes and reads.
    #[arg(long, default_value_t = 10)]
    log_seconds: u64,
    /// The broker of a row, which is a process of its own so that its figures are its own.
    #[arg(long, hide = true)]
    row_brokers: Option<String>,
    #[arg(long, hide = true, default_value_t = 0)]
    row_broker_process: u32,
    #[arg(long, hide = true, default_value = "rdkafka")]
    row_client: String,
}

/// Prints a row for each client and each number of topics.
pub async fn run(options: &Options) -> Result<()> {
    println!(
        "\nlog: one frame a second into each topic, read paced; beside it an activation every 50 ms, read at once"
    );
    println!("{}", row::HEADING);
    for topics in &options.topics {
        // A broker of its own for each number of topics: it keeps what it has had to do with.
        let java_options = vec!["-XX:TieredStopAtLevel=4".to_owned()];
        let kafka =
            Kafka::start_with(KafkaSettings { heap_mib: 2_048, java_options, ..KafkaSettings::default() }).await?;
        eprintln!("creating {topics} topics");
        kafka.create_topics([INTERCEPTORS.to_owned()].into_iter().chain((0..*topics).map(row::topic))).await?;
        for client in &options.clients {
            // What one client can't bear, the next one may.
            match measure(&kafka, client, *topics, options.log_seconds).await {
                Ok(row) => println!("{row}"),
                Err(error) => println!("| {client} | {topics} | {error:#}"),
            }
        }
    }
    Ok(())
}

async fn measure(kafka: &Kafka, client: &str, topics: usize, seconds: u64) -> Result<String> {
    let folder = Folder::new("plimsoll-bench")?;
    let output = folder.join("row.log");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["log-row", "--row-brokers", &kafka.bootstrap(), "--row-client", client])
        .args(["--row-broker-process", &kafka.process().id().to_string()])
        .args(["--topics", &topics.to_string(), "--log-seconds", &seconds.to_string()]);
    let mut row = Process::spawn("a row", &command, &output)?;
    let ended = row.wait(ROW_LIMIT).await?;
    let printed = std::fs::read_to_string(&output)?;
    ensure!(
        ended.success(),
        "a row of {client}, {topics} topics, failed: {}",
        printed.lines().last().unwrap_or_default()
    );
    let line = printed.lines().find(|line| line.starts_with('|'));
    Ok(line.with_context(|| format!("a row printed nothing:\n{printed}"))?.to_owned())
}

/// What the process of one row does.
pub async fn run_row(options: &Options) -> Result<()> {
    let brokers = options.row_brokers.as_deref().context("--row-brokers is missing; `log` starts this by itself")?;
    let topics = options.topics.first().copied().context("--topics is missing")?;
    let row = row::Row {
        brokers,
        broker: options.row_broker_process,
        client: &options.row_client,
        topics,
        measured: Duration::from_secs(options.log_seconds),
    };
    println!("{}", row.measure().await?);
    Ok(())
}
