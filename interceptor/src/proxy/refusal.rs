//! Answers of the interceptor's own, where there is none of the workload.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode, Version};
use serde::Serialize;
use tracing::debug;

use super::pace::Slow;
use super::{End, Exchange, ResponseBody};
use crate::config::ErrorFormat;
use crate::fixed_response::RETRY_AFTER_SECONDS;
use crate::server::gate::Fault;

/// Why a request gets no response of its workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request does not say clearly where it goes.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// Over `--max-request-body-bytes`.
    #[error("the body of the request is too long")]
    BodyTooLong,
    /// Over `--body-read-timeout`, or under `--min-body-rate`.
    #[error("the body of the request {}", match .0 { Slow::Stopped => "stopped for too long", Slow::Drips => "came too slowly" })]
    BodyTooSlow(Slow),
    /// The request was not let in.
    #[error(transparent)]
    Unread(Fault),
    /// The client left in the middle of its body, or sent nonsense.
    #[error("bad request: the body broke off")]
    BodyBrokeOff,
    /// No resource claims the request.
    #[error("no route for host {host:?} and this path")]
    NoRoute {
        /// As it was looked up.
        host: String,
    },
    /// The route went while the request was held.
    #[error("the route of this request has been removed")]
    RouteRemoved,
    /// No endpoint is ready, and the request does not wait for one.
    #[error("no endpoint of the workload is ready")]
    NoEndpoint,
    /// No endpoint became ready in time.
    #[error("no endpoint of the workload became ready in time")]
    NotReady,
    /// All endpoints were full for too long.
    #[error("the workload's endpoints are all busy, and no place became free in time")]
    NoPlace,
    /// The line is as long as it may be.
    #[error("{waiting} requests wait for the workload already, and more may not; try again later")]
    TooManyWaiting {
        /// How many do.
        waiting: usize,
        /// They wait for a cold start; else all endpoints are full.
        without_endpoint: bool,
    },
    /// The request as a whole took too long.
    #[error("the request took too long")]
    RequestTimeout,
    /// The endpoint took too long to answer.
    #[error("the workload did not answer in time")]
    ResponseHeaderTimeout,
    /// The endpoint can't be connected to, or broke off.
    #[error("the workload's endpoint failed")]
    UpstreamFailed(String),
    /// The route names a port that its service does not have.
    #[error("the workload's port can't be resolved: its service has none of the name that the route asks for")]
    PortUnknown,
    /// Something else than a WebSocket is wanted on a stream of HTTP/2 (RFC 9220, section 3, says how to answer).
    #[error("only WebSockets are spoken so")]
    ProtocolUnknown,
    /// A fault of ours.
    #[error("internal error")]
    Panicked,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BodyBrokeOff => StatusCode::BAD_REQUEST,
            Self::Unread(fault) => fault.status(),
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute { .. } | Self::RouteRemoved => StatusCode::NOT_FOUND,
            Self::NoEndpoint | Self::TooManyWaiting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotReady | Self::NoPlace | Self::RequestTimeout | Self::ResponseHeaderTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::UpstreamFailed(_) => StatusCode::BAD_GATEWAY,
            Self::ProtocolUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::PortUnknown | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the request ends by.
    fn end(&self) -> End {
        match self {
            Self::NotReady
            | Self::NoPlace
            | Self::RequestTimeout
            | Self::ResponseHeaderTimeout
            | Self::BodyTooSlow(_) => End::Timeout,
            Self::UpstreamFailed(_) => End::UpstreamFailed,
            Self::BodyBrokeOff => End::ClientGone,
            _ => End::Refused,
        }
    }

    /// Whether it is for want of a ready endpoint.
    pub(crate) fn is_cold_start(&self) -> bool {
        matches!(self, Self::NoEndpoint | Self::TooManyWaiting { without_endpoint: true, .. })
    }

    /// The answer; the exchange ends when it has been sent.
    pub(crate) fn into_response(self, mut exchange: Option<Exchange>) -> Response<ResponseBody> {
        let status = self.status();
        if let Some(exchange) = &mut exchange {
            exchange.answered(status);
            exchange.ends(self.end());
        }
        if let Self::UpstreamFailed(why) = &self {
            // For the operator alone: it may tell of what is inside.
            debug!("an endpoint failed: {why}");
        }
        let text = self.to_string();
        let mut response = Response::new(ResponseBody::text(Bytes::from(format!("{text}\n")), exchange));
        *response.status_mut() = status;
        let ends_connection = matches!(self, Self::Unread(_) | Self::BodyTooLong | Self::BodyTooSlow(_));
        response.extensions_mut().insert(Told { text, ends_connection });
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            // An empty list: the methods that are allowed are the workload's to say.
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(""));
        }
        response
    }
}

/// What a refusal says, kept with its response until the format is known.
#[derive(Debug, Clone)]
struct Told {
    text: String,
    /// Nobody knows where the next request would begin, or it is far away.
    ends_connection: bool,
}

/// An error for machines (RFC 9457). Its type is `about:blank`: the status says what kind of error it is.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

/// Makes a refusal fit the client's connection and the format that is asked for; any other response stays as it is.
pub(crate) fn finish(format: ErrorFormat, version: Version, response: &mut Response<ResponseBody>) {
    let Some(told) = response.extensions_mut().remove::<Told>() else { return };
    if told.ends_connection && version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if format == ErrorFormat::Text {
        return;
    }
    let status = response.status();
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail: &told.text };
    if let Ok(json) = serde_json::to_vec(&problem) {
        response.body_mut().says(Bytes::from(json));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}
