//! The body of a request on its way to an endpoint.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::proxy::{BodyError, ClientBody};

/// What is sent to an endpoint after the head: nothing, or what the client sends, as it comes.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// The request has no body; it can be made again.
    Empty,
    /// The client's body.
    Streaming {
        /// What comes from the client. hyper answers `Expect: 100-continue` when it is first read.
        incoming: ClientBody,
        /// Told when all of it has been taken.
        taken: Taken,
    },
}

/// When the last of a request's body was taken for sending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken(Rc<Cell<Option<Instant>>>);

impl Taken {
    /// The instant, or none while there is more to come.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.0.get()
    }

    fn now(&self) {
        if self.0.get().is_none() {
            self.0.set(Some(Instant::now()));
        }
    }
}

impl RequestBody {
    /// The body that a client sends, and how to learn that all of it has been taken; none where there is no body.
    pub(crate) fn of(incoming: ClientBody) -> (Self, Option<Taken>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let taken = Taken::default();
        (Self::Streaming { incoming, taken: taken.clone() }, Some(taken))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { incoming, taken } => {
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                if matches!(frame, Poll::Ready(None)) || incoming.is_end_stream() {
                    taken.now();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}
