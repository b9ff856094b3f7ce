//! Which collectors a manager can have more or fewer of.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use plimsoll_cluster::Access;
use plimsoll_manager::fleet::{Fleet, Given, PARENT, ProcessOptions, StatefulSets, StatefulSetsOptions, processes};

use crate::cli::{Kind, Log, Store};

/// Who runs the collectors, on the command line.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct FleetFlags {
    /// Who runs the collectors: `static` is somebody else, and the manager says when more are wanted; `process` is the manager, as child
    /// processes on its own host; `kubernetes` are StatefulSets that the manager scales.
    #[arg(long, env = "PLIMSOLL_FLEET", value_name = "KIND", default_value = "static", help_heading = "Fleet")]
    pub fleet: FleetKind,
    /// Which StatefulSets are scaled, with --fleet kubernetes: those whose label plimsoll.io/fleet is this.
    #[arg(long, env = "PLIMSOLL_FLEET_NAME", value_name = "NAME", default_value = "plimsoll", help_heading = "Fleet")]
    pub fleet_name: String,
    /// The namespace of the StatefulSets. Default: the pod's own, or the kubeconfig's.
    #[arg(long, env = "PLIMSOLL_FLEET_NAMESPACE", value_name = "NAMESPACE", help_heading = "Fleet")]
    pub fleet_namespace: Option<String>,
}

/// Who runs the collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FleetKind {
    /// Somebody else: the manager only says when more are wanted.
    Static,
    /// The manager, as child processes on its own machine.
    Process,
    /// Kubernetes: one StatefulSet for each provider, scaled by the manager.
    Kubernetes,
}

/// The fleet of a manager with this log and this store.
///
/// # Errors
/// Where this program can't find itself, or there is no way to the API server.
pub async fn open(
    flags: &FleetFlags,
    prefix: &str,
    log: &Log,
    store: &Store,
    access: &Access,
) -> Result<Arc<dyn Fleet>> {
    Ok(match flags.fleet {
        FleetKind::Static => Arc::new(Given),
        FleetKind::Process => Arc::new(processes(prefix, collectors(log, store, access)?)),
        FleetKind::Kubernetes => {
            let (name, namespace) = (flags.fleet_name.clone(), flags.fleet_namespace.clone());
            let options = StatefulSetsOptions { name, namespace, ..StatefulSetsOptions::default() };
            let client = access.client().await.context("--fleet kubernetes needs a way to the API server")?;
            Arc::new(StatefulSets::new(client, options)?)
        }
    })
}

/// How a collector is started that stands on the same log and the same store.
fn collectors(log: &Log, store: &Store, access: &Access) -> Result<ProcessOptions> {
    let program = std::env::current_exe().context("can't find this program's own file, to run collectors with")?;
    let mut arguments = vec![
        "collector".to_owned(),
        format!("--kafka={}", log.kafka),
        format!("--log-client={}", log.client.log_client.name()),
        format!("--direct-reading={}", log.client.direct_reading),
    ];
    arguments.extend(same_store(store, access));
    // Passwords are among them: not for the list of processes.
    let settings: Vec<String> = log.client.kafka_config.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let settings = (!settings.is_empty()).then(|| ("PLIMSOLL_KAFKA_CONFIG".to_owned(), settings.join(";")));
    let environment = settings.into_iter().collect();
    Ok(ProcessOptions { program, arguments, environment })
}

/// The flags that name the same store.
fn same_store(store: &Store, access: &Access) -> Vec<String> {
    if store.store != Some(Kind::Configmap) {
        return vec![format!("--etcd={}", store.etcd.join(",")), format!("--etcd-prefix={}", store.etcd_prefix)];
    }
    let mut flags = vec!["--store=configmap".to_owned(), format!("--store-prefix={}", store.store_prefix)];
    flags.extend(store.store_namespace.iter().map(|namespace| format!("--store-namespace={namespace}")));
    flags.extend(access.kubeconfig.iter().map(|file| format!("--kubeconfig={}", file.display())));
    flags
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        access: Access,
    }

    #[test]
    fn children_are_told_the_managers_own_store() {
        for flags in [
            &["--etcd=a:1,b:1", "--etcd-prefix=/blue/"][..],
            &["--store=configmap", "--store-prefix=blue", "--store-namespace=shop", "--kubeconfig=k"],
            &["--store=configmap", "--store-prefix=plimsoll"],
        ] {
            let parsed = Flags::try_parse_from([&["plimsoll"], flags].concat()).unwrap();
            assert_eq!(same_store(&parsed.store, &parsed.access), flags);
        }
    }
}
