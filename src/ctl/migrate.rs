//! `plimsoll ctl migrate --check`: what moving from the KEDA HTTP Add-on means for what is in a cluster. It asks the API server, and no
//! manager; nothing is changed.
//!
//! * `cluster` reads, `judge` decides over everything read, with `resource`, `overlaps` and `scaler` for the single kinds of
//!   findings; deciding is pure. `report` is what comes out, and how people are shown it.

mod cluster;
mod judge;
mod overlaps;
mod report;
mod resource;
mod scaler;

use anyhow::Result;
use clap::Args;
use plimsoll_cluster::Access;

use super::exit::Failed;
use super::output::Output;

/// What to look at.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// Look, and change nothing. It is needed, since nothing else is done: the steps themselves are in docs/migrate-from-keda-http-add-on.md.
    #[arg(long)]
    pub check: bool,
    /// Only resources of this namespace. Rules are compared with those of all others only without it.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Where Plimsoll's scaler will be: what the ScaledObjects are to say.
    #[arg(long, value_name = "HOST:PORT", default_value = "plimsoll-manager.plimsoll:9090")]
    pub scaler_address: String,
    #[command(flatten)]
    pub kubernetes: Access,
}

/// Looks, and writes what it found.
///
/// # Errors
/// [`Failed::NeedsHand`] when all is written and something can't stay as it is; and where the API server can't be asked.
pub async fn run(config: &Config, output: &Output) -> Result<()> {
    if !config.check {
        let remedy =
            "give --check to look; nothing is moved by itself: docs/migrate-from-keda-http-add-on.md has the steps";
        return Err(Failed::Usage(remedy.to_owned()).into());
    }
    let found = cluster::read(&config.kubernetes, config.namespace.as_deref()).await?;
    let report = judge::judge(&found, &config.scaler_address);
    output.write(&output.shown(&report, report::table)?)?;
    match report.needs_hand {
        0 => Ok(()),
        count => Err(Failed::NeedsHand { count }.into()),
    }
}
