//! One proxying thread: its own runtime, connections, pool and random numbers, so that a request never leaves it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::server::conn::auto;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Client, Idleness, Order};
use super::crowd::Present;
use super::gate::Bounds;
use super::listener::Accepted;
use super::parking::Resting;
use super::serving::{self, Served};
use super::streams::{Current, OnThisThread};
use crate::config::{Config, ErrorFormat};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::proxy::forwarded::TrustedProxies;
use crate::routes::Table;
use crate::upstream::connection::Life;
use crate::upstream::http2::Terms;
use crate::upstream::pool::{self, Pool};
use crate::upstream::tls::Trust;
use crate::upstream::{Backend, Line, Lines};

/// Between two looks at all connections of a thread. Timeouts of idle connections are as fine as this.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// A client that is told it is too late, and has not even taken the answer after this long, is cut off.
const CUT_AFTER: Duration = Duration::from_secs(5);

/// What of the configuration the proxying threads need.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Who wants to know of each request.
    pub(crate) observer: Option<Arc<Observer>>,
    pub(crate) cold_start_header: bool,
    pub(crate) connect_retry_timeout: Duration,
    pub(crate) head: Bounds,
    pub(crate) error_format: ErrorFormat,
    pub(crate) forwarded: bool,
    trusted: Arc<TrustedProxies>,
    pub(crate) max_streams: u32,
    upstream_max_age: Duration,
    upstream_max_uses: u32,
    header_read_timeout: Duration,
    client_idle_timeout: Duration,
    pub(crate) client_write_timeout: Option<Duration>,
    pool: pool::Bounds,
    http2: Terms,
}

impl Settings {
    /// The settings of one of so many threads.
    pub(crate) fn new(config: &Config, threads: usize, observer: Option<Arc<Observer>>) -> Self {
        // So that all threads together keep to the bounds; but each keeps a connection where any may be kept.
        let share = |bound: usize| (bound / threads).max(bound.min(1));
        Self {
            observer,
            cold_start_header: config.cold_start_header,
            connect_retry_timeout: config.connect_retry_timeout,
            head: Bounds { bytes: config.max_header_bytes as usize, fields: config.max_headers.into() },
            error_format: config.error_format,
            forwarded: config.forwarded,
            trusted: Arc::new(config.trusted_proxies.clone()),
            client_write_timeout: Some(config.client_write_timeout).filter(|timeout| !timeout.is_zero()),
            max_streams: config.max_streams,
            upstream_max_age: config.upstream_max_age,
            upstream_max_uses: config.upstream_max_uses,
            header_read_timeout: config.header_read_timeout,
            client_idle_timeout: config.client_idle_timeout,
            pool: pool::Bounds {
                total: share(config.max_idle_conns),
                per_endpoint: share(config.max_idle_conns_per_host),
                idle: config.upstream_idle_timeout,
            },
            http2: Terms { max_streams: config.upstream_max_streams as usize, idle: config.upstream_idle_timeout },
        }
    }
}

/// All that the requests of one thread share.
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pool: Pool,
    pub(crate) lines: Lines,
    /// Everything that must end before the thread may.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when requests shall end and no new ones come.
    pub(crate) draining: CancellationToken,
    leaving: Arc<AtomicBool>,
    pub(crate) protocol: auto::Builder<OnThisThread>,
    /// Which stream of HTTP/2 is at work.
    pub(crate) streams: Current,
    table: RefCell<arc_swap::Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
    random: RefCell<SmallRng>,
    clients: RefCell<HashMap<u64, Watched>>,
    pub(crate) resting: Resting,
    accepted: Cell<u64>,
    /// Idle connections to endpoints, as the metrics know.
    pooled: Cell<i64>,
}

/// A client's connection, and for how many sweeps it has been as it is.
struct Watched {
    served: Rc<Served>,
    idleness: Idleness,
    since: Duration,
    /// For so long the client has not taken what it is sent.
    stalled: Duration,
}

impl Worker {
    /// A worker without a connection.
    pub(crate) fn new(
        settings: Settings,
        metrics: Arc<Metrics>,
        table: Arc<ArcSwap<Table>>,
        trust: Arc<Trust>,
        leaving: Arc<AtomicBool>,
    ) -> Rc<Self> {
        let (tasks, streams) = (TaskTracker::new(), Current::default());
        Rc::new(Self {
            pool: Pool::new(settings.pool),
            lines: Lines::new(trust, settings.http2, metrics.clone()),
            protocol: serving::protocol(&settings, tasks.clone(), streams.clone()),
            streams,
            settings,
            metrics,
            tasks,
            draining: CancellationToken::new(),
            leaving,
            table: RefCell::new(arc_swap::Cache::new(table)),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            clients: RefCell::default(),
            resting: Resting::default(),
            accepted: Cell::new(0),
            pooled: Cell::new(0),
        })
    }

