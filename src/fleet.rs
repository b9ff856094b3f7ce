//! Which collectors a manager can have more or fewer of.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use plimsoll_manager::fleet::{Fleet, Given, PARENT, ProcessOptions, processes};

use crate::cli::{Log, Store};

/// Who runs the collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FleetKind {
    /// Somebody else: the manager only says when more are wanted.
    Static,
    /// The manager, as child processes on its own machine.
    Process,
}

/// The fleet of a manager with this log and this store.
///
/// # Errors
/// Where this program can't find itself.
pub fn open(kind: FleetKind, prefix: &str, log: &Log, store: &Store) -> Result<Arc<dyn Fleet>> {
    Ok(match kind {
        FleetKind::Static => Arc::new(Given),
        FleetKind::Process => Arc::new(processes(prefix, collectors(log, store)?)),
    })
}

/// How a collector is started that stands on the same log and the same store.
fn collectors(log: &Log, store: &Store) -> Result<ProcessOptions> {
    let program = std::env::current_exe().context("can't find this program's own file, to run collectors with")?;
    let arguments = vec![
        "collector".to_owned(),
        format!("--kafka={}", log.kafka),
        format!("--log-client={}", log.client.log_client.name()),
        format!("--direct-reading={}", log.client.direct_reading),
        format!("--etcd={}", store.etcd.join(",")),
        format!("--etcd-prefix={}", store.etcd_prefix),
    ];
    // Passwords are among them: not for the list of processes.
    let settings: Vec<String> = log.client.kafka_config.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let settings = (!settings.is_empty()).then(|| ("PLIMSOLL_KAFKA_CONFIG".to_owned(), settings.join(";")));
    let environment = settings.into_iter().collect();
    Ok(ProcessOptions { program, arguments, environment })
}

/// Where this process is the child of a manager: makes the kernel end it with that one, however that ends.
///
/// # Errors
/// Where the manager has gone already, or the kernel refuses.
pub fn end_with_parent() -> Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("can't bind this process to its manager")?;
    // It may have gone before the kernel knew.
    let now = nix::unistd::getppid().to_string();
    anyhow::ensure!(now == parent, "the manager that started this collector (process {parent}) has gone");
    Ok(())
}
