//! A client that writes frames of HTTP/2 itself (RFC 9113), and so can write those that no library would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::SOON;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const ENHANCE_YOUR_CALM: u32 = 11;

pub struct Frames {
    pub stream: TcpStream,
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM (the first number) or GOAWAY (the second).
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of one frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields, all literal.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A request for `app.test`, and further fields.
pub fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "http"), (":authority", "app.test"), (":path", path)];
    fields(&[&own, more].concat())
}

impl Frames {
    /// Connects and sends the preface and settings.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // Small frames that wait for each other's acknowledgement would take 40 ms each.
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream };
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(&frame(SETTINGS, 0, 0, &[])).await;
        frames
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame, or none where the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(SOON, next).await.expect("a frame comes in time")
    }

    /// The next frame of this kind, or none where the connection ends before.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// How a stream is answered: the status that its first header block begins with, or none where the stream or the
    /// connection ends without.
    pub async fn status(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return None,
                GOAWAY if frame.error() != 0 => return None,
                _ => {}
            }
        }
    }

    /// Waits until the connection has ended.
    pub async fn until_closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// A status that has a place of its own in the static table (RFC 7541, appendix A).
fn status(block: &[u8]) -> u16 {
    let known = [(0x88, 200), (0x89, 204), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
    known.iter().find(|(index, _)| *index == block[0]).map(|(_, status)| *status).expect("a status of the static table")
}
