//! From an address to something that a request can be sent on.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use plimsoll_wire::resources::{BackendProtocol, Workload};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection::Life;
use super::http2::{Place, Session, Sessions, Terms};
use super::tls::{Offer, Trust, chose_http2};
use super::{Connection, Stream};
use crate::metrics::Metrics;

/// An endpoint whose host vanished without a word is noticed after about a minute of silence: a request, or a tunnel, that has no limit
/// of time would be in flight for ever. (Where something is on its way there, the kernel gives up after some fifteen minutes.)
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);

/// What the endpoints of a workload speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    protocol: BackendProtocol,
    /// What an endpoint's certificate must be for, where TLS is spoken.
    name: Option<Arc<ServerName<'static>>>,
}

/// Where a connection goes. Requests share connections only where all of this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    name: Option<Arc<ServerName<'static>>>,
}

/// What one request is sent on.
#[derive(Debug)]
pub(crate) enum Line {
    /// A connection of HTTP/1.1 that it has for itself.
    Own(Box<Connection>),
    /// A place on a connection of HTTP/2.
    Shared(Place),
}

/// Opens connections of one thread to endpoints, and has those that requests share.
#[derive(Debug)]
pub(crate) struct Lines {
    sessions: Rc<Sessions>,
    trust: Arc<Trust>,
    /// What runs the connections of HTTP/2.
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Backend {
    /// What the workload says of this service, its own or its fallback. The service's host name is what certificates must be for.
    pub(crate) fn of(workload: &Workload, service: &str) -> Self {
        let protocol = workload.backend_protocol.unwrap_or_default();
        let name = match protocol {
            BackendProtocol::Http1 | BackendProtocol::H2c => None,
            BackendProtocol::Https | BackendProtocol::H2 => server_name(workload, service),
        };
        Self { protocol, name }
    }

    /// One of its endpoints.
    pub(crate) fn at(&self, address: SocketAddr) -> Origin {
        Origin { address, name: self.name.clone() }
    }

    fn is_secure(&self) -> bool {
        matches!(self.protocol, BackendProtocol::Https | BackendProtocol::H2)
    }

    /// Whether a request that wants to change the protocol, or not, can be sent over HTTP/2.
    fn may_be_http2(&self, upgrade: bool) -> bool {
        match self.protocol {
            BackendProtocol::Http1 => false,
            BackendProtocol::H2c | BackendProtocol::H2 => true,
            BackendProtocol::Https => !upgrade,
        }
    }

    fn offer(&self, upgrade: bool) -> Offer {
        match self.protocol {
            BackendProtocol::H2 => Offer::Http2,
            _ if upgrade => Offer::Http1,
            _ => Offer::Both,
        }
    }
}

fn server_name(workload: &Workload, service: &str) -> Option<Arc<ServerName<'static>>> {
    let service = service.trim_matches(['[', ']']);
    match ServerName::try_from(service.to_owned()) {
        Ok(name) => Some(Arc::new(name)),
        Err(error) => {
            warn!(
                workload = %workload.id,
                "no certificate can be for the host {service:?}, so its requests fail: {error}; write a host name or an address"
            );
            None
        }
    }
}

impl Line {
    /// Whether it has carried a request before: then the endpoint may be closing it just now.
    pub(crate) fn is_used(&self) -> bool {
        match self {
            Self::Own(connection) => connection.is_used(),
            Self::Shared(place) => place.is_used(),
        }
    }
}

impl Lines {
    /// No connection yet.
    pub(crate) fn new(trust: Arc<Trust>, terms: Terms, metrics: Arc<Metrics>) -> Self {
        Self { sessions: Rc::new(Sessions::new(terms)), trust, tasks: TaskTracker::new(), metrics }
    }

    /// A place on a connection that is open, for a request that wants to change the protocol or not.
    pub(crate) fn shared(&self, backend: &Backend, origin: &Origin, upgrade: bool) -> Option<Line> {
        if !backend.may_be_http2(upgrade) {
            return None;
        }
        self.sessions.enter(origin).map(Line::Shared)
    }

