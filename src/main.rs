//! The one program of Plimsoll.

mod autoscaler;
mod cli;
mod ctl;
mod demo;
mod dev;
mod fleet;
mod health;
mod logging;
mod names;
mod node;
mod one_host;
mod parts;
mod reference;
mod signals;
mod top;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _};
use plimsoll_collector::Collector;
use plimsoll_interceptor::{Endpoints, Interceptor};
use plimsoll_manager::Manager;
use plimsoll_manager::operator::{Operator, Scaler};
use plimsoll_wire::resources::Workload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{Cli, Command};

/// At the end, blocking calls have this long to return.
const BLOCKING_CALLS_END: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command_line().get_matches()).unwrap_or_else(|error| error.exit());
    // What is written over a screen spoils it.
    if !(matches!(cli.command, Command::Top(_)) && std::io::IsTerminal::is_terminal(&std::io::stderr())) {
        logging::start(&cli.logging, matches!(cli.command, Command::Dev(_)));
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the async runtime")
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(cli.command));
            // A blocking call that hangs (a file system that does not answer, say) must not hold the process.
            runtime.shutdown_timeout(BLOCKING_CALLS_END);
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The code is told, whether this can be written or not.
            let _ = writeln!(std::io::stderr(), "plimsoll: {error:#}");
            ctl::exit_code(&error)
        }
    }
}

/// All that can be typed.
fn command_line() -> clap::Command {
    // dev takes the parts' own flags, but listens on this machine only and in times that one can watch.
    Cli::command().mut_subcommand("dev", dev::friendlier_defaults)
}

async fn run(command: Command) -> Result<()> {
    let shutdown = CancellationToken::new();
    let groups = signals::Groups::default();
    match command {
        Command::Ctl(config) => return ctl::run(*config).await,
        Command::Top(config) => return top::run(*config).await,
        Command::Health(config) => return health::run(config).await,
        Command::Completions { shell } => return completions(shell),
        Command::Reference { folder } => return reference::write(&command_line(), &folder),
        Command::Crds => return print(plimsoll_wire::resources::crds::yaml()?.as_bytes()),
        _ => signals::cancel_on_stop(&shutdown, groups.clone())?,
    }
    match command {
        Command::Dev(config) => dev::run(*config, groups, shutdown).await,
        Command::Interceptor(part) => interceptor(*part, shutdown).await,
        Command::Collector(part) => collector(*part, shutdown).await,
        Command::Manager(part) => manager(*part, shutdown).await,
        Command::Autoscaler(config) => one_host::command::run(*config, shutdown).await,
        Command::Demo(config) => demo::run(config, shutdown).await,
        Command::Ctl(_)
        | Command::Top(_)
        | Command::Health(_)
        | Command::Completions { .. }
        | Command::Reference { .. }
        | Command::Crds => Ok(()),
    }
}

/// What a shell sources to complete this command.
fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "plimsoll", &mut text);
    print(&text)
}

fn print(text: &[u8]) -> Result<()> {
    match std::io::Write::write_all(&mut std::io::stdout().lock(), text) {
        // A reader that has gone (`| head`) is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(()),
    }
}

async fn interceptor(part: cli::Interceptor, shutdown: CancellationToken) -> Result<()> {
    let tasks = TaskTracker::new();
    // Until its last request is answered it must hear of routes and endpoints: a held one waits for a pod that comes now.
    let behind = CancellationToken::new();
    let log = parts::kafka(&part.log.kafka, &part.log.client, &tasks, &behind)?;
    let described = parts::described(&part.routes, &part.kubernetes, &tasks, &behind).await?;
    let endpoints = Endpoints::new();
    let (routes, known) = resolved(described, &endpoints, &tasks, &behind);
    let parts = plimsoll_interceptor::Parts { log, routes, endpoints };
    Interceptor::bind(part.config, parts).await?.ready_when(known).serve(shutdown).await?;
    parts::finish(tasks, &behind).await;
    Ok(())
}

/// Keeps the endpoints of these workloads filled until `end`; gives the workloads to route to, and whether they are known.
fn resolved(
    described: parts::Described,
    endpoints: &Endpoints,
    tasks: &TaskTracker,
    end: &CancellationToken,
) -> (watch::Receiver<Arc<Vec<Workload>>>, watch::Receiver<bool>) {
    let parts::Described { workloads, known, cluster } = described;
    let Some(parts::WatchedCluster { client, namespace }) = cluster else {
        let by_dns = plimsoll_interceptor::resolve_by_dns(workloads.clone(), endpoints.clone(), end.clone());
        tasks.spawn(by_dns);
        return (workloads, known);
    };
    let resources = plimsoll_interceptor::Resources { workloads, known };
    let (endpoints, end) = (endpoints.clone(), end.clone());
    let cluster = plimsoll_interceptor::resolve_by_cluster(client, namespace.as_deref(), resources, endpoints, end);
    let resolved = (cluster.routes.clone(), cluster.known.clone());
    tasks.spawn(cluster.finished());
    resolved
}

async fn collector(part: cli::Collector, shutdown: CancellationToken) -> Result<()> {
    fleet::end_with_parent()?;
    let tasks = TaskTracker::new();
    let log = parts::kafka(&part.log.kafka, &part.log.client, &tasks, &shutdown)?;
    let mut config = part.config;
    if let Some(node) = &part.node_name {
        let Some(provider) = node::provider(&part.kubernetes, node, &shutdown).await? else { return Ok(()) };
        config.provider = provider;
    }
    let claim = part.collector_names.as_deref().map(names::claim).transpose()?;
    if let Some(claim) = &claim {
        config.collector_id = Some(claim.name.clone());
    }
    let store = parts::store(&part.store.place(&part.kubernetes)?, &tasks, &shutdown).await?;
    let parts = plimsoll_collector::Parts { log, store: store.clone() };
    Collector::bind(config, parts).await?.serve(shutdown.clone()).await?;
    store.close().await;
    parts::finish(tasks, &shutdown).await;
    // The name is free for others from here on.
    drop(claim);
    Ok(())
}

async fn manager(part: cli::Manager, shutdown: CancellationToken) -> Result<()> {
    let tasks = TaskTracker::new();
    let log = parts::kafka(&part.log.kafka, &part.log.client, &tasks, &shutdown)?;
    let store = parts::store(&part.store.place(&part.kubernetes)?, &tasks, &shutdown).await?;
    let described = parts::described(&part.routes, &part.kubernetes, &tasks, &shutdown).await?;
    let workloads = described.workloads;
    let prefix = part.config.collectors_prefix();
    let fleet = fleet::open(&part.fleet, &prefix, &part.log, &part.store, &part.kubernetes).await?;
    let parts = plimsoll_manager::Parts { log, store: store.clone(), workloads, fleet: fleet.clone() };
    let speaks_tls = part.config.scaler.scaler_tls_cert.is_some();
    let mut manager = Manager::bind(part.config, parts).await?;
    if let Some(parts::WatchedCluster { client, namespace }) = described.cluster {
        let own = client.default_namespace();
        let address = part.scaler_address.unwrap_or_else(|| format!("plimsoll-manager.{own}:9090"));
        let scaler = Scaler {
            address,
            tls: part.scaler_tls.unwrap_or(speaks_tls),
            authentication: part.scaler_authentication_ref,
        };
        manager = manager.ready_when(described.known);
        if part.operator {
            manager = manager.with_operator(Operator { client, namespace, scaler });
        }
    }
    let served = manager.serve(shutdown.clone()).await;
    fleet.close().await;
    served?;
    store.close().await;
    parts::finish(tasks, &shutdown).await;
    Ok(())
}
