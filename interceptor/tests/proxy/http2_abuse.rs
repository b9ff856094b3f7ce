//! Clients of HTTP/2 that break the protocol, or make work for its own sake: frame by frame.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, fields, frame, head,
};
use crate::scene::{SOON, Scene, scene, until};
use crate::upstream::Upstream;

const WHOLE: u8 = END_STREAM | END_HEADERS;

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (scene, _upstream) = scene().await;
    let mut client = Frames::connect(scene.proxy).await;
    let streams = (0..1000).map(|n| 2 * n + 1);
    let flood: Vec<u8> = streams
        .flat_map(|stream| [frame(HEADERS, WHOLE, stream, &head("GET", "/never", &[])), reset(stream)].concat())
        .collect();
    // It may be cut off before it has said everything.
    let _cut_off = client.stream.write_all(&flood).await;
    let goaway = client.next_of(GOAWAY).await.expect("it is told why");
    assert_eq!(goaway.error(), ENHANCE_YOUR_CALM);
    client.until_closed().await;
    assert_eq!(scene.get("/").await.text(), "hello");
    until(async || scene.queue().await.0 == 0, "all have departed").await;
}

#[tokio::test]
async fn requests_that_are_taken_back_one_by_one_end_the_connection_too() {
    let (scene, upstream) = scene().await;
    let mut client = Frames::connect(scene.proxy).await;
    let mut sent = 0;
    for number in 0..3000 {
        let stream = 2 * number + 1;
        let pair = [frame(HEADERS, WHOLE, stream, &head("GET", "/never", &[])), frame(PING, 0, 0, &[0; 8])].concat();
        if client.stream.write_all(&pair).await.is_err() || client.next_of(PING).await.is_none() {
            break;
        }
        sent += 1;
        if client.stream.write_all(&reset(stream)).await.is_err() {
            break;
        }
    }
    assert!((400..3000).contains(&sent), "{sent}");
    until(async || scene.queue().await.0 == 0, "all have departed").await;
    let reached = upstream.requests.load(Ordering::SeqCst);
    assert!(reached <= sent, "{reached}");
    assert_eq!(scene.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_client_may_take_requests_back_as_long_as_most_are_answered() {
    let (scene, _upstream) = scene().await;
    let mut client = Frames::connect(scene.proxy).await;
    client.send(&frame(SETTINGS, 1, 0, &[])).await;
    for number in 0..700_u32 {
        let stream = 4 * number + 1;
        client.send(&frame(HEADERS, WHOLE, stream, &head("GET", "/", &[]))).await;
        assert_eq!(client.status(stream).await, Some(200), "{number}");
        client.send(&frame(HEADERS, WHOLE, stream + 2, &head("GET", "/", &[]))).await;
        assert_eq!(client.status(stream + 2).await, Some(200), "{number}");
        client.send(&[reset(stream), reset(stream + 2)].concat()).await;
    }
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let (scene, upstream) = scene().await;
    let mut client = Frames::connect(scene.proxy).await;
    client.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/", &[]))).await;
    let more = frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]));
    let mut sent = 0;
    while client.stream.write_all(&more).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "it is never cut off");
        if sent % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 0);
    assert_eq!(scene.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_client_that_asks_for_answers_and_takes_none_is_cut_off() {
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[][..])] {
        let scene = Scene::with(|config, _| config.client_write_timeout = Duration::from_secs(1)).await;
        scene.ready(&[Upstream::start().await.address]);
        let mut client = Frames::connect(scene.proxy).await;
        let flood = frame(kind, 0, 0, payload).repeat(1000);
        let cut_off = async { while client.stream.write_all(&flood).await.is_ok() {} };
        tokio::time::timeout(3 * SOON, cut_off).await.expect("it is cut off");
        assert_eq!(scene.get("/").await.text(), "hello");
    }
}

