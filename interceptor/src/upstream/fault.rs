//! What goes wrong on a connection to an endpoint.

use std::io;

use http::Request;

use super::RequestBody;
use super::http1::Malformed;
use super::http1::encode::WrongLength;
use crate::proxy::BodyError;

/// Why a connection can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The endpoint had closed it, or said something that nobody had asked for, before the request.
    #[error("it had ended before the request")]
    Ended,
    /// The endpoint closed it where more should have come.
    #[error("it was closed before the response's end")]
    ClosedEarly,
    /// The stream broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no response, or none that can be trusted.
    #[error("what it sent is no response that can be trusted: {0}")]
    Malformed(#[from] Malformed),
    /// The client broke off in the middle of the request.
    #[error("{0}")]
    Client(#[source] BodyError),
    /// HTTP/2 says so; the endpoint's reason goes on to the client.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// What was to be sent can be no request of HTTP/2.
    #[error("its head can't be sent over HTTP/2: {0}")]
    Head(#[source] http::Error),
    /// What was to be sent is no request.
    #[error("{0}")]
    Request(#[from] WrongLength),
}

impl Fault {
    /// Whether it tells of the endpoint's health, and not of the client's.
    pub(crate) fn is_the_endpoints(&self) -> bool {
        !matches!(self, Self::Client(_) | Self::Request(_) | Self::Head(_))
    }
}

/// Why a request got no response on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nothing of it was sent, so it can be sent elsewhere.
    #[error("nothing was sent: {1}")]
    Unsent(Box<Request<RequestBody>>, #[source] Fault),
    /// It may have reached the endpoint. The request comes back where it has no body: whether it may be sent twice is for
    /// its method to say.
    #[error("the connection broke: {1}")]
    Broken(Option<Box<Request<RequestBody>>>, #[source] Fault),
    /// The client broke off in the middle of the request.
    #[error("{0}")]
    Client(#[source] BodyError),
    /// The request as a whole took too long.
    #[error("the request took too long")]
    RequestTimeout,
    /// The response's head took too long.
    #[error("the response's head took too long")]
    ResponseHeaderTimeout,
}

/// Why a response ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// The endpoint did it.
    #[error("the endpoint broke off: {0}")]
    Broken(#[source] Fault),
    /// We did.
    #[error("the request took too long")]
    RequestTimeout,
}
