//! `plimsoll ctl`: asks a manager over its REST API, and has it change things.
//!
//! * `command` is what can be typed, `client` speaks HTTP over a `connection`, `exit` says how it ended, `output` and `tables` write answers.
//! * `looks` are the commands that only look, `changes` those that change something, `trial` what would move, `events` what happens.
//! * `simulate` asks no manager: it plays a day of a fleet here. Nor does `migrate`, which asks a cluster's API server.

mod changes;
mod client;
mod command;
pub mod connection;
mod events;
mod exit;
mod looks;
mod migrate;
mod output;
mod simulate;
mod tables;
mod trial;

use std::time::Duration;

use anyhow::Result;

pub use client::{Client, encoded};
pub use command::{Config, Connection};
pub use events::Parser;
pub use exit::{Failed, exit_code};
pub use output::{Format, Output};
pub use tables::table;

use command::Command;

/// Between two answers of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Does one command.
pub async fn run(config: Config) -> Result<()> {
    let output = Output::new(config.output, config.watch);
    if let Command::Simulate(asked) = &config.command {
        return output.write(&simulate::run(asked, &output)?);
    }
    if let Command::Migrate(asked) = &config.command {
        return migrate::run(asked, &output).await;
    }
    let client = Client::new(&config.connection)?;
    tokio::select! {
        // First, so that it is heard from the beginning.
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            if is_endless(&config) { Ok(()) } else { Err(Failed::Interrupted.into()) }
        }
        outcome = one(&config, &client, &output) => outcome,
    }
}

/// Whether it goes on until somebody presses Ctrl-C, which is its end then. Of all else Ctrl-C is no success: what comes after it in a
/// script must not take a collector for empty.
fn is_endless(config: &Config) -> bool {
    match &config.command {
        Command::Events(asked) => asked.follow,
        command => config.watch && looks::look(command).is_some(),
    }
}

async fn one(config: &Config, client: &Client, output: &Output) -> Result<()> {
    match &config.command {
        Command::Plan(asked) => trial::plan(client, output, asked).await,
        Command::Events(asked) => events::events(client, output, asked).await,
        command => match looks::look(command) {
            Some(look) if config.watch => watch(client, output, &look).await,
            Some(look) => output.write(&look.ask(client, output).await?),
            None => changes::change(client, output, command).await,
        },
    }
}

/// Asks every second. A manager may come back: when watching, an error is something to show.
async fn watch(client: &Client, output: &Output, look: &looks::Look<'_>) -> Result<()> {
    loop {
        let answer = look.ask(client, output).await.unwrap_or_else(|error| format!("{error:#}\n"));
        output.write_anew(&answer)?;
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
