//! How the process is asked to stop.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
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

/// Cancels the token at the first SIGINT or SIGTERM: the parts drain. A second one ends the process, and these groups, at once.
pub fn cancel_on_stop(shutdown: &CancellationToken, groups: Groups) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if asked {
                // It stops whether this can be written or not.
                let _ = writeln!(std::io::stderr(), "plimsoll: {name} again: stopping at once");
                groups.kill();
                // 128 + SIGINT, as shells count.
                std::process::exit(130);
            }
            asked = true;
            info!("{name}: draining; once more to stop at once");
            shutdown.cancel();
        }
    });
    Ok(())
}
