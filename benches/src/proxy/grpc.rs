//! gRPC over HTTP/2 without TLS, beside nginx's `grpc_pass`.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// A message of 128 bytes as gRPC frames it: not compressed, its length, itself.
pub(super) fn message() -> Vec<u8> {
    [&[0, 0, 0, 0, 128][..], &[b'x'; 128]].concat()
}

/// A server that reads a call to its end and answers with one message and a good status in trailers. It ends with the process.
pub(super) async fn backend() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let message = Bytes::from(message());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let message = message.clone();
            let service = service_fn(move |request| answer(request, message.clone()));
            // A connection that can't be without delay is only slower.
            let _slower = stream.set_nodelay(true);
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

type Frames = stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>;

async fn answer(request: Request<Incoming>, message: Bytes) -> Result<Response<StreamBody<Frames>>, hyper::Error> {
    request.into_body().collect().await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response =
        Response::new(StreamBody::new(stream::iter([Ok(Frame::data(message)), Ok(Frame::trailers(trailers))])));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
