//! Each way a request can end: it departs, once.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

const ANSWER_CUT_SHORT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";

#[tokio::test]
async fn when_it_is_finished() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    for _ in 0..3 {
        assert_eq!(scene.get("/").await.text(), "hello");
    }
    scene.until_queue(0, 3).await;
    let series =
        "interceptor_request_count_total{code=\"200\",method=\"GET\",route_name=\"app\",route_namespace=\"default\"}";
    assert_eq!(scene.metric(series).await, Some(3));
}

#[tokio::test]
async fn when_the_client_leaves_before_the_response() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("GET /never HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_queue(1, 1).await;
    client.leave();
    scene.until_queue(0, 1).await;
    let series =
        "interceptor_request_count_total{code=\"499\",method=\"GET\",route_name=\"app\",route_namespace=\"default\"}";
    assert_eq!(scene.metric(series).await, Some(1));
}

#[tokio::test]
async fn when_the_client_leaves_in_the_middle_of_its_request() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 100\r\n\r\nhalf").await;
    client.head().await.unwrap();
    client.leave();
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_the_client_leaves_in_the_middle_of_the_response() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    for path in ["/drip", "/big"] {
        let mut client = scene.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        client.head().await.unwrap();
        client.leave();
    }
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn when_the_endpoint_breaks_off_before_its_response() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
    });
    scene.ready(&[upstream.await.address]);
    let response = scene.get("/").await;
    assert_eq!(response.status, 502);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_the_endpoint_speaks_no_http() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap();
    });
    scene.ready(&[upstream.await.address]);
    assert_eq!(scene.get("/").await.status, 502);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_the_endpoint_breaks_off_in_the_middle() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(ANSWER_CUT_SHORT).await.unwrap();
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    // The client must see that something is missing.
    assert!(client.try_response().await.is_none());
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_the_response_does_not_begin_in_time() {
    let limit = Duration::from_millis(100);
    let scene = Scene::with(|_, workload| workload.timeouts.response_header = Some(limit)).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(scene.get("/never").await.status, 504);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_the_response_does_not_end_in_time() {
    let scene = Scene::with(|_, workload| workload.timeouts.request = Some(Duration::from_millis(200))).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("GET /drip HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(client.try_response().await.is_none());
    scene.until_queue(0, 1).await;
    // An upload that answers early and never ends is cut off just so.
    let mut client = scene.client().await;
    client.send("POST /early HTTP/1.1\r\nhost: app.test\r\ncontent-length: 100\r\n\r\n").await;
    assert!(client.try_response().await.is_none());
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn a_limit_of_the_request_lets_those_in_time_through() {
    let scene = Scene::with(|_, workload| workload.timeouts.request = Some(Duration::from_secs(5))).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(scene.get("/slow").await.text(), "slow");
    assert_eq!(scene.get("/big").await.body.len(), 8 << 20);
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn when_either_end_of_an_upgraded_connection_closes() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, number| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\nhi")
            .await
            .unwrap();
        if number == 0 {
            // Stays until the client goes.
            let _closed = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    scene.ready(&[upstream.await.address]);
    for number in 0..2 {
        let mut client = scene.client().await;
        client.send("GET / HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().0, 101);
        // What came together with the change of protocol is not lost.
        assert_eq!(client.take(2).await.unwrap(), b"hi");
        if number == 1 {
            assert!(client.is_closed().await);
        }
        client.leave();
        scene.until_queue(0, number + 1).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_refused() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n")
            .await
            .unwrap();
    });
    scene.ready(&[upstream.await.address]);
    assert_eq!(scene.get("/").await.status, 502);
    scene.until_queue(0, 1).await;
}
