//! What held requests are promised: their order, back-pressure, a bounded number of places, and a fallback in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_interceptor::fallback_of;
use plimsoll_wire::resources::{Backend, Port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::client::Client;
use crate::scene::{SOON, Scene, app, until};
use crate::upstream::{Upstream, read_head};

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";

async fn held(scene: &Scene, already: u64) -> Client {
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(already + 1).await;
    client
}

#[tokio::test]
async fn two_hundred_are_released_in_the_order_of_their_arrival() {
    // One thread: threads do not wait for each other.
    let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut client = scene.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        scene.until_held(number + 1).await;
        clients.push(client);
    }
    // Connections are taken one by one, in the order in which the system has set them up.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    scene.ready(&[listener.local_addr().unwrap()]);
    let mut seen = Vec::new();
    for _ in 0..200 {
        let (mut stream, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let head = read_head(&mut stream).await;
        seen.push(head.split(' ').nth(1).unwrap()[1..].parse::<u32>().unwrap());
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(rows_of(&seen) <= cores, "they came out of order: {seen:?}");
    for mut client in clients {
        assert_eq!(client.response().await.status, 204);
    }
    scene.until_queue(0, 200).await;
}

/// How many rows, each in order, these numbers are a merge of. Linux sets loopback connections up from a queue of each core, so those of a thread
/// that changes its core are a merge of as many rows as there are cores. In any other order it takes many more: some 28 for 200 shuffled ones.
fn rows_of(numbers: &[u32]) -> usize {
    let mut lasts: Vec<u32> = Vec::new();
    for &number in numbers {
        match lasts.iter_mut().filter(|last| **last < number).max() {
            Some(last) => *last = number,
            None => lasts.push(number),
        }
    }
    lasts.len()
}

#[tokio::test]
async fn a_body_is_not_read_before_there_is_somebody_to_read_it() {
    const LENGTH: usize = 10 << 20;
    let scene = Scene::start().await;
    let (mut from, mut to) = TcpStream::connect(scene.proxy).await.unwrap().into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let upload = tokio::spawn(async move {
        let head =
            format!("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: {LENGTH}\r\nconnection: close\r\n\r\n");
        to.write_all(head.as_bytes()).await.unwrap();
        let mut left = LENGTH;
        while left > 0 {
            left -= to.write(&vec![b'x'; left.min(1 << 16)]).await.unwrap();
            count.store(LENGTH - left, Ordering::SeqCst);
        }
        to
    });
    scene.until_held(1).await;
    // The sockets' buffers fill, and that is all.
    let mut before = usize::MAX;
    let stalls = async || {
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now
    };
    stalled(stalls).await;
    assert!(sent.load(Ordering::SeqCst) < LENGTH, "all of the body was taken");
    scene.ready(&[Upstream::start().await.address]);
    let mut response = Vec::new();
    tokio::time::timeout(SOON, from.read_to_end(&mut response)).await.unwrap().unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(response.len() > LENGTH);
    drop(upload.await.unwrap());
    scene.until_queue(0, 1).await;
}

/// Waits until nothing has happened for a moment.
async fn stalled(mut nothing_happened: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if nothing_happened().await {
            return;
        }
        assert!(Instant::now() < deadline, "it goes on and on");
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place_for_the_next() {
    let scene = Scene::with(|_, workload| workload.cold_start.max_pending = Some(1)).await;
    let first = held(&scene, 0).await;
    let refused = scene.get("/").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.header("x-keda-http-cold-start"), Some("true"));
    scene.until_queue(1, 2).await;
    let series = "interceptor_cold_start_rejections_total{route_name=\"app\",route_namespace=\"default\"}";
    assert_eq!(scene.metric(series).await, Some(1));
    first.leave();
    scene.until_held(0).await;
    let mut next = held(&scene, 0).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(next.response().await.text(), "hello");
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn the_bound_of_the_process_holds_unless_the_resource_has_its_own() {
    let scene = Scene::with(|config, _| config.max_pending_requests = 1).await;
    let _first = held(&scene, 0).await;
    assert_eq!(scene.get("/").await.status, 503);
    let mut workload = scene.routes.borrow()[0].clone();
    workload.cold_start.max_pending = Some(0);
    scene.routes.send_replace(Arc::new(vec![workload]));
    let mut more = Vec::new();
    let no_bound = async || {
        let mut client = scene.client().await;
        client.send(GET).await;
        more.push(client);
        scene.held().await >= 3
    };
    until(no_bound, "there is no bound any more").await;
}

#[tokio::test]
async fn what_has_waited_too_long_goes_to_the_fallback_with_its_body() {
    let fallback = Upstream::start().await;
    let scene = Scene::with(|_, workload| {
        workload.timeouts.readiness = Some(Duration::from_millis(200));
        workload.cold_start.fallback = Some(Backend { service: "127.0.0.1".to_owned(), port: Port::Number(1) });
    });
    let scene = scene.await;
    scene.endpoints.set(&fallback_of(&app()), vec![fallback.address]);
    let began = Instant::now();
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody").await;
    let response = client.response().await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!((response.status, response.text()), (200, "body"));
    assert_eq!(response.header("x-keda-http-cold-start"), Some("true"));
    scene.until_queue(0, 1).await;
    assert_eq!(scene.held().await, 0);
    // The workload itself goes first.
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    assert_eq!(scene.get("/").await.text(), "hello");
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 1);
    assert_eq!(fallback.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_fallback_without_an_endpoint_is_no_help() {
    let scene = Scene::with(|_, workload| {
        workload.timeouts.readiness = Some(Duration::from_millis(50));
        workload.cold_start.fallback = Some(Backend { service: "127.0.0.1".to_owned(), port: Port::Number(1) });
    });
    let scene = scene.await;
    assert_eq!(scene.get("/").await.status, 504);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_port_that_can_not_be_resolved_is_said_at_once() {
    let scene = Scene::start().await;
    scene.endpoints.set_unresolvable(&app());
    let response = scene.get("/").await;
    assert_eq!(response.status, 500);
    assert!(response.text().contains("port can't be resolved"), "{}", response.text());
    scene.until_queue(0, 1).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(scene.get("/").await.status, 200);
}

#[tokio::test]
async fn requests_that_are_held_when_the_port_vanishes_are_told_so() {
    let scene = Scene::start().await;
    let mut client = held(&scene, 0).await;
    scene.endpoints.set_unresolvable(&app());
    let response = client.response().await;
    assert_eq!(response.status, 500);
    assert!(response.text().contains("port can't be resolved"), "{}", response.text());
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_connection_that_takes_longer_than_the_routes_limit_is_given_up() {
    // A queue of connections that is full lets no more in, and says nothing.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
        filling.push(stream);
    }
    let scene = Scene::with(|config, workload| {
        config.connect_timeout = Duration::from_secs(60);
        config.connect_retry_timeout = Duration::ZERO;
        workload.timeouts.connect = Some(Duration::from_millis(100));
    });
    let scene = scene.await;
    scene.ready(&[address]);
    assert_eq!(scene.get("/").await.status, 502);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_response_of_which_nothing_comes_any_more_is_broken_off() {
    let scene = Scene::with(|_, workload| workload.timeouts.idle = Some(Duration::from_millis(300))).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("GET /drip HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(client.try_response().await.is_none());
    scene.until_queue(0, 1).await;
    // A client that takes its time is no idle endpoint.
    let mut slow = scene.client().await;
    slow.send("GET /big HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    slow.head().await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(slow.take(8 << 20).await.unwrap().len(), 8 << 20);
    scene.until_queue(0, 2).await;
}
