//! What stands between a client's socket and the HTTP/1 parser: only requests that every parser reads the same way get in.
//!
//! hyper's parser follows the RFC and forgives what the RFC lets a server forgive: two lengths of which one wins, lines that
//! end in a bare LF. A parser before it or behind it may forgive differently, and then they disagree on where a request ends.
//! So each head is read here first, strictly, and each body followed to its end. A request that is refused is never
//! seen by hyper: it gets a request of the gate's own in its place, so that the answer comes in its turn, after those of the
//! requests before it, and the connection ends with it.

mod chunks;
mod fault;
pub(crate) mod head;
mod inspector;
mod news;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::ready;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub(crate) use fault::Fault;
pub(crate) use head::Bounds;
use inspector::{FoundIn, Inspector};
pub(crate) use news::News;

use super::client::Client;

/// What hyper reads in the place of a request that is refused. No client can send it: no request over HTTP/1 with this
/// method gets through the gate, and over HTTP/2 nothing has been refused here.
const REFUSED: &[u8] = b"|REFUSED| / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const REFUSED_METHOD: &str = "|REFUSED|";
/// What a client may send ahead while a change of protocol is not decided. More stays in the kernel.
const MAX_AHEAD: usize = 64 * 1024;
/// For one read into a buffer of the gate's own.
const READ: usize = 4096;
/// After a refusal, what the client has still to say is thrown away for this long at most: closing at once would reset the
/// connection, and the client might never read why (as nginx's `lingering_timeout`, though shorter).
const LINGER: Duration = Duration::from_secs(2);

/// A client's stream of bytes, of which only what may be handed on can be read.
#[derive(Debug)]
pub(crate) struct Gate<S> {
    stream: S,
    client: Arc<Client>,
    inspector: Inspector,
    /// Read and not handed on.
    kept: BytesMut,
    /// So many of those kept may be handed on.
    passed: usize,
    /// What is handed on after that: the sign of a refusal.
    sign: Bytes,
    /// The fault was in a body: reading has failed.
    broken: bool,
    lingering: Option<Pin<Box<Sleep>>>,
}

/// Why this request is refused, if it is one that the gate has put in the place of another.
pub(crate) fn refused<B>(client: &Client, request: &Request<B>) -> Option<Fault> {
    // Methods of one's own are rare, so this costs one comparison.
    if matches!(*request.method(), Method::GET | Method::POST) || request.method().as_str() != REFUSED_METHOD {
        return None;
    }
    Some(client.news.fault().unwrap_or(Fault::Malformed("the method has a character that no method has")))
}

impl<S> Gate<S> {
    /// Lets nothing of this stream in that has not been looked at.
    pub(crate) fn new(stream: S, client: Arc<Client>, bounds: Bounds) -> Self {
        let (kept, sign) = (BytesMut::new(), Bytes::new());
        Self {
            stream,
            client,
            inspector: Inspector::new(bounds),
            kept,
            passed: 0,
            sign,
            broken: false,
            lingering: None,
        }
    }

    /// Notes what comes after the bytes that may pass.
    fn found(&mut self, fault: Option<(Fault, FoundIn)>) {
        if let Some((fault, found_in)) = fault {
            self.client.news.refuse(fault);
            match found_in {
                FoundIn::NewRequest => self.sign = Bytes::from_static(REFUSED),
                FoundIn::Body => self.broken = true,
            }
        }
        self.client.news.in_head(self.is_in_head());
    }

    /// What was decided elsewhere: whether the protocol changes, and that a head is too late.
    fn hear(&mut self, cx: &Context<'_>) {
        if self.inspector.is_undecided()
            && let Some(changed) = self.client.news.decided(self.inspector.requests(), cx)
        {
            self.inspector.decide(changed);
            self.look_again();
        }
        if self.client.news.take_too_late() && self.is_in_head() {
            self.inspector.refuse();
            self.kept.truncate(self.passed);
            self.found(Some((Fault::HeadTooLate, FoundIn::NewRequest)));
        }
    }

    /// Whether a head has begun and has not ended. Empty lines may come before one (RFC 9112, section 2.2), and begin none.
    fn is_in_head(&self) -> bool {
        let begun = || self.kept[self.passed..].iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        self.inspector.is_between_requests() && begun()
    }

    fn look_again(&mut self) {
        let found = self.inspector.inspect(&self.kept[self.passed..]);
        self.passed += found.pass;
        self.found(found.fault);
    }

    /// The stream behind it.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether every byte that has come was handed on and belongs to a whole request, or nothing has come.
    fn is_at_rest(&self) -> bool {
        self.inspector.is_between_requests() && self.kept.is_empty() && self.sign.is_empty() && !self.broken
    }

    /// Hands on what may be handed on without reading more.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.passed > 0 {
            let count = self.passed.min(buf.remaining());
            buf.put_slice(&self.kept[..count]);
            self.kept.advance(count);
            self.passed -= count;
        } else if !self.sign.is_empty() {
            let count = self.sign.len().min(buf.remaining());
            buf.put_slice(&self.sign.split_to(count));
        } else {
            return false;
        }
        true
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads into the caller's buffer and takes out again what may not be handed on: whole requests are never copied.
    fn poll_in_place(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let found = self.inspector.inspect(&buf.filled()[before..]);
        self.kept.extend_from_slice(&buf.filled()[before + found.pass..]);
        buf.set_filled(before + found.pass);
        self.found(found.fault);
        Poll::Ready(Ok(read))
    }

    /// Reads more of what can't be handed on yet.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.kept.reserve(READ);
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.kept))?;
        self.look_again();
        Poll::Ready(Ok(read))
    }

    /// Throws away what the client still sends, until it has closed or its time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut thrown_away = [std::mem::MaybeUninit::uninit(); READ];
        loop {
            let mut buf = ReadBuf::uninit(&mut thrown_away);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    fn poll_let_in(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.hear(cx);
            if self.hand_on(buf) {
                return Poll::Ready(Ok(()));
            }
            if self.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the body is faulty")));
            }
            if self.client.news.fault().is_some() {
                // The request in its place was the last. An end here would be taken for a client that has hung up; the
                // connection ends with the answer, so nobody has to be woken.
                return Poll::Pending;
            }
            if self.inspector.is_open() && self.kept.is_empty() {
                return Pin::new(&mut self.stream).poll_read(cx, buf);
            }
            if self.inspector.is_undecided() && self.kept.len() >= MAX_AHEAD {
                return Poll::Pending;
            }
            let before = buf.filled().len();
            let read = ready!(if self.kept.is_empty() { self.poll_in_place(cx, buf) } else { self.poll_more(cx) })?;
            if read == 0 || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = this.poll_let_in(cx, buf);
        let rests = outcome.is_pending() && this.is_at_rest();
        this.client.news.rests(rests.then(|| this.inspector.requests()));
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.inspector.is_open() && !this.inspector.is_between_requests() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
