//! The head of a response out of bytes.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::Malformed;
use super::body::Body;

/// The longest head.
pub(in crate::upstream) const MAX_HEAD_BYTES: usize = 128 * 1024;
/// Fields of one head.
pub(in crate::upstream) const MAX_FIELDS: usize = 256;
/// Interim responses before the final one.
pub(in crate::upstream) const MAX_INTERIM: u32 = 16;

const BEGINS: &[u8] = b"HTTP/1.";

/// A response's head, and what it says of what follows.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) response: Response<()>,
    pub(in crate::upstream) body: Body,
    /// Whether the connection may carry another request after this.
    pub(in crate::upstream) keep_alive: bool,
}

/// Reads heads; remembers how far it has looked for the end of the present one.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Reader {
    searched: usize,
    interim: u32,
}

impl Reader {
    /// The next head that is no interim response, taken off the buffer; none while its end has not come. `to_head` is whether the
    /// request was `HEAD`, whose response has no body.
    ///
    /// # Errors
    /// Where there will be no head that can be trusted.
    pub(in crate::upstream) fn next(&mut self, buf: &mut BytesMut, to_head: bool) -> Result<Option<Head>, Malformed> {
        loop {
            let begins = &buf[..buf.len().min(BEGINS.len())];
            if !BEGINS.starts_with(begins) {
                return Err(Malformed::NotHttp);
            }
            let Some(end) = self.end(buf) else {
                return if buf.len() > MAX_HEAD_BYTES { Err(Malformed::HeadTooLong) } else { Ok(None) };
            };
            if end > MAX_HEAD_BYTES {
                return Err(Malformed::HeadTooLong);
            }
            self.searched = 0;
            let head = parse(&buf.split_to(end).freeze(), to_head)?;
            let status = head.response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Malformed::TooManyInterim);
            }
        }
    }

    /// Just after the empty line. Only what has come since is looked at, so a head that comes byte by byte costs no more.
    fn end(&mut self, buf: &[u8]) -> Option<usize> {
        while let Some(found) = memchr::memchr(b'\n', &buf[self.searched..]) {
            let after = self.searched + found + 1;
            match &buf[after..] {
                [b'\n', ..] => return Some(after + 1),
                [b'\r', b'\n', ..] => return Some(after + 2),
                // What follows is still to come: looked at again.
                [] | [b'\r'] => {
                    self.searched = after - 1;
                    return None;
                }
                _ => self.searched = after,
            }
        }
        self.searched = buf.len();
        None
    }
}

fn parse(bytes: &Bytes, to_head: bool) -> Result<Head, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    match outcome {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyFields),
        Err(error) => return Err(Malformed::Head(error.to_string())),
        Ok(_) => return Err(Malformed::Head("it ends before its end".to_owned())),
    }
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Head(format!("status {code}")))?;
    let is_1_1 = parsed.version == Some(1);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut said = Said::default();
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| Malformed::Head(error.to_string()))?;
        said.by(&name, field.value)?;
        // Shares the bytes of the head. Empty values are no part of them.
        let value = if field.value.is_empty() { Bytes::new() } else { bytes.slice_ref(field.value) };
        let value = HeaderValue::from_maybe_shared(value).map_err(|error| Malformed::Head(error.to_string()))?;
        headers.append(name, value);
    }
    if said.lengths > 1
        && let Some(length) = said.length
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let body = said.body(status, to_head, is_1_1)?;
    let keep_alive = !said.close && (is_1_1 || said.keep_alive) && !matches!(body, Body::UntilClose);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if is_1_1 { Version::HTTP_11 } else { Version::HTTP_10 };
    *response.headers_mut() = headers;
    if let Some(reason) = parsed.reason
        && Some(reason) != status.canonical_reason()
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    Ok(Head { response, body, keep_alive })
}

/// What the fields of a head say of its body's end and of the connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    lengths: u32,
    /// One of the lengths begins with a needless zero.
    odd_length: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn by(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Malformed> {
        if *name == CONTENT_LENGTH {
            let length = digits(value).ok_or(Malformed::ContentLength)?;
            // Said twice, it must be the same words: 02 and 2 are one number, but not to every reader.
            self.odd_length |= value.len() > 1 && value.starts_with(b"0");
            if self.length.replace(length).is_some_and(|before| before != length || self.odd_length) {
                return Err(Malformed::ContentLength);
            }
            self.lengths += 1;
        } else if *name == TRANSFER_ENCODING {
            // Said twice it would have been applied twice; anything else would reach the client without its name.
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::TransferEncoding);
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// How the body ends: RFC 9112, section 6.3.
    fn body(&self, status: StatusCode, to_head: bool, is_1_1: bool) -> Result<Body, Malformed> {
        if self.chunked && !is_1_1 {
            return Err(Malformed::TransferEncoding);
        }
        if self.chunked && self.length.is_some() {
            return Err(Malformed::TwoLengths);
        }
        let none =
            to_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match self.length {
            _ if none => Body::ended(),
            Some(length) => Body::Length(length),
            None if self.chunked => Body::chunked(),
            None => Body::UntilClose,
        })
    }
}

/// A number as `Content-Length` has it: digits only, no sign, no list.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
