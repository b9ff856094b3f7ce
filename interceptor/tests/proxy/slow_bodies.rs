//! Bodies that come too slowly on the whole, though they never stop for long.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_interceptor::Config;
use plimsoll_wire::resources::Workload;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

/// Where the workload reads the whole body before it begins to answer.
const WHOLE: &str = "/trailers-of-request";
const GRACE: Duration = Duration::from_secs(1);

/// More than a client of these tests sends that is too slow, and less by far than those do that are not.
fn at_least_1000_a_second(config: &mut Config, _: &mut Workload) {
    config.min_body_rate = 1000;
    config.min_body_rate_grace = GRACE;
}

async fn scene(adjust: impl FnOnce(&mut Config, &mut Workload)) -> Scene {
    let scene = Scene::with(adjust).await;
    scene.ready(&[Upstream::start().await.address]);
    scene
}

/// Sends a piece again and again until it is answered; the time until then, and the answer.
async fn drips(scene: &Scene, head: &str, piece: &[u8]) -> (Duration, crate::client::Response) {
    let mut client = scene.client().await;
    // The interceptor may wait already when this side has sent.
    let (began, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(20));
    client.send(&format!("POST {WHOLE} HTTP/1.1\r\nhost: app.test\r\n{head}\r\n\r\n")).await;
    loop {
        // An answer on its way is found below, be the connection closed or not.
        let _refused = client.stream.write_all(piece).await;
        let answered = tokio::time::timeout(Duration::from_millis(50), client.stream.readable()).await;
        if answered.is_ok() {
            return (began.elapsed(), client.response().await);
        }
        assert!(Instant::now() < deadline, "it may go on like this for ever");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_cut_after_the_grace() {
    let scene = scene(at_least_1000_a_second).await;
    for (head, piece) in [("content-length: 100000", &b"x"[..]), ("transfer-encoding: chunked", b"1\r\nx\r\n")] {
        let (took, response) = drips(&scene, head, piece).await;
        assert_eq!((response.status, response.header("connection")), (408, Some("close")));
        assert!(response.text().contains("too slowly"), "{}", response.text());
        assert!(took >= GRACE, "{took:?}");
    }
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn a_workload_may_let_its_clients_drip() {
    let scene = scene(|config, workload| {
        at_least_1000_a_second(config, workload);
        workload.min_body_rate = Some(0);
    })
    .await;
    let mut client = scene.client().await;
    client.send(&format!("POST {WHOLE} HTTP/1.1\r\nhost: app.test\r\ncontent-length: 10\r\n\r\n")).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn what_comes_fast_enough_is_let_through_however_long_it_takes() {
    let scene = scene(|config, _| {
        config.min_body_rate = 10;
        config.min_body_rate_grace = GRACE;
    })
    .await;
    let mut client = scene.client().await;
    client.send(&format!("POST {WHOLE} HTTP/1.1\r\nhost: app.test\r\ncontent-length: 12000\r\n\r\n")).await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send_bytes(&[b'x'; 1000]).await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_body_may_drip_beside_its_response() {
    let scene = scene(at_least_1000_a_second).await;
    let mut client = scene.client().await;
    client.send("POST /early HTTP/1.1\r\nhost: app.test\r\ncontent-length: 10\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().0, 200);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send("x").await;
    }
    // In chunks: what it said before it read the body, and how much of it there was.
    let said = client.take("6\r\nearly;\r\n2\r\n10\r\n0\r\n\r\n".len()).await.expect("it is not cut off");
    assert_eq!(said, b"6\r\nearly;\r\n2\r\n10\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_workload_that_takes_its_time_to_read_is_not_the_clients_fault() {
    let scene = Scene::with(at_least_1000_a_second).await;
    let upstream = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(3 * GRACE).await;
        stream.read_exact(&mut vec![0; 16 << 20]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n", 16 << 20)).await;
    // More than all buffers between the two take.
    client.send_bytes(&vec![b'x'; 16 << 20]).await;
    assert_eq!(client.response().await.text(), "ok");
}

/// A request over HTTP/2 whose body brings a byte from time to time, and its answer.
async fn drips_over_http2(scene: &Scene, kind: &str) -> u16 {
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let body = StreamBody::new(futures::stream::unfold(0, async |count| {
        tokio::time::sleep(Duration::from_millis(250)).await;
        (count < 10).then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), count + 1))
    }));
    let request = Request::post(format!("http://app.test{WHOLE}"))
        .header("content-type", kind)
        .body(body.boxed_unsync())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    connection.abort();
    response.status().as_u16()
}

#[tokio::test]
async fn over_http_2_a_body_that_drips_is_cut_and_a_stream_of_messages_is_not() {
    let scene = scene(at_least_1000_a_second).await;
    let answers = tokio::join!(
        drips_over_http2(&scene, "text/plain"),
        drips_over_http2(&scene, "application/grpc"),
        drips_over_http2(&scene, "application/connect+json"),
    );
    assert_eq!(answers, (408, 200, 200));
}