#[tokio::test]
async fn a_stream_whose_client_opens_no_window_is_reset_and_the_others_go_on() {
    let scene = Scene::with(|config, _| config.client_write_timeout = Duration::from_secs(1)).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut client = Frames::connect(scene.proxy).await;
    // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0.
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    for (stream, path) in [(1, "/big"), (3, "/")] {
        client.send(&frame(HEADERS, WHOLE, stream, &head("GET", path, &[]))).await;
        assert_eq!(client.status(stream).await, Some(200));
        let reset = client.next_of(RST_STREAM).await.expect("the connection goes on");
        assert_eq!(reset.stream, stream);
        scene.until_queue(0, u64::from(stream).div_ceil(2)).await;
    }
    client.send(&frame(HEADERS, WHOLE, 5, &head("GET", "/", &[]))).await;
    client.send(&frame(WINDOW_UPDATE, 0, 5, &65_535_u32.to_be_bytes())).await;
    assert_eq!(client.status(5).await, Some(200));
    assert_eq!(client.next_of(DATA).await.expect("who takes it gets it").payload, b"hello");
}

#[tokio::test]
async fn heads_that_an_endpoint_could_read_differently_are_not_forwarded() {
    let (scene, upstream) = scene().await;
    let too_many = [("x", "y"); 101];
    for more in [
        &[("connection", "close")][..],
        &[("transfer-encoding", "chunked")],
        &[("keep-alive", "1")],
        &[("proxy-connection", "x")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("Upper", "x")],
        &[("x y", "x")],
        &[("x:", "x")],
        &[("x", "a\r\nb: c")],
        &[("x", "a\nb")],
        &[("x", "a\0b")],
        &[("host", "other.test")],
        &[("host", "app.test"), ("host", "app.test")],
        &[("content-length", "5")],
        &[("content-length", "x")],
        &[(":path", "/2")],
        &too_many,
    ] {
        let mut client = Frames::connect(scene.proxy).await;
        client.send(&frame(HEADERS, WHOLE, 1, &head("GET", "/", more))).await;
        let _reset_or_refused = refused(&mut client, &format!("{more:?}")).await;
    }
    for (method, path) in [
        ("GET", "/a b"),
        ("GET", "/a\r\nb: c"),
        ("GET", "a"),
        ("GET", ""),
        ("G T", "/"),
        ("GET\r\n", "/"),
        ("CONNECT", "/"),
    ] {
        let mut client = Frames::connect(scene.proxy).await;
        client.send(&frame(HEADERS, WHOLE, 1, &head(method, path, &[]))).await;
        refused(&mut client, &format!("{method:?} {path:?}")).await;
    }
    for pseudo in [
        &[(":method", "GET"), (":scheme", "http"), (":path", "/")][..],
        &[(":method", "GET"), (":scheme", "http"), (":authority", "u@app.test"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http"), (":authority", "app.test/x"), (":path", "/")],
        &[(":method", "GET"), (":authority", "app.test")],
    ] {
        let mut client = Frames::connect(scene.proxy).await;
        client.send(&frame(HEADERS, WHOLE, 1, &fields(pseudo))).await;
        refused(&mut client, &format!("{pseudo:?}")).await;
    }
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 0);
    assert_eq!(scene.get("/").await.text(), "hello");
}

/// Waits until the request on stream 1 is refused in any way.
async fn refused(client: &mut Frames, what: &str) {
    loop {
        let Some(frame) = client.next().await else { return };
        match frame.kind {
            RST_STREAM if frame.stream == 1 => return,
            GOAWAY => return,
            // 2xx and 3xx are in the static table as 0x88 to 0x8b.
            HEADERS => {
                assert!(!(0x88..=0x8b).contains(&frame.payload[0]), "{what} is let in");
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_never_looks_whole() {
    let (scene, upstream) = scene().await;
    for (length, body) in [("10", "hello"), ("3", "hello")] {
        let mut client = Frames::connect(scene.proxy).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/echo", &[("content-length", length)]))).await;
        client.send(&frame(DATA, END_STREAM, 1, body.as_bytes())).await;
        loop {
            match client.next().await {
                None => break,
                Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => break,
                Some(frame) => {
                    assert!(frame.kind != DATA || frame.flags & END_STREAM == 0, "it is answered as if whole")
                }
            }
        }
    }
    until(async || scene.queue().await.0 == 0, "all have departed").await;
    drop(upstream);
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_put_together() {
    let (scene, _upstream) = scene().await;
    let mut client = Frames::connect(scene.proxy).await;
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    client.send(&frame(HEADERS, WHOLE, 1, &head("GET", "/head", &cookies))).await;
    let body = client.next_of(DATA).await.unwrap();
    let text = String::from_utf8(body.payload).unwrap();
    assert!(text.contains("\ncookie: a=1; b=2; c=3\n"), "{text}");
}
