//! How it stops: without losing a request, and in bounded time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_interceptor::Error;
use plimsoll_wire::frame::interceptor_record::Record;
use plimsoll_wire::frame::{Frame, InterceptorRecord};
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{Append, EventLog, LogError, Pace, StartAt, Subscription, Topic, TopicSpec};
use plimsoll_wire::topic::INTERCEPTORS;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::scene::{SOON, Scene, app, until};
use crate::upstream::{Upstream, read_head};

#[tokio::test]
async fn requests_in_flight_and_held_are_answered_and_idle_connections_closed() {
    let scene = Scene::start().await;
    let mut idle = scene.client().await;
    let mut held = scene.client().await;
    held.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    let endpoints = scene.endpoints.clone();
    let proxy = scene.proxy;
    let stopping = tokio::spawn(scene.stop());
    assert!(idle.is_closed().await);
    until(async || TcpStream::connect(proxy).await.is_err(), "new clients are refused").await;
    endpoints.set(&app(), vec![Upstream::start().await.address]);
    let response = held.response().await;
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("connection"), Some("close"));
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_serves_on_for_the_shutdown_delay_but_is_not_ready() {
    let scene = Scene::with(|config, _| config.shutdown_delay = Duration::from_secs(1)).await;
    scene.ready(&[Upstream::start().await.address]);
    until(async || scene.page("/readyz").await.status == 200, "ready").await;
    scene.shutdown.cancel();
    until(async || scene.page("/readyz").await.status == 503, "not ready").await;
    assert_eq!(scene.page("/livez").await.status, 200);
    let response = scene.get("/").await;
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close")),
        "the next request goes elsewhere"
    );
    scene.stop().await.unwrap();
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off_after_the_drain_timeout() {
    let scene = Scene::with(|config, _| config.drain_timeout = Duration::from_millis(300)).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut hanging = scene.client().await;
    hanging.send("GET /never HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let mut tunnel = scene.client().await;
    tunnel.send("GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
    assert_eq!(tunnel.head().await.unwrap().0, 101);
    scene.until_queue(2, 2).await;
    let began = Instant::now();
    scene.stop().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(hanging.is_closed().await);
    assert!(tunnel.is_closed().await);
}

#[tokio::test]
async fn half_a_response_that_is_cut_off_looks_whole_to_no_client_of_http_1_0() {
    let scene = Scene::with(|config, _| config.drain_timeout = Duration::from_millis(300)).await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        stream.write_all(half).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.0\r\nhost: app.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.take(4).await.unwrap(), b"half");
    scene.stop().await.unwrap();
    let error = client.stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_of_http_2_finishes_its_requests_and_is_told_to_go() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://app.test/slow").body(Empty::new()).unwrap();
    let response = tokio::spawn(sender.send_request(request));
    scene.until_queue(1, 1).await;
    scene.stop().await.unwrap();
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "slow");
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn web_sockets_are_told_to_go_and_do_not_use_up_the_drain_timeout() {
    let scene = Scene::with(|config, _| config.drain_timeout = Duration::from_secs(60)).await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n";
        stream.write_all(&[switch.as_bytes(), b"\x81\x02hi"].concat()).await.unwrap();
        // Whoever says good-bye is answered so.
        let mut frame = [0; 8];
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[0], 0x88);
        stream.write_all(b"\x88\x02\x03\xe9").await.unwrap();
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().0, 101);
    assert_eq!(client.take(4).await.unwrap(), b"\x81\x02hi");
    scene.until_queue(1, 1).await;
    let began = Instant::now();
    let stopping = tokio::spawn(scene.stop());
    assert_eq!(client.take(4).await.unwrap(), b"\x88\x02\x03\xe9");
    client.send_bytes(b"\x88\x82\0\0\0\0\x03\xe9").await;
    assert!(client.is_closed().await);
    drop(client);
    stopping.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(50));
}

