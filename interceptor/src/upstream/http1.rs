//! HTTP/1.1 as a client speaks it, without any I/O: bytes of requests out of messages, messages out of bytes of responses.
//!
//! Our own because a proxied request spent two fifths of its instructions in a general client, most of them on what lets a connection
//! and its user live in two tasks. Here whoever waits for a response drives the connection, so there is nothing to pass between
//! them. It is strict where two readers of one message could disagree about its end (RFC 9112, sections 6.3 and 11.2):
//! such a response is refused, and its connection never carries another one.

pub(super) mod body;
pub(super) mod encode;
pub(super) mod head;

#[cfg(test)]
mod tests;

/// Why bytes are no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It does not begin as a response of HTTP/1 does.
    #[error("it does not begin with HTTP/1")]
    NotHttp,
    /// A status line or a field has characters that it may not have.
    #[error("its head can't be read: {0}")]
    Head(String),
    /// The head goes on for too long.
    #[error("its head is longer than {} bytes", head::MAX_HEAD_BYTES)]
    HeadTooLong,
    /// The head has too many fields.
    #[error("its head has more than {} fields", head::MAX_FIELDS)]
    TooManyFields,
    /// `Content-Length` is no number, or is several.
    #[error("its Content-Length is not one number")]
    ContentLength,
    /// Two fields say where the body ends.
    #[error("it has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// Only `chunked` can be undone here.
    #[error("its Transfer-Encoding is not just chunked")]
    TransferEncoding,
    /// The frame of a chunk is wrong.
    #[error("its chunks can't be read: {0}")]
    Chunk(&'static str),
    /// More answers of the kind "wait for it" than anybody needs.
    #[error("it has more than {} interim responses", head::MAX_INTERIM)]
    TooManyInterim,
}
