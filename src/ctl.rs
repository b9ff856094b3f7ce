//! `plimsoll ctl`: asks a manager over its REST API.

mod tables;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use plimsoll_manager::api::{AssignmentView, CollectorView, Page, Problem, TopicView, WorkloadView};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Settings of `plimsoll ctl`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// A manager's REST API.
    #[arg(long, env = "PLIMSOLL_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8088", global = true)]
    server: String,
    /// How to write the answer.
    #[arg(long, short, value_name = "FORMAT", default_value = "table", global = true)]
    output: Output,
    /// Ask again every second, until Ctrl-C.
    #[arg(long, short, global = true)]
    watch: bool,
    #[command(subcommand)]
    command: Command,
}

/// How answers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The API's own JSON; with --watch one document a line.
    Json,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Every workload with its live values, and what KEDA is told.
    Workloads,
    /// Every topic: whose it is, which collector reads it, its load.
    Topics,
    /// The collectors: state, topics, load, lag.
    Collectors,
    /// The plan: which collector has which topic, and why.
    Assignment,
}

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Items asked for at a time.
const PAGE: usize = 1_000;

/// Asks once, or again and again.
pub async fn run(config: Config) -> Result<()> {
    let api = Api {
        server: config.server.trim_end_matches('/').to_owned(),
        client: reqwest::Client::builder().timeout(CALL_TIMEOUT).build().context("can't make an HTTP client")?,
    };
    let clear = config.watch && config.output == Output::Table && std::io::stdout().is_terminal();
    if !config.watch {
        return write(&api.ask(config.command, config.output, false).await?);
    }
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        outcome = watch(&api, &config, clear) => outcome,
    }
}

/// Asks every second.
async fn watch(api: &Api, config: &Config, clear: bool) -> Result<()> {
    loop {
        let answer = api.ask(config.command, config.output, true).await;
        // A manager may come back: when watching, an error is something to show.
        let answer = answer.unwrap_or_else(|error| format!("{error:#}\n"));
        // Home and clear to the end of the screen: no flicker.
        write(&if clear { format!("\x1b[H\x1b[2J{answer}") } else { answer })?;
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// A reader that has gone (`| head`) is no error.
fn write(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.context("can't write to standard output"),
    }
}

/// A manager's REST API.
struct Api {
    server: String,
    client: reqwest::Client,
}

impl Api {
    async fn ask(&self, command: Command, output: Output, one_line: bool) -> Result<String> {
        match command {
            Command::Workloads => {
                let all = self.all::<WorkloadView>("workloads").await?;
                shown(&all, output, one_line, |all| tables::workloads(&all.items))
            }
            Command::Topics => {
                let all = self.all::<TopicView>("topics").await?;
                shown(&all, output, one_line, |all| tables::topics(&all.items))
            }
            Command::Collectors => {
                let all = self.all::<CollectorView>("collectors").await?;
                shown(&all, output, one_line, |all| tables::collectors(&all.items))
            }
            Command::Assignment => {
                let plan = self.get::<AssignmentView>("assignment").await?;
                shown(&plan, output, one_line, tables::assignment)
            }
        }
    }

    /// All pages of a list as one.
    async fn all<T: DeserializeOwned>(&self, list: &str) -> Result<Page<T>> {
        let mut all = self.get::<Page<T>>(&format!("{list}?limit={PAGE}")).await?;
        while all.items.len() < all.total {
            let next = self.get::<Page<T>>(&format!("{list}?limit={PAGE}&offset={}", all.items.len())).await?;
            if next.items.is_empty() {
                break;
            }
            all.items.extend(next.items);
        }
        Ok(all)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}/api/v1/{path}", self.server);
        let response = self
            .client
            .get(&url)
            .send()
            .await
            .with_context(|| format!("can't reach a manager at {} (--server)", self.server))?;
        let status = response.status();
        let body = response.bytes().await.with_context(|| format!("{url}: the answer broke off"))?;
        if !status.is_success() {
            match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => bail!("{}: {}", problem.title, problem.detail),
                Err(_) => bail!("{url} answered {status}"),
            }
        }
        serde_json::from_slice(&body).with_context(|| format!("{url} does not speak this version's API"))
    }
}

fn shown<T: Serialize>(answer: &T, output: Output, one_line: bool, table: impl Fn(&T) -> String) -> Result<String> {
    let mut text = match output {
        Output::Table => table(answer),
        Output::Json if one_line => serde_json::to_string(answer)?,
        Output::Json => serde_json::to_string_pretty(answer)?,
    };
    text.push('\n');
    Ok(text)
}
