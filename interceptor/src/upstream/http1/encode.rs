//! A request as bytes.

use std::io::{IoSlice, Write as _};

use bytes::{Buf as _, Bytes};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Uri};

/// What is no larger is copied, so that a head and a small body are one piece to the system.
const COPIED_BYTES: usize = 16 * 1024;
/// A buffer that has grown further is given back when the request has been sent.
const KEPT_BYTES: usize = 16 * 1024;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Length {
    /// There is no body.
    Empty,
    /// So many bytes.
    Exact(u64),
    /// Chunks, the last one empty.
    Chunked,
}

/// The bytes of a request that are on their way to a stream, in their order: `copied` from `sent` on, then `large`.
#[derive(Debug)]
pub(in crate::upstream) struct Outgoing {
    copied: Vec<u8>,
    sent: usize,
    large: Bytes,
    /// A line must end after `large`.
    line_open: bool,
    length: Length,
}

/// A body that is not as long as its head said. The connection can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's body is {0} than its Content-Length")]
pub(crate) struct WrongLength(&'static str);

impl Outgoing {
    /// Nothing to send.
    pub(in crate::upstream) fn new() -> Self {
        Self { copied: Vec::new(), sent: 0, large: Bytes::new(), line_open: false, length: Length::Empty }
    }

    /// Begins a request. The fields that say where the body ends are written from `length`, whatever the map has of them: so what
    /// is said is what is sent.
    pub(in crate::upstream) fn head(&mut self, method: &Method, target: &Uri, headers: &HeaderMap, length: Length) {
        debug_assert!(self.is_empty(), "the request before has been sent");
        self.copied.clear();
        self.sent = 0;
        self.line_open = false;
        self.length = length;
        let out = &mut self.copied;
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let mut said_length = false;
        for (name, value) in headers {
            if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
                said_length |= *name == CONTENT_LENGTH;
                continue;
            }
            field(out, name, value.as_bytes());
        }
        match length {
            Length::Exact(bytes) => decimal(out, bytes),
            Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Length::Empty if said_length => decimal(out, 0),
            Length::Empty => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Adds a piece of the body.
    ///
    /// # Errors
    /// Where it is longer than the head said.
    pub(in crate::upstream) fn data(&mut self, data: Bytes) -> Result<(), WrongLength> {
        debug_assert!(self.has_room(), "a piece that does not fit must wait");
        if data.is_empty() {
            // An empty chunk would be the last one.
            return Ok(());
        }
        match &mut self.length {
            Length::Exact(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength("longer"))?;
            }
            Length::Empty => return Err(WrongLength("longer")),
            Length::Chunked => {
                // Writing to a vector never fails.
                let _always_ok = write!(self.copied, "{:x}\r\n", data.len());
                self.line_open = true;
            }
        }
        if data.len() <= COPIED_BYTES {
            self.copied.extend_from_slice(&data);
            self.end_line();
        } else {
            self.large = data;
        }
        Ok(())
    }

    /// Ends the body. Trailers go along where there are chunks.
    ///
    /// # Errors
    /// Where it is shorter than the head said.
    pub(in crate::upstream) fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        debug_assert!(self.has_room(), "the end must wait for the last piece");
        match self.length {
            Length::Exact(0) | Length::Empty => {}
            Length::Exact(_) => return Err(WrongLength("shorter")),
            Length::Chunked => {
                self.copied.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| may_be_trailer(name)) {
                    field(&mut self.copied, name, value.as_bytes());
                }
                self.copied.extend_from_slice(b"\r\n");
            }
        }
        self.length = Length::Empty;
        Ok(())
    }

    /// Whether the body may have another piece before what is there has been sent.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        self.large.is_empty() && self.copied.len() - self.sent <= COPIED_BYTES
    }

    /// Whether all that was given has been sent.
    pub(in crate::upstream) fn is_empty(&self) -> bool {
        self.sent == self.copied.len() && self.large.is_empty()
    }

    /// What to send next.
    pub(in crate::upstream) fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.copied[self.sent..]), IoSlice::new(&self.large)]
    }

    /// So many bytes of [`slices`](Self::slices) have been sent.
    pub(in crate::upstream) fn advance(&mut self, bytes: usize) {
        let of_copied = bytes.min(self.copied.len() - self.sent);
        self.sent += of_copied;
        self.large.advance(bytes - of_copied);
        if self.sent == self.copied.len() {
            self.copied.clear();
            self.sent = 0;
            if self.copied.capacity() > KEPT_BYTES * 2 {
                self.copied.shrink_to(KEPT_BYTES);
            }
            if self.large.is_empty() {
                self.large = Bytes::new();
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.line_open) {
            self.copied.extend_from_slice(b"\r\n");
        }
    }
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, length: u64) {
    // Writing to a vector never fails.
    let _always_ok = write!(out, "content-length: {length}\r\n");
}

/// What decides how a message is read, or where it goes, comes too late in a trailer (RFC 9110, section 6.5.1).
pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
    ![AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
}
