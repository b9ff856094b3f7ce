//! A pod's server, which says its own address and the version of HTTP that it is spoken with.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every pod listens on.
pub(crate) const PORT: u16 = 8080;

/// A running server: HTTP/1.1 or HTTP/2, as the client begins.
pub(crate) struct Backend {
    site: Arc<Site>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What it serves.
struct Site {
    address: IpAddr,
    served: AtomicU64,
    /// Requests for `/long` so far.
    long: AtomicU64,
    /// They are answered from then on.
    let_go: CancellationToken,
}

impl Backend {
    /// Starts one at an address of its own.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_at(crate::network::claim()).await
    }

    /// Starts one at this address.
    pub(crate) async fn start_at(address: IpAddr) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::new(address, PORT)).await?;
        let (served, long, let_go) = (AtomicU64::new(0), AtomicU64::new(0), CancellationToken::new());
        let site = Arc::new(Site { address, served, long, let_go });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (shown, ended, connections) = (site.clone(), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((socket, _))) = ended.run_until_cancelled(listener.accept()).await {
                connections.spawn(serve(socket, shown.clone(), ended.clone()));
            }
        });
        Ok(Self { site, stop, tasks })
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.site.address
    }

    /// Requests so far.
    pub(crate) fn served(&self) -> u64 {
        self.site.served.load(Ordering::Relaxed)
    }

    /// Requests for `/long` so far: they wait until [`Backend::let_go`].
    pub(crate) fn long(&self) -> u64 {
        self.site.long.load(Ordering::Relaxed)
    }

    /// Answers those for `/long`.
    pub(crate) fn let_go(&self) {
        self.site.let_go.cancel();
    }

    /// Ends as a pod does that is told to: with the requests that it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn serve(socket: TcpStream, site: Arc<Site>, ended: CancellationToken) {
    let _ = socket.set_nodelay(true);
    let answer = service_fn(move |request: Request<_>| {
        let (version, is_long, site) = (request.version(), request.uri().path() == "/long", site.clone());
        async move { Ok::<_, Infallible>(site.answer(version, is_long).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), answer));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = ended.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Site {
    async fn answer(&self, version: Version, is_long: bool) -> Response<Full<Bytes>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        if is_long {
            self.long.fetch_add(1, Ordering::Relaxed);
            self.let_go.cancelled().await;
        }
        Response::new(Full::from(format!("{} {version:?}", self.address)))
    }
}
