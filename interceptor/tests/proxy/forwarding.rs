//! What goes through, and how.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::client::Client;
use crate::scene::{Scene, scene};
use crate::upstream::Upstream;

#[tokio::test]
async fn a_request_reaches_its_workload_with_its_host_and_where_it_came_from() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client
        .send("GET /head?q=1 HTTP/1.1\r\nHost: APP.test:99\r\nConnection: x-mine\r\nX-Mine: 1\r\nX-Forwarded-For: 192.0.2.7\r\nX-Other: 2\r\n\r\n")
        .await;
    let response = client.response().await;
    let mut lines: Vec<_> = response.text().lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "GET /head?q=1 HTTP/1.1",
        "host: APP.test:99",
        "x-forwarded-for: 192.0.2.7, 127.0.0.1",
        "x-forwarded-host: APP.test:99",
        "x-forwarded-port: 99",
        "x-forwarded-proto: http",
        "x-other: 2",
    ];
    assert_eq!(lines, expected);
    assert_eq!(response.header("x-keda-http-cold-start"), Some("false"));
    assert_eq!(scene.queue().await, (0, 1));
}

#[tokio::test]
async fn what_a_client_claims_is_replaced_where_it_is_no_trusted_proxy() {
    let scene = Scene::with(|config, _| {
        config.trusted_proxies = "192.0.2.0/24".parse().unwrap();
        config.forwarded = true;
    })
    .await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client
        .send("GET /head HTTP/1.1\r\nhost: app.test\r\nx-forwarded-for: a\r\nx-forwarded-proto: https\r\nx-forwarded-host: b\r\nforwarded: for=a\r\n\r\n")
        .await;
    let response = client.response().await;
    let mut lines: Vec<_> = response.text().lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "GET /head HTTP/1.1",
        "forwarded: for=127.0.0.1;host=\"app.test\";proto=http",
        "host: app.test",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: app.test",
        "x-forwarded-port: 80",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn what_the_endpoint_says_for_its_own_connection_stays_there() {
    let (scene, _upstream) = scene().await;
    let response = scene.get("/hop").await;
    assert_eq!(response.text(), "hop");
    for name in ["connection", "x-mine", "keep-alive"] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_client_can_hide_neither_its_host_nor_where_its_body_ends() {
    let (scene, upstream) = scene().await;
    let mut client = scene.client().await;
    // What would be a request of its own to an endpoint that was told of no body.
    let body = "GET / HTTP/1.1\r\nhost: other.test\r\n\r\n";
    let hidden = format!("connection: content-length, host\r\ncontent-length: {}", body.len());
    for _ in 0..2 {
        client.send(&format!("POST /echo HTTP/1.1\r\nhost: app.test\r\n{hidden}\r\n\r\n{body}")).await;
        assert_eq!(client.response().await.text(), body);
    }
    assert_eq!(upstream.requests.load(std::sync::atomic::Ordering::SeqCst), 2);
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let (status, head) = client.head().await.unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(client.take(8).await.unwrap(), b"3\r\none\r\n");
    // The request has not ended, and still its first part has come back.
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    assert_eq!(client.take(13).await.unwrap(), b"3\r\ntwo\r\n0\r\n\r\n");
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_large_body_comes_back_as_it_was() {
    let (scene, _upstream) = scene().await;
    let body: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut client = scene.client().await;
    client.send(&format!("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    let (from, mut to) = client.stream.into_split();
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to
    });
    let mut from = from;
    let mut read = Vec::new();
    while read.len() < body.len() {
        assert!(tokio::io::AsyncReadExt::read_buf(&mut from, &mut read).await.unwrap() > 0);
    }
    let to = sending.await.unwrap();
    let mut client = Client::connect(scene.proxy).await;
    client.stream = from.reunite(to).unwrap();
    let head_end = read.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut rest = client.take(body.len() + head_end - read.len()).await.unwrap_or_default();
    read.append(&mut rest);
    assert!(read[head_end..] == body);
}

#[tokio::test]
async fn a_client_that_reads_only_after_sending_everything_is_served() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    let length = 16 << 20;
    client.send(&format!("POST /early HTTP/1.1\r\nhost: app.test\r\ncontent-length: {length}\r\n\r\n")).await;
    let body = vec![b'x'; length];
    tokio::time::timeout(Duration::from_secs(10), client.stream.write_all(&body)).await.unwrap().unwrap();
    assert_eq!(client.response().await.text(), format!("early;{length}"));
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn responses_without_a_body_stay_so() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("HEAD / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (status, head) = client.head().await.unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("content-length: 5"), "{head}");
    for (path, expected) in [("/204", 204), ("/304", 304)] {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        assert_eq!(client.response().await.status, expected);
    }
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "hello");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().0, 100);
    client.send("body").await;
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_and_its_connection_closed() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.0\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "body"));
    assert_eq!(response.header("transfer-encoding"), None);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn trailers_pass() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("GET /trailers HTTP/1.1\r\nhost: app.test\r\nte: trailers\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.trailers.as_str()), ("data", "x-sum: 42"));
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n");
    client.send(&[one("/slow"), one("/"), one("/hop")].concat()).await;
    for expected in ["slow", "hello", "hop"] {
        assert_eq!(client.response().await.text(), expected);
    }
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn an_upgraded_connection_is_joined_and_in_flight_until_it_ends() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
    let (status, head) = client.head().await.unwrap();
    assert_eq!(status, 101);
    assert!(head.contains("connection: upgrade") && head.contains("upgrade: test"), "{head}");
    for text in ["ping", "pong"] {
        client.send(text).await;
        assert_eq!(client.take(4).await.unwrap(), text.as_bytes());
    }
    assert_eq!(scene.queue().await, (1, 1));
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn what_is_for_nobody_is_refused_by_name() {
    let (scene, _upstream) = scene().await;
    for (request, status, says) in [
        ("GET / HTTP/1.1\r\nhost: other.test\r\n\r\n", 404, "other.test"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        ("GET / HTTP/1.1\r\nhost: app.test\r\nhost: b\r\n\r\n", 400, "Host"),
        ("CONNECT app.test:443 HTTP/1.1\r\nhost: app.test\r\n\r\n", 405, "CONNECT"),
    ] {
        let mut client = scene.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{request}");
        assert!(response.text().contains(says), "{}", response.text());
    }
    assert_eq!(scene.queue().await, (0, 0));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let scene = Scene::with(|config, _| config.max_header_bytes = 8192).await;
    let mut client = scene.client().await;
    client.send(&format!("GET / HTTP/1.1\r\nhost: app.test\r\nx: {}\r\n\r\n", "x".repeat(9000))).await;
    assert_eq!(client.head().await.unwrap().0, 431);
}

#[tokio::test]
async fn requests_go_to_all_endpoints() {
    let (scene, first) = scene().await;
    let second = Upstream::start().await;
    scene.ready(&[first.address, second.address]);
    let mut client = scene.client().await;
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        client.response().await;
    }
    for upstream in [first, second] {
        let seen = upstream.requests.load(std::sync::atomic::Ordering::SeqCst);
        assert!((20..=80).contains(&seen), "{seen}");
    }
}
