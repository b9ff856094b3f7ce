//! Workloads' servers: a well-behaved one, and one that a test scripts byte by byte.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certs::Pair;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A server and what it has seen.
pub struct Upstream {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
    /// Requests that wait for an answer which never comes, or never ends.
    pub waiting: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
    Http1Tls,
    Http2Tls,
    /// As its client likes.
    BothTls,
}

impl Speaks {
    fn alpn(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Http1 | Self::Http2 => None,
            Self::Http1Tls => Some(&["http/1.1"]),
            Self::Http2Tls => Some(&["h2"]),
            Self::BothTls => Some(&["h2", "http/1.1"]),
        }
    }
}

impl Upstream {
    /// A server that speaks HTTP well; see [`answer`].
    pub async fn start() -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let seen = Seen::default();
        Self::accepting(listener, seen.clone(), move |stream, _| serve(stream, false, seen.clone()))
    }

    /// The same server with other protocols; over TLS it shows this certificate.
    pub async fn speaking(speaks: Speaks, pair: &Pair) -> Self {
        Self::behind(speaks, speaks.alpn().map(|alpn| pair.server(None, alpn))).await
    }

    /// The same server with TLS of the test's making.
    pub async fn behind(speaks: Speaks, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let seen = Seen::default();
        Self::accepting(listener, seen.clone(), move |stream, _| {
            let (seen, tls) = (seen.clone(), tls.clone());
            async move {
                let Some(tls) = tls else { return serve(stream, speaks == Speaks::Http2, seen).await };
                // A client that does not trust us goes away.
                let Ok(stream) = tls.accept(stream).await else { return };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(stream, http2, seen).await;
            }
        })
    }

    /// A server whose connections a test serves itself; the number says which connection it is, from 0.
    pub async fn scripted<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self::accepting(listener, Seen::default(), serve)
    }

    fn accepting<F, Fut>(listener: TcpListener, seen: Seen, serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // As every server has it; a client that has gone already is found out later.
                let _as_it_was = stream.set_nodelay(true);
                serving.spawn(serve(stream, counted.fetch_add(1, Ordering::SeqCst)));
            }
        });
        let Seen { requests, waiting } = seen;
        Self { address, connections, requests, waiting, accepting }
    }

    /// Ends all connections; new ones are refused.
    pub async fn stop(self) {
        self.accepting.abort();
        assert!(self.accepting.await.unwrap_err().is_cancelled());
    }
}

/// What a server counts.
#[derive(Clone, Default)]
struct Seen {
    requests: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
}

/// A request that waits, until this is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(seen: &Seen) -> Self {
        seen.waiting.fetch_add(1, Ordering::SeqCst);
        Self(seen.waiting.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves one connection. How it ends is the client's business.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http2: bool, seen: Seen) {
    let service = service_fn(move |request| {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let seen = seen.clone();
        async move { Ok::<_, Infallible>(answer(request, &seen).await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _client_gone = server.serve_connection(io, service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _client_gone = server.serve_connection(io, service).with_upgrades().await;
    }
}

/// Reads up to the end of a request's head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

async fn answer(mut request: Request<Incoming>, seen: &Seen) -> Response<Body> {
    match request.uri().path() {
        "/head" => {
            let mut lines = vec![format!("{} {} {:?}", request.method(), request.uri(), request.version())];
            lines.extend(request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
            lines.push(String::new());
            let text = lines.join("\n");
            let mut response =
                Response::new(full(if request.method() == Method::HEAD { String::new() } else { text.clone() }));
            response.headers_mut().insert("content-length", text.len().into());
            response
        }
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        "/early" => {
            // Answers first, reads afterwards.
            let mut body = request.into_body();
            let frames = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"early;"))) }).chain(
                futures::stream::once(async move {
                    let mut count = 0;
                    while let Some(Ok(frame)) = body.frame().await {
                        count += frame.data_ref().map_or(0, Bytes::len);
                    }
                    Ok(Frame::data(Bytes::from(count.to_string())))
                }),
            );
            Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
        }
        "/big" => Response::new(full(vec![b'x'; 8 << 20])),
        "/drip" => {
            let first = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
            let waiting = Waiting::new(seen);
            let never = futures::stream::once(async move {
                let _waiting = waiting;
                std::future::pending().await
            });
            Response::new(StreamBody::new(first.chain(never).boxed()).boxed_unsync())
        }
        "/never" => {
            let _waiting = Waiting::new(seen);
            std::future::pending().await
        }
        "/trailers-of-request" => {
            let collected = request.into_body().collect().await.unwrap();
            let check = collected.trailers().and_then(|trailers| trailers.get("x-check")).cloned();
            Response::new(full(check.map_or(Bytes::new(), |check| Bytes::copy_from_slice(check.as_bytes()))))
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Response::new(full("slow"))
        }
        "/204" => status(StatusCode::NO_CONTENT),
        "/304" => status(StatusCode::NOT_MODIFIED),
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            let frames = [Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(StreamBody::new(futures::stream::iter(frames).boxed()).boxed_unsync());
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
            response
        }
        "/upgrade" => {
            let on = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(on.await.unwrap());
                let (mut from, mut to) = tokio::io::split(&mut stream);
                let _closed = tokio::io::copy(&mut from, &mut to).await;
            });
            let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
            response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
            response.headers_mut().insert("upgrade", HeaderValue::from_static("test"));
            response
        }
        "/hop" => {
            let mut response = Response::new(full("hop"));
            response.headers_mut().insert("connection", HeaderValue::from_static("x-mine"));
            response.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
            response.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=5"));
            response
        }
        _ => Response::new(full("hello")),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}
