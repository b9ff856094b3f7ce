//! The head of an HTTP/1 request, read so strictly that no other parser can read it otherwise (RFC 9112).
//!
//! Lenient parsers disagree on where a message ends, and what one of them takes for a body the other takes for the next
//! request: request smuggling. So whatever the grammar does not allow is a fault here, even where a parser may forgive it: a
//! line that ends in a bare LF, a field that goes on in the next line, two lengths, even equal ones.

use http::Uri;

use super::fault::Fault;

/// Bounds of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// From the request line to the empty line, in bytes.
    pub(crate) bytes: usize,
    /// Header fields.
    pub(crate) fields: usize,
}

/// What must be known of a head to find the end of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// In bytes.
    pub(crate) length: usize,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// What follows may be another protocol, if the answer says so.
    pub(crate) may_upgrade: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// It says itself.
    Chunked,
}

/// hyper takes no longer target.
const MAX_TARGET: usize = u16::MAX as usize - 1;
/// Bits of the alphabets that a byte belongs to.
const TOKEN: u8 = 1;
const HOST: u8 = 2;
const TARGET: u8 = 4;
static ALPHABETS: [u8; 256] = alphabets();

/// Reads the head that these bytes begin with; none where it is not whole yet.
///
/// # Errors
/// Where it is faulty, as soon as that can be seen.
pub(crate) fn read(bytes: &[u8], bounds: Bounds) -> Result<Option<Head>, Fault> {
    let mut lines = Lines { bytes, at: 0 };
    // A line end too many after the request before is forgiven (RFC 9112, section 2.2), and can't be misread.
    while bytes[lines.at..].starts_with(b"\r\n") {
        lines.at += 2;
    }
    if bytes.get(lines.at).is_some_and(|first| *first != b'\r' && !is(*first, TOKEN)) {
        return Err(Fault::Malformed("it does not begin with a method"));
    }
    let mut fields = Fields::default();
    let mut line = request_line(&mut lines)?;
    while let Some(version_1_1) = line {
        match lines.next()? {
            None => line = None,
            Some([]) if lines.at > bounds.bytes => return Err(Fault::HeadTooLong),
            Some([]) => return fields.head(lines.at, version_1_1).map(Some),
            Some(field) => fields.add(field, bounds.fields)?,
        }
    }
    if bytes.len() > bounds.bytes { Err(Fault::HeadTooLong) } else { Ok(None) }
}

/// Whether all of these bytes may be in a field's value.
pub(super) fn is_field_value(value: &[u8]) -> bool {
    // No early end, so that the compiler can look at many bytes at once.
    !value.iter().fold(false, |bad, byte| bad | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f))
}

/// Whether a byte may be in a token: a method, a field's name.
pub(super) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its end; none where it has not ended.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        self.at += end + 1;
        match rest[..end].split_last() {
            Some((b'\r', line)) => Ok(Some(line)),
            _ => Err(Fault::Malformed("a line does not end in CR and LF")),
        }
    }
}

/// Reads the request line, and says whether its version is 1.1.
fn request_line(lines: &mut Lines<'_>) -> Result<Option<bool>, Fault> {
    let Some(line) = lines.next()? else { return Ok(None) };
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::Malformed("the request line is not METHOD TARGET VERSION with one space between them"));
    };
    if method.is_empty() || !all(method, TOKEN) {
        return Err(Fault::Malformed("the method has a character that no method has"));
    }
    let version_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Fault::Version),
        _ => return Err(Fault::Malformed("the request line does not end in the version of HTTP")),
    };
    if method == b"CONNECT" {
        return Err(Fault::Connect);
    }
    if target.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    check_target(method, target)?;
    Ok(Some(version_1_1))
}

