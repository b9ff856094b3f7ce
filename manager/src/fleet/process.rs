//! Collectors as child processes on this machine.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Local, Run, Unit};

/// After SIGTERM a collector has this long; it was emptied before, so it should need no more than moments.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// The environment variable that tells a collector whose child it is: it ends when that process has.
pub const PARENT: &str = "PLIMSOLL_PARENT";

/// How a collector is started.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// The program.
    pub program: PathBuf,
    /// What comes before the collector's own flags: the subcommand, the log and the store.
    pub arguments: Vec<String>,
    /// What is better not seen in a list of processes.
    pub environment: Vec<(String, String)>,
}

/// A fleet of child processes, called `PREFIX-ORDINAL`, each on free ports of the loopback. They end with this process, however that ends.
#[must_use]
pub fn processes(prefix: &str, options: ProcessOptions) -> Local {
    let options = Arc::new(options);
    let run: Run = Box::new(move |unit, stop| Box::pin(run(options.clone(), unit, stop)));
    Local::new("process", prefix, run)
}

/// Runs one until it ends, or is stopped.
async fn run(options: Arc<ProcessOptions>, unit: Unit, stop: CancellationToken) -> Result<(), String> {
    let mut command = Command::new(&options.program);
    command
        .args(&options.arguments)
        .arg(format!("--collector-id={}", unit.id))
        .args(["--collector-listen=127.0.0.1:0", "--collector-admin-listen=127.0.0.1:0"])
        .args(unit.provider.iter().map(|provider| format!("--provider={provider}")))
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        // A Ctrl-C in the terminal is for the manager, which stops its children in order.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{} can't be run: {error}", options.program.display()))?;
    tokio::select! {
        ended = child.wait() => Err(ended.map_or_else(|error| error.to_string(), |status| status.to_string())),
        () = stop.cancelled() => end(&mut child, &unit).await,
    }
}

async fn end(child: &mut Child, unit: &Unit) -> Result<(), String> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It fails only where the child has ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
        warn!(collector = %unit.id, "did not end within {} s of SIGTERM: killing it", STOP_LIMIT.as_secs());
        child.kill().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
