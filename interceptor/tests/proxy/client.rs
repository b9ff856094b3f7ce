//! A client that writes and reads plain bytes, so that nothing hides what goes over the wire.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::SOON;

pub struct Client<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The head as it came, in lower case.
    pub head: String,
    /// The body; chunks are joined.
    pub body: Vec<u8>,
    /// What follows the last chunk.
    pub trailers: String,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // Small pieces that wait for each other's acknowledgement would take 40 ms each.
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// On a connection that is there already.
    pub fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Closes at once, with a reset where something is unread.
    pub fn leave(self) {}

    /// The next response, after a request that was no HEAD.
    pub async fn response(&mut self) -> Response {
        self.try_response().await.expect("a whole response")
    }

    /// The next response, or none where the connection ends before its end.
    pub async fn try_response(&mut self) -> Option<Response> {
        let (status, head) = self.head().await?;
        let mut response = Response { status, head, body: Vec::new(), trailers: String::new() };
        if status == 204 || status == 304 || status < 200 {
            return Some(response);
        }
        if let Some(length) = response.header("content-length") {
            let length = length.parse().unwrap();
            response.body = self.take(length).await?;
        } else if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.line().await?;
                let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
                if size == 0 {
                    break;
                }
                response.body.extend(self.take(size).await?);
                self.line().await?;
            }
            loop {
                let line = self.line().await?;
                if line.is_empty() {
                    break;
                }
                response.trailers.push_str(&line);
            }
        } else {
            while self.more().await {}
            response.body = std::mem::take(&mut self.read);
        }
        Some(response)
    }

    /// The next head only: its status and text.
    pub async fn head(&mut self) -> Option<(u16, String)> {
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head))
    }

    /// The next so many bytes.
    pub async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// Whether the other side has closed.
    pub async fn is_closed(&mut self) -> bool {
        !self.more().await
    }

    /// Whether nothing comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.more()).await.is_err()
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(SOON, self.stream.read_buf(&mut self.read)).await;
        matches!(read.expect("something comes in time"), Ok(count) if count > 0)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
