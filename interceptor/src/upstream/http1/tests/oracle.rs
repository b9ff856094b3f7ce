//! What hyper makes of the same bytes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{Seen, sorted};

const ROOM: usize = 1 << 22;

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The response that hyper's client reads, if it accepts it.
pub(super) async fn reads(bytes: &[u8], to_head: bool) -> Option<Seen> {
    let (ours, mut theirs) = tokio::io::duplex(ROOM);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    let driver = tokio::spawn(connection);
    let method = if to_head { Method::HEAD } else { Method::GET };
    let request = Request::builder().method(method).header("host", "h").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request);
    let serving = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.unwrap());
        }
        let _refused = theirs.write_all(bytes).await;
        let _refused = theirs.shutdown().await;
    };
    let (response, ()) = tokio::join!(answer, serving);
    let seen = async {
        let (head, body) = response.ok()?.into_parts();
        let body = body.collect().await.ok()?;
        let trailers = body.trailers().map(sorted).unwrap_or_default();
        // It leaves a length that is said twice as it is.
        let mut headers = sorted(&head.headers);
        headers.dedup_by(|a, b| a == b && a.0 == "content-length");
        Some(Seen {
            status: head.status.as_u16(),
            reason: head.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec()),
            headers,
            body: body.to_bytes().to_vec(),
            trailers,
        })
    }
    .await;
    driver.abort();
    seen
}

/// A request as hyper's server sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServedRequest {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
}

/// The requests that hyper's server reads.
pub(super) async fn serves(bytes: &[u8]) -> Vec<ServedRequest> {
    let (ours, mut theirs) = tokio::io::duplex(ROOM);
    let (seen, mut requests) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let trailers = body.trailers().map(sorted).unwrap_or_default();
                let _all_are_read = seen.send(ServedRequest {
                    method: head.method.to_string(),
                    target: head.uri.to_string(),
                    headers: sorted(&head.headers),
                    body: body.to_bytes().to_vec(),
                    trailers,
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    let _broken =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(ours), service).await;
    let mut all = Vec::new();
    while let Some(request) = requests.recv().await {
        all.push(request);
    }
    all
}
