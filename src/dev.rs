//! `plimsoll dev`: every part in one process, and something to scale.

mod banner;
mod replicas;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use plimsoll_collector::Collector;
use plimsoll_interceptor::{Endpoints, Interceptor};
use plimsoll_manager::Manager;
use plimsoll_manager::fleet::{Fleet, Local, Run};
use plimsoll_scheduler::store::Store;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{EventLog, TopicSpec};
use plimsoll_wire::resources::Workload;
use plimsoll_wire::topic::{INTERCEPTORS, RETENTION, WorkloadId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::autoscaler::{self, Autoscaler};
use crate::cli::{KafkaClient, Place};
use crate::signals::Groups;
use crate::{demo, parts};
use replicas::{Program, Replicas};

/// Settings of `plimsoll dev`: with none of them, all is in memory and a demo workload is scaled.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// Use these Kafka brokers in place of the in-memory log.
    #[arg(long, env = "PLIMSOLL_KAFKA", value_name = "HOST:PORT,..", help_heading = "Real parts")]
    kafka: Option<String>,
    #[command(flatten)]
    kafka_client: KafkaClient,
    /// Keep the plan in this etcd in place of memory.
    #[arg(
        long,
        env = "PLIMSOLL_ETCD",
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        help_heading = "Real parts"
    )]
    etcd: Vec<String>,
    /// What all keys in etcd begin with: not what a fleet in earnest uses, or this would stand for its leader.
    #[arg(long, env = "PLIMSOLL_ETCD_PREFIX", default_value = "/plimsoll-dev/", help_heading = "Real parts")]
    etcd_prefix: String,
    /// Keep the plan and what was asked of it in this file, and go on from there when started again. A file that is not there is made.
    #[arg(long, env = "PLIMSOLL_STATE", value_name = "FILE", conflicts_with = "etcd", help_heading = "Real parts")]
    state: Option<PathBuf>,
    /// Your routes in place of the demo's. Their targets are servers of your own and are not scaled, unless --replica-command is given.
    #[arg(long, env = "PLIMSOLL_ROUTES", value_name = "FILE|FOLDER", help_heading = "Real parts")]
    routes: Option<PathBuf>,
    /// Scale your own program: run by a shell, once for each replica, with {port} replaced by the port to listen on (also in $PORT).
    #[arg(long, env = "PLIMSOLL_REPLICA_COMMAND", value_name = "CMD", help_heading = "Real parts")]
    replica_command: Option<String>,
    /// Collectors to run at least.
    #[arg(long, env = "PLIMSOLL_COLLECTORS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    collectors: u16,
    #[command(flatten)]
    autoscaler: autoscaler::Config,
    #[command(flatten)]
    interceptor: plimsoll_interceptor::Config,
    #[command(flatten)]
    manager: plimsoll_manager::Config,
}

/// The parts' flags with defaults for one's own machine: loopback, and times that one can watch.
pub fn friendlier_defaults(command: clap::Command) -> clap::Command {
    let mut command = command;
    for (flag, value) in [
        ("proxy_listen", "127.0.0.1:8080"),
        ("proxy_tls_listen", "127.0.0.1:8443"),
        ("admin_listen", "127.0.0.1:9091"),
        ("api_listen", "127.0.0.1:8088"),
        ("scaler_listen", "127.0.0.1:9090"),
        ("activity_window", "5s"),
        ("shutdown_delay", "0s"),
        ("drain_timeout", "5s"),
    ] {
        command = command.mut_arg(flag, |arg| arg.default_value(value));
    }
    command
}

