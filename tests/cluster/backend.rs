//! A pod's server, which says its own address.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every pod listens on.
pub(crate) const PORT: u16 = 8080;

/// A running server.
pub(crate) struct Backend {
    address: IpAddr,
    served: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Backend {
    /// Starts one at an address of its own.
    pub(crate) async fn start() -> Result<Self> {
        let address = crate::network::claim();
        let listener = TcpListener::bind(SocketAddr::new(address, PORT)).await?;
        let (served, stop, tasks) = (Arc::new(AtomicU64::new(0)), CancellationToken::new(), TaskTracker::new());
        let (counted, ended, connections) = (served.clone(), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((socket, _))) = ended.run_until_cancelled(listener.accept()).await {
                let _ = socket.set_nodelay(true);
                let (counted, ended) = (counted.clone(), ended.clone());
                connections.spawn(async move {
                    let answer = service_fn(move |_: Request<_>| {
                        counted.fetch_add(1, Ordering::Relaxed);
                        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(address.to_string()))) }
                    });
                    let mut connection =
                        std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = ended.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                });
            }
        });
        Ok(Self { address, served, stop, tasks })
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Requests so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends as a pod does that is told to: with the requests that it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