/// A path, a whole URL, or `*` for `OPTIONS` (RFC 9112, section 3.2).
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    if target.first() == Some(&b'/') && all(target, TARGET) {
        return Ok(());
    }
    if target == b"*" {
        let options = method == b"OPTIONS";
        return if options { Ok(()) } else { Err(Fault::Malformed("only OPTIONS has the target *")) };
    }
    if target.contains(&b'#') {
        return Err(Fault::Malformed("the target has a fragment, which is not for servers"));
    }
    let Ok(uri) = Uri::try_from(target) else {
        return Err(Fault::Malformed("the target has a character that no URL has: percent-encode it"));
    };
    if target.first() == Some(&b'/') {
        return Ok(());
    }
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => Ok(()),
        (Some("http" | "https"), Some(_)) => Err(Fault::Malformed("the target has a user before its host")),
        _ => Err(Fault::Malformed("the target is neither a path nor a URL of http or https")),
    }
}

/// What the fields read so far say of the message's end.
#[derive(Debug, Default)]
struct Fields {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    may_upgrade: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8], most: usize) -> Result<(), Fault> {
        self.count += 1;
        if self.count > most {
            return Err(Fault::TooManyFields);
        }
        let name_ends = line.iter().position(|byte| !is(*byte, TOKEN)).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_ends);
        let Some((b':', value)) = rest.split_first() else {
            return Err(Fault::Malformed(match line.first() {
                Some(b' ' | b'\t') => "a header field goes on in a second line",
                _ => "a header field is not NAME: VALUE",
            }));
        };
        if name.is_empty() {
            return Err(Fault::Malformed("a header field has no name"));
        }
        if !is_field_value(value) {
            return Err(Fault::Malformed("a header field's value has a control character"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trimmed(value)),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.may_upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trimmed(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trimmed(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Fault::Malformed("there is more than one Host field"));
        }
        if all(value, HOST) { Ok(()) } else { Err(Fault::Malformed("the Host field has strange characters")) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::Malformed("there is more than one Content-Length field"));
        }
        // Digits alone: no sign, no list, nothing that a number parser might forgive.
        let digits = value.iter().try_fold(0_u64, |length, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        });
        // hyper keeps the two largest numbers for itself.
        match digits.filter(|length| !value.is_empty() && *length < u64::MAX - 2) {
            Some(length) => self.length = Some(length),
            None => return Err(Fault::Malformed("the Content-Length is not a number of bytes")),
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.chunked, true) {
            return Err(Fault::Malformed("there is more than one Transfer-Encoding field"));
        }
        let known = value.eq_ignore_ascii_case(b"chunked");
        if known { Ok(()) } else { Err(Fault::Malformed("the Transfer-Encoding is not chunked alone")) }
    }

    fn head(self, length: usize, version_1_1: bool) -> Result<Head, Fault> {
        if version_1_1 && self.hosts == 0 {
            return Err(Fault::Malformed("the Host field is missing"));
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Fault::Malformed("there are both Transfer-Encoding and Content-Length")),
            (true, None) if !version_1_1 => return Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding")),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Head { length, framing, may_upgrade: self.may_upgrade && version_1_1 })
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begins = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let ends = value.iter().rposition(|byte| !blank(byte)).map_or(begins, |last| last + 1);
    &value[begins..ends]
}

fn is(byte: u8, alphabet: u8) -> bool {
    ALPHABETS[usize::from(byte)] & alphabet != 0
}

fn all(bytes: &[u8], alphabet: u8) -> bool {
    bytes.iter().all(|byte| is(*byte, alphabet))
}

const fn alphabets() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let alphanumeric = (byte as u8).is_ascii_alphanumeric();
        table[byte] = if alphanumeric { TOKEN | HOST | TARGET } else { 0 };
        byte += 1;
    }
    // tchar (RFC 9110, section 5.6.2).
    mark(&mut table, b"!#$%&'*+-.^_`|~", TOKEN);
    // reg-name, IP-literal and port (RFC 3986, section 3.2.2).
    mark(&mut table, b"-._~%!$&'()*+,;=:[]", HOST);
    // What a path and a query have (RFC 3986, sections 3.3 and 3.4). More is looked at by a parser of URLs.
    mark(&mut table, b"-._~%!$&'()*+,;=:@/?", TARGET);
    table
}

const fn mark(table: &mut [u8; 256], bytes: &[u8], alphabet: u8) {
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] |= alphabet;
        at += 1;
    }
}

#[cfg(test)]
mod tests;
