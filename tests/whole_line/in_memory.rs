//! The line in this process, on the in-memory log and store, each part on threads of its own.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use clap::{Args, Command};
use plimsoll_collector::Collector;
use plimsoll_interceptor::{Endpoints, Interceptor};
use plimsoll_manager::Manager;
use plimsoll_scheduler::store::{MemoryStore, Store};
use plimsoll_wire::{
    log::{EventLog, memory::MemoryLog},
    resources::{Workload, files},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::scene::Scene;
use crate::driver::{
    deployment::{Deployment, ManagerAddress},
    own_runtime::OwnRuntime,
    routes,
};

/// A part dies with its threads: their drop is the kill.
pub(crate) struct InMemory {
    interceptors: Vec<(OwnRuntime, SocketAddr, SocketAddr)>,
    collectors: BTreeMap<String, OwnRuntime>,
    managers: Vec<(Option<OwnRuntime>, ManagerAddress)>,
    /// Keeps the table of workloads from closing.
    _workloads: watch::Sender<Arc<Vec<Workload>>>,
}

impl InMemory {
    /// Starts everything; returns when all parts listen.
    pub(crate) async fn start(scene: &Scene) -> Result<Self> {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let loaded = files::parse(&routes::file(&scene.routes()), "the scene");
        ensure!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let (table, workloads) = watch::channel(Arc::new(loaded.workloads));
        let mut line =
            Self { interceptors: Vec::new(), collectors: BTreeMap::new(), managers: Vec::new(), _workloads: table };
        for number in 0..super::MANAGERS {
            let name = format!("manager-{number}");
            let config = config(&[
                format!("--manager-name={name}"),
                "--api-listen=127.0.0.1:0".to_owned(),
                "--scaler-listen=127.0.0.1:0".to_owned(),
                "--activity-window=5s".to_owned(),
            ])?;
            let parts = plimsoll_manager::Parts {
                log: log.clone(),
                store: store.clone(),
                workloads: workloads.clone(),
                fleet: Arc::new(plimsoll_manager::fleet::Given),
            };
            let threads = OwnRuntime::new(&name, 1)?;
            let manager = threads.spawn(Manager::bind(config, parts)).await??;
            let address =
                ManagerAddress { api: manager.api_addr().to_string(), scaler: manager.scaler_addr().to_string() };
            threads.spawn(manager.serve(CancellationToken::new()));
            line.managers.push((Some(threads), address));
        }
        for number in 0..super::COLLECTORS {
            let name = format!("collector-{number}");
            let config = config(&[
                format!("--collector-id={name}"),
                "--collector-listen=127.0.0.1:0".to_owned(),
                "--collector-admin-listen=127.0.0.1:0".to_owned(),
            ])?;
            let parts = plimsoll_collector::Parts { log: log.clone(), store: store.clone() };
            let threads = OwnRuntime::new(&name, 1)?;
            let collector = threads.spawn(Collector::bind(config, parts)).await??;
            threads.spawn(collector.serve(CancellationToken::new()));
            line.collectors.insert(name, threads);
        }
        for number in 0..super::INTERCEPTORS {
            let name = format!("interceptor-{number}");
            let config = config(&[
                format!("--interceptor-name={name}"),
                "--proxy-listen=127.0.0.1:0".to_owned(),
                "--admin-listen=127.0.0.1:0".to_owned(),
            ])?;
            let endpoints = Endpoints::new();
            let parts = plimsoll_interceptor::Parts {
                log: log.clone(),
                routes: workloads.clone(),
                endpoints: endpoints.clone(),
            };
            let threads = OwnRuntime::new(&name, 1)?;
            threads.spawn(plimsoll_interceptor::resolve_by_dns(workloads.clone(), endpoints, CancellationToken::new()));
            let interceptor = threads.spawn(Interceptor::bind(config, parts)).await??;
            let (proxy, admin) = (interceptor.proxy_addr(), interceptor.admin_addr());
            threads.spawn(interceptor.serve(CancellationToken::new()));
            line.interceptors.push((threads, proxy, admin));
        }
        Ok(line)
    }
}

impl Deployment for InMemory {
    fn proxies(&self) -> Vec<String> {
        self.interceptors.iter().map(|(_, proxy, _)| proxy.to_string()).collect()
    }

    fn admins(&self) -> Vec<String> {
        self.interceptors.iter().map(|(_, _, admin)| admin.to_string()).collect()
    }

    fn managers(&self) -> Vec<ManagerAddress> {
        self.managers.iter().map(|(_, address)| address.clone()).collect()
    }

    fn kill_collector(&mut self, name: &str) -> Result<()> {
        let killed = self.collectors.remove(name);
        killed.map(drop).with_context(|| format!("there is no collector {name}"))
    }

    fn kill_manager(&mut self, number: usize) -> Result<()> {
        let killed = self.managers[number].0.take();
        killed.map(drop).with_context(|| format!("manager {number} is dead already"))
    }
}

/// A part's settings, as from its command line.
fn config<C: Args>(flags: &[String]) -> Result<C> {
    let command = C::augment_args(Command::new("part").no_binary_name(true));
    Ok(C::from_arg_matches(&command.try_get_matches_from(flags)?)?)
}
