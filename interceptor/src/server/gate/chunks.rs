//! A body in chunks (RFC 9112, section 7.1), read as strictly as its head: its end must be the same for every parser.

use super::fault::Fault;
use super::head::{is_field_value, is_token};

/// The extensions of all chunks of a body together, in bytes. Nobody knows one; hyper takes no more either.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The trailers of a body, in bytes: half of what hyper takes.
const MAX_TRAILERS: usize = 8 * 1024;
/// More hexadecimal digits do not fit into 64 bits.
const MAX_DIGITS: u8 = 16;

/// Follows a chunked body to its end.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    /// Of the present chunk, what is to come.
    remaining: u64,
    digits: u8,
    extensions: usize,
    trailers: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Digits of a chunk's size.
    #[default]
    Size,
    /// Blanks after the size, which must end in an extension.
    Blank,
    Extension,
    /// The LF after a chunk's size and extensions.
    SizeLf,
    Data,
    /// The line end after a chunk's data.
    DataCr,
    DataLf,
    /// A trailer field, or the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Ended,
}

impl Chunks {
    /// Whether the last byte of the body has been seen.
    pub(crate) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Goes on with these bytes and says how many of them belong to the body.
    ///
    /// # Errors
    /// At the first byte that the grammar does not have.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied().filter(|_| !self.ended()) {
            if self.state == State::Data {
                let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.remaining -= taken as u64;
                at += taken;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.next(byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn next(&mut self, byte: u8) -> Result<State, Fault> {
        match self.state {
            State::Size => self.size(byte),
            State::Blank | State::Extension => self.extension(byte),
            State::SizeLf if byte == b'\n' => Ok(self.begin_data()),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.digits = 0;
                Ok(State::Size)
            }
            State::DataCr | State::DataLf => Err(Fault::Malformed("a chunk is longer than its size")),
            State::TrailerLf if byte == b'\n' => Ok(State::Trailer),
            State::LastLf if byte == b'\n' => Ok(State::Ended),
            State::SizeLf | State::TrailerLf | State::LastLf => {
                Err(Fault::Malformed("a line of the chunked body does not end in CR and LF"))
            }
            State::Trailer | State::TrailerName | State::TrailerValue => self.trailer(byte),
            State::Data | State::Ended => Ok(self.state),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Fault> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(State::SizeLf),
            b';' if self.digits > 0 => return Ok(State::Extension),
            b' ' | b'\t' if self.digits > 0 => return Ok(State::Blank),
            _ => return Err(Fault::Malformed("a chunk's size is not a hexadecimal number")),
        };
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(Fault::Malformed("a chunk's size has too many digits"));
        }
        self.remaining = (self.remaining << 4) | u64::from(value);
        Ok(State::Size)
    }

    fn extension(&mut self, byte: u8) -> Result<State, Fault> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Fault::Malformed("the chunks have too many extensions"));
        }
        match (self.state, byte) {
            (State::Blank, b' ' | b'\t') => Ok(State::Blank),
            (State::Blank, b';') => Ok(State::Extension),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, byte) if is_field_value(&[byte]) => Ok(State::Extension),
            (State::Extension, _) => Err(Fault::Malformed("a chunk's extension has a control character")),
            _ => Err(Fault::Malformed("a chunk's size is followed by something strange")),
        }
    }

    fn begin_data(&self) -> State {
        if self.remaining == 0 { State::Trailer } else { State::Data }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Fault> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(Fault::Malformed("the trailers are too long"));
        }
        match (self.state, byte) {
            (State::Trailer, b'\r') => Ok(State::LastLf),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::Trailer | State::TrailerName, byte) if is_token(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_field_value(&[byte]) => Ok(State::TrailerValue),
            _ => Err(Fault::Malformed("a trailer is not NAME: VALUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8]) -> (Result<usize, Fault>, bool) {
        let mut chunks = Chunks::default();
        let outcome = chunks.read(body);
        (outcome, chunks.ended())
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;name=\"va;lue\"\r\nhello\r\nA \t;x\r\n0123456789\r\n000\r\nx-sum: 42\r\ny:\r\n\r\n",
        ] {
            let with_more = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(read(with_more.as_bytes()), (Ok(body.len()), true), "{body:?}");
            assert_eq!(read(&body.as_bytes()[..body.len() - 1]), (Ok(body.len() - 1), false));
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for body in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5 5\r\nhello\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;a\0\r\nhello\r\n",
            ";a\r\nhello\r\n",
            "\r\nhello\r\n",
            "g\r\n",
            "10000000000000005\r\nhello\r\n",
            "00000000000000005\r\nhello\r\n",
            "0\r\n\n",
            "0\r\nx y: 1\r\n\r\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\n: 1\r\n\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\nx: \0\r\n\r\n",
        ] {
            assert!(read(body.as_bytes()).0.is_err(), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_without_end_are_refused() {
        let many = "1;".to_owned() + &"x".repeat(100) + "\r\na\r\n";
        assert!(read(many.repeat(200).as_bytes()).0.is_err());
        let trailers = "0\r\n".to_owned() + &"x: y\r\n".repeat(5_000);
        assert!(read(trailers.as_bytes()).0.is_err());
    }

    proptest! {
        #[test]
        fn however_it_comes_it_is_read_the_same(
            body in proptest::collection::vec(prop_oneof![Just(b"1\r\na\r\n".to_vec()), Just(b"0\r\n".to_vec()),
                Just(b"\r\n".to_vec()), Just(b"f;x=y\r\n".to_vec()), Just(b"t: v\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20)], 0..12),
            cut in 0usize..200,
        ) {
            let body = body.concat();
            let (outcome, ended) = read(&body);
            let cut = cut.min(body.len());
            let mut apart = Chunks::default();
            let first = apart.read(&body[..cut]);
            let both = match first {
                Ok(taken) if taken == cut => apart.read(&body[cut..]).map(|more| taken + more),
                other => other,
            };
            prop_assert_eq!(both, outcome);
            prop_assert_eq!(apart.ended(), ended);
        }
    }
}
