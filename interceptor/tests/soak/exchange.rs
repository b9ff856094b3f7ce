//! HTTP/1.1 by hand, for both sides: heads and bodies as bytes, so that a side can stop anywhere.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection with what has been read ahead.
#[derive(Debug)]
pub struct Line {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

/// The head of a message.
#[derive(Debug)]
pub struct Head {
    /// The first line.
    pub first: String,
    fields: Vec<(String, String)>,
}

/// How the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status in the first line")
    }

    /// How the body goes on; a request without a word about it has none.
    pub fn framing(&self, is_request: bool) -> Framing {
        if self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.field("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a length")),
            None if is_request || matches!(self.status(), 100..=199 | 204 | 304) => Framing::Length(0),
            None => Framing::UntilClosed,
        }
    }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl Line {
    pub fn new(stream: TcpStream) -> Self {
        // Small pieces that wait for each other's acknowledgement take 40 ms each. One that has been closed needs no setting.
        let _as_it_was = stream.set_nodelay(true);
        Self { stream, ahead: Vec::new() }
    }

    /// The stream, and what has been read ahead.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next head; an error where the other side ends before it does.
    pub async fn head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Head { first, fields })
    }

    /// Reads a body, piece by piece, until its end or until `take` says that it is enough.
    pub async fn body(&mut self, framing: Framing, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.exactly(length, &mut take).await.map(drop),
            Framing::UntilClosed => loop {
                if !self.ahead.is_empty() && !take(&std::mem::take(&mut self.ahead)) {
                    return Ok(());
                }
                match self.more().await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    other => other?,
                }
            },
            Framing::Chunked => loop {
                let size = self.text_line().await?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                if size == 0 {
                    while !self.text_line().await?.is_empty() {}
                    return Ok(());
                }
                if !self.exactly(size, &mut take).await? {
                    return Ok(());
                }
                self.text_line().await?;
            },
        }
    }

    async fn exactly(&mut self, mut length: usize, take: &mut impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        while length > 0 {
            if self.ahead.is_empty() {
                self.more().await?;
            }
            let piece: Vec<u8> = self.ahead.drain(..length.min(self.ahead.len())).collect();
            length -= piece.len();
            if !take(&piece) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn text_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).map_err(io::Error::other);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.ahead).await? == 0 { Err(ended()) } else { Ok(()) }
    }

    /// Closes with a reset: what the other side has not read is gone.
    pub fn reset(self) {
        // A linger of no time is exactly that, and tokio keeps the call for those who mean it.
        let _closed_anyway = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}