    /// A new connection, made within this time.
    ///
    /// # Errors
    /// Where the endpoint refuses, does not answer in time, is not trusted, or does not speak what it should.
    pub(crate) async fn open(
        &self,
        backend: &Backend,
        address: SocketAddr,
        upgrade: bool,
        within: Duration,
        life: Life,
    ) -> io::Result<Line> {
        let origin = backend.at(address);
        if matches!(backend.protocol, BackendProtocol::H2c | BackendProtocol::H2) {
            return self.open_shared(backend, origin, within, life).await;
        }
        let stream = dial(&self.trust, backend, &origin, upgrade, within, &self.metrics).await?;
        if !stream.is_http2() {
            return Ok(Line::Own(Connection::over(stream, origin, life)));
        }
        let session = Session::open(stream, life, self.sessions.terms(), &self.tasks).await?;
        self.sessions.add(&origin, session);
        self.sessions.enter(&origin).map(Line::Shared).ok_or_else(ended)
    }

    /// One connection for all requests that come while it is being opened.
    async fn open_shared(&self, backend: &Backend, origin: Origin, within: Duration, life: Life) -> io::Result<Line> {
        loop {
            let (sessions, trust, tasks) = (self.sessions.clone(), self.trust.clone(), self.tasks.clone());
            let (backend, to, metrics) = (backend.clone(), origin.clone(), self.metrics.clone());
            let open = move || {
                let opening = async move {
                    let stream = dial(&trust, &backend, &to, false, within, &metrics).await?;
                    let session = Session::open(stream, life, sessions.terms(), &tasks).await?;
                    sessions.add(&to, session.clone());
                    Ok(session)
                };
                opening.map(|outcome: io::Result<Rc<Session>>| outcome.map_err(Arc::new)).boxed_local()
            };
            let opened = self.sessions.open_once(&origin, open).await;
            let session = opened.map_err(|error| io::Error::new(error.kind(), error))?;
            match self.sessions.enter(&origin) {
                Some(place) => return Ok(Line::Shared(place)),
                None if session.is_closed() => return Err(ended()),
                // More may have waited than it is for: the others wait for the next one.
                None => {}
            }
        }
    }

    /// Ends what has been idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        self.sessions.sweep(now);
    }

    /// Ends all connections, once no request needs them any more.
    pub(crate) async fn close(&self) {
        self.sessions.clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint ended the connection as soon as it was open")
}

/// Connects within this time, and counts how that went.
async fn dial(
    trust: &Trust,
    backend: &Backend,
    origin: &Origin,
    upgrade: bool,
    within: Duration,
    metrics: &Metrics,
) -> io::Result<Stream> {
    let outcome = tokio::time::timeout(within, connect(trust, backend, origin, upgrade)).await;
    let outcome = outcome.unwrap_or_else(|late| Err(late.into()));
    match &outcome {
        Ok(_) => {
            metrics.connects.inc();
        }
        Err(error) => {
            metrics.connect_failures.inc();
            trust.distrusted(origin.address, error);
        }
    }
    outcome
}

async fn connect(trust: &Trust, backend: &Backend, origin: &Origin, upgrade: bool) -> io::Result<Stream> {
    let stream = reach(origin.address).await?;
    if !backend.is_secure() {
        return Ok(Stream::Plain(stream));
    }
    let Some(name) = &origin.name else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the workload's host name can be in no certificate"));
    };
    let stream = trust.secure(stream, name, backend.offer(upgrade)).await?;
    if backend.protocol == BackendProtocol::H2 && !chose_http2(&stream) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the endpoint does not speak HTTP/2 over TLS"));
    }
    Ok(Stream::Tls(Box::new(stream)))
}

async fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Heads and bodies are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_says_nothing_is_asked_whether_it_is_still_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = reach(listener.local_addr().unwrap()).await.unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
