//! What is not let in: answered, the connection closed, and nothing of it forwarded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_interceptor::ErrorFormat;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::scene::{Scene, scene, until};
use crate::upstream::{Upstream, read_head};

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
const CHUNKED: &str = "POST /echo HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n";

/// Sends these bytes, and says how they are answered once the connection has ended.
async fn refused(scene: &Scene, bytes: &[u8]) -> u16 {
    let mut client = scene.client().await;
    client.send_bytes(bytes).await;
    let response = client.response().await;
    assert_eq!(response.header("connection"), Some("close"), "{}", String::from_utf8_lossy(bytes));
    assert!(!response.body.is_empty());
    assert!(client.is_closed().await, "{}", String::from_utf8_lossy(bytes));
    response.status
}

/// Each of these is read differently by some two parsers. What is after it looks like a request of its own, so that a
/// proxy that goes on reading would be seen to do so.
#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused_and_not_forwarded() {
    let (scene, upstream) = scene().await;
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: 4\r\ncontent-length: 4\r\n",
        "content-length: 4, 4\r\n",
        "content-length: +4\r\n",
        "content-length: -4\r\n",
        "content-length: 0x4\r\n",
        "content-length: 4 4\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\t: chunked\r\n",
        "transfer-encoding\x0b: chunked\r\n",
        " transfer-encoding: chunked\r\n",
        "x: y\r\n transfer-encoding: chunked\r\n",
        "x: y\r\n\tz\r\n",
        "x: y\ntransfer-encoding: chunked\r\n",
        "x: y\rtransfer-encoding: chunked\r\n",
        "x: y\0z\r\n",
        "x y: z\r\n",
        "x\r\n",
        "host: app.test\r\n",
        "host: other.test\r\n",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nhost: app.test\r\n{fields}\r\n0\r\n\r\n{GET}");
        assert_eq!(refused(&scene, request.as_bytes()).await, 400, "{fields:?}");
    }
    for head in [
        "GET  / HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET / HTTP/1.1\nhost: app.test\n\n",
        "GET / HTTP/1.1\r\nhost: app.test\n\n",
        "GET /\0 HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET /#x HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test/x\r\n\r\n",
        "GET http://app.test/ HTTP/1.1\r\n\r\n",
        "GET http://app.test/ HTTP/1.1\r\nhost: app.test\r\nhost: b\r\n\r\n",
        "GET http://user@app.test/ HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "POST /echo HTTP/1.0\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "PRI * HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "|REFUSED| / HTTP/1.1\r\nhost: app.test\r\n x: y\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ] {
        assert_eq!(refused(&scene, format!("{head}{GET}").as_bytes()).await, 400, "{head:?}");
    }
    assert_eq!(refused(&scene, b"GET / HTTP/2.0\r\nhost: app.test\r\n\r\n").await, 505);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 0);
    assert_eq!(scene.queue().await, (0, 0));
    assert!(scene.metric("interceptor_refused_requests_total").await.unwrap() >= 45);
}

#[tokio::test]
async fn a_body_with_bad_chunks_is_refused_and_not_forwarded() {
    let (scene, upstream) = scene().await;
    for body in [
        "5\nhello\r\n0\r\n\r\n".to_owned(),
        "5\r\nhello\n0\r\n\r\n".to_owned(),
        "5\r\nhello0\r\n\r\n".to_owned(),
        "-5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5 \r\nhello\r\n0\r\n\r\n".to_owned(),
        "5;a\nb\r\nhello\r\n0\r\n\r\n".to_owned(),
        "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        "g\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0\r\n\n".to_owned(),
        "0\r\nx: y\n\r\n".to_owned(),
        "0\r\n x: y\r\n\r\n".to_owned(),
    ] {
        assert_eq!(refused(&scene, format!("{CHUNKED}{body}{GET}").as_bytes()).await, 400, "{body:?}");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 0);
    for body in
        [format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(20_000)), format!("0\r\nx: {}\r\n\r\n", "x".repeat(9_000))]
    {
        assert_eq!(refused(&scene, format!("{CHUNKED}{body}").as_bytes()).await, 400);
    }
}

