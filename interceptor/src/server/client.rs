//! One client's connection: what its requests, its socket and its thread's sweep know of each other.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use http::HeaderValue;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::crowd::{Place, Present};
use super::gate::News;
use crate::proxy::forwarded::Peer;

/// A client's connection. All on one thread: the atomics are here only because an upgraded socket must be `Send`.
#[derive(Debug)]
pub(crate) struct Client {
    address: HeaderValue,
    /// It came in over TLS.
    secure: bool,
    is_trusted: bool,
    /// Kept as long as its socket, of which a tunnel may be left.
    _place: (Option<Place>, Option<Present>),
    /// Requests whose response has not been sent.
    requests: AtomicU32,
    /// A request has begun since the last sweep.
    began_one: AtomicBool,
    /// What its gate and the rest tell each other.
    pub(crate) news: News,
    /// Requests of whose body nothing is read: held ones, and those whose endpoint takes no more of it.
    watchers: AtomicU32,
    orders: AtomicU8,
    /// Something is to be written and the client does not take it.
    write_blocked: AtomicBool,
    /// Something has been written since the last sweep.
    wrote: AtomicBool,
    /// Something was to be written, and it is not known that all of it has been.
    unflushed: AtomicBool,
    /// Sweeps so far: a clock that costs a request nothing.
    sweeps: AtomicU32,
    /// Requests so far.
    begun: AtomicU32,
    /// Requests that the client has taken back soon after they began.
    taken_back: AtomicU32,
    /// Only the connection's end tells where its last response ends.
    ends_by_closing: AtomicBool,
    /// That was given up in the middle.
    torn: AtomicBool,
}

/// A client that takes back so many requests, and most of those it sends, makes work for its own sake: HTTP/2 rapid reset.
/// The number and the time (one or two sweeps) are Envoy's: `premature_reset_total_stream_count`.
const MAX_TAKEN_BACK: u32 = 500;

/// What the connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// End when the requests on it have been answered.
    Finish,
    /// End at once.
    Cut,
}

/// What a sweep finds out about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idleness {
    /// It has a request, or had one since the last sweep.
    Busy,
    /// Nothing comes.
    Idle,
    /// A request's head has begun and has not ended.
    InHead,
}

impl Client {
    /// A client at this address, which came in over TLS or not; `is_trusted` if it is a proxy whose word is taken.
    pub(crate) fn new(
        peer: SocketAddr,
        secure: bool,
        is_trusted: bool,
        place: (Option<Place>, Option<Present>),
    ) -> Arc<Self> {
        let address = peer.ip().to_canonical().to_string();
        Arc::new(Self {
            // An address is made of letters that a header may have; an empty field would only mean "unknown".
            address: HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("")),
            secure,
            is_trusted,
            _place: place,
            requests: AtomicU32::new(0),
            began_one: AtomicBool::new(false),
            news: News::default(),
            watchers: AtomicU32::new(0),
            orders: AtomicU8::new(Order::Serve as u8),
            write_blocked: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            sweeps: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            taken_back: AtomicU32::new(0),
            ends_by_closing: AtomicBool::new(false),
            torn: AtomicBool::new(false),
        })
    }

    /// How it asked, for `X-Forwarded-Proto`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Whether it came in over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where it comes from, by its connection and not by what proxies before it say.
    pub(crate) fn address(&self) -> &HeaderValue {
        &self.address
    }

    /// Who it is, as its requests tell the workload; with a `Forwarded` field or without.
    pub(crate) fn peer(&self, forwarded: bool) -> Peer<'_> {
        Peer { address: &self.address, scheme: self.scheme(), is_trusted: self.is_trusted, forwarded }
    }

    /// A request's head has been read. It is active until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.requests.fetch_add(1, Relaxed);
        self.began_one.store(true, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        let began_in = self.sweeps.load(Relaxed);
        ActiveRequest { client: self.clone(), began_in, is_answered: false, ends_by_closing: false, is_halfway: false }
    }

    /// A stream of it has become a tunnel: it is not idle until the guard is dropped, though the request has been answered.
    pub(crate) fn opens_tunnel(self: &Arc<Self>) -> OpenTunnel {
        self.requests.fetch_add(1, Relaxed);
        OpenTunnel(self.clone())
    }

    /// From now on, and until the guard is dropped, the connection breaks when the client has hung up, even if bytes of it
    /// are still unread.
    pub(crate) fn watch_for_hang_up(&self) -> HangUpWatch<'_> {
        self.watchers.fetch_add(1, Relaxed);
        HangUpWatch(self)
    }

    /// What has been going on since the last sweep.
    pub(crate) fn swept(&self) -> Idleness {
        self.sweeps.fetch_add(1, Relaxed);
        if self.began_one.swap(false, Relaxed) || self.requests.load(Relaxed) > 0 {
            Idleness::Busy
        } else if self.news.is_in_head() {
            Idleness::InHead
        } else {
            Idleness::Idle
        }
    }

    /// Whether it has taken nothing since the last sweep though there is something for it.
    pub(crate) fn is_stalled(&self) -> bool {
        !self.wrote.swap(false, Relaxed) && self.write_blocked.load(Relaxed)
    }

    /// Requests so far.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// Whether everything that has been read of it has been answered, and every answer written: whoever speaks HTTP on it has
    /// nothing that is not in the stream.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.requests.load(Relaxed) == 0 && !self.unflushed.load(Relaxed) && self.news.is_at_rest()
    }

    fn wrote<T>(&self, outcome: &Poll<T>) {
        self.write_blocked.store(outcome.is_pending(), Relaxed);
        if outcome.is_ready() {
            self.wrote.store(true, Relaxed);
        }
    }

    /// The client has taken a request back.
    fn took_back(&self, began_in: u32) {
        if self.sweeps.load(Relaxed) - began_in > 1 {
            return;
        }
        let taken_back = self.taken_back.fetch_add(1, Relaxed) + 1;
        if taken_back >= MAX_TAKEN_BACK && taken_back > self.begun.load(Relaxed) / 2 {
            self.order(Order::Cut);
        }
    }

    /// Tells the connection what to do, next time it is polled.
    pub(crate) fn order(&self, order: Order) {
        self.orders.fetch_max(order as u8, Relaxed);
    }

    /// What it has been told.
    pub(crate) fn ordered(&self) -> Order {
        match self.orders.load(Relaxed) {
            0 => Order::Serve,
            1 => Order::Finish,
            _ => Order::Cut,
        }
    }
}

