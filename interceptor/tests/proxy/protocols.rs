//! Every protocol of clients with every protocol of workloads.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_wire::resources::BackendProtocol;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::certs::{Authority, connect};
use crate::scene::Scene;
use crate::upstream::{Speaks, Upstream};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    Http1,
    H2c,
    Http1Tls,
    H2Tls,
}

/// Each way that clients come in and workloads are reached, with the version that the workload must see.
const PAIRS: [(Comes, BackendProtocol, Speaks, &str); 9] = [
    (Comes::Http1, BackendProtocol::Http1, Speaks::Http1, "HTTP/1.1"),
    (Comes::H2c, BackendProtocol::Http1, Speaks::Http1, "HTTP/1.1"),
    (Comes::Http1, BackendProtocol::H2c, Speaks::Http2, "HTTP/2.0"),
    (Comes::H2c, BackendProtocol::H2c, Speaks::Http2, "HTTP/2.0"),
    (Comes::Http1Tls, BackendProtocol::Https, Speaks::Http1Tls, "HTTP/1.1"),
    (Comes::Http1Tls, BackendProtocol::Https, Speaks::BothTls, "HTTP/2.0"),
    (Comes::H2Tls, BackendProtocol::Https, Speaks::Http1Tls, "HTTP/1.1"),
    (Comes::H2Tls, BackendProtocol::H2, Speaks::Http2Tls, "HTTP/2.0"),
    (Comes::H2c, BackendProtocol::H2, Speaks::BothTls, "HTTP/2.0"),
];

/// An interceptor between a client and a workload that speak these protocols.
struct Between {
    scene: Scene,
    upstream: Upstream,
    authority: Authority,
    comes: Comes,
    _folder: TempDir,
}

impl Between {
    async fn start(comes: Comes, backend: BackendProtocol, speaks: Speaks) -> Self {
        let (scene, authority, folder) = Scene::secured(backend).await;
        let upstream = Upstream::speaking(speaks, &authority.issue(&["127.0.0.1"])).await;
        scene.ready(&[upstream.address]);
        Self { scene, upstream, authority, comes, _folder: folder }
    }

    async fn sender(&self) -> Sender {
        let alpn = if self.comes == Comes::H2Tls { "h2" } else { "http/1.1" };
        match self.comes {
            Comes::Http1 => Sender::http1(TcpStream::connect(self.scene.proxy).await.unwrap()).await,
            Comes::H2c => Sender::http2(TcpStream::connect(self.scene.proxy).await.unwrap()).await,
            Comes::Http1Tls | Comes::H2Tls => {
                let config = self.authority.client(None, &[alpn]);
                let stream = connect(self.scene.proxy_tls(), "app.test", config).await.unwrap();
                match self.comes {
                    Comes::H2Tls => Sender::http2(stream).await,
                    _ => Sender::http1(stream).await,
                }
            }
        }
    }
}

/// A client's connection. It ends when this is dropped.
struct Sender {
    protocol: Protocol,
    connection: JoinHandle<()>,
}

enum Protocol {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { protocol: Protocol::Http1(sender), connection }
    }

    async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { protocol: Protocol::Http2(sender), connection }
    }

    async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, hyper::Error> {
        let request = Request::builder().method(method).header("te", "trailers");
        match &mut self.protocol {
            Protocol::Http1(sender) => {
                sender.ready().await?;
                let request = request.uri(path).header("host", "app.test").header("trailer", "x-check");
                sender.send_request(request.body(body).unwrap()).await
            }
            Protocol::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request.uri(format!("http://app.test{path}")).body(body).unwrap()).await
            }
        }
    }

    async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(Method::GET, path, nothing()).await.unwrap()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent as it is written. It breaks off where the writer says so.
fn streamed() -> (mpsc::Sender<std::io::Result<Frame<Bytes>>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
    (sender, StreamBody::new(frames.boxed()).boxed_unsync())
}

fn data(bytes: impl Into<Bytes>) -> std::io::Result<Frame<Bytes>> {
    Ok(Frame::data(bytes.into()))
}

/// Bytes that show if any is lost, doubled or out of place.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[tokio::test]
async fn each_pair_of_protocols_carries_everything() {
    for (comes, backend, speaks, version) in PAIRS {
        println!("clients by {comes:?}, a workload that is {backend:?} and speaks {speaks:?}");
        let between = Between::start(comes, backend, speaks).await;
        let mut sender = between.sender().await;
        heads(&mut sender, version).await;
        bodies(&mut sender).await;
        trailers(&mut sender, version).await;
        early(&mut sender).await;
        between.scene.until_queue(0, 11).await;
        cancelled(&between).await;
    }
}

