//! The admin listener's connections: bounded in number and in time, so that a scraper that hangs takes nothing from a probe.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections at once. Further ones wait in the kernel's queue, at most until [`LIFE`] ends the others.
const CONNECTIONS: usize = 256;
/// A client has this long to send a request's head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection ends with the answer that it is at.
const LIFE: Duration = Duration::from_secs(60);
/// A client that does not read that answer is cut off.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// After accepting has failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled. A scraper that keeps its connection open does not keep the interceptor up.
pub(super) async fn serve(listener: TcpListener, pages: Router, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = free.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (pages, shutdown) = (pages.clone(), shutdown.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection(stream, pages, permit) => {}
                            () = shutdown.cancelled() => {}
                        }
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

async fn connection(stream: TcpStream, pages: Router, _permit: OwnedSemaphorePermit) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection =
        std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages)));
    let outcome = match tokio::time::timeout(LIFE, connection.as_mut()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!("a connection to the admin listener broke: {error}");
    }
}
