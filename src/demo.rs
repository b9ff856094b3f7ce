//! The demo workload: `default/hello` at host `hello.localhost`, as tasks of `plimsoll dev` and as a program of its own.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use plimsoll_wire::resources::{Workload, files};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// `plimsoll demo`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// Where it answers.
    #[arg(long, env = "PLIMSOLL_DEMO_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:8000")]
    pub demo_listen: SocketAddr,
}

/// Answers until shutdown; requests that have begun are finished.
///
/// # Errors
/// It can't listen.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let replica = Replica::start(host.trim().to_owned(), config.demo_listen).await?;
    tracing::info!("the demo answers at {}", replica.address);
    shutdown.cancelled().await;
    replica.stop().await;
    Ok(())
}

/// A port of this machine that is free.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The demo's host.
pub const HOST: &str = "hello.localhost";

/// The demo's resource, as a user would write it.
pub const MANIFEST: &str = "\
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata:
  name: hello
  namespace: default
  annotations:
    plimsoll.io/concurrency-window: 5s
spec:
  target:
    service: hello
    port: 80
  rules:
    - hosts: [hello.localhost]
  scalingMetric:
    concurrency:
      targetValue: 5
";

/// The longest answer that one may ask for.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// The demo as a workload.
pub fn workload() -> Result<Workload> {
    let loaded = files::parse(MANIFEST, "the demo's manifest");
    let problem = loaded.problems.first().map(|problem| problem.what.clone());
    loaded
        .workloads
        .into_iter()
        .next()
        .ok_or_else(|| anyhow!("the demo's manifest is bad: {}", problem.unwrap_or_default()))
}

/// One replica of the demo: a small HTTP server.
pub struct Replica {
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Replica {
    /// Starts serving; `name` is what it answers with.
    pub async fn start(name: String, listen: SocketAddr) -> Result<Self> {
        let bound = TcpListener::bind(listen).await;
        let listener = bound.with_context(|| format!("the demo can't listen on {listen}"))?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (stopped, connections) = (stop.clone(), tasks.clone());
        tasks.spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stopped.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        // Out of descriptors, say: the listener itself is well.
                        Err(_) => { tokio::time::sleep(Duration::from_millis(10)).await; continue }
                    },
                };
                let (name, stopped) = (name.clone(), stopped.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(name.clone(), request));
                    let connection =
                        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => return,
                        () = stopped.cancelled() => connection.as_mut().graceful_shutdown(),
                    }
                    let _ = connection.await;
                });
            }
        });
        Ok(Self { address, stop, tasks })
    }

    /// Finishes the requests it has, and is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// `/?sleep=200ms` answers after that time.
async fn answer(name: String, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let sleep = query.split('&').find_map(|pair| pair.strip_prefix("sleep="));
    let (status, text) = match sleep.map(plimsoll_wire::go_duration::parse) {
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("sleep: {error}\n")),
        Some(Ok(time)) => {
            tokio::time::sleep(time.min(SLEEP_MAX)).await;
            (StatusCode::OK, format!("Hello from {name}, after {time:?}.\n"))
        }
        None => (StatusCode::OK, format!("Hello from {name}.\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
