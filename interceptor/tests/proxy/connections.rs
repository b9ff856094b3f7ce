//! Connections to endpoints and from clients: reused, and given up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody";

#[tokio::test]
async fn a_connection_to_an_endpoint_is_reused() {
    let scene = Scene::start().await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    for path in ["/", "/echo", "/trailers", "/204", "/hop", "/big"] {
        let method = if path == "/echo" { "POST" } else { "GET" };
        client.send(&format!("{method} {path} HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody")).await;
        client.response().await;
    }
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 6);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_is_used_as_often_as_it_may_be() {
    let scene = Scene::with(|config, _| config.upstream_max_uses = 1).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    for _ in 0..3 {
        scene.get("/").await;
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_grew_old_is_not_used_again() {
    let scene = Scene::with(|config, _| config.upstream_max_age = Duration::ZERO).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    for _ in 0..3 {
        scene.get("/").await;
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_grows_old_while_it_is_idle_is_closed() {
    let scene = Scene::with(|config, _| config.upstream_max_age = Duration::from_secs(4)).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let idle = async || scene.metric("interceptor_upstream_idle_connections").await;
    scene.get("/").await;
    crate::scene::until(async || idle().await == Some(1), "it is kept").await;
    // Long before --upstream-idle-timeout.
    crate::scene::until(async || idle().await == Some(0), "it has grown old").await;
}

#[tokio::test]
async fn an_endpoint_that_closes_idle_connections_costs_no_error() {
    let scene = Scene::start().await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    for _ in 0..50 {
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
    }
    scene.until_queue(0, 50).await;
}

/// Answers the first request on the first connection, and breaks it when the next request has come.
async fn breaks_on_the_second_request() -> Upstream {
    Upstream::scripted(|mut stream, number| async move {
        read_head(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        read_head(&mut stream).await;
        if number > 0 {
            stream.write_all(ANSWER).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_request_that_may_be_sent_twice_is_when_a_reused_connection_breaks() {
    let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
    let upstream = breaks_on_the_second_request().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
    assert_eq!(scene.metric("interceptor_resent_requests_total").await, Some(1));
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn any_other_request_is_never_sent_twice() {
    let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
    let upstream = breaks_on_the_second_request().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status, 200);
    client.send(POST).await;
    assert_eq!(client.response().await.status, 502);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn an_empty_line_after_a_request_begins_no_other() {
    let scene = Scene::with(|config, _| config.header_read_timeout = Duration::from_secs(1)).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    // Longer than a head may take, and a second more for each of two sweeps.
    for _ in 0..15 {
        assert!(client.is_silent().await, "it was taken for the beginning of a head that is too slow");
    }
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_told_so_and_cut_off() {
    let scene = Scene::with(|config, _| config.header_read_timeout = Duration::from_secs(1)).await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app").await;
    let began = Instant::now();
    let response = client.response().await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(client.is_closed().await);
    assert_eq!(scene.queue().await, (0, 0));
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_cut_off() {
    let scene = Scene::with(|config, _| config.client_idle_timeout = Duration::from_secs(1)).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut fresh = scene.client().await;
    let mut used = scene.client().await;
    used.send(GET).await;
    used.response().await;
    assert!(fresh.is_closed().await);
    assert!(used.is_closed().await);
}

#[tokio::test]
async fn a_client_that_waits_for_its_response_is_not_idle() {
    let scene = Scene::with(|config, _| config.client_idle_timeout = Duration::from_secs(1)).await;
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn over_the_limit_of_connections_new_clients_wait_and_those_connected_go_on() {
    let scene = Scene::with(|config, _| config.max_connections = 3).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = scene.client().await;
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
        clients.push(client);
    }
    let mut waiting = scene.client().await;
    waiting.send(GET).await;
    crate::scene::until(async || scene.metric("interceptor_accept_paused").await == Some(1), "accepting pauses").await;
    assert!(waiting.is_silent().await);
    for client in &mut clients {
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(scene.metric("interceptor_client_connections").await, Some(3));
    clients.pop().unwrap().leave();
    assert_eq!(waiting.response().await.status, 200);
    // A tunnel keeps its place.
    waiting.send("GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
    assert_eq!(waiting.head().await.unwrap().0, 101);
    assert_eq!(scene.metric("interceptor_client_connections").await, Some(3));
    let mut late = scene.client().await;
    late.send(GET).await;
    assert!(late.is_silent().await);
    waiting.leave();
    assert_eq!(late.response().await.status, 200);
    clients.clear();
    drop(late);
    crate::scene::until(async || scene.metric("interceptor_accept_paused").await == Some(0), "accepting goes on").await;
}

#[tokio::test]
async fn long_lived_connections_are_spread_over_the_threads() {
    const THREADS: usize = 4;
    let scene = Scene::with(|config, _| config.proxy_threads = Some(THREADS.try_into().unwrap())).await;
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = scene.client().await;
        client.send(GET).await;
        client.response().await;
        clients.push(client);
    }
    assert_eq!(scene.metric("interceptor_client_connections").await, Some(40));
    // One request after the other needs one connection to the endpoint, unless they come by several threads: each has its own.
    let to_the_endpoint = upstream.connections.load(Ordering::SeqCst);
    assert!(to_the_endpoint >= THREADS, "{to_the_endpoint} connections to the endpoint by {THREADS} threads");
    drop(clients);
    crate::scene::until(async || scene.metric("interceptor_client_connections").await == Some(0), "all have left")
        .await;
}