/// A request without its whole response.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    client: Arc<Client>,
    /// The sweep before which it began.
    began_in: u32,
    is_answered: bool,
    /// Only the connection's end tells the client where its response ends.
    ends_by_closing: bool,
    /// Some of such a response has been asked for, and not all of it has been given.
    is_halfway: bool,
}

impl ActiveRequest {
    /// There is a response, or the head of one; `ends_by_closing` where the client sees its end by the connection's alone.
    pub(crate) fn answered(&mut self, ends_by_closing: bool) {
        self.is_answered = true;
        self.ends_by_closing = ends_by_closing;
        self.client.ends_by_closing.store(ends_by_closing, Relaxed);
    }

    /// The body has been asked for more. Whether it is whole by now matters only where the client can't see that itself.
    pub(crate) fn sends(&mut self, is_whole: impl FnOnce() -> bool) {
        if self.ends_by_closing {
            self.is_halfway = !is_whole();
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.client.requests.fetch_sub(1, Relaxed);
        if self.is_halfway {
            self.client.torn.store(true, Relaxed);
        }
        if !self.is_answered {
            self.client.took_back(self.began_in);
        }
    }
}

/// See [`Client::opens_tunnel`].
#[derive(Debug)]
pub(crate) struct OpenTunnel(Arc<Client>);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// See [`Client::watch_for_hang_up`].
#[derive(Debug)]
pub(crate) struct HangUpWatch<'a>(&'a Client);

impl Drop for HangUpWatch<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Relaxed);
    }
}

/// A client's socket.
#[derive(Debug)]
pub(crate) struct ClientStream {
    stream: Transport,
    client: Arc<Client>,
}

/// What carries HTTP.
#[derive(Debug)]
pub(crate) enum Transport {
    /// The socket itself.
    Plain(TcpStream),
    /// TLS on a socket, once its handshake is done.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl ClientStream {
    /// The socket of this client.
    pub(crate) fn new(stream: Transport, client: Arc<Client>) -> Self {
        Self { stream, client }
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// Ready when there is something to read, an end or a failure included.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket().poll_read_ready(cx).map(drop)
    }

    fn has_hung_up(&self) -> bool {
        let ready = self.stream.socket().ready(Interest::READABLE).now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }
}

/// A client that knows a response's end by the connection's would take half of one for the whole, whatever it was given up for: a reset
/// tells it. (What it has not read of that half may be lost, which is why others, who can tell, get the usual end.)
impl Drop for ClientStream {
    fn drop(&mut self) {
        let Client { torn, ends_by_closing, unflushed, .. } = &*self.client;
        if torn.load(Relaxed) || ends_by_closing.load(Relaxed) && unflushed.load(Relaxed) {
            // Where the system refuses, the connection has ended.
            let _refused = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.client.unflushed.store(true, Relaxed);
        let outcome = match &mut this.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.client.wrote(&outcome);
        outcome
    }

    /// hyper calls this whenever it looks after the connection, so it is the place to notice a client that has gone.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.watchers.load(Relaxed) > 0 && self.has_hung_up() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has hung up")));
        }
        let this = self.get_mut();
        let outcome = match &mut this.stream {
            // A socket keeps nothing back.
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(stream) => {
                // What TLS keeps has not been taken by the client.
                let outcome = Pin::new(stream).poll_flush(cx);
                this.client.wrote(&outcome);
                outcome
            }
        };
        // hyper flushes when it has nothing more to write.
        this.client.unflushed.store(outcome.is_pending(), Relaxed);
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // hyper writes all responses so, and what the socket does not take stays in hyper.
        this.client.unflushed.store(true, Relaxed);
        let outcome = match &mut this.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.client.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
