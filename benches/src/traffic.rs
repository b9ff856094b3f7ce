//! A backend and a client, both small.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// A server that answers at once, or after the milliseconds in `/?ms=`. It ends with the process.
pub async fn backend() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let wait =
                    request.uri().query().and_then(|query| query.strip_prefix("ms=")).and_then(|ms| ms.parse().ok());
                tokio::time::sleep(Duration::from_millis(wait.unwrap_or(0))).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// One GET on a connection of its own; the body of a 200.
pub async fn get(address: &str, host: &str, path: &str) -> Result<Bytes> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("nothing listens on {address}"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    ensure!(status.is_success(), "{host}{path} answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}

/// A route document for `default/{name}` at host `{name}.localhost`.
pub fn route(name: &str, backend: SocketAddr) -> String {
    route_to(name, backend, "http1")
}

/// The same, to a backend that speaks this: a value of the annotation `plimsoll.io/backend-protocol`.
pub fn route_to(name: &str, backend: SocketAddr, protocol: &str) -> String {
    format!(
        "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\n\
         metadata: {{name: {name}, namespace: default, annotations: {{plimsoll.io/backend-protocol: {protocol}}}}}\nspec:\n  \
         target: {{service: {}, port: {}}}\n  rules: [{{hosts: [{name}.localhost]}}]\n  scalingMetric: {{concurrency: {{targetValue: 10}}}}\n---\n",
        backend.ip(),
        backend.port()
    )
}
