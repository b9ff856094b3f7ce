//! A client's connection being served.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::client::{Client, ClientStream, Order, Transport};
use super::gate::Gate;
use super::listener::{Accepted, Entrance};
use super::parking::{Home, Lent, anything_comes};
use super::streams::{Current, OnThisThread};
use super::worker::{Settings, Worker};
use crate::proxy::{self, ResponseBody};

/// Speaks HTTP/1 and h2c as these settings say. `streams` tells which stream's task runs.
pub(crate) fn protocol(settings: &Settings, tasks: TaskTracker, streams: Current) -> auto::Builder<OnThisThread> {
    let mut protocol = auto::Builder::new(OnThisThread::new(tasks, streams, settings.client_write_timeout));
    // hyper would make a timer for each request; the thread's sweep does it for all connections at once.
    // The limits of a head are the gate's business: hyper refuses without a word.
    let most = settings.head;
    protocol.http1().header_read_timeout(None).max_buf_size(most.bytes + SPARE_BYTES);
    // Told a number, hyper fills room for so many fields with nothing before it reads a head, which costs a thousand instructions.
    if most.fields > HYPERS_FIELDS {
        protocol.http1().max_headers(most.fields);
    }
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        // WebSockets on streams; browsers use them where this is announced (RFC 8441).
        .enable_connect_protocol()
        // Streams that are reset before they were even looked at (CVE-2023-44487); more of them end the connection.
        .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
        // Streams that we reset for a client's faults, in the life of a connection.
        .max_local_error_reset_streams(MAX_RESET_BY_FAULT)
        // What is kept for a client that opens no window, for each of its streams.
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(u32::try_from(most.bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_PING);
    protocol
}

/// Header fields that hyper has room for of itself.
const HYPERS_FIELDS: usize = 100;

/// More than the longest head that gets through the gate, in bytes.
const SPARE_BYTES: usize = 8192;

const MAX_RESET_UNSEEN: usize = 20;
const MAX_RESET_BY_FAULT: usize = 1024;
/// In bytes; hyper would take 400 KiB.
const MAX_SEND_BUFFER: usize = 128 * 1024;

/// An HTTP/2 client that does not answer a ping (within hyper's 20 s) has gone.
const HTTP2_PING: Duration = Duration::from_secs(30);

/// What the thread keeps of a connection.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) client: Arc<Client>,
    waker: RefCell<Option<Waker>>,
    /// It came to rest, and the thread will look whether it stays there.
    is_watched: Cell<bool>,
    /// Requests so far, when it was looked at.
    begun: Cell<u32>,
    /// It has been at rest for long enough.
    shall_park: Cell<bool>,
}

impl Served {
    /// A connection that has not been polled yet.
    pub(crate) fn new(client: Arc<Client>) -> Rc<Self> {
        let (is_watched, begun, shall_park) = <(Cell<bool>, Cell<u32>, Cell<bool>)>::default();
        Rc::new(Self { client, waker: RefCell::default(), is_watched, begun, shall_park })
    }

    /// Tells the connection what to do, now.
    pub(crate) fn order(&self, order: Order) {
        self.client.order(order);
        self.wake();
    }

    /// A look at a connection that came to rest: whether there has to be another one. One that has rested since the last is parked.
    pub(crate) fn looked_at(&self) -> bool {
        let begun = self.client.begun();
        let (rests, used) = (self.client.is_at_rest(), self.begun.replace(begun) != begun);
        if rests && !used {
            self.shall_park.set(true);
            self.wake();
        }
        self.is_watched.set(rests && used);
        rests && used
    }

    /// Too many others came to rest after it: it is parked now where it rests still, and watched again when it comes to rest otherwise.
    pub(super) fn makes_room(&self) {
        self.is_watched.set(false);
        if self.client.is_at_rest() {
            self.shall_park.set(true);
            self.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn is_to_be_parked(&self) -> bool {
        self.shall_park.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn will_be_woken(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

/// Serves the connection until it ends, one side breaks it, or it is told to end.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted, served: Rc<Served>) {
    let Accepted { stream, peer, entrance, .. } = accepted;
    let stream = match entrance {
        Entrance::Plain => Transport::Plain(stream),
        Entrance::Tls(door, pass) => match Box::pin(door.enter(stream, peer, pass)).await {
            Some(stream) => Transport::Tls(Box::new(stream)),
            None => return,
        },
    };
    let client = &served.client;
    let stream = ClientStream::new(stream, client.clone());
    let mut gate = Box::new(Gate::new(stream, client.clone(), worker.settings.head));
    // What came together with the end of a TLS handshake is in the stream already, and the socket says nothing of it.
    let mut has_come = client.is_secure() || anything_comes(&worker, &served, &mut gate).await;
    while has_come {
        let (home, lent) = Home::lend(gate);
        // In a box that is gone while the connection is parked.
        Box::pin(speak(&worker, &served, lent)).await;
        match home.back().filter(|_| served.shall_park.take()) {
            Some(back) => gate = back,
            None => return,
        }
        has_come = anything_comes(&worker, &served, &mut gate).await;
    }
}

/// Speaks HTTP until the connection ends, or is to be parked.
async fn speak(worker: &Rc<Worker>, served: &Rc<Served>, stream: Lent<Gate<ClientStream>>) {
    let client = &served.client;
    let service = {
        let (worker, client) = (worker.clone(), client.clone());
        service_fn(move |request: Request<Incoming>| {
            proxy::answer(worker.clone(), client.clone(), request).map(Ok::<Response<ResponseBody>, Infallible>)
        })
    };
    let mut connection = pin!(worker.protocol.serve_connection_with_upgrades(TokioIo::new(stream), service));
    served.shall_park.set(false);
    let mut finishing = false;
    let outcome = std::future::poll_fn(|cx: &mut Context<'_>| {
        served.will_be_woken(cx.waker());
        if client.ordered() == Order::Cut {
            return Poll::Ready(Ok(()));
        }
        if served.shall_park.get() {
            if client.is_at_rest() {
                return Poll::Ready(Ok(()));
            }
            served.shall_park.set(false);
        }
        let mut outcome = connection.as_mut().poll(cx);
        if outcome.is_pending() && client.ordered() == Order::Finish && !std::mem::replace(&mut finishing, true) {
            // Only now: what has come already is read, and answered.
            connection.as_mut().graceful_shutdown();
            outcome = connection.as_mut().poll(cx);
        }
        if outcome.is_pending() && !served.is_watched.get() && client.is_at_rest() {
            served.is_watched.set(true);
            worker.resting.add(served);
        }
        outcome
    });
    if let Err(error) = outcome.await {
        debug!("a client's connection broke: {error}");
    }
}
