//! Requests that wait in line for a place at an endpoint.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::scene::{Scene, until};
use crate::upstream::{Upstream, read_head};

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that wants one request at a time, and has seen these.
struct Jealous {
    upstream: Upstream,
    seen: Arc<Mutex<Vec<String>>>,
    overlapped: Arc<AtomicBool>,
    /// One permit for each answer.
    answers: Arc<Semaphore>,
}

impl Jealous {
    async fn start() -> Self {
        let (seen, overlapped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (busy, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Semaphore::new(0)));
        let shared = (seen.clone(), overlapped.clone(), busy, answers.clone());
        let upstream = Upstream::scripted(move |mut stream, _| {
            let (seen, overlapped, busy, answers) = shared.clone();
            async move {
                loop {
                    let head = read_head(&mut stream).await;
                    let Some(path) = head.split(' ').nth(1) else { return };
                    if busy.swap(true, SeqCst) {
                        overlapped.store(true, SeqCst);
                    }
                    seen.lock().push(path.to_owned());
                    answers.acquire().await.unwrap().forget();
                    // Before the answer: with it the next request may come.
                    busy.store(false, SeqCst);
                    if stream.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { upstream: upstream.await, seen, overlapped, answers }
    }
}

fn one_at_once(_: &mut plimsoll_interceptor::Config, workload: &mut plimsoll_wire::resources::Workload) {
    workload.concurrency_limit = NonZeroU32::new(1);
}

#[tokio::test]
async fn a_limit_of_one_keeps_50_clients_in_order_and_never_overlaps() {
    let scene = Scene::with(one_at_once).await;
    let jealous = Jealous::start().await;
    scene.ready(&[jealous.upstream.address]);
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = scene.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        // The one before has arrived before the next one is sent.
        scene.until_queue(number + 1, number + 1).await;
        clients.push(client);
    }
    until(async || jealous.seen.lock().len() == 1, "the first one is there").await;
    assert_eq!(scene.metric("interceptor_waiting_requests").await, Some(49));
    assert_eq!(scene.held().await, 0, "a busy endpoint is no cold start");
    jealous.answers.add_permits(50);
    for client in &mut clients {
        let response = client.response().await;
        assert_eq!((response.status, response.header("x-keda-http-cold-start")), (200, Some("false")));
    }
    let wanted: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    assert_eq!(*jealous.seen.lock(), wanted);
    assert!(!jealous.overlapped.load(SeqCst));
    assert_eq!(scene.metric("interceptor_waiting_requests").await, Some(0));
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_up() {
    let scene = Scene::with(one_at_once).await;
    let jealous = Jealous::start().await;
    scene.ready(&[jealous.upstream.address]);
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = scene.client().await;
        client.send(&format!("GET /{number} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        scene.until_queue(number + 1, number + 1).await;
        clients.push(client);
    }
    until(async || jealous.seen.lock().len() == 1, "the first one is there").await;
    // The one in the middle leaves the line, then the first one its place.
    clients.remove(1).leave();
    scene.until_queue(2, 3).await;
    jealous.answers.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(*jealous.seen.lock(), ["/0", "/2"]);
}

#[tokio::test]
async fn a_new_replica_takes_those_that_wait() {
    let scene = Scene::with(one_at_once).await;
    let (first, second) = (Jealous::start().await, Jealous::start().await);
    scene.ready(&[first.upstream.address]);
    let mut clients = Vec::new();
    for number in 0..2 {
        let mut client = scene.client().await;
        client.send(GET).await;
        scene.until_queue(number + 1, number + 1).await;
        clients.push(client);
    }
    until(async || first.seen.lock().len() == 1, "the first one is full").await;
    scene.ready(&[first.upstream.address, second.upstream.address]);
    until(async || second.seen.lock().len() == 1, "the second one has got the other request").await;
    first.answers.add_permits(1);
    second.answers.add_permits(1);
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn a_line_that_is_full_refuses_and_says_so() {
    let scene = Scene::with(|_, workload| workload.cold_start.max_pending = Some(2)).await;
    let mut held = Vec::new();
    for number in 0..2 {
        let mut client = scene.client().await;
        client.send(GET).await;
        scene.until_queue(number + 1, number + 1).await;
        held.push(client);
    }
    scene.until_held(2).await;
    assert_eq!(scene.get("/").await.status, 503);
    assert_eq!(scene.metric("interceptor_waiting_refused_requests_total").await, Some(1));
    // Whoever leaves makes room.
    held.remove(0).leave();
    scene.until_held(1).await;
    let mut next = scene.client().await;
    next.send(GET).await;
    scene.until_held(2).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(next.response().await.status, 200);
    assert_eq!(held[0].response().await.status, 200);
}

#[tokio::test]
async fn a_place_that_does_not_become_free_in_time_is_a_gateway_timeout() {
    let scene = Scene::with(|config, workload| {
        one_at_once(config, workload);
        workload.timeouts.readiness = Some(Duration::from_millis(200));
    });
    let scene = scene.await;
    let jealous = Jealous::start().await;
    scene.ready(&[jealous.upstream.address]);
    let mut first = scene.client().await;
    first.send(GET).await;
    until(async || jealous.seen.lock().len() == 1, "the first one is there").await;
    let response = scene.get("/").await;
    assert_eq!((response.status, response.header("x-keda-http-cold-start")), (504, Some("false")));
    jealous.answers.add_permits(1);
    assert_eq!(first.response().await.status, 200);
}
