//! One HTTP/1.1 connection to an endpoint.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use tokio::time::Instant;

use super::fault::{Fault, Interrupted, Unanswered};
use super::http1::body::{Body, Next};
use super::http1::head;
use super::io::Io;
use super::patience::{Over, Patience, Timer};
use super::sending::{Sending, Stopped};
use super::{Origin, RequestBody, ResponseBody, Stream};
use crate::proxy::BodyError;

/// A connection, idle or with one request on it.
#[derive(Debug)]
pub(crate) struct Connection {
    origin: Origin,
    io: Io<Stream>,
    timer: Timer,
    /// What of the present request is still to be sent.
    sending: Sending,
    /// What of the present response is still to come.
    body: Body,
    /// Who reads the response while another task sends the request.
    reader: Option<Waker>,
    /// Why the request can't be ended, so that the response will not end either.
    broken: Option<Fault>,
    /// Whether the endpoint will answer on it again.
    keep_alive: bool,
    uses: u32,
    life: Life,
    idle_since: Option<Instant>,
}

/// How long and how often a connection may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// Not after this.
    pub(crate) until: Instant,
    /// For this many requests.
    pub(crate) uses: u32,
}

impl Connection {
    /// Speaks HTTP/1.1 over a stream to an endpoint.
    pub(crate) fn over(stream: Stream, origin: Origin, life: Life) -> Box<Self> {
        Box::new(Self {
            origin,
            io: Io::new(stream),
            timer: Timer::default(),
            sending: Sending::nothing(),
            body: Body::ended(),
            reader: None,
            broken: None,
            keep_alive: true,
            uses: 0,
            life,
            idle_since: None,
        })
    }

    /// Where it goes.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it has carried a request before: then the endpoint may be closing it just now.
    pub(crate) fn is_used(&self) -> bool {
        self.uses > 0
    }

    /// Sends a request and waits for its response's head. The response's body has the connection then. Dropping the future ends
    /// the connection.
    ///
    /// # Errors
    /// Where no response comes; the connection has ended then.
    pub(crate) async fn send(
        mut self: Box<Self>,
        request: Request<RequestBody>,
        began: Instant,
        patience: Patience,
    ) -> Result<Response<ResponseBody>, Unanswered> {
        self.uses += 1;
        let (head, body) = request.into_parts();
        if self.io.is_disturbed() {
            return Err(Unanswered::Unsent(Box::new(Request::from_parts(head, body)), Fault::Ended));
        }
        self.timer.set(patience.first_look(began));
        self.io.outgoing.head(&head.method, &head.uri, &head.headers, body.length());
        let has_body = !matches!(body, RequestBody::Empty);
        let mut waiting = Waiting {
            reader: head::Reader::default(),
            to_head: head.method == Method::HEAD,
            has_body,
            sent_at: (!has_body).then_some(began),
            patience,
        };
        self.sending = Sending::begin(body);
        match poll_fn(|cx| self.poll_answer(cx, &mut waiting)).await {
            Ok(response) => Ok(response.map(|()| ResponseBody::new(self, patience.until))),
            Err(No::TimedOut(Over::Request)) => Err(Unanswered::RequestTimeout),
            Err(No::TimedOut(Over::ResponseHeader)) => Err(Unanswered::ResponseHeaderTimeout),
            Err(No::Client(error)) => Err(Unanswered::Client(error)),
            Err(No::Broken(fault)) => Err(match (self.sending.has_begun(), self.sending.take_back()) {
                (false, Some(body)) => Unanswered::Unsent(Box::new(Request::from_parts(head, body)), fault),
                (true, Some(body)) => Unanswered::Broken(Some(Box::new(Request::from_parts(head, body))), fault),
                (_, None) => Unanswered::Broken(None, fault),
            }),
        }
    }

