//! The body of an endpoint's response, with the connection that it comes over.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fault::Interrupted;
use super::http2::Download;
use super::{Connection, Stream};

/// What an endpoint answers. Dropping it before its end ends the connection.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    over: Over,
    /// When it is too late for the rest.
    until: Option<Instant>,
}

/// What the body comes over.
#[derive(Debug)]
enum Over {
    /// A connection whose request has been sent.
    Own(Box<Connection>),
    /// A connection on which another task still sends the request.
    Shared(Rc<RefCell<Box<Connection>>>, Stays),
    /// A connection of HTTP/2, among others.
    Stream(Box<Download>),
    /// The body has ended, and the connection has been given away; or it broke.
    Nothing,
}

/// Dropped, it stops the task that sends the rest of the request, unless it is told that the response has come as a whole.
#[derive(Debug)]
struct Stays(Option<oneshot::Sender<()>>);

impl ResponseBody {
    /// The body that comes over this connection, until this instant at the latest.
    pub(super) fn new(connection: Box<Connection>, until: Option<Instant>) -> Self {
        Self { over: Over::Own(connection), until }
    }

    /// Where the response begins before the request has ended: what sends the rest of the request, to be run apart. The
    /// request must go on even while the client does not read the response, or a client that first sends everything would
    /// wait for ever.
    pub(crate) fn rest_of_request(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        if let Over::Stream(download) = &mut self.over {
            return download.rest_of_request();
        }
        let connection = match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Own(connection) if connection.still_sends() => Rc::new(RefCell::new(connection)),
            other => {
                self.over = other;
                return None;
            }
        };
        let (stays, given_up) = oneshot::channel();
        self.over = Over::Shared(connection.clone(), Stays(Some(stays)));
        Some(Box::pin(send_rest(connection, given_up, self.until)))
    }

    /// The connection, once all of the body has been read: it may carry another request.
    pub(crate) fn connection(&mut self) -> Option<Box<Connection>> {
        if !self.is_end_stream() {
            return None;
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Own(connection) => Some(connection),
            // What is left of the request goes on without us: a client that is still sending must not be cut off before it
            // has read its response.
            Over::Shared(_, mut stays) => {
                stays.go_on();
                None
            }
            Over::Stream(_) | Over::Nothing => None,
        }
    }

    /// When it is too late for the rest.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The next part of the body, until `deadline` at the latest.
    pub(crate) fn poll_frame_before(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let frame = match &mut self.over {
            Over::Own(connection) => connection.poll_frame(cx, deadline),
            Over::Shared(connection, _) => connection.borrow_mut().poll_frame(cx, deadline),
            Over::Stream(download) => return download.poll_frame(cx, deadline),
            Over::Nothing => return Poll::Ready(None),
        };
        if let Poll::Ready(Some(Err(_))) = frame {
            self.over = Over::Nothing;
        }
        frame
    }

    /// The stream of a connection that has changed its protocol, with what has been read already.
    pub(crate) fn into_upgraded(self) -> Option<(Stream, Bytes)> {
        match self.over {
            Over::Own(connection) => connection.into_upgraded(),
            _ => None,
        }
    }
}

impl From<Download> for ResponseBody {
    fn from(download: Download) -> Self {
        Self { until: download.until(), over: Over::Stream(Box::new(download)) }
    }
}

impl Stays {
    fn go_on(&mut self) {
        if let Some(stays) = self.0.take() {
            // The task has ended if there was nothing left to send.
            let _ended = stays.send(());
        }
    }
}

/// Sends the rest of a request; ends with it, with the time that it has, or when the response is given up.
async fn send_rest(connection: Rc<RefCell<Box<Connection>>>, given_up: oneshot::Receiver<()>, until: Option<Instant>) {
    let given_up = async {
        if given_up.await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let too_late = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = std::future::poll_fn(|cx| connection.borrow_mut().poll_rest_of_request(cx)) => {}
        () = given_up => {}
        () = too_late => {}
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let this = self.get_mut();
        this.poll_frame_before(cx, this.until)
    }

    fn is_end_stream(&self) -> bool {
        match &self.over {
            Over::Own(connection) => connection.body().has_ended(),
            Over::Shared(connection, _) => connection.borrow().body().has_ended(),
            Over::Stream(download) => download.is_end_stream(),
            Over::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.over {
            Over::Own(connection) => connection.body().left(),
            Over::Shared(connection, _) => connection.borrow().body().left(),
            Over::Stream(download) => download.left(),
            Over::Nothing => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
