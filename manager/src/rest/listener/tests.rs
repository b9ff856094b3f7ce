#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::*;

/// Long against what a busy machine takes to schedule a client that reads.
const STALLED: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(60);
const BOUNDS: Bounds = Bounds { connections: 3, from_one: 3, stalled: STALLED };

/// A server with an answer without end, and a short one.
async fn server(bounds: Bounds, shutdown: &CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = async || {
        let part = Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 64 * 1024]));
        Body::from_stream(stream::repeat(part))
    };
    let routes = Router::new().route("/endless", get(endless)).route("/short", get(async || "here\n"));
    let served = tokio::spawn(serve_within(bounds, listener, None, routes, shutdown.clone()));
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
    let (address, served) = server(BOUNDS, &shutdown).await;
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
    let (address, served) = server(BOUNDS, &shutdown).await;
    let mut stalled = ask(address, "/endless").await;
    assert!(stalled.read(&mut [0; 1]).await.unwrap() > 0);
    shutdown.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn one_address_can_not_keep_all_others_out() {
    let shutdown = CancellationToken::new();
    let (address, served) = server(Bounds { from_one: 2, ..BOUNDS }, &shutdown).await;
    let held = [ask(address, "/endless").await, ask(address, "/endless").await];
    // One that says nothing: a third one would be waited for as long as any.
    let mut further = TcpStream::connect(address).await.unwrap();
    let read = tokio::time::timeout(PATIENCE / 2, further.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "it is not turned away: {read:?}");
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    other.write_all(b"GET /short HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    tokio::time::timeout(LIMIT, other.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    // A place that is given up can be had again.
    drop((held, other));
    let again = async {
        loop {
            let mut again = TcpStream::connect(address).await.unwrap();
            // It is turned away while those before are still being closed.
            let asked = again.write_all(b"GET /short HTTP/1.1\r\nhost: here\r\n\r\n").await;
            if asked.is_ok() && again.read_exact(&mut answer).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}
