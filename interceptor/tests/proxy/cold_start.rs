//! Requests to workloads that have no ready endpoint.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::scene::{Scene, app};
use crate::upstream::Upstream;

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";

#[tokio::test]
async fn a_request_waits_until_an_endpoint_is_ready() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    assert_eq!(scene.queue().await, (1, 1));
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert_eq!(response.header("x-keda-http-cold-start"), Some("true"));
    assert_eq!(scene.held().await, 0);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn the_body_of_a_held_request_is_not_asked_for() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    scene.until_held(1).await;
    assert!(client.is_silent().await);
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(client.head().await.unwrap().0, 100);
    client.send("body").await;
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_told_so() {
    let scene = Scene::with(|_, workload| workload.timeouts.readiness = Some(Duration::from_millis(100))).await;
    let response = scene.get("/").await;
    assert_eq!(response.status, 504);
    assert_eq!(response.header("x-keda-http-cold-start"), Some("true"));
    scene.until_queue(0, 1).await;
    assert_eq!(scene.held().await, 0);
}

#[tokio::test]
async fn the_whole_requests_limit_bounds_the_wait() {
    let scene = Scene::with(|config, _| config.request_timeout = Duration::from_millis(100)).await;
    assert_eq!(scene.get("/").await.status, 504);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_departs() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    client.leave();
    scene.until_queue(0, 1).await;
    assert_eq!(scene.held().await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_with_its_body_unread_departs_too() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client
        .send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(50_000)))
        .await;
    scene.until_held(1).await;
    client.leave();
    scene.until_queue(0, 1).await;
    assert_eq!(scene.held().await, 0);
}

#[tokio::test]
async fn a_replica_that_listens_late_costs_no_error() {
    let scene = Scene::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = scene.client().await;
        client.send(GET).await;
        clients.push(client);
    }
    scene.until_held(10).await;
    scene.ready(&[address]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _upstream = Upstream::on(TcpListener::bind(address).await.unwrap());
    for mut client in clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert!(scene.metric("interceptor_upstream_connect_failures_total").await.unwrap() >= 10);
}

#[tokio::test]
async fn an_endpoint_that_vanishes_before_it_answers_means_waiting_again() {
    let scene = Scene::start().await;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    scene.ready(&[closed]);
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_queue(1, 1).await;
    assert_eq!(scene.held().await, 0);
    scene.endpoints.remove(&app());
    scene.until_held(1).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn an_endpoint_that_refuses_for_too_long_is_a_bad_gateway() {
    let scene = Scene::with(|config, _| config.connect_retry_timeout = Duration::from_millis(200)).await;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    scene.ready(&[closed]);
    let began = Instant::now();
    assert_eq!(scene.get("/").await.status, 502);
    assert!(began.elapsed() >= Duration::from_millis(200));
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over_for_another() {
    let scene = Scene::start().await;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    scene.ready(&[closed, Upstream::start().await.address]);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(scene.get("/").await.status, 200);
        assert!(began.elapsed() < Duration::from_millis(500));
    }
}

#[tokio::test]
async fn a_request_whose_route_is_removed_does_not_wait_on() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    scene.routes.send_replace(Arc::default());
    assert_eq!(client.response().await.status, 404);
    assert_eq!(scene.get("/").await.status, 404);
}
