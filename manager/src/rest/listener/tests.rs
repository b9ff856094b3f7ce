#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

/// Long against what a busy machine takes to schedule a client that reads.
const STALLED: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(60);
const BOUNDS: Bounds = Bounds { connections: 3, stalled: STALLED };

/// A server with an answer without end, and a short one.
async fn server(shutdown: &CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = async || {
        let part = Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 64 * 1024]));
        Body::from_stream(stream::repeat(part))
    };
    let routes = Router::new().route("/endless", get(endless)).route("/short", get(async || "here\n"));
    let served = tokio::spawn(serve_within(BOUNDS, listener, None, routes, shutdown.clone()));
    (address, served)
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Asks for the short answer, and takes it.
async fn answered(address: SocketAddr) -> TcpStream {
    let mut stream = ask(address, "/short").await;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn clients_that_take_nothing_keep_nobody_out_for_long_and_slow_ones_are_served() {
    let shutdown = CancellationToken::new();
    let (address, served) = server(&shutdown).await;
    let mut slow = ask(address, "/endless").await;
    let mut part = vec![0; 16 * 1024];
    assert!(slow.read(&mut part).await.unwrap() > 0);
    // All the room that is left; they never read.
    let mut stalled = Vec::new();
    for _ in 1..BOUNDS.connections {
        stalled.push(ask(address, "/endless").await);
    }
    let asked = Instant::now();
    // Each keeps its connection, so that both of those that stall must have gone for both to be here.
    let waits = tokio::spawn(async move { [answered(address).await, answered(address).await] });
    // It takes its bytes slowly, and for longer than others may take none.
    while asked.elapsed() < STALLED * 2 || !waits.is_finished() {
        assert!(asked.elapsed() < LIMIT, "nobody else was served");
        assert!(slow.read(&mut part).await.unwrap() > 0, "a slow client was cut off");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((waits.await.unwrap(), stalled));
    shutdown.cancel();
    drop(slow);
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_keep_the_server_from_ending() {
    let shutdown = CancellationToken::new();
    let (address, served) = server(&shutdown).await;
    let mut stalled = ask(address, "/endless").await;
    assert!(stalled.read(&mut [0; 1]).await.unwrap() > 0);
    shutdown.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}
