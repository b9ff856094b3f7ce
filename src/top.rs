//! `plimsoll top`: workloads by load, collectors and moves, live in a terminal.
//!
//! * `model` is what is known and what is chosen of it, in the `order` that is chosen; pure. `keys` changes what is chosen.
//! * `feed` reads a manager's live stream, and again when it has ended; `look` asks about the one thing that is looked at.
//! * `cells` is how values are written, `draw` puts them on a screen, `once` into plain text.
//! * `screen` has the terminal, and gives it back.

mod cells;
mod draw;
mod feed;
mod keys;
mod look;
mod model;
mod once;
mod order;
mod screen;

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use crate::ctl::{Client, Connection, Failed};
use model::Model;
use order::{Sort, WorkloadColumn};

/// Ends the help of `plimsoll top`.
const EXAMPLES: &str = "\
Examples:
  plimsoll top                                 the manager on this machine; ? lists the keys
  plimsoll top --server https://plimsoll:8088  another one, with the flags of plimsoll ctl
  plimsoll top --once --sort rate | head -20   what there is now, as text

Colours are left out where NO_COLOR is set. Where scripts read on, plimsoll ctl -o json is better than --once.";

/// Settings of `plimsoll top`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(after_help = EXAMPLES)]
pub struct Config {
    #[command(flatten)]
    connection: Connection,
    /// Write what there is now to standard output and end: for pipes, and for terminals that can't place text.
    #[arg(long)]
    once: bool,
    /// What workloads are sorted by at first.
    #[arg(long, value_name = "COLUMN", default_value = "in-flight")]
    sort: WorkloadColumn,
    /// At first, show only what has this in its name.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
}

/// Shows until `q`.
pub async fn run(config: Config) -> Result<()> {
    let client = Arc::new(Client::new(&config.connection)?);
    let mut model = Model::new(&config.connection.server);
    model.workloads_by = Sort::by(config.sort);
    model.filter = config.filter;
    if config.once {
        return once::write(&client, model).await;
    }
    check_terminal()?;
    screen::show(client, model).await
}

/// Refuses what no screen can be made of.
fn check_terminal() -> Result<(), Failed> {
    let refused = |what: &str| {
        Failed::Usage(format!("top needs {what}: use plimsoll top --once, or plimsoll ctl workloads --watch"))
    };
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(refused("a terminal"));
    }
    match std::env::var("TERM").as_deref() {
        Ok("dumb") => Err(refused("a terminal that can place text, and TERM says \"dumb\"")),
        _ => Ok(()),
    }
}
