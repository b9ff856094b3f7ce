//! The collector as a whole: its listeners, its tasks, its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::store::{Member, Store};
use plimsoll_wire::collector::collector_server::CollectorServer;
use plimsoll_wire::log::{EventLog, LogError};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::info;

use crate::admin::{self, Readiness};
use crate::config::Config;
use crate::farewell::Farewell;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::questions::{self, Question};
use crate::reader::Reader;
use crate::registrar::register;
use crate::service::Service;

/// A peer that does not answer a ping in this time is gone; its stream must not hold on to a place.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// The end may take this long; then what still runs is dropped.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why a collector can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error("bad setting {setting}: {reason}")]
    Setting {
        /// The flag.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
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
    /// The log's client can't be made.
    #[error("can't read the log: {0}")]
    Log(#[from] LogError),
    /// The gRPC server failed.
    #[error("the collector's gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// A task panicked.
    #[error("a task of the collector failed: {0}")]
    Task(#[from] JoinError),
    /// A task ended that should not.
    #[error("a task of the collector ended before the shutdown")]
    Ended,
}

/// What a collector stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The log that it reads.
    pub log: Arc<dyn EventLog>,
    /// Where its assignment is, and where it is registered.
    pub store: Arc<dyn Store>,
}

/// A collector whose listeners are open.
#[derive(Debug)]
pub struct Collector {
    member: Member,
    store: Arc<dyn Store>,
    grpc: TcpListener,
    admin: TcpListener,
    grpc_address: SocketAddr,
    admin_address: SocketAddr,
    hub: Arc<Hub>,
    reader: Reader,
    questions: mpsc::Sender<Question>,
    readiness: Arc<Readiness>,
    registry: Registry,
    farewell: Farewell,
    /// Subscriptions end with the last holder of their log.
    _log: Arc<dyn EventLog>,
}

impl Collector {
    /// Opens the listeners and subscribes to the interceptors' topic. Nothing is answered before [`Collector::serve`].
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Listen`], [`Error::Log`]. A log or a store out of reach is no error.
    pub async fn bind(config: Config, parts: Parts) -> Result<Self, Error> {
        let id = config.id();
        if id.is_empty() || id.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
            let reason = format!("{id:?} is no name: use letters, digits, '-' and '.'");
            return Err(Error::Setting { setting: "--collector-id", reason });
        }
        let (grpc, grpc_address) = listen(config.collector_listen, "managers (gRPC)").await?;
        let (admin, admin_address) = listen(config.collector_admin_listen, "probes and metrics").await?;
        let incarnation = rand::random();
        let member = Member {
            id: id.clone(),
            address: config.advertised(grpc_address),
            provider: config.provider.clone(),
            incarnation,
        };
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let hub = Arc::new(Hub::new(id.clone(), incarnation));
        let readiness = Arc::new(Readiness::default());
        let assignment = parts.store.watch_assignment(&id);
        let farewell = Farewell {
            hub: hub.clone(),
            assignment: assignment.clone(),
            store: parts.store.clone(),
            limit: config.leave_timeout,
        };
        let (questions, asked) = questions::line();
        let reader =
            Reader::new(&*parts.log, assignment, asked, config.read_interval, hub.clone(), readiness.clone(), metrics)?;
        Ok(Self {
            member,
            store: parts.store,
            grpc,
            admin,
            grpc_address,
            admin_address,
            hub,
            reader,
            questions,
            readiness,
            registry,
            farewell,
            _log: parts.log,
        })
    }

    /// The collector's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.member.id
    }

    /// Where managers subscribe, as bound.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where probes and metrics are, as bound.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Reads and answers until shutdown, and then until others answer for its topics (for as long as it may); then ends its streams with OK
    /// and takes itself off the members.
    ///
    /// # Errors
    /// Where a server or a task fails. All others are stopped before it returns.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        info!(collector = %self.member.id, grpc = %self.grpc_address, admin = %self.admin_address, "collector starts");
        // Its own token and no child: tasks end only after the shutdown has been seen here.
        let stop = CancellationToken::new();
        let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
        {
            let (reader, stop) = (self.reader, stop.clone());
            tasks.spawn(async move {
                reader.run(stop).await;
                Ok(())
            });
        }
        {
            let (store, member, readiness, stop) = (self.store, self.member, self.readiness.clone(), stop.clone());
            tasks.spawn(async move {
                register(store, member, readiness, stop).await;
                Ok(())
            });
        }
        let admin = admin::router(self.registry, self.readiness, stop.clone());
        {
            let (listener, stop) = (self.admin, stop.clone());
            tasks.spawn(async move {
                plimsoll_wire::admin::serve(listener, admin, stop).await;
                Ok(())
            });
        }
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(CollectorServer::new(Service::new(self.hub.clone(), self.questions)))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(self.grpc).with_nodelay(Some(true)),
                stop.clone().cancelled_owned(),
            );
        tasks.spawn(async move { Ok(served.await?) });

        let farewell = self.farewell;
        let asked_to_stop = async {
            shutdown.cancelled().await;
            farewell.wait().await;
        };
        let mut outcome = tokio::select! {
            () = asked_to_stop => Ok(()),
            Some(ended) = tasks.join_next() => ended.map_err(Error::from).flatten().and(Err(Error::Ended)),
        };
        stop.cancel();
        self.hub.close();
        let end = async {
            while let Some(ended) = tasks.join_next().await {
                let ended = ended.map_err(Error::from).flatten();
                if outcome.is_ok() {
                    outcome = ended;
                }
            }
        };
        // A peer that does not read keeps its connection open: the tasks left are dropped with their set.
        let _ = tokio::time::timeout(END_LIMIT, end).await;
        outcome
    }
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let error = |source| Error::Listen { address, what, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}
