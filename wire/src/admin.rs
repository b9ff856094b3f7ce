//! An admin listener's connections: bounded in number and in time, so that a scraper that hangs takes nothing from a probe.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// A client has this long to send a request's head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After accepting has failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take up.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Connections at once. Further ones wait in the kernel's queue, at most until `life` ends the others.
    connections: usize,
    /// After this a connection ends with the answer that it is at.
    life: Duration,
    /// A client that does not read that answer is cut off.
    last_answer: Duration,
}

const BOUNDS: Bounds = Bounds { connections: 256, life: Duration::from_secs(60), last_answer: Duration::from_secs(10) };

/// Serves `pages` until `shutdown` is cancelled, to at most 256 connections at a time, for a minute each. A scraper that keeps its
/// connection open does not keep the process up.
pub async fn serve(listener: TcpListener, pages: Router, shutdown: CancellationToken) {
    serve_within(BOUNDS, listener, pages, shutdown).await;
}

async fn serve_within(bounds: Bounds, listener: TcpListener, pages: Router, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = free.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (pages, shutdown) = (pages.clone(), shutdown.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection(bounds, stream, pages) => {}
                            () = shutdown.cancelled() => {}
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!("the admin listener can't accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.cancelled() => {}
    }
    connections.close();
    connections.wait().await;
}

async fn connection(bounds: Bounds, stream: TcpStream, pages: Router) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection =
        std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages)));
    let outcome = match tokio::time::timeout(bounds.life, connection.as_mut()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(bounds.last_answer, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!("a connection to the admin listener broke: {error}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn ask(listener: std::net::SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(listener).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn clients_that_take_nothing_or_say_nothing_keep_no_probe_out_for_long() {
        let second = Duration::from_secs(1);
        let bounds = Bounds { connections: 2, life: second, last_answer: second };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = async || {
            let part = Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 64 * 1024]));
            Body::from_stream(stream::repeat(part))
        };
        let pages = Router::new().route("/endless", get(endless)).route("/livez", get(async || "ok\n"));
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve_within(bounds, listener, pages, shutdown.clone()));
        // All the room that there is.
        let silent = TcpStream::connect(address).await.unwrap();
        let stalled = ask(address, "/endless").await;
        let mut answer = [0; 15];
        let probe = async { ask(address, "/livez").await.read_exact(&mut answer).await.unwrap() };
        tokio::time::timeout(LIMIT, probe).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        drop((silent, stalled));

        let _reads_nothing = ask(address, "/endless").await;
        shutdown.cancel();
        tokio::time::timeout(LIMIT, served).await.unwrap().unwrap();
    }
}
