//! Clients that do all that clients do, and leave when they like.

mod websocket;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::content::{Sum, bytes, is_beginning};
use crate::exchange::{Head, Line};
use crate::tally::{Known, Tallies};
use crate::world::{HOSTS, Host};

/// No request takes longer, whatever goes wrong; one that does is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The largest body, either way.
const LARGEST: usize = 1 << 20;

/// One client after the other, each on connections of its own.
#[derive(Debug)]
pub struct Visitor {
    proxy: SocketAddr,
    /// Of the next request; no two requests of a soak have the same.
    number: u64,
    random: StdRng,
    tallies: Tallies,
}

/// How a client goes about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Takes the whole response.
    Patient,
    /// Takes it slowly.
    Slow,
    /// Leaves before its head is complete.
    LeavesInHead,
    /// Leaves in the middle of its upload.
    LeavesInUpload,
    /// Leaves when it has sent everything.
    LeavesBeforeAnswer,
    /// Leaves in the middle of the response.
    LeavesInAnswer,
}

const WAYS: [Way; 12] = [
    Way::Patient,
    Way::Patient,
    Way::Patient,
    Way::Patient,
    Way::Patient,
    Way::Patient,
    Way::Patient,
    Way::Slow,
    Way::LeavesInHead,
    Way::LeavesInUpload,
    Way::LeavesBeforeAnswer,
    Way::LeavesInAnswer,
];

impl Visitor {
    pub fn new(proxy: SocketAddr, number: u64, seed: u64, tallies: Tallies) -> Self {
        Self { proxy, number: (number << 32) | (seed & 0xffff_0000), random: StdRng::seed_from_u64(seed), tallies }
    }

    pub async fn run(mut self, end: Instant) {
        while Instant::now() < end {
            let visit = async {
                match self.random.random_range(0..16) {
                    0..4 => self.over_http2().await,
                    4 => self.socket_over_http1().await,
                    5 => self.sockets_over_http2().await,
                    _ => self.over_http1(end).await,
                }
            };
            // What breaks has been tallied; the next client has better luck.
            let _broke: io::Result<()> = tokio::time::timeout(STUCK, visit).await.expect("no request is stuck");
        }
    }

    /// The next request's number, and how long its body is.
    fn next(&mut self) -> (u64, usize) {
        self.number += 1;
        let size = self.random.random_range(0..20);
        let length = if size < 18 { self.random.random_range(0..4096) } else { self.random.random_range(0..LARGEST) };
        (self.number, length)
    }

    fn host(&mut self) -> Host {
        HOSTS[self.random.random_range(0..HOSTS.len())]
    }

    async fn over_http1(&mut self, end: Instant) -> io::Result<()> {
        let mut line = Line::new(TcpStream::connect(self.proxy).await?);
        let last = self.random.random_range(0..8);
        for turn in 0..=last {
            let way = WAYS[self.random.random_range(0..WAYS.len())];
            let close = turn == last && self.random.random_bool(0.5);
            if way == Way::LeavesInHead {
                line.write(b"GET / HTTP/1.1\r\nhost: steady.te").await?;
                self.leave(line);
                return Ok(());
            }
            let host = self.host();
            let outcome = self.request(&mut line, host, way, close).await;
            let known = match &outcome {
                Ok(known) => *known,
                Err(error) => {
                    assert!(host != Host::Steady, "a good workload's response broke off: {error}");
                    Known::Nothing
                }
            };
            self.tallies.add(host, known);
            if way != Way::Patient && way != Way::Slow {
                self.leave(line);
                return Ok(());
            }
            if close || outcome? != Known::Answered || Instant::now() >= end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// With a reset as often as with a farewell.
    fn leave(&mut self, line: Line) {
        if self.random.random_bool(0.5) {
            line.reset();
        }
    }

    /// One request. An error means that the connection ended before there was a response.
    async fn request(&mut self, line: &mut Line, host: Host, way: Way, close: bool) -> io::Result<Known> {
        let (number, length) = self.next();
        let upload = (way == Way::LeavesInUpload || self.random.random_ratio(1, 3)).then(|| bytes(number, 0, length));
        let close = if close { "connection: close\r\n" } else { "" };
        let chunked = self.random.random_bool(0.5);
        let (method, framed) = match (&upload, chunked) {
            (None, _) => ("GET", String::new()),
            (Some(_), true) => ("POST", "transfer-encoding: chunked\r\n".to_owned()),
            (Some(body), false) => ("POST", format!("content-length: {}\r\n", body.len())),
        };
        let head = format!("{method} /{number}/{length} HTTP/1.1\r\nhost: {}\r\n{framed}{close}\r\n", host.name());
        line.write(head.as_bytes()).await?;
        if let Some(body) = &upload {
            let sent = if way == Way::LeavesInUpload { &body[..body.len() / 2] } else { &body[..] };
            for piece in sent.chunks(64 << 10) {
                if chunked {
                    line.write(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                }
                line.write(piece).await?;
                if chunked {
                    line.write(b"\r\n").await?;
                }
            }
            if way == Way::LeavesInUpload {
                return Ok(Known::Nothing);
            }
            if chunked {
                line.write(b"0\r\n\r\n").await?;
            }
        }
        if way == Way::LeavesBeforeAnswer {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..30))).await;
            return Ok(Known::Nothing);
        }
        let head = line.head().await?;
        Ok(self.answer(line, &head, host, way, number, length, upload.as_deref()).await)
    }

