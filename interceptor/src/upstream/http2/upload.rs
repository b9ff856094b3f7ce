//! The body of a request on its way to an endpoint.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::RequestBody;
use super::session::Slot;
use crate::proxy::BodyError;

/// What of a body is kept until the response begins, in bytes: a request that turns out not to have been looked at is sent
/// again with it. Most calls of gRPC are shorter.
const KEPT_BYTES: usize = 64 * 1024;

/// A body being sent.
#[derive(Debug)]
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// Taken from the body and not sent yet, and whether it is the last.
    chunk: Option<(Bytes, bool)>,
    /// All that has been taken; none where it is too much to keep.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
}

/// How sending ended.
#[derive(Debug)]
pub(super) enum Uploaded {
    /// All has been sent.
    Whole,
    /// The endpoint wants no more of it, or has gone. Its response tells more.
    Stopped,
    /// The client broke off.
    Abandoned(BodyError),
}

impl Upload {
    /// Sends this body.
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self { stream, body, chunk: None, kept: Some(Vec::new()), kept_bytes: 0 }
    }

    /// The body as it was at first, where that can still be made.
    pub(super) fn undo(self) -> Option<RequestBody> {
        let kept = self.kept?;
        let first = match kept.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            all => all.iter().fold(BytesMut::with_capacity(self.kept_bytes), joined).freeze(),
        };
        Some(self.body.behind(first))
    }

    /// Sends on, as fast as the endpoint takes it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Uploaded> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Uploaded::Stopped);
            }
            if self.chunk.is_some() {
                match ready!(self.poll_chunk(cx)) {
                    None => continue,
                    Some(uploaded) => return Poll::Ready(uploaded),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(after(self.stream.send_data(Bytes::new(), true))),
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Uploaded::Abandoned(error));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.keep(&data);
                        self.stream.reserve_capacity(data.len());
                        self.chunk = Some((data, self.body.is_end_stream()));
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        // Rare in requests: not worth keeping.
                        self.kept = None;
                        return Poll::Ready(after(self.stream.send_trailers(trailers)));
                    }
                },
            }
        }
    }

    /// Sends what may be sent of the chunk. None where more is to come.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Uploaded>> {
        let Some((chunk, last)) = &mut self.chunk else { return Poll::Ready(None) };
        while self.stream.capacity() == 0 && !chunk.is_empty() {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Some(Uploaded::Stopped)),
            }
        }
        let part = chunk.split_to(self.stream.capacity().min(chunk.len()));
        let (whole, last) = (chunk.is_empty(), *last);
        if whole {
            self.chunk = None;
        }
        if self.stream.send_data(part, whole && last).is_err() {
            return Poll::Ready(Some(Uploaded::Stopped));
        }
        Poll::Ready((whole && last).then_some(Uploaded::Whole))
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if self.kept_bytes > KEPT_BYTES {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
        }
    }

    /// Goes on while the response is read elsewhere. Ends, and resets the stream, at the latest at `until` or when `response`
    /// tells that the client has given up.
    pub(super) async fn run(mut self, until: Option<Instant>, response: oneshot::Receiver<()>, slot: Slot) {
        self.kept = None;
        let given_up = async {
            if response.await.is_ok() {
                // The response is whole; the request may go on all the same.
                std::future::pending::<()>().await;
            }
        };
        let too_late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let whole = tokio::select! {
            _ = poll_fn(|cx| self.poll(cx)) => true,
            () = given_up => false,
            () = too_late => false,
        };
        if !whole {
            self.stream.send_reset(Reason::CANCEL);
        }
        drop(slot);
    }
}

fn joined(mut all: BytesMut, next: &Bytes) -> BytesMut {
    all.extend_from_slice(next);
    all
}

fn after(sent: Result<(), h2::Error>) -> Uploaded {
    if sent.is_ok() { Uploaded::Whole } else { Uploaded::Stopped }
}
