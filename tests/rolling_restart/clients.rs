//! Clients that a restart must not harm.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, driver::http, replicas::Service};

/// What a client rests between two requests: less than the shutdown delay by far, so that it is told to go in that time.
const REST: Duration = Duration::from_millis(15);
/// Longer than the shutdown delay, so that the drain has to wait for it.
const LONG: &str = "/?sleep=4000ms";

/// Clients that send each request once, whatever happens to it.
pub(crate) struct KeepAlive {
    sent: Arc<AtomicU64>,
    stop: CancellationToken,
    clients: JoinSet<Result<()>>,
}

impl KeepAlive {
    pub(crate) fn start(count: usize, service: &Service) -> Self {
        let (sent, stop, mut clients) = (Arc::default(), CancellationToken::new(), JoinSet::new());
        for number in 0..count {
            clients.spawn(one_after_another(number, service.clone(), Arc::clone(&sent), stop.clone()));
        }
        Self { sent, stop, clients }
    }

    /// Requests answered so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Ends them. All requests, if each has been answered with 200.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.stop.cancel();
        for client in self.clients.join_all().await {
            client?;
        }
        Ok(self.sent.load(SeqCst))
    }
}

async fn one_after_another(
    number: usize,
    service: Service,
    sent: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Result<()> {
    let mut kept: Option<http::Connection> = None;
    while !stop.is_cancelled() {
        let mut connection = match kept.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => service.connect(number).await?,
        };
        let asked = connection.get("app.example.com", "/?sleep=5ms").await;
        let reply = asked.with_context(|| format!("client {number} lost a request"))?;
        ensure!(reply.status == 200, "client {number}: {} {}", reply.status, reply.body);
        sent.fetch_add(1, SeqCst);
        if reply.headers.get("connection").is_none_or(|it| it != "close") {
            kept = Some(connection);
        }
        sleep(REST).await;
    }
    Ok(())
}

/// What is under way on one interceptor: a long request of each version of HTTP, and a WebSocket.
pub(crate) struct LongLived {
    http1: JoinHandle<Result<http::Reply>>,
    http2: JoinHandle<Result<Bytes>>,
    /// Ends well if it is told to go and closed when nothing is on it.
    http2_connection: JoinHandle<hyper::Result<()>>,
    socket: WebSocketStream<TcpStream>,
}

impl LongLived {
    pub(crate) async fn begin(proxy: &str) -> Result<Self> {
        let address = proxy.to_owned();
        let http1 = tokio::spawn(async move { http::get(&address, "slow.example.com", LONG).await });
        let io = TokioIo::new(TcpStream::connect(proxy).await?);
        let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await?;
        let http2_connection = tokio::spawn(connection);
        let request = Request::get(format!("http://slow.example.com{LONG}")).body(Empty::new())?;
        let http2 = tokio::spawn(async move {
            let response = sender.send_request(request).await?;
            ensure!(response.status() == 200, "{}", response.status());
            let body = response.collect().await?.to_bytes();
            // Held until the other side closes.
            let _closed = timeout(PATIENCE, async {
                while sender.ready().await.is_ok() {
                    sleep(REST).await
                }
            })
            .await;
            Ok(body)
        });
        let (mut socket, _) = client_async("ws://socket.example.com/", TcpStream::connect(proxy).await?).await?;
        socket.send(Message::text("before")).await?;
        ensure!(socket.next().await.context("no echo")?? == Message::text("before"));
        Ok(Self { http1, http2, http2_connection, socket })
    }

    /// All of it comes to its end as it should.
    pub(crate) async fn end_well(mut self) -> Result<()> {
        let told = timeout(PATIENCE, self.socket.next()).await.context("the WebSocket is told nothing")?;
        match told.context("the WebSocket was cut off")?? {
            Message::Close(Some(close)) => ensure!(close.code == CloseCode::Away, "{close:?}"),
            other => anyhow::bail!("the WebSocket is told {other:?}"),
        }
        // The library answers by itself as it is read on.
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.socket.next()).await {}
        let reply = self.http1.await?.context("the long request over HTTP/1.1")?;
        ensure!(reply.status == 200, "{}", reply.status);
        ensure!(!self.http2.await?.context("the long request over HTTP/2")?.is_empty());
        timeout(PATIENCE, self.http2_connection).await??.context("the connection of HTTP/2 did not end well")
    }
}

/// A workload that says what it is told, until it is told to close.
pub(crate) async fn web_socket_server(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut socket) = accept_async(stream).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}