    /// Sends and reads until there is a head.
    fn poll_answer(&mut self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<Result<Response<()>, No>> {
        if self.sending.goes_on() {
            match self.sending.poll(cx, &mut self.io) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => waiting.sent(),
                Poll::Ready(Err(Stopped::Client(error))) => return Poll::Ready(Err(No::Client(error))),
                Poll::Ready(Err(Stopped::Length(error))) => return Poll::Ready(Err(No::Broken(error.into()))),
                Poll::Ready(Err(Stopped::Stream(error))) if !self.sending.has_begun() => {
                    return Poll::Ready(Err(No::Broken(error.into())));
                }
                // An endpoint that does not want the body may have said so before it closed.
                Poll::Ready(Err(Stopped::Stream(_))) => self.stop_sending(waiting),
            }
        }
        loop {
            match waiting.reader.next(&mut self.io.incoming, waiting.to_head) {
                Ok(Some(head)) => {
                    self.body = head.body;
                    self.keep_alive &= head.keep_alive;
                    self.body.left().into_iter().for_each(|bytes| self.io.expect(bytes));
                    return Poll::Ready(Ok(head.response));
                }
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(No::Broken(malformed.into()))),
            }
            match self.io.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(No::Broken(Fault::ClosedEarly))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(No::Broken(error.into()))),
                Poll::Pending => break,
            }
        }
        self.timer.poll_patience(cx, &waiting.patience, waiting.sent_at).map(|over| Err(No::TimedOut(over)))
    }

    fn stop_sending(&mut self, waiting: &mut Waiting) {
        self.sending.give_up();
        self.keep_alive = false;
        waiting.sent();
    }

    /// Whether the response has begun before the request has ended.
    pub(super) fn still_sends(&self) -> bool {
        self.sending.goes_on()
    }

    /// Sends the rest of a request whose response has begun; ready when no more can be sent.
    pub(super) fn poll_rest_of_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.sending.goes_on() {
            return Poll::Ready(());
        }
        match ready!(self.sending.poll(cx, &mut self.io)) {
            Ok(()) => return Poll::Ready(()),
            // The endpoint takes no more; its response tells why.
            Err(Stopped::Stream(_)) => {}
            // The endpoint waits for the rest of a request that nobody sends any more.
            Err(Stopped::Client(error)) => self.broken = Some(Fault::Client(error)),
            Err(Stopped::Length(error)) => self.broken = Some(error.into()),
        }
        self.sending.give_up();
        self.keep_alive = false;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }

    /// Reads on in the body of the response, until `until` at the latest.
    ///
    /// # Errors
    /// Where the body breaks off or takes too long.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let broken = |fault| Poll::Ready(Some(Err(Interrupted::Broken(fault))));
        if let Some(fault) = self.broken.take() {
            return broken(fault);
        }
        loop {
            match self.body.next(&mut self.io.incoming) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Next::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(malformed) => return broken(malformed.into()),
            }
            match self.io.poll_read(cx) {
                Poll::Ready(Ok(0)) if self.body.ends_with_connection() => return Poll::Ready(None),
                Poll::Ready(Ok(0)) => return broken(Fault::ClosedEarly),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return broken(error.into()),
                Poll::Pending => break,
            }
        }
        if self.sending.goes_on() {
            self.reader = Some(cx.waker().clone());
        }
        let Some(until) = until else { return Poll::Pending };
        self.timer.poll_until(cx, until).map(|()| Some(Err(Interrupted::RequestTimeout)))
    }

    /// What of the response is still to come.
    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// The connection again where it can carry another request, once the response's body has been read.
    pub(crate) fn reusable(mut self: Box<Self>, now: Instant) -> Option<Box<Self>> {
        // Bytes after the response's end would be taken for the next one's beginning.
        let at_rest = self.sending.is_done() && self.body.has_ended() && self.io.incoming.is_empty();
        if !at_rest || !self.keep_alive || self.uses >= self.life.uses || self.is_old(now) {
            return None;
        }
        self.io.rest();
        self.idle_since = Some(now);
        Some(self)
    }

    /// Looks after an idle connection: true where the endpoint has closed it.
    pub(crate) fn ended_while_idle(&mut self) -> bool {
        self.io.is_disturbed()
    }

    /// Whether it has lived too long to carry another request.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        now >= self.life.until
    }

    /// Since when it has carried no request.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// The stream of a connection that has changed its protocol, with what has been read already.
    pub(super) fn into_upgraded(self) -> Option<(Stream, Bytes)> {
        self.sending.is_done().then(|| self.io.into_parts())
    }
}

/// A request that waits for its response's head.
#[derive(Debug)]
struct Waiting {
    reader: head::Reader,
    to_head: bool,
    has_body: bool,
    /// None while the request is being sent.
    sent_at: Option<Instant>,
    patience: Patience,
}

impl Waiting {
    fn sent(&mut self) {
        // Without a body the request was sent when it began, and the clock need not be asked.
        if self.has_body {
            self.sent_at = Some(Instant::now());
        }
    }
}

/// Why there is no head.
#[derive(Debug)]
enum No {
    Broken(Fault),
    Client(BodyError),
    TimedOut(Over),
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use plimsoll_wire::resources::{Port, Workload};
    use plimsoll_wire::topic::WorkloadId;
    use tokio::net::TcpStream;

    use super::*;
    use crate::upstream::Backend;

    /// A write to a connection that the endpoint has closed meanwhile fails before its first byte: the request comes back whole.
    #[tokio::test]
    async fn a_request_whose_first_write_fails_was_never_sent() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.writable().await.unwrap();
        let (endpoint, _) = listener.accept().unwrap();
        let now = Instant::now();
        let life = Life { until: now + Duration::from_secs(60), uses: 10 };
        let target = plimsoll_wire::resources::Backend { service: "app".to_owned(), port: Port::Number(80) };
        let origin = Backend::of(&Workload::new(WorkloadId::new("default", "app"), target), "app").at(address);
        let mut connection = Connection::over(Stream::Plain(stream), origin, life);
        connection.uses = 1;
        // Nothing is awaited from here on, so that the runtime does not hear of the reset before the write fails.
        socket2::SockRef::from(&endpoint).set_linger(Some(Duration::ZERO)).unwrap();
        drop(endpoint);
        let request = Request::post("/").header("x-number", "7").body(RequestBody::Empty).unwrap();
        let patience = Patience { until: None, after_sent: None };
        match connection.send(request, now, patience).await {
            Err(Unanswered::Unsent(request, Fault::Io(error))) => {
                assert_eq!(request.headers()["x-number"], "7");
                assert!(error.raw_os_error().is_some(), "the system refuses: {error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
