//! WebSockets: opened over HTTP/1.1 or on streams of HTTP/2, talked on, and left in every way.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::RngExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{STUCK, Visitor};
use crate::content::bytes;
use crate::exchange::Line;
use crate::tally::Known;
use crate::world::Host;

/// Of a nonce: RFC 6455's own example, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How a client goes about a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Says all that it has to say, and good-bye.
    Polite,
    /// Leaves in the middle of the talk without a word.
    Leaves,
    /// Does not wait until it is open.
    Impatient,
}

const MANNERS: [Manner; 5] = [Manner::Polite, Manner::Polite, Manner::Polite, Manner::Leaves, Manner::Impatient];

/// A talk that a client has in mind.
#[derive(Debug, Clone, Copy)]
struct Talk {
    host: Host,
    number: u64,
    manner: Manner,
    /// After which an impatient one goes.
    patience: Duration,
    /// The lengths of what is said, one after the other.
    lengths: [usize; 4],
}

impl Visitor {
    fn talk(&mut self) -> Talk {
        let (number, _) = self.next();
        Talk {
            host: self.host(),
            number,
            manner: MANNERS[self.random.random_range(0..MANNERS.len())],
            patience: Duration::from_millis(self.random.random_range(0..30)),
            lengths: [(); 4].map(|()| self.random.random_range(0..40_000)),
        }
    }

    /// A socket on a connection of its own.
    pub(super) async fn socket_over_http1(&mut self) -> io::Result<()> {
        let talk = self.talk();
        let mut line = Line::new(TcpStream::connect(self.proxy).await?);
        let head = format!(
            "GET /{}/0 HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: {KEY}\r\n\r\n",
            talk.number,
            talk.host.name()
        );
        line.write(head.as_bytes()).await?;
        let patience = if talk.manner == Manner::Impatient { talk.patience } else { STUCK };
        let known = match tokio::time::timeout(patience, line.head()).await {
            Ok(Ok(head)) if head.status() == 101 => {
                assert_eq!(head.field("sec-websocket-accept"), Some(ACCEPT));
                assert_eq!(head.field("x-number"), Some(talk.number.to_string().as_str()), "another request's socket");
                let (stream, ahead) = line.into_parts();
                talk.over(WebSocketStream::from_partially_read(stream, ahead, Role::Client, None).await).await
            }
            Ok(Ok(head)) => talk.refused(head.status()),
            outcome => talk.not_open(outcome.map(|head| head.map(drop))),
        };
        self.tallies.add(talk.host, known);
        Ok(())
    }

    /// Some sockets side by side on one connection, and at last the connection goes.
    pub(super) async fn sockets_over_http2(&mut self) -> io::Result<()> {
        let io = TokioIo::new(TcpStream::connect(self.proxy).await?);
        let handshake = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        // The interceptor's settings, which allow sockets, come before its first response.
        let first = Request::get("http://nobody.test/").body(Empty::new()).map_err(io::Error::other)?;
        let nobody = sender.send_request(first).await.map_err(io::Error::other)?;
        assert_eq!(nobody.status(), StatusCode::NOT_FOUND);
        let talks: Vec<Talk> = (0..self.random.random_range(1..5)).map(|_| self.talk()).collect();
        let cut = self.random.random_ratio(1, 3).then(|| Duration::from_millis(self.random.random_range(0..60)));
        let mut talking: FuturesUnordered<_> = talks
            .iter()
            .enumerate()
            .map(|(at, talk)| {
                let sender = sender.clone();
                async move { (at, talk.over_http2(sender).await) }
            })
            .collect();
        let mut known = vec![Known::Nothing; talks.len()];
        let until = Instant::now() + cut.unwrap_or(2 * STUCK);
        while let Ok(Some((at, outcome))) = tokio::time::timeout_at(until, talking.next()).await {
            known[at] = outcome;
        }
        if cut.is_some() {
            // All sockets break at once, whatever is being said on them.
            connection.abort();
        }
        drop((talking, sender));
        let _closed = tokio::time::timeout(STUCK, connection).await.expect("a connection without sockets ends");
        talks.iter().zip(known).for_each(|(talk, known)| self.tallies.add(talk.host, known));
        Ok(())
    }
}

impl Talk {
    async fn over_http2(&self, mut sender: SendRequest<Empty<Bytes>>) -> Known {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{}/{}/0", self.host.name(), self.number))
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"))
            .body(Empty::new())
            .expect("a request");
        let patience = if self.manner == Manner::Impatient { self.patience } else { STUCK };
        match tokio::time::timeout(patience, sender.send_request(request)).await {
            Ok(Ok(response)) if response.status() == StatusCode::OK => {
                assert_eq!(response.headers()["x-number"], self.number.to_string(), "another request's socket");
                match hyper::upgrade::on(response).await {
                    Ok(stream) => {
                        self.over(WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None).await)
                            .await
                    }
                    Err(error) => {
                        assert!(self.host != Host::Steady, "a good workload's socket did not open: {error}");
                        Known::Broke
                    }
                }
            }
            Ok(Ok(response)) => self.refused(response.status().as_u16()),
            outcome => self.not_open(outcome.map(|answered| answered.map(drop).map_err(io::Error::other))),
        }
    }

    fn refused(&self, status: u16) -> Known {
        assert!(self.host != Host::Steady, "a good workload answered {status} to a socket");
        if status == 404 { Known::NoRoute } else { Known::Refused }
    }

    fn not_open(&self, outcome: Result<io::Result<()>, tokio::time::error::Elapsed>) -> Known {
        match outcome {
            Ok(outcome) => assert!(self.host != Host::Steady, "a good workload's socket failed: {outcome:?}"),
            Err(_) => assert!(self.manner == Manner::Impatient, "a socket is stuck"),
        }
        Known::Nothing
    }

    /// Says what there is to say; each message must come back as it was.
    async fn over<S: AsyncRead + AsyncWrite + Unpin>(&self, mut socket: WebSocketStream<S>) -> Known {
        let mut from = 0;
        for (turn, length) in self.lengths.into_iter().enumerate() {
            let message = Message::binary(bytes(self.number, from, length));
            from += length;
            let sent = socket.send(message.clone()).await;
            if self.manner == Manner::Leaves && turn == 2 {
                return Known::Answered;
            }
            let echoed = tokio::time::timeout(STUCK, socket.next()).await.expect("no socket is stuck");
            match echoed {
                Some(Ok(echoed)) if echoed == message => {}
                // The workload says good-bye; only rough ones do so before the client does.
                Some(Ok(Message::Close(_))) if self.host == Host::Rough => return Known::Answered,
                Some(Ok(other)) => panic!("{} bytes came back for {length}, and not the same", other.len()),
                broken => {
                    assert!(self.host != Host::Steady, "a good workload's socket broke: {sent:?}, {broken:?}");
                    return Known::Broke;
                }
            }
        }
        let ending = async {
            let told = socket.close(None).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
            told
        };
        let told = tokio::time::timeout(STUCK, ending).await.expect("no good-bye is stuck");
        assert!(told.is_ok() || self.host != Host::Steady, "a good workload's socket broke at the end: {told:?}");
        Known::Answered
    }
}
