//! The interceptor as a whole: what it is made of, how it starts, and how it stops without losing a request.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::RwLock;
use plimsoll_wire::log::EventLog;
use plimsoll_wire::resources::Workload;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::config::{Config, shown};
use crate::endpoints::Endpoints;
use crate::ledger::{Clock, Ledger};
use crate::metrics::Metrics;
use crate::observe::{Observer, TracesError};
use crate::publish::{self, Publisher};
use crate::routes::Tables;
use crate::server::crowd::{self, Crowd};
use crate::server::listener::{self, Listeners};
use crate::server::threads::{self, Shared, Stops, Thread};
use crate::server::tls::{Certificates, Door, TlsError};
use crate::server::worker::Settings;
use crate::upstream::tls::Trust;

/// One attempt of a probe, where attempts to connect have no limit. A first packet that is lost is sent again within it.
const LONGEST_PROBE: Duration = Duration::from_secs(2);

/// What an interceptor stands on.
#[derive(Debug)]
pub struct Parts {
    /// Where it publishes what it counts.
    pub log: Arc<dyn EventLog>,
    /// The workloads of now. They are known when the interceptor is made; it follows them as they change.
    pub routes: watch::Receiver<Arc<Vec<Workload>>>,
    /// Their ready endpoints, written by somebody else.
    pub endpoints: Endpoints,
}

