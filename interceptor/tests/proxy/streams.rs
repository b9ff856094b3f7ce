//! What is read as it comes: server-sent events and WebSockets.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_wire::resources::BackendProtocol;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::certs::{Authority, connect};
use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

struct Streamed {
    scene: Scene,
    authority: Authority,
    _folder: TempDir,
}

impl Streamed {
    async fn start(backend: BackendProtocol) -> Self {
        let (scene, authority, folder) = Scene::secured(backend).await;
        Self { scene, authority, _folder: folder }
    }

    async fn tls(&self, alpn: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        connect(self.scene.proxy_tls(), "app.test", self.authority.client(None, &[alpn])).await.unwrap()
    }
}

/// A workload that sends the events that the test gives it, each by itself.
async fn events() -> (mpsc::Sender<&'static str>, Upstream) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let upstream = Upstream::scripted(move |mut stream, _| {
        let receiver = receiver.clone();
        async move {
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let mut receiver = receiver.lock().await;
            while let Some(event) = receiver.recv().await {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
                if event == "data: last\n\n" {
                    break;
                }
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    });
    (sender, upstream.await)
}

async fn each_event_comes_alone(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    events: &mpsc::Sender<&'static str>,
) {
    let (io, request) = (TokioIo::new(stream), Request::get("http://app.test/").header("host", "app.test"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let mut response = if http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    // The head has come before there is an event.
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for event in ["data: 1\n\n", "data: 2\n\n", "data: last\n\n"] {
        events.send(event).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    assert!(response.collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn events_come_one_by_one() {
    let streamed = Streamed::start(BackendProtocol::Http1).await;
    let (sender, upstream) = events().await;
    streamed.scene.ready(&[upstream.address]);
    for http2 in [false, true] {
        each_event_comes_alone(TcpStream::connect(streamed.scene.proxy).await.unwrap(), http2, &sender).await;
        let alpn = if http2 { "h2" } else { "http/1.1" };
        each_event_comes_alone(streamed.tls(alpn).await, http2, &sender).await;
    }
    streamed.scene.until_queue(0, 4).await;
}

/// A workload that sends each message back.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut socket, response) = tokio_tungstenite::client_async("ws://app.test/", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for message in [Message::text("a"), Message::binary(vec![7; 300_000]), Message::text("b")] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
}

#[tokio::test]
async fn websockets_talk_in_clear_text_and_over_tls() {
    for backend in [BackendProtocol::Http1, BackendProtocol::Https] {
        println!("the workload is {backend:?}");
        let streamed = Streamed::start(backend).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        streamed.scene.ready(&[listener.local_addr().unwrap()]);
        // One that would speak HTTP/2 to any other request.
        let tls = streamed.authority.issue(&["127.0.0.1"]).server(None, &["h2", "http/1.1"]);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match backend {
                    BackendProtocol::Https => echo(tls.accept(stream).await.unwrap()).await,
                    _ => echo(stream).await,
                }
            }
        });
        talk(TcpStream::connect(streamed.scene.proxy).await.unwrap()).await;
        talk(streamed.tls("http/1.1").await).await;
        streamed.scene.until_queue(0, 2).await;
        server.abort();
    }
}
