//! The body of an endpoint's response.

use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use h2::RecvStream;
use http_body::Frame;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::fault::Interrupted;
use super::super::patience::Timer;
use super::session::Slot;
use super::upload::Upload;

/// A response's body. Dropping it before its end resets the stream.
pub(crate) struct Download {
    stream: RecvStream,
    /// What the head says is still to come, in bytes.
    left: Option<u64>,
    /// It answers `HEAD`: nothing comes, even if the endpoint says so only later.
    bodyless: bool,
    data_ended: bool,
    until: Option<Instant>,
    timer: Timer,
    /// What is still to be sent of the request.
    upload: Option<Upload>,
    /// Tells the upload that the response is whole; dropping it, that nobody wants it any more.
    whole: Option<oneshot::Sender<()>>,
    /// The place on the connection. None once the response has ended.
    slot: Option<Slot>,
}

impl Download {
    /// The body that comes over this stream, until this instant at the latest, while `upload` is still being sent.
    pub(super) fn new(
        stream: RecvStream,
        length: Option<u64>,
        bodyless: bool,
        until: Option<Instant>,
        upload: Option<Upload>,
        slot: Slot,
    ) -> Self {
        Self {
            stream,
            left: length,
            bodyless,
            data_ended: false,
            until,
            timer: Timer::default(),
            upload,
            whole: None,
            slot: Some(slot),
        }
    }

    /// Where the response begins before the request has ended: what sends the rest of the request, to be run apart.
    pub(crate) fn rest_of_request(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        let (upload, slot) = (self.upload.take()?, self.slot.take()?);
        let (whole, response) = oneshot::channel();
        self.whole = Some(whole);
        Some(Box::pin(upload.run(self.until, response, slot)))
    }

    /// When it is too late for the rest.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Reads on, until `deadline` at the latest.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        match self.poll_stream(cx) {
            Poll::Ready(frame) => {
                if self.stream.is_end_stream() {
                    self.end();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| Interrupted::Broken(error.into()))))
            }
            Poll::Pending => match deadline {
                Some(deadline) => self.timer.poll_until(cx, deadline).map(|()| Some(Err(Interrupted::RequestTimeout))),
                None => Poll::Pending,
            },
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.bodyless || self.stream.is_end_stream()
    }

    /// How many bytes are still to come, if the head says so.
    pub(crate) fn left(&self) -> Option<u64> {
        self.left
    }

    fn end(&mut self) {
        self.data_ended = true;
        self.slot = None;
        if let Some(whole) = self.whole.take() {
            // Whether the upload has ended already makes no difference.
            let _heard = whole.send(());
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The client has room for it, or would not have asked: the endpoint may send as much again.
                    let released = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(released.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.end();
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("left", &self.left).field("until", &self.until).finish_non_exhaustive()
    }
}
