//! A connection's stream and its buffers.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::http1::encode::Outgoing;

/// What is read at first: most responses are smaller. An idle connection keeps a buffer of this size.
const SMALL_READ_BYTES: usize = 8 * 1024;
/// What is read at once of large bodies: few system calls, and still in the processor's cache when it is written.
const LARGE_READ_BYTES: usize = 64 * 1024;
/// A record of TLS holds no more (RFC 8446, section 5.1). Of one that was not written as a whole, an endpoint can read nothing.
const RECORD_BYTES: usize = 16 * 1024;
/// Less room than this is not worth a system call.
const MIN_READ_BYTES: usize = 1024;

/// Bytes out and in.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    /// What has been read, and nobody has taken yet.
    pub(super) incoming: BytesMut,
    /// What is to be written.
    pub(super) outgoing: Outgoing,
    read_bytes: usize,
    flushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// Nothing read, nothing to write.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: Outgoing::new(),
            read_bytes: SMALL_READ_BYTES,
            flushed: true,
        }
    }

    /// Reads once; ready with the number of bytes, 0 at the stream's end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.capacity() - self.incoming.len() < MIN_READ_BYTES {
            self.incoming.reserve(self.read_bytes);
        }
        let room = self.incoming.capacity() - self.incoming.len();
        let bytes = ready!(pin!(self.stream.read_buf(&mut self.incoming)).poll(cx))?;
        if bytes == room {
            self.read_bytes = (self.read_bytes * 2).min(LARGE_READ_BYTES);
        }
        Poll::Ready(Ok(bytes))
    }

    /// So many bytes are to come: the next reads are as large as that.
    pub(super) fn expect(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.read_bytes = bytes.clamp(SMALL_READ_BYTES, LARGE_READ_BYTES);
    }

    /// Writes once of what is to be written, and there must be something; ready with the number of bytes. Over TLS it may fail after
    /// a part has gone out.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_write_up_to(cx, usize::MAX)
    }

    /// Writes as [`poll_write`](Self::poll_write), but so little that the endpoint has seen nothing where it fails.
    pub(super) fn poll_first_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_write_up_to(cx, RECORD_BYTES)
    }

    fn poll_write_up_to(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let [copied, large] = self.outgoing.slices();
        let first = &copied[..copied.len().min(most)];
        let second = &large[..large.len().min(most - first.len())];
        let stream = Pin::new(&mut self.stream);
        let bytes = if second.is_empty() {
            ready!(stream.poll_write(cx, first))?
        } else {
            ready!(stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]))?
        };
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.outgoing.advance(bytes);
        self.flushed = false;
        Poll::Ready(Ok(bytes))
    }

    /// Ready when what has been written is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the endpoint has closed the stream, or says something though nobody asked. Costs no system call while nothing
    /// has come.
    pub(super) fn is_disturbed(&mut self) -> bool {
        !self.incoming.is_empty() || self.poll_read(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Nothing will be read or written for a while.
    pub(super) fn rest(&mut self) {
        if self.read_bytes > SMALL_READ_BYTES {
            self.read_bytes = SMALL_READ_BYTES;
            self.incoming = BytesMut::new();
        }
    }

    /// The stream, and what has been read of it already.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.incoming.freeze())
    }
}
