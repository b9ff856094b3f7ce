//! A plain HTTP/1.1 client.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpStream, time::timeout};

/// No answer of the product may take longer than this, held requests included.
const LIMIT: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// One connection, for one request after another.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("{address} can't be reached"))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        // Ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// GETs `path` of `host`.
    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Result<Reply> {
        let request = Request::get(path).header(header::HOST, host).body(Full::default())?;
        self.send(request).await
    }

    /// Whether the other side has closed it, as far as is known.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, anyhow::Error>(Reply {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        timeout(LIMIT, answer)
            .await
            .with_context(|| format!("{what}: no answer within {LIMIT:?}"))?
            .with_context(|| what)
    }
}

/// GETs `path` of `host` on a connection of its own.
pub(crate) async fn get(address: &str, host: &str, path: &str) -> Result<Reply> {
    Connection::open(address).await?.get(host, path).await
}

/// GETs `path`; any status but 200 is an error with the whole answer.
pub(crate) async fn get_ok(address: &str, path: &str) -> Result<Reply> {
    let reply = get(address, address, path).await?;
    ensure!(reply.status == StatusCode::OK, "GET http://{address}{path}: {} {}", reply.status, reply.body);
    Ok(reply)
}

/// Sends JSON.
pub(crate) async fn send_json(method: Method, address: &str, path: &str, body: &serde_json::Value) -> Result<Reply> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))?;
    Connection::open(address).await?.send(request).await
}

/// Connections to one address, as many as there are requests at once.
pub(crate) struct Pool {
    address: String,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Connects on demand.
    pub(crate) fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), idle: Mutex::default() }
    }

    /// Where it connects to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// GETs `path` of `host`.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Result<Reply> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            _ => Connection::open(&self.address).await?,
        };
        let reply = connection.get(host, path).await?;
        // One that is about to close is not asked again, whether its end has been seen or not.
        if reply.headers.get(header::CONNECTION).is_none_or(|value| value != "close") {
            self.idle.lock().push(connection);
        }
        Ok(reply)
    }
}
