//! Clients that speak h2c, which is what `curl --http2-prior-knowledge` and gRPC clients do.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::scene::Scene;
use crate::upstream::Upstream;

async fn curl(scene: &Scene, arguments: &[&str], path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--http2-prior-knowledge"]).args(arguments);
    curl.args(["--header", "host: app.test", &format!("http://{}{path}", scene.proxy)]);
    let output = curl.kill_on_drop(true).output().await.expect("curl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn curl_is_served_over_http_2() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let head = curl(&scene, &["--include"], "/head?q").await.to_lowercase();
    assert!(head.starts_with("http/2 200"), "{head}");
    assert!(head.contains("get /head?q http/1.1\n"), "{head}");
    assert!(head.contains("\nhost: app.test\n"), "{head}");
    assert_eq!(curl(&scene, &["--data", "body"], "/echo").await, "body");
    assert_eq!(curl(&scene, &[], "/big").await.len(), 8 << 20);
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn requests_of_one_connection_are_held_and_released_together() {
    let scene = Scene::start().await;
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (sender, connection) = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let requests: Vec<_> = (0..50)
        .map(|number| {
            let mut sender = sender.clone();
            let request = Request::post("http://app.test/echo").body(Full::from(number.to_string())).unwrap();
            tokio::spawn(async move { sender.send_request(request).await.unwrap().collect().await.unwrap().to_bytes() })
        })
        .collect();
    scene.until_held(50).await;
    scene.ready(&[Upstream::start().await.address]);
    for (number, request) in requests.into_iter().enumerate() {
        assert_eq!(request.await.unwrap(), number.to_string());
    }
    scene.until_queue(0, 50).await;
    connection.abort();
}

#[tokio::test]
async fn a_stream_that_is_reset_while_held_departs() {
    let scene = Scene::start().await;
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || Request::get("http://app.test/").body(Empty::new()).unwrap();
    let mut given_up = Box::pin(sender.send_request(request()));
    tokio::select! {
        _ = &mut given_up => panic!("there is no endpoint"),
        () = scene.until_held(1) => {}
    }
    drop(given_up);
    scene.until_queue(0, 1).await;
    // The connection goes on.
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(sender.send_request(request()).await.unwrap().status(), 200);
    connection.abort();
}

#[tokio::test]
async fn a_connection_that_breaks_takes_all_its_requests_along() {
    let scene = Scene::start().await;
    let stream = TcpStream::connect(scene.proxy).await.unwrap().into_std().unwrap();
    let breaker = stream.try_clone().unwrap();
    let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
    let (sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let _connection = tokio::spawn(connection);
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let mut sender = sender.clone();
            let request = Request::get("http://app.test/").body(Empty::new()).unwrap();
            tokio::spawn(async move { sender.send_request(request).await })
        })
        .collect();
    scene.until_held(10).await;
    breaker.shutdown(std::net::Shutdown::Both).unwrap();
    scene.until_queue(0, 10).await;
    for request in requests {
        request.await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_limit_of_a_head() {
    let scene = Scene::with(|config, _| config.header_read_timeout = Duration::from_secs(1)).await;
    scene.ready(&[Upstream::start().await.address]);
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    for pause_ms in [0, 3500] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let request = Request::get("http://app.test/").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
    connection.abort();
}
