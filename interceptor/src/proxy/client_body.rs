//! The body of a client's request, within the limits that protect the workload from it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Version, request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::Refusal;

/// Limits of a request's body; none is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// As a whole, in bytes.
    pub(crate) bytes: Option<u64>,
    /// From one read to the next.
    pub(crate) pause: Option<Duration>,
}

/// What the client sends, as it comes.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    limits: BodyLimits,
    /// Over HTTP/2 a body may rest once the response has begun: both go on side by side.
    may_rest: bool,
    /// Reused from pause to pause. It runs while the client is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    state: BodyState,
}

/// What those who do not read a body know of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyState(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    failed: Cell<Option<Failure>>,
    response_begun: Cell<bool>,
    /// Bytes that have come.
    received: Cell<u64>,
}

/// What was wrong with a body.
#[derive(Debug, Clone, Copy)]
enum Failure {
    TooLong,
    TooSlow,
    BrokeOff,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Over `--max-request-body-bytes`.
    #[error("the body of the request is too long")]
    TooLong,
    /// Over `--body-read-timeout`.
    #[error("the body of the request stopped for too long")]
    TooSlow,
    /// The client left, or sends nonsense.
    #[error("the body of the request broke off: {0}")]
    BrokeOff(#[from] hyper::Error),
}

impl BodyState {
    /// What to answer where the body is what went wrong.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Some(match self.0.failed.get()? {
            Failure::TooLong => Refusal::BodyTooLong,
            Failure::TooSlow => Refusal::BodyTooSlow,
            Failure::BrokeOff => Refusal::BodyBrokeOff,
        })
    }

    /// The response's head goes to the client.
    pub(crate) fn response_begun(&self) {
        self.0.response_begun.set(true);
    }
}

impl BodyState {
    /// Bytes of it that have come.
    pub(crate) fn received(&self) -> u64 {
        self.0.received.get()
    }
}

impl ClientBody {
    /// The body of the request with this head, which came over this version of HTTP.
    ///
    /// # Errors
    /// Where it says itself that it is too long.
    pub(crate) fn new(
        head: &request::Parts,
        version: Version,
        incoming: Incoming,
        mut limits: BodyLimits,
    ) -> Result<(Self, BodyState), Refusal> {
        if limits.bytes.is_some_and(|most| incoming.size_hint().lower() > most) {
            return Err(Refusal::BodyTooLong);
        }
        let is_http2 = version == Version::HTTP_2;
        if is_http2 && is_grpc(head) {
            // A stream of messages may rest for hours, before the first answer too.
            limits.pause = None;
        }
        let state = BodyState::default();
        let body = Self { incoming, limits, may_rest: is_http2, timer: None, is_waiting: false, state: state.clone() };
        Ok((body, state))
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        let received = &self.state.0.received;
        received.set(received.get() + data.len() as u64);
        if let Some(left) = &mut self.limits.bytes {
            *left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLong)?;
        }
        Ok(())
    }

    /// Ready when nothing has come for too long.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pause) = self.limits.pause else { return Poll::Pending };
        if self.may_rest && self.state.0.response_begun.get() {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            timer.as_mut().reset(Instant::now() + pause);
        }
        timer.as_mut().poll(cx)
    }

    fn failed(&self, error: BodyError) -> BodyError {
        let failure = match &error {
            BodyError::TooLong => Failure::TooLong,
            BodyError::TooSlow => Failure::TooSlow,
            BodyError::BrokeOff(_) => Failure::BrokeOff,
        };
        self.state.0.failed.set(Some(failure));
        error
    }
}

fn is_grpc(head: &request::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    kind.starts_with(b"application/grpc")
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let outcome = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => this.count(&frame).map(|()| Some(frame)),
            Poll::Ready(Some(Err(error))) => Err(BodyError::BrokeOff(error)),
            Poll::Ready(None) => Ok(None),
            Poll::Pending => match this.poll_pause(cx) {
                Poll::Ready(()) => Err(BodyError::TooSlow),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.is_waiting = false;
        Poll::Ready(outcome.map_err(|error| this.failed(error)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
