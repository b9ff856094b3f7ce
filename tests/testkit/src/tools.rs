//! What the scripts in `tools/` have fetched or built.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tokio::task::spawn_blocking;

/// The path of a file in `tools/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools")).join(name)
}

/// Runs a script of `tools/` that installs something unless it is there, and gives the first line it prints: where it is.
/// The first call on a machine takes minutes; the script's lock lets one of many callers do the work.
pub(crate) async fn installed(script: &'static str) -> Result<PathBuf> {
    spawn_blocking(move || {
        let output = Command::new(path(script))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("tools/{script} cannot be run"))?;
        ensure!(
            output.status.success(),
            "tools/{script} failed ({}); `make tools` installs what tests need:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end(),
        );
        let printed = String::from_utf8(output.stdout)?;
        let place = printed.lines().next();
        Ok(PathBuf::from(place.with_context(|| format!("tools/{script} did not print where things are"))?))
    })
    .await?
}