    #[allow(clippy::too_many_arguments, reason = "all that a response is held against")]
    async fn answer(
        &mut self,
        line: &mut Line,
        head: &Head,
        host: Host,
        way: Way,
        number: u64,
        length: usize,
        upload: Option<&[u8]>,
    ) -> Known {
        let mut body = Vec::new();
        let enough = if way == Way::LeavesInAnswer { length / 2 } else { usize::MAX };
        let slow = way == Way::Slow;
        let read = line.body(head.framing(false), |piece| {
            body.extend_from_slice(piece);
            if slow && body.len() % 3 == 0 {
                // A pause of its thread, as short as it is, keeps the socket's buffers full.
                std::hint::spin_loop();
            }
            body.len() < enough
        });
        let whole = read.await.is_ok();
        if head.status() != 200 {
            assert!(
                host != Host::Steady,
                "a good workload answered {}: {:?}",
                head.first,
                String::from_utf8_lossy(&body)
            );
            return if head.status() == 404 { Known::NoRoute } else { Known::Refused };
        }
        assert_eq!(head.field("x-number"), Some(number.to_string().as_str()), "the response is another request's");
        check(&body, number, length, upload, whole && way != Way::LeavesInAnswer);
        if whole { Known::Answered } else { Known::Broke }
    }

    /// Some requests side by side on one connection, some of which are taken back.
    async fn over_http2(&mut self) -> io::Result<()> {
        let io = TokioIo::new(TcpStream::connect(self.proxy).await?);
        let handshake = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let mut requests = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let (host, (number, length)) = (self.host(), self.next());
            let upload = self.random.random_ratio(1, 3).then(|| Bytes::from(bytes(number, 0, length)));
            let method = if upload.is_some() { "POST" } else { "GET" };
            let request = Request::builder().method(method).uri(format!("http://{}/{number}/{length}", host.name()));
            let request = request.body(Full::new(upload.clone().unwrap_or_default())).map_err(io::Error::other)?;
            let response = sender.send_request(request);
            let patience = Duration::from_millis(self.random.random_range(0..40));
            let leaves = self.random.random_ratio(1, 6);
            let tallies = self.tallies.clone();
            requests.push(async move {
                let outcome = tokio::time::timeout(if leaves { patience } else { STUCK }, response).await;
                let known = match outcome {
                    Ok(Ok(response)) => http2_answer(response, host, number, length, upload.as_deref()).await,
                    Ok(Err(error)) => {
                        assert!(host != Host::Steady, "a good workload's request failed: {error}");
                        Known::Nothing
                    }
                    Err(_) => {
                        assert!(leaves, "a request is stuck");
                        Known::Nothing
                    }
                };
                tallies.add(host, known);
            });
        }
        futures::future::join_all(requests).await;
        drop(sender);
        let _closed = tokio::time::timeout(STUCK, connection).await.expect("a connection without requests ends");
        Ok(())
    }
}

async fn http2_answer(
    response: http::Response<hyper::body::Incoming>,
    host: Host,
    number: u64,
    length: usize,
    upload: Option<&[u8]>,
) -> Known {
    let (head, body) = response.into_parts();
    let read = body.collect().await;
    if head.status != 200 {
        assert!(host != Host::Steady, "a good workload answered {}", head.status);
        return if head.status == 404 { Known::NoRoute } else { Known::Refused };
    }
    assert_eq!(head.headers["x-number"], number.to_string(), "the response is another request's");
    match read {
        Ok(body) => {
            check(&body.to_bytes(), number, length, upload, true);
            Known::Answered
        }
        Err(error) => {
            assert!(host != Host::Steady, "a good workload's response broke off: {error}");
            Known::Broke
        }
    }
}

/// A response must be what this request asked for: its number's bytes, or the sum of its upload.
fn check(body: &[u8], number: u64, length: usize, upload: Option<&[u8]>, whole: bool) {
    let sum = upload.map(|upload| {
        let mut sum = Sum::new();
        sum.add(upload);
        sum.answer(upload.len()).into_bytes()
    });
    if let Some(sum) = sum
        && (if whole { body == sum } else { sum.starts_with(body) })
    {
        return;
    }
    // A backend that answers an upload early answers with the number's bytes.
    assert!(is_beginning(number, body), "a response's bytes are not its own");
    assert!(!whole || body.len() == length, "{} bytes of {length} in a response that seems whole", body.len());
}
