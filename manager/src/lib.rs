//! The control plane: workloads to topics, topics to collectors, answers to KEDA and to people.
//!
//! Every manager listens to every collector and so answers reads and KEDA by itself, from memory. One of them leads: it alone
//! creates topics and plans. Nothing here knows how a request is proxied.

pub mod api;
mod board;
mod catalogue;
mod config;
mod dashboard;
pub mod fleet;
mod lead;
mod listening;
mod live;
mod metrics;
pub mod operator;
mod rest;
mod scaler;
pub mod told;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_scheduler::policy::BadPolicy;
use plimsoll_scheduler::store::Store;
use plimsoll_wire::log::EventLog;
use plimsoll_wire::resources::Workload;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use crate::config::Config;
pub use crate::metrics::described as described_metrics;
pub use crate::rest::tls::BadTls;
pub use crate::rest::{BadAccess, RestConfig, openapi};
pub use crate::scaler::ScalerConfig;

use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::fleet::Fleet;
use crate::lead::decisions::Decisions;
use crate::metrics::{ControlMetrics, RestMetrics, ScalerMetrics};
use crate::operator::Operator;
use crate::rest::tls::Tls;
use crate::rest::{Access, Rest};
use crate::scaler::Scaler;

/// Why a manager can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy of the command line can't be followed.
    #[error("bad policy (--policy, --max-per-host, --min-collectors, --max-collectors): {0}")]
    Policy(#[from] BadPolicy),
    /// A listener can't be opened.
    #[error("can't listen on {address} for {what}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error("the scaler's gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The REST server failed.
    #[error("the REST server failed: {0}")]
    Rest(#[source] std::io::Error),
    /// The REST API can't be reached as configured.
    #[error("the REST API can't be offered: {0}")]
    Access(#[from] BadAccess),
    /// KEDA's scaler can't speak TLS as configured.
    #[error("KEDA's scaler can't be offered: {0}")]
    ScalerTls(#[from] BadTls),
    /// A task of its own failed: what it did nobody does any more.
    #[error("a task of the manager failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What a manager stands on.
#[derive(Debug)]
pub struct Parts {
    /// The log, for the life of topics.
    pub log: Arc<dyn EventLog>,
    /// The plan, the collectors' registrations, the election.
    pub store: Arc<dyn Store>,
    /// The workloads as the resources describe them.
    pub workloads: watch::Receiver<Arc<Vec<Workload>>>,
    /// The means to have more or fewer collectors. Whoever made it closes it, after the manager has ended.
    pub fleet: Arc<dyn Fleet>,
}

/// A manager whose listeners are open.
#[derive(Debug)]
pub struct Manager {
    config: Config,
    parts: Parts,
    api: TcpListener,
    access: Access,
    scaler: TcpListener,
    scaler_tls: Option<Arc<Tls>>,
    api_addr: SocketAddr,
    scaler_addr: SocketAddr,
    known: watch::Receiver<bool>,
    operator: Option<Operator>,
}

impl Manager {
    /// Opens the listeners; port 0 takes a free one.
    ///
    /// # Errors
    /// Where one can't be opened, named; where the policy can't be followed, or a file that says who may use the API is wrong.
    pub async fn bind(config: Config, parts: Parts) -> Result<Self, Error> {
        config.policy().check()?;
        let (api, api_addr) = listen(config.api_listen, "the REST API (--api-listen)").await?;
        let (scaler, scaler_addr) = listen(config.scaler_listen, "KEDA (--scaler-listen)").await?;
        let access = Access::read(&config.rest, api_addr)?;
        let scaler_tls = config.scaler.tls()?;
        // Workloads that nobody says otherwise of are known from the start; its sender need not be there for that.
        let known = watch::channel(true).1;
        Ok(Self { config, parts, api, access, scaler, scaler_tls, api_addr, scaler_addr, known, operator: None })
    }

    /// While `known` is false nothing is said of any workload, and this manager does not stand for leader: for workloads that are
    /// not all known at the start.
    #[must_use]
    pub fn ready_when(mut self, known: watch::Receiver<bool>) -> Self {
        self.known = known;
        self
    }

    /// The leader keeps a cluster's resources right.
    #[must_use]
    pub fn with_operator(mut self, operator: Operator) -> Self {
        self.operator = Some(operator);
        self
    }

    /// Where the REST API listens.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where KEDA's scaler listens.
    #[must_use]
    pub fn scaler_addr(&self) -> SocketAddr {
        self.scaler_addr
    }

    /// Serves until shutdown; KEDA's streams are then ended with OK, the leadership is handed over, and all tasks are awaited.
    ///
    /// # Errors
    /// Where a server fails.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { config, parts, api, access, scaler, scaler_tls, api_addr, scaler_addr, known, operator } = self;
        let name = config.name();
        info!(manager = %name, api = %api_addr, scaler = %scaler_addr, "manager is up");
        let mut registry = Registry::default();
        let scaler_metrics = Arc::new(ScalerMetrics::register(&mut registry));
        let control_metrics = Arc::new(ControlMetrics::register(&mut registry));
        let rest_metrics = Arc::new(RestMetrics::register(&mut registry));
        let board = Arc::new(Board::new(config.activity_window));
        let first = if *known.borrow() { Catalogue::new(&parts.workloads.borrow()) } else { Catalogue::default() };
        let catalogue = Arc::new(ArcSwap::from_pointee(first));
        let (leads, leadership) = watch::channel(lead::NOBODY);
        let decisions = Arc::new(Decisions::default());

        let mut tasks = JoinSet::new();
        tasks.spawn(catalogue::follow(
            parts.workloads.clone(),
            known.clone(),
            catalogue.clone(),
            board.clone(),
            control_metrics.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(listening::listen(name.clone(), parts.store.watch_members(), board.clone(), shutdown.clone()));
        let verdicts = Arc::new(ArcSwap::from_pointee(watching::Verdicts::new()));
        let (retiring, health) = (Arc::<ArcSwap<_>>::default(), Arc::<Mutex<_>>::default());
        tasks.spawn(watching::watch(watching::Watching {
            board: board.clone(),
            plan: parts.store.watch_plan(),
            members: parts.store.watch_members(),
            directives: parts.store.watch_directives(),
            leadership: leadership.clone(),
            policy: config.policy(),
            verdicts: verdicts.clone(),
            decisions: decisions.clone(),
            retiring: retiring.clone(),
            health: health.clone(),
            shutdown: shutdown.clone(),
        }));
        let rest = Rest {
            catalogue: catalogue.clone(),
            board: board.clone(),
            store: parts.store.clone(),
            plan: parts.store.watch_plan(),
            members: parts.store.watch_members(),
            directives: parts.store.watch_directives(),
            leadership,
            health: parts.store.health(),
            verdicts,
            decisions: decisions.clone(),
            fleet: parts.fleet.clone(),
            live: live::Live::default(),
            run: rest::run(),
            trials: Arc::new(Semaphore::new(1)),
            shutdown: shutdown.clone(),
            activity_window: config.activity_window,
            default_policy: config.policy(),
            metrics: rest_metrics,
            registry: Arc::new(registry),
        };
        tasks.spawn(lead::run(lead::Leader {
            catalogue: catalogue.clone(),
            board: board.clone(),
            store: parts.store.clone(),
            log: parts.log.clone(),
            name,
            leadership: leads,
            policy: config.policy(),
            scale: config.scale(),
            fleet: parts.fleet.clone(),
            topic_grace: config.topic_grace,
            metrics: control_metrics,
            decisions,
            retiring,
            health,
            known,
            workloads: parts.workloads,
            operator,
            shutdown: shutdown.clone(),
        }));

        let service = Scaler::new(
            catalogue,
            board,
            config.activity_window,
            config.max_stream_age,
            scaler_metrics,
            shutdown.clone(),
        );
        if let Some(tls) = scaler_tls.clone() {
            tasks.spawn(tls.follow(shutdown.clone()));
        }
        let grpc = scaler::serve(service, scaler, scaler_tls, shutdown.clone());
        let http = rest::serve(rest, access, api, shutdown.clone());
        to_the_end(grpc, http, tasks, &shutdown).await
    }
}

/// After a stop, clients that do not let go have this long.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Runs all parts until one of them ends, which the others then do, too.
async fn to_the_end(
    grpc: impl Future<Output = Result<(), tonic::transport::Error>>,
    http: impl Future<Output = Result<(), std::io::Error>>,
    tasks: JoinSet<()>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    // The failure of any of them ends the manager: a part that half works is harder to see than one that is gone.
    let all = async {
        tokio::try_join!(
            ending(async { grpc.await.map_err(Error::Grpc) }, shutdown),
            ending(async { http.await.map_err(Error::Rest) }, shutdown),
            ending(all_ended(tasks), shutdown),
        )
    };
    tokio::select! {
        outcome = all => outcome.map(|_| ()),
        () = overdue(shutdown) => {
            warn!("not all clients have gone within {} s: leaving them", END_LIMIT.as_secs());
            Ok(())
        }
    }
}

async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(END_LIMIT).await;
}

/// Waits for all tasks; a panic in one is an error at once.
async fn all_ended(mut tasks: JoinSet<()>) -> Result<(), Error> {
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// Ends the whole manager when this part of it ends.
async fn ending<T>(part: impl Future<Output = T>, shutdown: &CancellationToken) -> T {
    let outcome = part.await;
    shutdown.cancel();
    outcome
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let opened = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    opened.await.map_err(|source| Error::Listen { address, what, source })
}