async fn heads(sender: &mut Sender, version: &str) {
    let response = sender.get("/head?q=1").await;
    assert_eq!(response.status(), 200);
    let text = String::from_utf8(response.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains(&format!("/head?q=1 {version}\n")), "{text}");
    assert!(text.starts_with("GET "), "{text}");
    let response = sender.send(Method::HEAD, "/head", nothing()).await.unwrap();
    assert!(response.headers()["content-length"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(response.collect().await.unwrap().to_bytes().is_empty());
    for (path, status) in [("/204", 204), ("/304", 304)] {
        let response = sender.get(path).await;
        assert_eq!(response.status(), status);
        assert!(response.collect().await.unwrap().to_bytes().is_empty());
    }
}

async fn bodies(sender: &mut Sender) {
    for length in [1, 100_000, 5 << 20] {
        let sent = pattern(length);
        let response = sender.send(Method::POST, "/echo", full(sent.clone())).await.unwrap();
        assert!(response.collect().await.unwrap().to_bytes() == sent, "{length} bytes come back as they were");
    }
    // Each piece comes back before the next is sent: nothing on the way waits for more.
    let (pieces, body) = streamed();
    pieces.send(data("first")).await.unwrap();
    let mut response = sender.send(Method::POST, "/echo", body).await.unwrap().into_body();
    for (comes, next) in [("first", "second"), ("second", "third"), ("third", "")] {
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), comes);
        if !next.is_empty() {
            pieces.send(data(next)).await.unwrap();
        }
    }
    drop(pieces);
    assert!(response.collect().await.unwrap().to_bytes().is_empty());
}

async fn trailers(sender: &mut Sender, version: &str) {
    let collected = sender.get("/trailers").await.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42", "to the client");
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-check"), HeaderValue::from_static("7"))]);
    let (pieces, body) = streamed();
    pieces.try_send(data("data")).unwrap();
    let writer = tokio::spawn(async move { pieces.send(Ok(Frame::trailers(trailers))).await.unwrap() });
    let response = sender.send(Method::POST, "/trailers-of-request", body).await.unwrap();
    writer.await.unwrap();
    let text = response.collect().await.unwrap().to_bytes();
    assert_eq!(text, "7", "to the workload by {version}");
}

/// The response begins before the request has ended, and neither waits for the other.
async fn early(sender: &mut Sender) {
    let (pieces, body) = streamed();
    pieces.send(data("12345")).await.unwrap();
    let mut response = sender.send(Method::POST, "/early", body).await.unwrap().into_body();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "early;");
    pieces.send(data("6789")).await.unwrap();
    drop(pieces);
    assert_eq!(response.collect().await.unwrap().to_bytes(), "9");
}

/// A client that gives up frees the workload, before the response and in the middle of it.
async fn cancelled(between: &Between) {
    let admitted = between.scene.queue().await.1;
    for (number, path) in [(1, "/never"), (2, "/drip")] {
        let mut sender = between.sender().await;
        if path == "/never" {
            let request = sender.send(Method::GET, path, nothing());
            let gives_up = tokio::time::timeout(Duration::from_secs(60), async {
                tokio::select! {
                    _ = request => panic!("nobody answers"),
                    () = between.scene.until_queue(1, admitted + number) => {}
                }
            });
            gives_up.await.unwrap();
        } else {
            let mut response = sender.get(path).await.into_body();
            assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        }
        drop(sender);
        between.scene.until_queue(0, admitted + number).await;
    }
    let waiting = || between.upstream.waiting.load(std::sync::atomic::Ordering::SeqCst);
    crate::scene::until(async || waiting() == 0, "the workload has been told that nobody waits").await;
}

#[tokio::test]
async fn requests_at_once_share_one_connection() {
    let between = Between::start(Comes::H2c, BackendProtocol::H2c, Speaks::Http2).await;
    let sender = between.sender().await;
    let Protocol::Http2(requests) = &sender.protocol else { unreachable!("it comes by HTTP/2") };
    let answers = (0..80).map(|number: usize| {
        let mut requests = requests.clone();
        async move {
            let body = pattern(1000 * number);
            let request = Request::post("http://app.test/echo").body(full(body.clone())).unwrap();
            let response = requests.send_request(request).await.unwrap();
            assert!(response.collect().await.unwrap().to_bytes() == body, "request {number}");
        }
    });
    futures::future::join_all(answers).await;
    between.scene.until_queue(0, 80).await;
    assert_eq!(between.upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}