/// Runs everything until shutdown; nothing outlives it.
pub async fn run(config: Config, groups: Groups, shutdown: CancellationToken) -> Result<()> {
    let tasks = TaskTracker::new();
    // Parts stop in the order of the requests' way, so that each can still tell the next one its last.
    let (behind, scaling) = (CancellationToken::new(), CancellationToken::new());
    let log: Arc<dyn EventLog> = match &config.kafka {
        Some(brokers) => parts::kafka(brokers, &config.kafka_client, &tasks, &behind)?,
        None => memory_log().await,
    };
    let store: Arc<dyn Store> = if config.etcd.is_empty() {
        parts::memory(config.state.as_deref(), &tasks, &behind)?
    } else {
        let place = Place::Etcd { endpoints: config.etcd.clone(), prefix: config.etcd_prefix.clone() };
        parts::store(&place, &tasks, &behind).await?
    };
    let workloads = match &config.routes {
        Some(path) => parts::routes(path, &tasks, &behind),
        None => only(demo::workload()?),
    };

    let fleet: Arc<dyn Fleet> = Arc::new(Local::new("inline", "dev", collectors(log.clone(), store.clone())));
    let parts = plimsoll_manager::Parts {
        log: log.clone(),
        store: store.clone(),
        workloads: workloads.clone(),
        fleet: fleet.clone(),
    };
    let manager = Manager::bind(with_collectors(config.manager.clone(), config.collectors), parts).await?;
    let addresses = (manager.api_addr(), manager.scaler_addr());
    let (stop, all) = (behind.clone(), shutdown.clone());
    let managed = tasks.spawn(async move {
        let outcome = manager.serve(stop).await;
        // Without it nothing is scaled: that should not look as if all were well.
        all.cancel();
        outcome
    });

    let endpoints = Endpoints::new();
    let parts = plimsoll_interceptor::Parts { log, routes: workloads.clone(), endpoints: endpoints.clone() };
    let interceptor = Interceptor::bind(config.interceptor.clone(), parts).await?;
    let program = match (&config.replica_command, &config.routes) {
        (Some(command), _) => Some(Program::Command(command.clone(), groups)),
        (None, None) => Some(Program::Demo),
        (None, Some(_)) => None,
    };
    banner::print(&banner::Shown {
        proxy: interceptor.proxy_addr(),
        admin: interceptor.admin_addr(),
        api: addresses.0,
        scaler: addresses.1,
        log: config.kafka.as_deref(),
        store: &config.etcd,
        state: config.state.as_deref(),
        routes: config.routes.as_deref(),
        program: program.as_ref(),
    });
    match program {
        Some(program) => {
            let make = move |id: &WorkloadId| -> Box<dyn autoscaler::Replicas> {
                Box::new(Replicas::new(id.clone(), program.clone(), endpoints.clone()))
            };
            let scaler = autoscaler::scaler(&addresses.1.to_string())?;
            let autoscaler = Autoscaler {
                config: config.autoscaler,
                scaler,
                make: Arc::new(make),
                troubles: autoscaler::Troubles::default(),
            };
            tasks.spawn(autoscaler.run(workloads, scaling.clone()));
        }
        None => {
            tasks.spawn(plimsoll_interceptor::resolve_by_dns(workloads, endpoints, scaling.clone()));
        }
    }

    let served = interceptor.serve(shutdown.clone()).await;
    banner::stopping();
    scaling.cancel();
    // Once the requests have drained, the replicas may go; the control plane last.
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::join!(parts::finish(tasks, &behind), fleet.close());
    store.close().await;
    served.context("the interceptor failed")?;
    managed.await?.context("the manager failed")
}

/// Runs collectors as tasks of this process, on ports of their own.
fn collectors(log: Arc<dyn EventLog>, store: Arc<dyn Store>) -> Run {
    Box::new(move |unit, stop| {
        let parts = plimsoll_collector::Parts { log: log.clone(), store: store.clone() };
        Box::pin(async move {
            let ephemeral = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut config = plimsoll_collector::Config::inline(unit.id, ephemeral);
            if let Some(provider) = unit.provider {
                config.provider = provider;
            }
            let collector = Collector::bind(config, parts).await.map_err(|error| error.to_string())?;
            collector.serve(stop).await.map_err(|error| error.to_string())
        })
    })
}

/// At least so many collectors, whatever else the policy says.
fn with_collectors(config: plimsoll_manager::Config, collectors: u16) -> plimsoll_manager::Config {
    let min_collectors = config.min_collectors.max(collectors.into());
    let max_collectors = config.max_collectors.max(min_collectors);
    plimsoll_manager::Config { min_collectors, max_collectors, ..config }
}

/// The in-memory log, with the topic that all parts read and write from their first moment.
async fn memory_log() -> Arc<dyn EventLog> {
    let log = MemoryLog::new();
    // In memory this can't fail; were it to, the interceptor would make the topic.
    log.create_topics(&[TopicSpec { topic: INTERCEPTORS.into(), retention: RETENTION }]).await;
    Arc::new(log)
}

/// A table that never changes.
fn only(workload: Workload) -> watch::Receiver<Arc<Vec<Workload>>> {
    watch::channel(Arc::new(vec![workload])).1
}
