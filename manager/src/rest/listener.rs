//! Clients of the REST API: accepts them, over TLS where that is configured, and serves them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::tls::Tls;
use crowd::Crowd;

mod crowd;

/// Connections at once; further ones wait in the system's queue. Dashboards and scripts have a handful each.
const CONNECTIONS: usize = 1_024;
/// Those of one address at once; further ones are closed. Whoever takes all that it can get leaves room for others, kubelets' probes among
/// them.
const FROM_ONE: usize = 256;
/// From the first byte to the end of a TLS handshake, and of a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client that takes no byte of its answer for so long is cut off: it would have one of [`CONNECTIONS`] for ever.
const STALLED: Duration = Duration::from_secs(30);
/// After a failure to accept (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who a request comes from.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The names in its certificate, where it has shown one that was found good.
    pub certificate: Option<Arc<[String]>>,
}

/// What clients may take up.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    from_one: usize,
    stalled: Duration,
}

/// Serves until shutdown, then until the requests in work have been answered.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    routes: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let bounds = Bounds { connections: CONNECTIONS, from_one: FROM_ONE, stalled: STALLED };
    serve_within(bounds, listener, tls, routes, shutdown).await
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    routes: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(bounds.connections));
    let crowd = Arc::new(Crowd::default());
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("the REST API can't accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = crowd.enter(address.ip(), bounds.from_one) else {
            debug!("{} has as many connections to the REST API as one address may have", address.ip());
            continue;
        };
        let (tls, routes, shutdown) = (tls.clone(), routes.clone(), shutdown.clone());
        tasks.spawn(async move {
            // Only speed is lost without it.
            let _ = stream.set_nodelay(true);
            // Below TLS, so that it holds for what is said there, too.
            let mut timed = TimeoutStream::new(stream);
            timed.set_write_timeout(Some(bounds.stalled));
            connection(Box::pin(timed), address, tls, routes, shutdown).await;
            // In this order: who comes next by this permit must not find the place taken.
            drop(place);
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn connection(
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    routes: Router,
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else {
        return http(stream, Peer { address, certificate: None }, routes, shutdown).await;
    };
    let handshake = tokio::time::timeout(PATIENCE, TlsAcceptor::from(tls.current()).accept(stream));
    let handshake = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = handshake => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = certificate.map(|certificate| super::tls::names(certificate).into());
            http(stream, Peer { address, certificate }, routes, shutdown).await;
        }
        Ok(Err(error)) => debug!("no TLS with {address} on the REST API: {error}"),
        Err(_) => debug!("no TLS with {address} on the REST API: it took too long"),
    }
}

/// One connection's requests.
async fn http<S>(stream: S, peer: Peer, routes: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let address = peer.address;
    let service = TowerToHyperService::new(routes.layer(axum::Extension(peer)));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).half_close(true);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("a connection of {address} to the REST API broke: {error}");
    }
}

#[cfg(test)]
mod tests;