#[tokio::test]
async fn a_long_request_survives_a_rolling_restart() {
    let (old, new) = (Scene::start().await, Scene::start().await);
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n").await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            stream.write_all(b"..").await.unwrap();
        }
    });
    let upstream = upstream.await;
    for scene in [&old, &new] {
        scene.ready(&[upstream.address]);
    }
    let get = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
    let mut long = old.client().await;
    long.send(get).await;
    old.until_queue(1, 1).await;
    let address = old.proxy;
    let stopping = tokio::spawn(old.stop());
    until(async || TcpStream::connect(address).await.is_err(), "the old one accepts no more").await;
    // A client that is refused there connects to the new one, as behind a Service.
    let mut next = new.client().await;
    next.send(get).await;
    assert_eq!(next.head().await.unwrap().0, 200);
    assert_eq!(long.response().await.body, [b'.'; 20]);
    stopping.await.unwrap().unwrap();
    assert_eq!(next.take(20).await.unwrap(), [b'.'; 20]);
}

#[tokio::test]
async fn dropping_it_ends_everything() {
    let scene = Scene::start().await;
    let mut held = scene.client().await;
    held.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    scene.served.abort();
    assert!(held.is_closed().await);
    let (proxy, admin) = (scene.proxy, scene.admin);
    until(async || TcpStream::connect(proxy).await.is_err(), "the proxy's port is free").await;
    until(async || TcpStream::connect(admin).await.is_err(), "the admin's port is free").await;
}

/// A log without topics, whose client does not survive making one.
#[derive(Debug)]
struct Deadly;

#[async_trait]
impl EventLog for Deadly {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        records.iter().map(|record| Err(LogError::UnknownTopic { topic: record.topic.to_string() })).collect()
    }
    fn subscribe(&self, _: Pace) -> Result<Subscription, LogError> {
        Err(LogError::UnknownTopic { topic: INTERCEPTORS.to_owned() })
    }
    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        assert!(topics.is_empty(), "a test wants this");
        Vec::new()
    }
    async fn delete_topics(&self, _: &[Topic]) -> Vec<Result<bool, LogError>> {
        Vec::new()
    }
    async fn list_topics(&self) -> Result<Vec<String>, LogError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn it_ends_with_an_error_where_it_can_publish_no_more() {
    let scene = Scene::on(Arc::new(Deadly), |_, _| {}).await;
    let served = tokio::time::timeout(SOON, scene.served).await.expect("it ends by itself").unwrap();
    assert!(matches!(served, Err(Error::PartEnded)), "{served:?}");
}

#[tokio::test]
async fn its_last_words_are_that_nothing_is_in_flight_and_that_it_leaves() {
    let log = Arc::new(MemoryLog::new());
    let topics = [Topic::from(app().topic()), Topic::from(INTERCEPTORS)];
    let specs = topics.clone().map(|topic| TopicSpec { topic, retention: Duration::from_secs(900) });
    log.create_topics(&specs).await;
    let mut subscription = log.subscribe(Pace::AtOnce).unwrap();
    subscription.add(topics.clone().map(|topic| (topic, StartAt::Oldest)));

    // Kept here: a log that the interceptor alone holds ends with it, and with it the subscription.
    let scene = Scene::on(log.clone(), |config, _| config.tick = Duration::from_secs(60)).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut slow = scene.client().await;
    slow.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_queue(1, 1).await;
    scene.stop().await.unwrap();
    assert_eq!(slow.response().await.text(), "slow");

    let mut newest = Frame::default();
    let last_words = async {
        loop {
            for record in subscription.next().await.expect("the log goes on").records {
                if record.topic == topics[0] {
                    newest = Frame::decode(record.payload).unwrap();
                } else if let Some(Record::Heartbeat(heartbeat)) =
                    InterceptorRecord::decode(record.payload).unwrap().record
                    && heartbeat.leaving
                {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(SOON, last_words).await.expect("a heartbeat says that it leaves");
    assert_eq!((newest.admitted, newest.finished, newest.held), (1, 1, 0));
}