    /// Whether clients should go elsewhere with their next request.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Looks something up in the routes of now; costs one comparison while they stay the same.
    pub(crate) fn with_table<R>(&self, look: impl FnOnce(&Table) -> R) -> R {
        look(self.table.borrow_mut().load())
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// What is open already for a request to this endpoint. `upgrade`: it wants to change the protocol; `only_new`: connections
    /// that others have used are not trusted.
    pub(crate) fn line(&self, backend: &Backend, endpoint: SocketAddr, upgrade: bool, only_new: bool) -> Option<Line> {
        if only_new {
            return None;
        }
        // The name, which only TLS has, costs an atomic operation; the rest is copied.
        let origin = backend.at(endpoint);
        self.lines.shared(backend, &origin, upgrade).or_else(|| self.pool.take(&origin).map(Line::Own))
    }

    /// A new connection to an endpoint, made within this time and before `until`.
    pub(crate) async fn connect(
        &self,
        backend: &Backend,
        endpoint: SocketAddr,
        upgrade: bool,
        within: Option<Duration>,
        until: Option<Instant>,
    ) -> io::Result<Line> {
        let now = Instant::now();
        let within = within.into_iter().chain(until.map(|until| until - now)).min().unwrap_or(Duration::MAX);
        // Up to a tenth less, so that connections made together do not end together.
        let share = 1.0 - 0.1 * (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        let life = Life {
            until: now + self.settings.upstream_max_age.mul_f64(share),
            uses: ((f64::from(self.settings.upstream_max_uses) * share) as u32).max(1),
        };
        self.lines.open(backend, endpoint, upgrade, within, life).await
    }

    /// Serves a client from now on.
    pub(crate) fn serve(self: &Rc<Self>, mut accepted: Accepted) {
        let is_trusted = self.settings.trusted.contains(accepted.peer.ip());
        let place = (accepted.place.take(), Some(Present::count(&self.metrics.clients)));
        let served = Served::new(Client::new(accepted.peer, accepted.entrance.is_secure(), is_trusted, place));
        let id = self.accepted.get();
        self.accepted.set(id + 1);
        // Busy with arriving: the next sweep may come before the connection has been read from for the first time.
        self.clients.borrow_mut().insert(
            id,
            Watched {
                served: served.clone(),
                idleness: Idleness::Busy,
                since: Duration::ZERO,
                stalled: Duration::ZERO,
            },
        );
        let worker = self.clone();
        let registered = Registered { worker: self.clone(), id };
        self.tasks.spawn_local(async move {
            let _registered = registered;
            serving::serve(worker, accepted, served).await;
        });
    }

    /// Clients' connections on this thread.
    pub(crate) fn clients(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Ends what has been idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        // A thread without requests must not keep an old table.
        self.table.borrow_mut().load();
        self.pool.sweep(now);
        self.lines.sweep(now);
        self.show_pool(self.pool.len());
        for watched in self.clients.borrow_mut().values_mut() {
            watched.stalled = if watched.served.client.is_stalled() { watched.stalled + SWEEP } else { Duration::ZERO };
            if self.settings.client_write_timeout.is_some_and(|most| watched.stalled > most) {
                watched.served.order(Order::Cut);
                continue;
            }
            let idleness = watched.served.client.swept();
            if idleness != watched.idleness {
                watched.idleness = idleness;
                watched.since = Duration::ZERO;
                continue;
            }
            watched.since += SWEEP;
            match idleness {
                Idleness::Idle if watched.since >= self.settings.client_idle_timeout => {
                    watched.served.order(Order::Finish)
                }
                Idleness::InHead if watched.since >= self.settings.header_read_timeout + CUT_AFTER => {
                    watched.served.order(Order::Cut)
                }
                Idleness::InHead if watched.since >= self.settings.header_read_timeout => {
                    watched.served.client.news.too_late();
                    watched.served.order(Order::Serve);
                }
                _ => {}
            }
        }
    }

    /// Tells how many idle connections to endpoints there are on this thread.
    fn show_pool(&self, connections: usize) {
        let connections = i64::try_from(connections).unwrap_or(i64::MAX);
        self.metrics.pooled.inc_by(connections - self.pooled.replace(connections));
    }

    /// Lets every connection end when its requests have been answered.
    pub(crate) fn finish(&self) {
        self.draining.cancel();
        self.clients.borrow().values().for_each(|watched| watched.served.order(Order::Finish));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.show_pool(0);
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("clients", &self.clients()).finish_non_exhaustive()
    }
}

/// A connection in the worker's list, until this is dropped.
struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.id);
    }
}
