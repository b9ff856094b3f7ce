//! What endpoints send: what may pass, what must not, and what becomes of their connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";

/// An endpoint that answers every request with these bytes, and leaves its connections open.
async fn answering(bytes: &'static [u8]) -> Upstream {
    Upstream::scripted(move |mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn scene(bytes: &'static [u8]) -> (Scene, Upstream) {
    let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
    let upstream = answering(bytes).await;
    scene.ready(&[upstream.address]);
    (scene, upstream)
}

#[tokio::test]
async fn a_response_whose_end_is_in_doubt_is_refused_and_its_connection_closed() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (scene, upstream) = scene(bytes).await;
        let mut client = scene.client().await;
        for requests in 1..=2 {
            client.send(GET).await;
            let response = client.response().await;
            assert_eq!(response.status, 502, "{}", String::from_utf8_lossy(bytes));
            assert_eq!(upstream.connections.load(Ordering::SeqCst), requests);
        }
        scene.until_queue(0, 2).await;
    }
}

#[tokio::test]
async fn chunks_that_go_wrong_break_the_response_where_the_client_sees_it() {
    let (scene, upstream) =
        scene(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nnonsense\r\n").await;
    for requests in 1..=2 {
        let mut client = scene.client().await;
        client.send(GET).await;
        assert!(client.try_response().await.is_none());
        assert_eq!(upstream.connections.load(Ordering::SeqCst), requests);
    }
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn bytes_after_a_response_are_nobodys_response() {
    let (scene, upstream) =
        scene(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
            .await;
    let mut client = scene.client().await;
    for requests in 1..=3 {
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(upstream.connections.load(Ordering::SeqCst), requests);
    }
}

#[tokio::test]
async fn interim_responses_are_waited_through() {
    let (scene, upstream) = scene(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let mut client = scene.client().await;
    for _ in 0..2 {
        client.send(GET).await;
        let response = client.response().await;
        assert_eq!((response.status, response.text(), response.header("link")), (201, "ok", None));
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil ").await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(b"the end").await.unwrap();
    })
    .await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "until the end");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_endpoint_that_refuses_a_body_early_is_heard() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!";
        stream.write_all(refusal).await.unwrap();
        stream.shutdown().await.unwrap();
        // Reads a little, and resets the connection while the client is still sending.
        let mut some = [0; 1000];
        let _some = stream.read(&mut some).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    })
    .await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 100000000\r\n\r\n").await;
    client.send(&"x".repeat(100_000)).await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "no!"));
    client.leave();
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_request_goes_out_exactly_as_long_as_it_says() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let mut body = vec![0; 11];
            stream.read_exact(&mut body).await.unwrap();
            let text = format!("{head}{}", String::from_utf8(body).unwrap());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("POST /a?b HTTP/1.1\r\nhost: app.test\r\ncontent-length: 11\r\n\r\nhello ").await;
    client.send("world").await;
    let response = client.response().await;
    assert!(response.text().starts_with("POST /a?b HTTP/1.1\r\nhost: app.test\r\n"), "{}", response.text());
    assert!(response.text().ends_with("\r\ncontent-length: 11\r\n\r\nhello world"), "{}", response.text());
    client
        .send("POST /a HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\no\r\n0\r\n\r\n")
        .await;
    let response = client.response().await;
    assert!(
        response.text().ends_with("\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n0\r\n\r\n"),
        "{}",
        response.text()
    );
}

#[tokio::test]
async fn half_a_response_looks_whole_to_no_client_that_knows_its_end_by_the_connections() {
    let (scene, ends) = (Scene::start().await, Arc::new(Notify::new()));
    let told = ends.clone();
    let upstream = Upstream::scripted(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            let half = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            stream.write_all(half).await.unwrap();
            told.notified().await;
        }
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.0\r\nhost: app.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.take(4).await.unwrap(), b"half");
    ends.notify_one();
    let error = client.stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_whole_response_of_unknown_length_ends_well_for_a_client_of_http_1_0() {
    for whole in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole",
    ] {
        let scene = Scene::start().await;
        let upstream = Upstream::scripted(move |mut stream, _| async move {
            read_head(&mut stream).await;
            stream.write_all(whole.as_bytes()).await.unwrap();
        });
        scene.ready(&[upstream.await.address]);
        let mut client = scene.client().await;
        client.send("GET / HTTP/1.0\r\nhost: app.test\r\n\r\n").await;
        client.head().await.unwrap();
        assert_eq!(client.take(5).await.unwrap(), b"whole");
        assert_eq!(client.stream.read(&mut [0; 1]).await.unwrap(), 0, "it is closed, and not reset: {whole:?}");
    }
}
