//! How the process is asked to stop.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Process groups of our children that must not outlive us.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    held: Arc<Mutex<BTreeSet<Pid>>>,
}

impl Groups {
    /// This group ends with us, also when we are stopped at once.
    pub fn add(&self, group: Pid) {
        self.held.lock().insert(group);
    }

    /// This group has ended.
    pub fn remove(&self, group: Pid) {
        self.held.lock().remove(&group);
    }

    fn kill(&self) {
        for group in self.held.lock().iter() {
            // It fails only when the whole group has ended already.
            let _ = killpg(*group, Signal::SIGKILL);
        }
    }
}

/// Cancels the token at the first SIGINT or SIGTERM, or when the terminal is closed (SIGHUP): the parts drain. A second SIGINT or SIGTERM
/// ends the process, and these groups, at once.
pub fn cancel_on_stop(shutdown: &CancellationToken, groups: Groups) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    // To listen for it would undo `nohup`.
    let mut hang_up = if is_ignored(Signal::SIGHUP) {
        None
    } else {
        Some(signal(SignalKind::hangup()).context("can't listen for SIGHUP")?)
    };
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                () = heard(&mut hang_up) => "SIGHUP",
            };
            // The terminal sends it, and its shell once more: nobody is in a hurry.
            if asked && name == "SIGHUP" {
                continue;
            }
            if asked {
                // It stops whether this can be written or not.
                let _ = writeln!(std::io::stderr(), "plimsoll: {name} again: stopping at once");
                groups.kill();
                // 128 + SIGINT, as shells count.
                std::process::exit(130);
            }
            asked = true;
            info!("{name}: draining; another SIGINT or SIGTERM stops at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// Returns when the signal has come; never where nobody listens for it.
async fn heard(listening: &mut Option<unix::Signal>) {
    match listening {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether whoever has started this process has it ignore a signal.
fn is_ignored(signal: Signal) -> bool {
    // What can't be read says nothing.
    ignores(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), signal)
}

/// What a process's status says: `SigIgn` has a bit for each signal, the lowest for signal 1 (proc_pid_status(5)).
fn ignores(status: &str, signal: Signal) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    (ignored >> (signal as i32 - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_which_signals_are_ignored() {
        let nohup = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert!(ignores(nohup, Signal::SIGHUP) && ignores(nohup, Signal::SIGPIPE));
        assert!(!ignores(nohup, Signal::SIGTERM));
        assert!(!ignores("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n", Signal::SIGHUP));
        assert!(!ignores("", Signal::SIGHUP));
    }
}
