//! helm, which `tools/kubernetes/build` builds beside Kubernetes' own programs.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::{process::Command, time::timeout};

use crate::{Folder, tools};

/// One call; `install --wait` brings a limit of its own that is shorter.
const LIMIT: Duration = Duration::from_secs(300);

/// How a call has ended.
#[derive(Debug)]
pub struct Helm {
    /// Whether it did what was asked.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs `helm ARGUMENTS` to its end, as the user of a kubeconfig where one is given.
///
/// # Errors
/// Where it can't be run; that it failed is told by what is given back.
pub async fn helm(arguments: &[&str], kubeconfig: Option<&Path>) -> Result<Helm> {
    let installed = tools::installed("kubernetes/build").await?;
    // Its caches and settings are not the user's.
    let home = Folder::new("helm")?;
    let mut command = Command::new(installed.join("bin/helm"));
    command.args(arguments).env("HOME", home.path()).env_remove("KUBECONFIG").stdin(Stdio::null()).kill_on_drop(true);
    for (variable, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, home.join(folder));
    }
    if let Some(kubeconfig) = kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    let output = timeout(LIMIT, command.output()).await.with_context(|| format!("helm {arguments:?} did not end"))?;
    let output = output.context("helm cannot be run")?;
    Ok(Helm {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}
