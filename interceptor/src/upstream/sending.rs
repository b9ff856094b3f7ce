//! A request on its way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::RequestBody;
use super::http1::encode::WrongLength;
use super::io::Io;
use crate::proxy::BodyError;

/// How far a request has been sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// Where the rest of the body comes from.
    body: RequestBody,
    stage: Stage,
    /// Something of the request has been given to the stream, so the endpoint may have seen it.
    begun: bool,
    /// The body's first piece, taken before anything has been sent: it goes back if nothing ever is.
    first: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body has not been taken as a whole.
    Body,
    /// Everything has been taken; something of it waits to be written.
    Last,
    /// The request has been sent.
    Done,
    /// The endpoint takes no more, or the client gives no more.
    GivenUp,
}

/// Why a request can't be sent as a whole.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The endpoint takes no more. A response may have come all the same.
    Stream(io::Error),
    /// The client broke off.
    Client(BodyError),
    /// The client sends another body than it said.
    Length(WrongLength),
}

impl Sending {
    /// Nothing to send.
    pub(super) fn nothing() -> Self {
        Self { body: RequestBody::Empty, stage: Stage::Done, begun: false, first: None }
    }

    /// A request whose head is in the stream's buffer, and whose body is this.
    pub(super) fn begin(body: RequestBody) -> Self {
        let stage = if matches!(body, RequestBody::Empty) { Stage::Last } else { Stage::Body };
        Self { body, stage, begun: false, first: None }
    }

    /// Whether the endpoint may have seen something of it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether there is more to send, and someone to take it.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.stage, Stage::Body | Stage::Last)
    }

    /// Whether all of it has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Sends no more; the client learns that its body is not wanted.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::GivenUp;
        self.body = RequestBody::Empty;
    }

    /// The body as it was: where there was none, or nothing of it has been sent.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        let mut body = std::mem::replace(&mut self.body, RequestBody::Empty);
        match &mut body {
            RequestBody::Empty => {}
            RequestBody::Streaming { .. } if self.begun => return None,
            // Where no piece was taken, one that came back before is still ahead.
            RequestBody::Streaming { ahead, .. } => *ahead = self.first.take().or_else(|| ahead.take()),
        }
        Some(body)
    }

    /// Sends what can be sent now; ready when all of it has been.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, io: &mut Io<S>) -> Poll<Result<(), Stopped>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            self.take_from_client(cx, io)?;
            if io.outgoing.is_empty() {
                ready!(io.poll_flush(cx)).map_err(Stopped::Stream)?;
                if self.stage == Stage::Last {
                    self.stage = Stage::Done;
                }
                return if self.goes_on() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let written = if self.begun { io.poll_write(cx) } else { io.poll_first_write(cx) };
            ready!(written).map_err(Stopped::Stream)?;
            self.begun = true;
            self.first = None;
        }
    }

    /// Takes as much of the body as there is room for; of a request that has not begun, one piece at most.
    fn take_from_client<S>(&mut self, cx: &mut Context<'_>, io: &mut Io<S>) -> Result<(), Stopped>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while self.stage == Stage::Body && io.outgoing.has_room() {
            let trailers = if self.body.is_end_stream() {
                None
            } else if self.first.is_some() {
                return Ok(());
            } else {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(Err(error))) => return Err(Stopped::Client(error)),
                    Poll::Ready(None) => None,
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.first = (!self.begun && !data.is_empty()).then(|| data.clone());
                            io.outgoing.data(data).map_err(Stopped::Length)?;
                            continue;
                        }
                        Err(frame) => frame.into_trailers().ok(),
                    },
                }
            };
            io.outgoing.end(trailers.as_ref()).map_err(Stopped::Length)?;
            self.stage = Stage::Last;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::task::Waker;

    use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
    use http_body_util::Empty;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt as _, ReadBuf};

    use super::super::http1::encode::Length;
    use super::*;
    use crate::proxy::{BodyLimits, ClientBody};

    /// As TLS over a connection that ends after its first record: what that held has gone out, though the write has failed.
    #[derive(Debug, Default)]
    struct OneRecord {
        seen: usize,
    }

    impl AsyncRead for OneRecord {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for OneRecord {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let record = if this.seen == 0 { buf.len().min(16 * 1024) } else { 0 };
            this.seen += record;
            Poll::Ready(if record == buf.len() { Ok(record) } else { Err(io::ErrorKind::BrokenPipe.into()) })
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_request_of_which_a_record_has_gone_out_has_begun() {
        let mut io = Io::new(OneRecord::default());
        let mut headers = HeaderMap::new();
        headers.insert("x-long", HeaderValue::from_str(&"x".repeat(40_000)).unwrap());
        io.outgoing.head(&Method::POST, &Uri::from_static("/"), &headers, Length::Empty);
        let mut sending = Sending::begin(RequestBody::Empty);
        let sent = sending.poll(&mut Context::from_waker(Waker::noop()), &mut io);
        assert!(matches!(sent, Poll::Ready(Err(Stopped::Stream(_)))), "{sent:?}");
        assert!(sending.has_begun(), "the endpoint may have seen it, so it must not count as unsent");
    }

    /// A body whose first piece, which is all of it, was taken and has come back.
    async fn came_back(request: Request<Incoming>) -> RequestBody {
        let (head, incoming) = request.into_parts();
        let limits = BodyLimits { bytes: None, pace: Default::default() };
        let (incoming, _) = ClientBody::new(&head, Version::HTTP_11, incoming, limits).unwrap();
        let mut body = RequestBody::of(incoming);
        let taken = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        body.behind(taken.into_data().unwrap())
    }

    #[tokio::test]
    async fn a_piece_that_came_back_once_comes_back_again() {
        let (mut client, server) = tokio::io::duplex(1024);
        let request = b"POST / HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
        client.write_all(request).await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            let mut sending = Sending::begin(came_back(request).await);
            // Nothing was taken of it this time: its head was too long for that, say.
            let mut body = sending.take_back().expect("nothing has been sent");
            assert_eq!(body.size_hint().exact(), Some(5));
            let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("the piece is still there");
            assert_eq!(first.unwrap().into_data().unwrap(), "hello");
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await.unwrap();
    }
}
