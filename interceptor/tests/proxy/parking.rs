//! Connections of clients that hold nothing while they wait for a request, and lose nothing by it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::client::Client;
use crate::scene::{Scene, until};
use crate::upstream::{Upstream, read_head};

const GET: &str = "GET /head HTTP/1.1\r\nhost: app.test\r\n\r\n";
const POST: &str = "POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody";

/// Waits until so many connections are parked.
pub async fn until_parked(scene: &Scene, count: u64) {
    let parked = async || scene.metric("interceptor_parked_client_connections").await == Some(count);
    until(parked, &format!("{count} connections are parked")).await;
}

#[tokio::test]
async fn a_parked_connection_is_answered_again() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    // Before its first request, too.
    until_parked(&scene, 1).await;
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
        until_parked(&scene, 1).await;
        client.send(&format!("{GET}{POST}{GET}")).await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(client.response().await.text(), "body");
        assert_eq!(client.response().await.status, 200);
        until_parked(&scene, 1).await;
    }
    scene.until_queue(0, 12).await;
    client.leave();
    until_parked(&scene, 0).await;
}

#[tokio::test]
async fn a_connection_with_half_a_request_is_not_parked() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let (mut in_head, mut in_body, mut idle) = (scene.client().await, scene.client().await, scene.client().await);
    let (head, rest) = GET.split_at(7);
    let (most, last) = POST.split_at(POST.len() - 1);
    for _ in 0..2 {
        idle.send(GET).await;
        assert_eq!(idle.response().await.status, 200);
        in_head.send(head).await;
        in_body.send(most).await;
        // One that came to rest after them is parked already.
        until_parked(&scene, 1).await;
        in_head.send(rest).await;
        in_body.send(last).await;
        assert_eq!(in_head.response().await.status, 200);
        assert_eq!(in_body.response().await.text(), "body");
        until_parked(&scene, 3).await;
    }
}

#[tokio::test]
async fn a_fault_after_parking_is_answered_and_ends_the_connection() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    // What begins as HTTP/2 does is no request of HTTP/1 once the connection has had one.
    for bad in ["GET  / HTTP/1.1\r\nhost: app.test\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = scene.client().await;
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
        until_parked(&scene, 1).await;
        client.send(bad).await;
        let status = client.response().await.status;
        assert!(status == 400 || status == 505, "{status}");
        assert!(client.is_closed().await);
        until_parked(&scene, 0).await;
    }
}

#[tokio::test]
async fn a_request_that_reached_a_parked_connection_before_the_end_is_answered() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(scene.client().await);
    }
    until_parked(&scene, 20).await;
    let (used, idle): (Vec<_>, Vec<_>) = clients.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let mut used: Vec<Client> = used.into_iter().map(|(_, client)| client).collect();
    for client in &mut used {
        client.send(GET).await;
    }
    let stopping = tokio::spawn(scene.stop());
    for mut client in used {
        assert_eq!(client.response().await.status, 200);
        assert!(client.is_closed().await);
    }
    for (_, mut client) in idle {
        assert!(client.is_closed().await);
    }
    stopping.await.unwrap().unwrap();
}

/// A workload that answers `/N` with N bytes, and one request on each connection.
async fn of_any_length() -> Upstream {
    Upstream::scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let path = head.split(' ').nth(1).unwrap();
        let length: usize = path[1..].parse().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let answer = [head.into_bytes(), vec![b'x'; length]].concat();
        let _client_gone = stream.write_all(&answer).await;
    })
    .await
}

#[tokio::test]
async fn a_response_that_its_client_takes_late_comes_whole() {
    let scene = Scene::start().await;
    scene.ready(&[of_any_length().await.address]);
    // Sockets on loopback hold some megabytes: of one of these responses they hold all but the end, which waits in the proxy.
    let mut clients = Vec::new();
    for length in (16..56_usize).map(|step| step << 16) {
        let mut client = scene.client().await;
        client.send(&format!("GET /{length} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        clients.push((client, length));
    }
    // Whoever is at rest for so long is parked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (client, length) in &mut clients {
        assert_eq!(client.response().await.body.len(), *length);
    }
    until_parked(&scene, 40).await;
}
