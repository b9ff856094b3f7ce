//! The body of a response out of bytes.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Malformed;
use super::encode::may_be_trailer;

/// Extensions of all chunks of a body together. Nobody uses them but those who want to keep a reader busy.
const MAX_EXTENSION_BYTES: u32 = 16 * 1024;
/// The longest trailer section.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;
const UNREADABLE_TRAILERS: &str = "they end in trailers that can't be read";
/// Sixteen hexadecimal digits always fit a `u64`.
const MAX_SIZE_DIGITS: u8 = 16;

/// What of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Body {
    /// So many bytes; with none left it has ended.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the endpoint closes the connection.
    UntilClose,
}

/// Where in the chunks the reader is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Chunked {
    state: State,
    extension_bytes: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the blanks after a size.
    Blank {
        size: u64,
    },
    /// In what may follow a size.
    Extension {
        size: u64,
    },
    /// Before the line feed that ends a size.
    SizeEnd {
        size: u64,
    },
    /// In the data of a chunk.
    Data {
        left: u64,
    },
    /// Before the line end after the data; `cr` when half of it has come.
    DataEnd {
        cr: bool,
    },
    /// After the last chunk.
    Trailers,
    Ended,
}

/// What a buffer has of a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Next {
    /// The next bytes.
    Data(Bytes),
    /// The trailers, which end the body.
    Trailers(HeaderMap),
    /// Nothing more: bytes must come first.
    More,
    /// Nothing more: this was all.
    End,
}

impl Body {
    /// A body without a byte.
    pub(in crate::upstream) const fn ended() -> Self {
        Self::Length(0)
    }

    /// A body before its first chunk.
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunked { state: State::Size { size: 0, digits: 0 }, extension_bytes: 0 })
    }

    /// Takes the next part off the buffer, without copying it.
    ///
    /// # Errors
    /// Where the chunks are not what they should be.
    pub(in crate::upstream) fn next(&mut self, buf: &mut BytesMut) -> Result<Next, Malformed> {
        match self {
            Self::Length(0) => Ok(Next::End),
            _ if buf.is_empty() => Ok(Next::More),
            Self::Length(left) => Ok(Next::Data(take(buf, left))),
            Self::UntilClose => Ok(Next::Data(buf.split().freeze())),
            Self::Chunked(chunked) => chunked.next(buf),
        }
    }

    /// The endpoint has closed the connection: true where this is the body's end.
    pub(in crate::upstream) fn ends_with_connection(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::ended();
        }
        self.has_ended()
    }

    /// Whether all has been taken.
    pub(in crate::upstream) fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked { state: State::Ended, .. }))
    }

    /// How many bytes are to come, where that is known.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ if self.has_ended() => Some(0),
            _ => None,
        }
    }
}

impl Chunked {
    fn next(&mut self, buf: &mut BytesMut) -> Result<Next, Malformed> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(Next::End),
                State::Data { left } if !buf.is_empty() => {
                    let data = take(buf, left);
                    if *left == 0 {
                        self.state = State::DataEnd { cr: false };
                        self.end_early(buf);
                    }
                    return Ok(Next::Data(data));
                }
                State::Trailers => return self.trailers(buf),
                _ => {}
            }
            let Some(byte) = buf.first().copied() else { return Ok(Next::More) };
            buf.advance(1);
            self.step(byte)?;
        }
    }

    /// One byte of the frame around the data.
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        let wrong = |what| Err(Malformed::Chunk(what));
        self.state = match (&self.state, byte) {
            (&State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return wrong("a size is too long");
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                State::Size { size: size << 4 | digit, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return wrong("a size is missing"),
            (&(State::Size { size, .. } | State::Blank { size }), b' ' | b'\t') => {
                self.extension()?;
                State::Blank { size }
            }
            (&(State::Size { size, .. } | State::Blank { size }), b';') => {
                self.extension()?;
                State::Extension { size }
            }
            (&(State::Size { size, .. } | State::Blank { size } | State::Extension { size }), b'\r') => {
                State::SizeEnd { size }
            }
            // A line feed alone ends a line for some readers, and not for others.
            (State::Extension { .. }, b'\n') => return wrong("a line ends without a carriage return"),
            (&State::Extension { size }, _) => {
                self.extension()?;
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers,
            (&State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataEnd { cr: false }, b'\r') => State::DataEnd { cr: true },
            (State::DataEnd { cr: true }, b'\n') => State::Size { size: 0, digits: 0 },
            (State::DataEnd { .. }, _) => return wrong("there is more data than a size says"),
            (State::SizeEnd { .. }, _) => return wrong("a carriage return ends no line"),
            _ => return wrong("a size has characters that are no digits"),
        };
        Ok(())
    }

    fn extension(&mut self) -> Result<(), Malformed> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(Malformed::Chunk("they have extensions without end"));
        }
        Ok(())
    }

    /// Ends the body at once where its end, without trailers, has come together with the last of its data. Who reads it need not
    /// ask again then.
    fn end_early(&mut self, buf: &mut BytesMut) {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if buf.starts_with(END) {
            buf.advance(END.len());
            self.state = State::Ended;
        }
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Next, Malformed> {
        if buf.starts_with(b"\r\n") {
            buf.advance(2);
            self.state = State::Ended;
            return Ok(Next::End);
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        let (length, trailers) = match httparse::parse_headers(buf, &mut fields) {
            Ok(httparse::Status::Complete((length, fields))) if length <= MAX_TRAILER_BYTES => {
                (length, trailer_map(fields)?)
            }
            Ok(httparse::Status::Partial) if buf.len() <= MAX_TRAILER_BYTES => return Ok(Next::More),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Malformed::Chunk("they end in too many trailers"));
            }
            Err(_) => return Err(Malformed::Chunk(UNREADABLE_TRAILERS)),
        };
        if !memchr::memchr_iter(b'\n', &buf[..length]).all(|at| at > 0 && buf[at - 1] == b'\r') {
            return Err(Malformed::Chunk("a line ends without a carriage return"));
        }
        buf.advance(length);
        self.state = State::Ended;
        Ok(if trailers.is_empty() { Next::End } else { Next::Trailers(trailers) })
    }
}

fn trailer_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Chunk(UNREADABLE_TRAILERS))?;
        if may_be_trailer(&name) {
            trailers
                .append(name, HeaderValue::from_bytes(field.value).map_err(|_| Malformed::Chunk(UNREADABLE_TRAILERS))?);
        }
    }
    Ok(trailers)
}

fn take(buf: &mut BytesMut, left: &mut u64) -> Bytes {
    let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    *left -= bytes as u64;
    buf.split_to(bytes).freeze()
}
