//! The body of a request on its way to an endpoint.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http1::encode::Length;
use crate::proxy::{BodyError, ClientBody};

/// What is sent to an endpoint after the head: nothing, or what the client sends, as it comes.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// The request has no body; it can be made again.
    Empty,
    /// The client's body.
    Streaming {
        /// What was taken and given back, since nothing was sent.
        ahead: Option<Bytes>,
        /// What comes from the client. hyper answers `Expect: 100-continue` when it is first read.
        incoming: ClientBody,
    },
}

impl RequestBody {
    /// The body that a client sends.
    pub(crate) fn of(incoming: ClientBody) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Streaming { ahead: None, incoming }
    }

    /// The same body before these bytes were taken from it.
    pub(super) fn behind(self, taken: Bytes) -> Self {
        match self {
            Self::Streaming { ahead: None, incoming } => {
                Self::Streaming { ahead: (!taken.is_empty()).then_some(taken), incoming }
            }
            // What was ahead has not been taken, so nothing has.
            same => same,
        }
    }

    /// How its end is told to an endpoint.
    pub(super) fn length(&self) -> Length {
        match (self, self.size_hint().exact()) {
            (Self::Empty, _) => Length::Empty,
            (_, Some(bytes)) => Length::Exact(bytes),
            (_, None) => Length::Chunked,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { ahead, incoming } => match ahead.take() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => Pin::new(incoming).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { ahead, incoming } => ahead.is_none() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { ahead, incoming } => {
                let ahead = ahead.as_ref().map_or(0, |data| data.len() as u64);
                let rest = incoming.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + ahead);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + ahead);
                }
                hint
            }
        }
    }
}
