//! What the log costs and how fast it is, by the number of topics: one frame a second into each, all of them read.

mod row;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use plimsoll_testkit::{Folder, Kafka, KafkaSettings, Process};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{EventLog as _, Pace, Topic, TopicSpec};
use plimsoll_wire::topic::{INTERCEPTORS, RETENTION};
use tokio::time::Instant;

/// What a row may take beyond its warming and measuring: finding topics, and all that a slow broker does; then it is given up.
const ROW_LIMIT: Duration = Duration::from_secs(180);
/// For all topics of a row to be there.
const TOPICS_LIMIT: Duration = Duration::from_secs(900);
const TOPICS_AT_A_TIME: usize = 1_000;

/// The Java of the row's broker, as far as the tests' has other options: the full compiler, and a collector of garbage that has both
/// processors and room. With 10,000 topics a broker makes 170 MB of garbage a second, and each collection of the young stops it: so for
/// 30 ms every 6 s. (With Kafka's own choice, G1, for 20 ms every 0.6 s.)
const BROKERS_JAVA: [&str; 5] =
    ["-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseParallelGC", "-Xms2048m", "-Xmn1200m"];

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
    /// Seconds that each row of `log` runs before each of its two measurements: the broker's compiler works for the first half minute.
    #[arg(long, default_value_t = 30)]
    log_warm_seconds: u64,
    /// Milliseconds from look to look into each topic, as a collector's `--read-interval`.
    #[arg(long, default_value_t = 250)]
    log_read_ms: u64,
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
        "\nlog: one frame a second into each topic, read every {} ms; beside it an activation every 50 ms, read at once",
        options.log_read_ms
    );
    println!("{}", row::HEADING);
    for topics in &options.topics {
        // A broker of its own for each number of topics: it keeps what it has had to do with.
        let java_options = BROKERS_JAVA.map(str::to_owned).into();
        // As many threads as a broker has by default; the tests' have fewer.
        let properties = [("num.io.threads", "8"), ("num.network.threads", "3")];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let settings = KafkaSettings { heap_mib: 2_048, java_options, properties, ..KafkaSettings::default() };
        let kafka = Kafka::start_with(settings).await?;
        make(&kafka, *topics).await?;
        for client in &options.clients {
            // What one client can't bear, the next one may.
            match measure(&kafka, client, *topics, options).await {
                Ok(row) => println!("{row}"),
                Err(error) => println!("| {client} | {topics} | {error:#}"),
            }
        }
    }
    Ok(())
}

/// Makes the topics as a manager makes them, and returns when they can be used.
async fn make(kafka: &Kafka, topics: usize) -> Result<()> {
    let log = KafkaLog::new(KafkaConfig::new(kafka.bootstrap()))?;
    let names = [INTERCEPTORS.to_owned()].into_iter().chain((0..topics).map(row::topic));
    let mut missing: Vec<_> = names.map(|name| TopicSpec { topic: Topic::from(name), retention: RETENTION }).collect();
    let deadline = Instant::now() + TOPICS_LIMIT;
    while !missing.is_empty() {
        eprintln!("{} of {topics} topics are to be made", missing.len());
        let part: Vec<_> = missing.drain(..missing.len().min(TOPICS_AT_A_TIME)).collect();
        let made = log.create_topics(&part).await;
        for (spec, made) in part.into_iter().zip(made) {
            if let Err(error) = made {
                // A broker that is busy with them says so; they are asked for again.
                ensure!(Instant::now() < deadline, "{error}");
                missing.push(spec);
            }
        }
    }
    log.close().await;
    Ok(())
}

async fn measure(kafka: &Kafka, client: &str, topics: usize, options: &Options) -> Result<String> {
    let folder = Folder::new("plimsoll-bench")?;
    let output = folder.join("row.log");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["log-row", "--row-brokers", &kafka.bootstrap(), "--row-client", client])
        .args(["--row-broker-process", &kafka.process().id().to_string()])
        .args(["--topics", &topics.to_string(), "--log-seconds", &options.log_seconds.to_string()])
        .args(["--log-warm-seconds", &options.log_warm_seconds.to_string()])
        .args(["--log-read-ms", &options.log_read_ms.to_string()]);
    let mut row = Process::spawn("a row", &command, &output)?;
    let meant = Duration::from_secs(2 * (options.log_warm_seconds + options.log_seconds));
    let ended = row.wait(meant + ROW_LIMIT).await?;
    let printed = std::fs::read_to_string(&output)?;
    ensure!(
        ended.success(),
        "a row of {client}, {topics} topics, failed: {}",
        printed.lines().find(|line| line.starts_with("Error")).unwrap_or(&printed)
    );
    for line in printed.lines().filter(|line| line.starts_with(row::BROKER)) {
        eprintln!("{client}, {topics} topics: {line}");
    }
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
        warmed: Duration::from_secs(options.log_warm_seconds),
        measured: Duration::from_secs(options.log_seconds),
        pace: Pace::Every(Duration::from_millis(options.log_read_ms)),
    };
    println!("{}", row.measure().await?);
    Ok(())
}
