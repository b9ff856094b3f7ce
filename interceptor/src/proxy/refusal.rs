//! Answers of the interceptor's own, where there is none of the workload.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::{End, Exchange, ResponseBody};

/// Why a request gets no response of its workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request does not say clearly where it goes.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// `CONNECT` asks for a forward proxy.
    #[error("CONNECT is not supported: this is a reverse proxy")]
    Connect,
    /// No resource claims the request.
    #[error("no route for host {host:?} and this path")]
    NoRoute {
        /// As it was looked up.
        host: String,
    },
    /// The route went while the request was held.
    #[error("the route of this request has been removed")]
    RouteRemoved,
    /// No endpoint became ready in time.
    #[error("no endpoint of the workload became ready in time")]
    NotReady,
    /// The request as a whole took too long.
    #[error("the request took too long")]
    RequestTimeout,
    /// The endpoint took too long to answer.
    #[error("the workload did not answer in time")]
    ResponseHeaderTimeout,
    /// The endpoint can't be connected to, or broke off.
    #[error("the workload's endpoint failed: {0}")]
    UpstreamFailed(String),
    /// A fault of ours.
    #[error("internal error")]
    Panicked,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute { .. } | Self::RouteRemoved => StatusCode::NOT_FOUND,
            Self::NotReady | Self::RequestTimeout | Self::ResponseHeaderTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamFailed(_) => StatusCode::BAD_GATEWAY,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the request ends by.
    fn end(&self) -> End {
        match self {
            Self::NotReady | Self::RequestTimeout | Self::ResponseHeaderTimeout => End::Timeout,
            Self::UpstreamFailed(_) => End::UpstreamFailed,
            _ => End::Refused,
        }
    }

    /// The answer; the exchange ends when it has been sent.
    pub(crate) fn into_response(self, mut exchange: Option<Exchange>) -> Response<ResponseBody> {
        let status = self.status();
        if let Some(exchange) = &mut exchange {
            exchange.answered(status);
            exchange.ends(self.end());
        }
        let text = Bytes::from(format!("{self}\n"));
        let mut response = Response::new(ResponseBody::text(text, exchange));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if matches!(self, Self::Connect) {
            // An empty list: the methods that are allowed are the workload's to say.
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(""));
        }
        response
    }
}
