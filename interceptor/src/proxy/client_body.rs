//! The body of a client's request, within the limits that protect the workload from it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Version, request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::Refusal;
use super::pace::{MinRate, Pace, PaceLimits, Slow};
use crate::config::Config;

/// Limits of a request's body; none is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// As a whole, in bytes.
    pub(crate) bytes: Option<u64>,
    /// On its way.
    pub(crate) pace: PaceLimits,
}

impl BodyLimits {
    /// What the settings say, with this rate instead of theirs where there is one; zero is no limit.
    pub(crate) fn of(config: &Config, min_rate: Option<u64>) -> Self {
        let bytes_per_second = min_rate.unwrap_or(config.min_body_rate);
        let rate = MinRate { grace: config.min_body_rate_grace, bytes_per_second };
        Self {
            bytes: Some(config.max_request_body_bytes).filter(|bytes| *bytes > 0),
            pace: PaceLimits {
                pause: Some(config.body_read_timeout).filter(|pause| !pause.is_zero()),
                rate: (bytes_per_second > 0).then_some(rate),
            },
        }
    }
}

/// What the client sends, as it comes.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    /// What may still come, in bytes.
    left: Option<u64>,
    pace: Pace,
    /// Over HTTP/2 a body may rest once the response has begun: both go on side by side.
    may_rest: bool,
    /// Reused from wait to wait. It runs while the client is waited for.
    timer: Option<Pin<Box<Sleep>>>,
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
    /// All of it has come.
    ended: Cell<bool>,
}

/// What was wrong with a body.
#[derive(Debug, Clone, Copy)]
enum Failure {
    TooLong,
    TooSlow(Slow),
    BrokeOff,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Over `--max-request-body-bytes`.
    #[error("the body of the request is too long")]
    TooLong,
    /// Over `--body-read-timeout`, or under `--min-body-rate`.
    #[error("the body of the request is too slow: {0:?}")]
    TooSlow(Slow),
    /// The client left, or sends nonsense.
    #[error("the body of the request broke off: {0}")]
    BrokeOff(#[from] hyper::Error),
}

impl BodyState {
    /// What to answer where the body is what went wrong.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Some(match self.0.failed.get()? {
            Failure::TooLong => Refusal::BodyTooLong,
            Failure::TooSlow(slow) => Refusal::BodyTooSlow(slow),
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

    /// Whether all of it has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.get()
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
        if is_http2 && is_stream_of_messages(head) {
            // It may rest for hours, before the first answer too.
            limits.pace = PaceLimits::default();
        }
        let (state, pace) = (BodyState::default(), Pace::new(limits.pace));
        Ok((Self { incoming, left: limits.bytes, pace, may_rest: is_http2, timer: None, state: state.clone() }, state))
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        let received = &self.state.0.received;
        received.set(received.get() + data.len() as u64);
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLong)?;
        }
        Ok(())
    }

    /// Ready when nothing has come for too long, or too little.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Slow> {
        let begun = self.state.0.response_begun.get();
        let received = self.state.received();
        let Some((due, slow)) = self.pace.waits(Instant::now, received, begun && self.may_rest, begun) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).map(|()| slow)
    }

    fn failed(&self, error: BodyError) -> BodyError {
        let failure = match &error {
            BodyError::TooLong => Failure::TooLong,
            BodyError::TooSlow(slow) => Failure::TooSlow(*slow),
            BodyError::BrokeOff(_) => Failure::BrokeOff,
        };
        self.state.0.failed.set(Some(failure));
        error
    }
}

/// gRPC, or the streams of the Connect protocol.
fn is_stream_of_messages(head: &request::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    kind.starts_with(b"application/grpc") || kind.starts_with(b"application/connect+")
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
            Poll::Pending => match this.poll_patience(cx) {
                Poll::Ready(slow) => Err(BodyError::TooSlow(slow)),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.pace.goes_on(Instant::now);
        if matches!(outcome, Ok(None)) || this.incoming.is_end_stream() {
            this.state.0.ended.set(true);
        }
        Poll::Ready(outcome.map_err(|error| this.failed(error)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