#[tokio::test]
async fn a_body_that_goes_wrong_on_the_way_never_looks_whole_to_the_workload() {
    let scene = Scene::start().await;
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::scripted(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            let mut body = String::new();
            let _reset_is_as_good = stream.read_to_string(&mut body).await;
            tell.send(body).await.unwrap();
        }
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send(&format!("{CHUNKED}5\r\nhello\r\n")).await;
    scene.until_queue(1, 1).await;
    client.send(&format!("3\r\nabcd\r\n0\r\n\r\n{GET}")).await;
    assert_eq!(client.response().await.status, 400);
    assert!(client.is_closed().await);
    let body = told.recv().await.unwrap();
    assert!(!body.contains("\r\n0\r\n") && !body.contains("GET"), "{body:?}");
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn requests_before_a_bad_one_are_answered_first() {
    let (scene, upstream) = scene().await;
    let mut client = scene.client().await;
    let slow = GET.replace("GET /", "GET /slow");
    client.send(&format!("{slow}{GET}GET  / HTTP/1.1\r\nhost: app.test\r\n\r\n{GET}")).await;
    assert_eq!(client.response().await.text(), "slow");
    assert_eq!(client.response().await.text(), "hello");
    assert_eq!(client.response().await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_request_may_come_in_any_pieces() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.stream.set_nodelay(true).unwrap();
    let request = format!("{CHUNKED}5;x=y\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    for _ in 0..2 {
        for byte in request.as_bytes() {
            client.send_bytes(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.response().await.text(), "hello");
    }
}

#[tokio::test]
async fn the_target_rules_over_the_host_field() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("GET http://APP.test:81/head HTTP/1.1\r\nhost: other.test\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    assert!(response.text().contains("\nhost: APP.test:81\n"), "{}", response.text());
    assert!(!response.text().contains("other.test"), "{}", response.text());
}

#[tokio::test]
async fn the_limits_of_a_head_are_answered_with_words() {
    let scene = Scene::with(|config, _| (config.max_header_bytes, config.max_headers) = (8192, 10)).await;
    let long = format!("GET / HTTP/1.1\r\nhost: app.test\r\nx: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(refused(&scene, long.as_bytes()).await, 431);
    let endless = format!("GET / HTTP/1.1\r\nhost: app.test\r\nx: {}", "x".repeat(9000));
    assert_eq!(refused(&scene, endless.as_bytes()).await, 431);
    let many = format!("GET / HTTP/1.1\r\nhost: app.test\r\n{}\r\n", "x: y\r\n".repeat(10));
    assert_eq!(refused(&scene, many.as_bytes()).await, 431);
    assert_eq!(refused(&scene, b"CONNECT app.test:443 HTTP/1.1\r\nhost: app.test\r\n\r\n").await, 405);
    let scene = Scene::with(|config, _| config.max_header_bytes = 1 << 20).await;
    let target = format!("GET /{} HTTP/1.1\r\nhost: app.test\r\n\r\n", "x".repeat(70_000));
    assert_eq!(refused(&scene, target.as_bytes()).await, 414);
}

#[tokio::test]
async fn who_is_refused_can_read_why_even_while_still_sending() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: x\r\n\r\n").await;
    for _ in 0..32 {
        // A closed socket would answer this with a reset, and the reset would take the answer with it.
        client.stream.write_all(&[b'x'; 16 * 1024]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (400, "bad request: the Content-Length is not a number of bytes\n"));
    assert!(client.is_closed().await);
    // The connection is not kept for long.
    until(async || scene.metric("interceptor_client_connections").await == Some(0), "the connection has ended").await;
}

#[tokio::test]
async fn errors_can_be_had_as_problems() {
    let scene = Scene::with(|config, _| config.error_format = ErrorFormat::Problem).await;
    for (request, status, title, detail) in [
        ("GET / HTTP/1.1\r\nhost: b\r\n\r\n", 404, "Not Found", "no route for host \"b\" and this path"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "Bad Request", "bad request: the Host field is missing"),
    ] {
        let mut client = scene.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        let expected = serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
        assert_eq!((response.status, problem), (status, expected));
    }
}

#[tokio::test]
async fn what_follows_a_change_of_protocol_is_nobodys_business() {
    let (scene, _upstream) = scene().await;
    let mut client = scene.client().await;
    let upgrade = "GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    // An answered request before it, and bytes that come before the answer, are no different.
    client.send(&format!("{GET}{upgrade}\n \0ahead")).await;
    assert_eq!(client.response().await.text(), "hello");
    assert_eq!(client.head().await.unwrap().0, 101);
    assert_eq!(client.take(8).await.unwrap(), b"\n \0ahead");
    client.send("GET  x\n\n").await;
    assert_eq!(client.take(8).await.unwrap(), b"GET  x\n\n");
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_upgrade_that_is_not_taken_up_lets_nothing_past() {
    let (scene, upstream) = scene().await;
    let mut client = scene.client().await;
    let upgrade = "GET /slow HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    client.send(&format!("{upgrade}{GET}GET  / HTTP/1.1\r\n")).await;
    assert_eq!(client.response().await.text(), "slow");
    assert_eq!(client.response().await.text(), "hello");
    assert_eq!(client.response().await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 2);
}