/// Why an interceptor can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener can't be bound.
    #[error("can't listen on {address} ({setting}): {source}; choose another address with that setting")]
    Listen {
        /// The address as given.
        address: SocketAddr,
        /// The flag that names it.
        setting: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// TLS to clients is configured, but can't be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refuses a thread.
    #[error("can't start the threads: {0}")]
    Threads(#[source] io::Error),
    /// Traces can't be sent as the settings say.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// A proxying thread has ended by itself; its log line says why.
    #[error("a proxying thread ended by itself")]
    ThreadEnded,
    /// A part that the proxying threads can't do without has panicked; the panic's own line says which.
    #[error("a part of the interceptor ended by itself: the panic before this line says which")]
    PartEnded,
}

/// An interceptor whose listeners are bound. Clients wait until it serves.
#[derive(Debug)]
pub struct Interceptor {
    config: Config,
    proxy: Listeners,
    proxy_addr: SocketAddr,
    proxy_tls_addr: Option<SocketAddr>,
    certificates: Option<Certificates>,
    trust: Arc<Trust>,
    admin: tokio::net::TcpListener,
    admin_addr: SocketAddr,
    tables: Tables,
    resources: watch::Receiver<Arc<Vec<Workload>>>,
    metrics: Arc<Metrics>,
    registry: Arc<RwLock<Registry>>,
    ledger: Ledger,
    endpoints: Endpoints,
    publisher: Publisher,
    access_log: Output,
    known: watch::Receiver<bool>,
}

/// Where lines go.
struct Output(Box<dyn Write + Send>);

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Interceptor {
    /// Binds the listeners and takes over the routes of now.
    ///
    /// # Errors
    /// Where an address is taken, or not this machine's.
    pub async fn bind(config: Config, parts: Parts) -> Result<Self, Error> {
        let Parts { log, routes: mut resources, endpoints } = parts;
        let refused = |address, setting| move |source| Error::Listen { address, setting, source };
        let proxy = listener::bind(config.proxy_listen).map_err(refused(config.proxy_listen, "--proxy-listen"))?;
        let proxy_addr = proxy.local_addr().map_err(refused(config.proxy_listen, "--proxy-listen"))?;
        let admin = tokio::net::TcpListener::bind(config.admin_listen).await;
        let admin = admin.map_err(refused(config.admin_listen, "--admin-listen"))?;
        let admin_addr = admin.local_addr().map_err(refused(config.admin_listen, "--admin-listen"))?;

        let ledger = Ledger::new(Clock::start());
        let metrics = Arc::new(Metrics::default());
        let tls = config.tls.is_on().then(|| offer_tls(&config, &metrics)).transpose()?;
        let (tls, certificates) = tls.unzip();
        let proxy_tls_addr = tls.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let proxy = Listeners { plain: proxy, tls };
        let trust = Arc::new(Trust::load(&config.upstream_tls)?);
        let mut registry = Registry::default();
        let published = metrics.register_all(&mut registry, &endpoints);
        // Random: a clock that was set back would give an old run's number again.
        let incarnation = rand::random();
        let publishing = publish::Config {
            name: config.interceptor_name.clone(),
            incarnation,
            tick: config.tick,
            frame_budget: config.frame_budget,
        };
        let publisher = Publisher::new(publishing, ledger.clone(), log, published);
        let mut tables = Tables::new(config.clone(), ledger.clone(), endpoints.clone(), metrics.clone());
        let workloads = resources.borrow_and_update().clone();
        tables.begin(workloads).await;
        let registry = Arc::new(RwLock::new(registry));
        Ok(Self {
            config,
            proxy,
            proxy_addr,
            proxy_tls_addr,
            certificates,
            trust,
            admin,
            admin_addr,
            tables,
            resources,
            metrics,
            registry,
            ledger,
            endpoints,
            publisher,
            access_log: Output(Box::new(io::stdout())),
            // Routes that nobody says otherwise of are known from the start; its sender need not be there for that.
            known: watch::channel(true).1,
        })
    }

    /// Where clients come in.
    #[must_use]
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where clients come in over TLS, if it is configured.
    #[must_use]
    pub fn proxy_tls_addr(&self) -> Option<SocketAddr> {
        self.proxy_tls_addr
    }

    /// Where the admin pages are.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Writes the access log there, and not to standard output.
    #[must_use]
    pub fn access_log_to(mut self, output: impl Write + Send + 'static) -> Self {
        self.access_log = Output(Box::new(output));
        self
    }

    /// Is not ready before this is true: for routes that are not all known at the start.
    #[must_use]
    pub fn ready_when(mut self, known: watch::Receiver<bool>) -> Self {
        self.known = known;
        self
    }

    /// Serves until `shutdown` is cancelled, then says so on `/readyz`, goes on for the shutdown delay, lets requests in flight
    /// finish for the drain timeout at most, and publishes its last totals. Dropping the future ends everything at once.
    ///
    /// # Errors
    /// Where traces can't be sent as the settings say, the proxying threads can't be started, or one of them or another part ends
    /// by itself.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self {
            config,
            proxy,
            proxy_addr,
            proxy_tls_addr,
            certificates,
            trust,
            admin,
            admin_addr,
            tables,
            resources,
            metrics,
            registry,
            ledger,
            endpoints,
            publisher,
            access_log,
            known,
        } = self;
        let count = config.threads().get();
        let stops = Stops::default();
        let _abort_when_dropped = stops.abort.clone().drop_guard();
        let table = tables.current();
        let routes = tables.start(known).map_err(Error::Threads)?;
        let in_force = routes.in_force();
        let (observer, telling) = Observer::start(&config, &metrics, access_log.0)?;
        let settings = Settings::new(&config, count, observer);
        // It raises the limit of open files as well, which counts however many clients there may be.
        let possible = crowd::default_most();
        let most = if config.max_connections == 0 { possible } else { config.max_connections };
        let crowd = Crowd::new(most, count, metrics.clone());
        let upstream_tls = trust.tls();
        let shared =
            Shared { settings, metrics: metrics.clone(), table: table.clone(), trust, crowd, stops: stops.clone() };
        let threads = threads::start(&proxy, count, &shared).map_err(Error::Threads)?;
        drop(proxy);

        let (tasks, lost) = (TaskTracker::new(), CancellationToken::new());
        let (serving, publishing) = (CancellationToken::new(), CancellationToken::new());
        let _end_when_dropped = (serving.clone().drop_guard(), publishing.clone().drop_guard());
        let published = start_part(&tasks, &lost, publisher.run(publishing.clone()));
        let probe_timeout = config.probe_endpoints.then(|| limited(config.connect_timeout));
        start_part(&tasks, &lost, endpoints.clone().keep(probe_timeout, serving.clone()));
        start_part(&tasks, &lost, routes.follow(resources, serving.clone()));
        tasks.spawn(upstream_tls.follow(metrics.upstream_tls_problems.clone(), serving.clone()));
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.follow(serving.clone()));
        }
        let ready = Arc::new(AtomicBool::new(true));
        let workloads = table.load().workloads.len();
        let pages = Admin {
            ready: ready.clone(),
            in_force,
            registry,
            metrics,
            ledger,
            endpoints,
            table,
            settings: Arc::new(shown(&config)),
            scraping: Arc::new(Semaphore::new(1)),
        };
        start_part(&tasks, &lost, admin::serve(admin, pages, serving.clone()));
        tasks.close();
        let (version, name) = (env!("CARGO_PKG_VERSION"), &config.interceptor_name);
        info!(version, name, %proxy_addr, ?proxy_tls_addr, %admin_addr, threads = count, routes = workloads, "the interceptor serves");

        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = any_ended(&threads) => Err(Error::ThreadEnded),
            () = lost.cancelled() => Err(Error::PartEnded),
        };
        stops.leaving.store(true, Ordering::Relaxed);
        ready.store(false, Ordering::Release);
        if outcome.is_ok() {
            info!("shutting down: serving on for {:?}, so that no new client is sent here", config.shutdown_delay);
            tokio::time::sleep(config.shutdown_delay).await;
        }
        stops.drain.cancel();
        drain(&threads, config.drain_timeout, &stops.abort).await;
        threads.into_iter().for_each(Thread::join);
        // Nothing is in flight any more: the last frames say so.
        publishing.cancel();
        let _cancelled_never = published.await;
        telling.finish().await;
        serving.cancel();
        tasks.wait().await;
        info!("the interceptor has stopped");
        outcome
    }
}

