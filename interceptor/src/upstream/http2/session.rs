//! One HTTP/2 connection to an endpoint.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::super::Stream;
use super::super::connection::Life;

/// What one response may have in flight before its client reads on, in bytes: 1 MiB fills 100 MB/s over 10 ms.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What of a request's body the connection takes before it has been sent, in bytes.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// The longest head of a response, in bytes.
const MAX_HEAD_BYTES: u32 = 256 * 1024;
/// How much one frame of a body may carry, in bytes: fewer frames cost less.
const FRAME_BYTES: u32 = 64 * 1024;
/// Requests at once that are sent before the endpoint has said how many it takes: what hyper and Go assume.
const STREAMS_UNTIL_TOLD: usize = 100;
/// How often an endpoint with requests in flight is asked whether it is still there. It has as long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How connections are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Requests at once on one connection, at most.
    pub(crate) max_streams: usize,
    /// How long one may be without a request.
    pub(crate) idle: Duration,
}

/// A connection. It goes on until it is dropped and the requests on it have ended.
#[derive(Debug)]
pub(crate) struct Session {
    sender: SendRequest<Bytes>,
    /// Whether it runs over TLS.
    pub(super) secure: bool,
    life: Life,
    max_streams: usize,
    uses: Cell<u32>,
    state: Rc<State>,
}

/// What the connection's task and its requests know of each other.
#[derive(Debug)]
struct State {
    /// Requests on it now.
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    ended: Cell<bool>,
}

/// A request's place on a connection.
#[derive(Debug)]
pub(super) struct Slot(Rc<State>);

impl Session {
    /// Speaks HTTP/2 over a stream to an endpoint. What runs the connection is one of `tasks`.
    ///
    /// # Errors
    /// Where the stream breaks.
    pub(crate) async fn open(stream: Stream, life: Life, terms: Terms, tasks: &TaskTracker) -> io::Result<Rc<Self>> {
        let secure = stream.is_secure();
        let max_streams = terms.max_streams.max(1);
        // As large as all responses together may need: a client that does not read must not stop the others.
        let window = (max_streams as u64 * u64::from(STREAM_WINDOW_BYTES)).min(u64::from(MAX_WINDOW_BYTES)) as u32;
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(window)
            .initial_max_send_streams(STREAMS_UNTIL_TOLD)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_frame_size(FRAME_BYTES);
        let (sender, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        let state =
            Rc::new(State { streams: Cell::new(0), idle_since: Cell::new(Instant::now()), ended: Cell::new(false) });
        let pings = connection.ping_pong();
        tasks.spawn_local(run(connection, pings, state.clone()));
        Ok(Rc::new(Self { sender, secure, life, max_streams, uses: Cell::new(0), state }))
    }

    /// Whether it can't get any more requests, now or later. However short its life is to be, it is for one request.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let uses = self.uses.get();
        (uses > 0 && now >= self.life.until) || uses >= self.life.uses || self.is_closed()
    }

    /// Whether the endpoint takes no more requests on it.
    pub(crate) fn is_closed(&self) -> bool {
        if self.state.ended.get() {
            return true;
        }
        // After the endpoint's GOAWAY this is an error. A handle of its own: one that has sent nothing never waits.
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Err(_)))
    }

    /// Whether it has been without a request for so long.
    pub(super) fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        self.state.streams.get() == 0 && now.saturating_duration_since(self.state.idle_since.get()) >= idle
    }

    /// A place for one more request, where it has one.
    pub(super) fn enter(&self) -> Option<Slot> {
        // An endpoint that takes none for now gets one all the same, which then waits inside `h2`.
        let room = self.max_streams.min(self.sender.current_max_send_streams()).max(1);
        if self.state.streams.get() >= room {
            return None;
        }
        self.state.streams.set(self.state.streams.get() + 1);
        self.uses.set(self.uses.get() + 1);
        Some(Slot(self.state.clone()))
    }

    /// Whether it has carried a request before: then the endpoint may be closing it just now.
    pub(super) fn is_used(&self) -> bool {
        self.uses.get() > 1
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }
}

/// The largest window there is (RFC 9113, section 6.9.1).
const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;

impl Drop for Slot {
    fn drop(&mut self) {
        let streams = self.0.streams.get() - 1;
        self.0.streams.set(streams);
        if streams == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// Reads and writes until the connection ends: because nobody uses it any more, the endpoint ended it, or it answers no pings.
async fn run(mut connection: Connection<Stream, Bytes>, mut pings: Option<PingPong>, state: Rc<State>) {
    let mut due = tokio::time::interval(PING_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = false;
    loop {
        tokio::select! {
            outcome = &mut connection => {
                if let Err(error) = outcome {
                    debug!("an HTTP/2 connection to an endpoint broke: {error}");
                }
                break;
            }
            answer = answered(&mut pings), if asked => match answer {
                Ok(()) => asked = false,
                Err(_) => pings = None,
            },
            _ = due.tick() => {
                if asked {
                    debug!("an endpoint has not answered an HTTP/2 ping within {PING_EVERY:?}: its connection is given up");
                    break;
                }
                if state.streams.get() > 0 && let Some(pings) = &mut pings {
                    asked = pings.send_ping(Ping::opaque()).is_ok();
                }
            }
        }
    }
    // Whatever is still on it fails when the connection is dropped, right after this.
    state.ended.set(true);
}

async fn answered(pings: &mut Option<PingPong>) -> Result<(), h2::Error> {
    match pings {
        Some(pings) => poll_fn(|cx| pings.poll_pong(cx)).await.map(drop),
        None => std::future::pending().await,
    }
}
