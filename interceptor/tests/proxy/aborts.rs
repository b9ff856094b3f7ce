//! Clients that leave in the middle of their upload: the endpoint learns of it, and their place is free.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use plimsoll_wire::resources::BackendProtocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::scene::{SOON, Scene, until};
use crate::upstream::{Upstream, read_head};

/// How an endpoint sees an upload end.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    /// The connection was closed after so many bytes of the body.
    Closed(Vec<u8>),
    /// Its stream was reset.
    Reset(Reason),
    /// It looks whole.
    End,
}

/// An endpoint of HTTP/1.1 that reads and never answers.
async fn over_http1(tell: mpsc::Sender<Saw>) -> Upstream {
    Upstream::scripted(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            let mut body = Vec::new();
            let _reset_is_as_good = stream.read_to_end(&mut body).await;
            tell.send(Saw::Closed(body)).await.unwrap();
        }
    })
    .await
}

/// The same over HTTP/2.
async fn over_http2(tell: mpsc::Sender<Saw>) -> Upstream {
    Upstream::scripted(move |stream, _| {
        let tell = tell.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let saw = loop {
                        match body.data().await {
                            Some(Ok(data)) => body.flow_control().release_capacity(data.len()).unwrap(),
                            Some(Err(error)) => break Saw::Reset(error.reason().expect("a reset says why")),
                            None => break Saw::End,
                        }
                    };
                    tell.send(saw).await.unwrap();
                    drop(respond);
                });
            }
        }
    })
    .await
}

/// A workload with one place, at an endpoint that speaks this.
async fn with_one_place(protocol: BackendProtocol) -> (Scene, Upstream, mpsc::Receiver<Saw>) {
    let scene = Scene::with(|_, workload| {
        workload.backend_protocol = Some(protocol);
        workload.concurrency_limit = NonZeroU32::new(1);
    });
    let (tell, told) = mpsc::channel(10);
    let (scene, upstream) = match protocol {
        BackendProtocol::H2c => (scene.await, over_http2(tell).await),
        _ => (scene.await, over_http1(tell).await),
    };
    scene.ready(&[upstream.address]);
    (scene, upstream, told)
}

async fn told(told: &mut mpsc::Receiver<Saw>) -> Saw {
    tokio::time::timeout(SOON, told.recv()).await.expect("the endpoint learns of it").unwrap()
}

/// What became of one request does not hold up the next, and nothing stays in flight.
async fn place_is_free(scene: &Scene, admitted: u64) {
    scene.until_queue(0, admitted).await;
    assert_eq!(scene.metric("interceptor_waiting_requests").await.unwrap_or(0), 0);
    let mut next = scene.client().await;
    next.send("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 100\r\n\r\nnext").await;
    scene.until_queue(1, admitted + 1).await;
    assert_eq!(scene.metric("interceptor_waiting_requests").await.unwrap_or(0), 0, "it has the place");
}

async fn begin(scene: &Scene, framing: &str) -> Client {
    let mut client = scene.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\n{framing}")).await;
    scene.until_queue(1, 1).await;
    client
}

#[tokio::test]
async fn a_client_that_leaves_in_its_upload_frees_its_place_and_the_endpoint_sees_no_whole_body() {
    for (framing, seen) in [
        ("content-length: 100\r\n\r\nhalf", &b"half"[..]),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"4\r\nhalf\r\n"),
    ] {
        let (scene, upstream, mut endpoint) = with_one_place(BackendProtocol::Http1).await;
        let client = begin(&scene, framing).await;
        until(async || upstream.connections.load(SeqCst) == 1, "it is on its way").await;
        client.leave();
        let Saw::Closed(body) = told(&mut endpoint).await else { panic!("it is HTTP/1") };
        // It may leave before all that it has sent has gone on.
        assert!(seen.starts_with(&body), "{body:?}");
        place_is_free(&scene, 1).await;
    }
}

#[tokio::test]
async fn to_an_endpoint_of_http_2_its_stream_is_reset() {
    let (scene, _upstream, mut endpoint) = with_one_place(BackendProtocol::H2c).await;
    begin(&scene, "content-length: 100\r\n\r\nhalf").await.leave();
    assert_eq!(told(&mut endpoint).await, Saw::Reset(Reason::CANCEL));
    place_is_free(&scene, 1).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_in_its_upload_frees_its_place_and_the_connection_goes_on() {
    for protocol in [BackendProtocol::Http1, BackendProtocol::H2c] {
        let (scene, upstream, mut endpoint) = with_one_place(protocol).await;
        let stream = TcpStream::connect(scene.proxy).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = Request::post("http://app.test/").header("content-length", 100).body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        scene.until_queue(1, 1).await;
        until(async || upstream.connections.load(SeqCst) == 1, "it is on its way").await;
        body.send_reset(Reason::CANCEL);
        drop(response);
        match told(&mut endpoint).await {
            Saw::Closed(body) => assert!(b"half".starts_with(&body[..]), "{body:?}"),
            saw => assert_eq!(saw, Saw::Reset(Reason::CANCEL)),
        }
        place_is_free(&scene, 1).await;
        assert!(!connection.is_finished(), "its connection is as it was");
    }
}

/// An endpoint whose connections answer one request each and are closed then, by a reset or not; it has seen these bodies.
async fn closing(reset: bool) -> (Upstream, Arc<AtomicUsize>, mpsc::UnboundedReceiver<String>) {
    let (closed, (tell, seen)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
    let counted = closed.clone();
    let upstream = Upstream::scripted(move |mut stream, _| {
        let (tell, counted) = (tell.clone(), counted.clone());
        async move {
            read_head(&mut stream).await;
            let mut body = [0; 4];
            if stream.read_exact(&mut body).await.is_ok() {
                tell.send(String::from_utf8(body.to_vec()).unwrap()).unwrap();
            }
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            // Not before the answer has been taken: a reset would overtake it.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if reset {
                stream.set_zero_linger().unwrap();
            }
            drop(stream);
            counted.fetch_add(1, SeqCst);
        }
    });
    (upstream.await, closed, seen)
}

#[tokio::test]
async fn a_post_meant_for_a_connection_that_was_closed_while_idle_reaches_the_workload_once() {
    for reset in [false, true] {
        let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
        let (upstream, closed, mut seen) = closing(reset).await;
        scene.ready(&[upstream.address]);
        for number in 0..10_usize {
            let body = format!("{number:04}");
            let mut client = scene.client().await;
            client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\n{body}")).await;
            assert_eq!(client.response().await.text(), "ok", "request {number}, reset: {reset}");
            assert_eq!(seen.recv().await.unwrap(), body);
            until(async || closed.load(SeqCst) == number + 1, "the idle connection is closed").await;
        }
        assert!(seen.try_recv().is_err(), "none came twice");
        assert_eq!(upstream.connections.load(SeqCst), 10);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_endpoint_takes_nothing_is_noticed() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 1000000000\r\n\r\n").await;
    // Until all buffers on the way are full.
    let megabyte = vec![b'x'; 1 << 20];
    let second = Duration::from_secs(1);
    while tokio::time::timeout(second, client.stream.write_all(&megabyte)).await.is_ok_and(|sent| sent.is_ok()) {}
    scene.until_queue(1, 1).await;
    // What it has sent already would be waited for otherwise.
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    client.leave();
    scene.until_queue(0, 1).await;
}
