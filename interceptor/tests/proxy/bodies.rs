//! Bodies of requests, and the limits that protect from them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

async fn at_most(bytes: u64) -> (Scene, Upstream) {
    let scene = Scene::with(move |config, _| config.max_request_body_bytes = bytes).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    (scene, upstream)
}

/// A workload that tells what it has read when the connection has ended.
async fn listener() -> (Upstream, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel(10);
    let upstream = Upstream::scripted(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            let mut read = read_head(&mut stream).await;
            let _reset_is_as_good = stream.read_to_string(&mut read).await;
            tell.send(read).await.unwrap();
        }
    });
    (upstream.await, told)
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_asked_for() {
    let (scene, upstream) = at_most(10).await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut client = scene.client().await;
        client.send(&format!("POST /echo HTTP/1.1\r\nhost: app.test\r\n{expect}content-length: 11\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("connection")), (413, Some("close")));
        assert!(client.is_closed().await);
    }
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 10\r\n\r\n0123456789").await;
    assert_eq!(client.response().await.text(), "0123456789");
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 1);
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_cut_and_never_looks_whole() {
    let scene = Scene::with(|config, _| config.max_request_body_bytes = 10).await;
    let (upstream, mut told) = listener().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n6\r\n012345\r\n").await;
    scene.until_queue(1, 1).await;
    client.send("6\r\n012345\r\n0\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    assert!(!told.recv().await.unwrap().ends_with("0\r\n\r\n"));
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let scene = Scene::with(|config, _| config.body_read_timeout = Duration::from_secs(1)).await;
    let (upstream, mut told) = listener().await;
    scene.ready(&[upstream.address]);
    for head in ["content-length: 10\r\n\r\n0123", "transfer-encoding: chunked\r\n\r\n4\r\n0123\r\n"] {
        let mut client = scene.client().await;
        let began = Instant::now();
        client.send(&format!("POST /echo HTTP/1.1\r\nhost: app.test\r\n{head}")).await;
        let response = client.response().await;
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!((response.status, response.header("connection")), (408, Some("close")));
        assert!(client.is_closed().await);
        assert!(!told.recv().await.unwrap().ends_with("0\r\n\r\n"));
    }
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn a_body_that_is_slow_but_comes_is_let_through() {
    let scene = Scene::with(|config, _| config.body_read_timeout = Duration::from_secs(2)).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 6\r\n\r\n").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.text(), "xxxxxx");
}

/// A request over HTTP/2 whose body does not go on, and how it is answered within a while.
async fn stopped_over_http2(scene: &Scene, kind: &str) -> Option<u16> {
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let (_to, body) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = StreamBody::new(futures::stream::unfold(body, async |mut body| Some((body.recv().await?, body))));
    let request =
        Request::post("http://app.test/never").header("content-type", kind).body(body.boxed_unsync()).unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(3), sender.send_request(request)).await;
    connection.abort();
    Some(answered.ok()?.unwrap().status().as_u16())
}

#[tokio::test]
async fn streams_of_messages_may_rest_and_other_bodies_over_http_2_may_not() {
    let scene = Scene::with(|config, _| config.body_read_timeout = Duration::from_secs(1)).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(stopped_over_http2(&scene, "text/plain").await, Some(408));
    assert_eq!(stopped_over_http2(&scene, "application/grpc+proto").await, None);
    scene.until_queue(0, 2).await;
}

/// A workload that answers with a body without end.
async fn endless() -> Upstream {
    Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 65_536], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_take_its_response_is_cut_off() {
    let scene = Scene::with(|config, _| config.client_write_timeout = Duration::from_secs(1)).await;
    scene.ready(&[endless().await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_queue(1, 1).await;
    scene.until_queue(0, 1).await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert!(client.take(100_000).await.is_some(), "who reads on is served on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(scene.queue().await, (1, 2));
}
