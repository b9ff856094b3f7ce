//! How the process is asked to stop.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Cancels the token at the first SIGINT or SIGTERM: the parts drain. A second one ends the process at once.
pub fn cancel_on_stop(shutdown: &CancellationToken) -> Result<()> {
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
                eprintln!("plimsoll: {name} again: stopping at once");
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