/// Reads the certificates and listens.
fn offer_tls(config: &Config, metrics: &Metrics) -> Result<((std::net::TcpListener, Door), Certificates), Error> {
    let certificates = Certificates::load(&config.tls, metrics.tls.clone())?;
    let door = Door::new(&config.tls, &certificates, metrics.tls.clone());
    let address = config.tls.proxy_tls_listen;
    let refused = |source| Error::Listen { address, setting: "--proxy-tls-listen", source };
    Ok(((listener::bind(address).map_err(refused)?, door), certificates))
}

/// How long one attempt of a probe may take: as long as one to connect, which zero leaves without a limit. A probe must have one, or an
/// address where nobody answers would have one of its places for minutes.
fn limited(connect_timeout: Duration) -> Duration {
    if connect_timeout.is_zero() { LONGEST_PROBE } else { connect_timeout }
}

/// Runs a part that must not end before it is told to. Should it, by a panic, `lost` is cancelled: without it clients would be
/// served on while nobody hears of their load, by old routes, or with no probe answered.
fn start_part(
    tasks: &TaskTracker,
    lost: &CancellationToken,
    part: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let end = lost.clone().drop_guard();
    tasks.spawn(async move {
        let _end = end;
        part.await;
    })
}

async fn any_ended(threads: &[Thread]) {
    let mut ends: FuturesUnordered<_> = threads.iter().map(Thread::ended).collect();
    ends.next().await;
}

/// Waits until all requests have ended; after `timeout` (zero: never) what is left is cut off.
async fn drain(threads: &[Thread], timeout: Duration, abort: &CancellationToken) {
    let mut ends = join_all(threads.iter().map(Thread::ended));
    if timeout.is_zero() {
        ends.await;
    } else if tokio::time::timeout(timeout, &mut ends).await.is_err() {
        warn!("requests are still in flight after {timeout:?}: cutting them off");
        abort.cancel();
        ends.await;
    }
}

/// Binds and serves; see [`Interceptor`].
///
/// # Errors
/// As [`Interceptor::bind`] and [`Interceptor::serve`] say.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    Interceptor::bind(config, parts).await?.serve(shutdown).await
}
