//! Workloads' servers: a well-behaved one, and one that a test scripts byte by byte.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A server and what it has seen.
pub struct Upstream {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Upstream {
    /// A server that speaks HTTP well; see [`answer`].
    pub async fn start() -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = requests.clone();
        Self::accepting(listener, requests, move |stream, _| {
            let seen = seen.clone();
            let service = service_fn(move |request| {
                seen.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, Infallible>(answer(request).await) }
            });
            async move {
                let server = hyper::server::conn::http1::Builder::new();
                let _client_gone = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
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
        Self::accepting(listener, Arc::default(), serve)
    }

    fn accepting<F, Fut>(listener: TcpListener, requests: Arc<AtomicUsize>, serve: F) -> Self
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
                serving.spawn(serve(stream, counted.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, connections, requests, accepting }
    }

    /// Ends all connections; new ones are refused.
    pub async fn stop(self) {
        self.accepting.abort();
        assert!(self.accepting.await.unwrap_err().is_cancelled());
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

async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/head" => {
            let mut lines = vec![format!("{} {} {:?}", request.method(), request.uri(), request.version())];
            lines.extend(request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
            lines.push(String::new());
            Response::new(full(lines.join("\n")))
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
            Response::new(StreamBody::new(first.chain(futures::stream::pending()).boxed()).boxed_unsync())
        }
        "/never" => std::future::pending().await,
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
