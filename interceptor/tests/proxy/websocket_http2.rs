//! WebSockets on streams of HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::scene::{SOON, Scene, until};
use crate::upstream::{Upstream, read_head};

type Sender = SendRequest<Empty<Bytes>>;
type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A connection that knows the interceptor's settings.
async fn connection(scene: &Scene) -> Sender {
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    // Ends with the sender.
    tokio::spawn(connection);
    // They come before the first response.
    let first = Request::get("http://nobody.test/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(first).await.unwrap().status(), 404);
    sender
}

async fn connect(sender: &mut Sender, url: &str, protocol: Option<&'static str>) -> Response<Incoming> {
    let mut request = Request::builder().method(Method::CONNECT).uri(url);
    if let Some(protocol) = protocol {
        request = request.extension(Protocol::from_static(protocol)).header("sec-websocket-version", "13");
    }
    sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}

async fn open(sender: &mut Sender) -> Socket {
    let response = connect(sender, "http://app.test/chat", Some("websocket")).await;
    assert_eq!(response.status(), 200);
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name} is of HTTP/1.1");
    }
    let stream = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None).await
}

/// A workload that sends each message back, over HTTP/1.1.
async fn echo() -> Upstream {
    Upstream::scripted(|stream, _| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn said(socket: &mut Socket) -> Message {
    tokio::time::timeout(SOON, socket.next()).await.expect("it is told something").unwrap().unwrap()
}

#[tokio::test]
async fn several_sockets_talk_on_one_connection() {
    let scene = Scene::start().await;
    scene.ready(&[echo().await.address]);
    let mut sender = connection(&scene).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(open(&mut sender).await);
    }
    scene.until_queue(3, 3).await;
    for message in [Message::text("a"), Message::binary(vec![7; 300_000]), Message::text("b")] {
        for socket in &mut sockets {
            socket.send(message.clone()).await.unwrap();
            assert!(said(socket).await == message);
        }
    }
    for mut socket in sockets {
        socket.close(None).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    }
    scene.until_queue(0, 3).await;
    let first = Request::get("http://nobody.test/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(first).await.unwrap().status(), 404, "the connection goes on");
}

#[tokio::test]
async fn a_connection_with_an_open_socket_is_not_idle() {
    let scene = Scene::with(|config, _| config.client_idle_timeout = Duration::from_secs(1)).await;
    scene.ready(&[echo().await.address]);
    let mut sender = connection(&scene).await;
    let mut socket = open(&mut sender).await;
    // Nothing is asked for meanwhile; an idle one is closed when the clock has gone by its second.
    let mut idle = scene.client().await;
    assert!(idle.is_closed().await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    socket.send(Message::text("a")).await.unwrap();
    assert!(said(&mut socket).await == Message::text("a"));
    open(&mut sender).await.close(None).await.unwrap();
    drop(socket);
    scene.until_queue(0, 2).await;
    until(async || sender.ready().await.is_err(), "now it is").await;
}

#[tokio::test]
async fn a_socket_that_is_dropped_ends_at_the_workload_too() {
    let scene = Scene::start().await;
    scene.ready(&[echo().await.address]);
    let mut sender = connection(&scene).await;
    let socket = open(&mut sender).await;
    scene.until_queue(1, 1).await;
    drop(socket);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn sockets_are_told_when_it_stops() {
    let scene = Scene::with(|config, _| config.drain_timeout = Duration::from_secs(60)).await;
    scene.ready(&[echo().await.address]);
    let mut sender = connection(&scene).await;
    let mut socket = open(&mut sender).await;
    socket.send(Message::text("a")).await.unwrap();
    assert!(said(&mut socket).await == Message::text("a"));
    let stopping = tokio::spawn(scene.stop());
    match said(&mut socket).await {
        Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    drop((socket, sender));
    stopping.await.unwrap().unwrap();
}

/// A workload that answers without opening a socket.
async fn answering(answer: &'static str) -> Upstream {
    Upstream::scripted(move |mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_workload_that_opens_none_is_not_taken_for_one_that_does() {
    let scene = Scene::start().await;
    let mut sender = connection(&scene).await;
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", StatusCode::FORBIDDEN),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", StatusCode::FOUND),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", StatusCode::BAD_GATEWAY),
    ] {
        scene.ready(&[answering(answer).await.address]);
        assert_eq!(connect(&mut sender, "http://app.test/", Some("websocket")).await.status(), status);
    }
    until(async || scene.queue().await.0 == 0, "all have departed").await;
}

#[tokio::test]
async fn nothing_else_is_opened_on_a_stream() {
    let scene = Scene::start().await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut sender = connection(&scene).await;
    assert_eq!(connect(&mut sender, "http://app.test/", Some("connect-udp")).await.status(), 501);
    assert_eq!(connect(&mut sender, "app.test:443", None).await.status(), 405);
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
    let first = Request::get("http://app.test/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(first).await.unwrap().status(), 200, "the connection goes on");
}
