//! The workloads' servers, which keep time too: a request is in flight at a proxy at least while a server has it.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// A server that answers `/?sleep=200ms` after 200 ms, and everything else at once, with the times of both: in nanoseconds
/// since its epoch. It runs on the runtime it was started on.
pub(crate) struct Backend {
    address: SocketAddr,
}

impl Backend {
    /// Listens on a free port.
    pub(crate) async fn start(epoch: Instant) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Without it a small answer waits for the proxy's acknowledgement.
                let _ = socket.set_nodelay(true);
                // An error is the proxy's going away, which the test sees at the other end.
                tokio::spawn(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service_fn(move |request| answer(request, epoch))),
                );
            }
        });
        Ok(Self { address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer<B>(request: Request<B>, epoch: Instant) -> Result<Response<Full<Bytes>>, Infallible> {
    let came = epoch.elapsed();
    let millis = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("sleep="))
        .and_then(|given| given.strip_suffix("ms"))
        .and_then(|given| given.parse().ok());
    if let Some(millis) = millis {
        sleep(Duration::from_millis(millis)).await;
    }
    let times = format!("{} {}", came.as_nanos(), epoch.elapsed().as_nanos());
    Ok(Response::new(Full::from(times)))
}

/// When a backend got a request and when it answered, by the answer's body; none where somebody else answered.
pub(crate) fn times(body: &str) -> Option<(Duration, Duration)> {
    let (came, left) = body.split_once(' ')?;
    Some((Duration::from_nanos(came.parse().ok()?), Duration::from_nanos(left.parse().ok()?)))
}
