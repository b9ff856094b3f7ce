//! One HTTP/1.1 connection to an endpoint.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::relay::Relay;
use super::request_body::{RequestBody, Taken};

/// A connection, idle or with one request on it.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    line: Line,
    relay: Relay,
    uses: u32,
    life: Life,
    idle_since: Option<Instant>,
}

/// Both ends of hyper's side of a connection, and its timer.
#[derive(Debug)]
struct Line {
    sender: http1::SendRequest<RequestBody>,
    /// The protocol and the socket. None once the connection has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, RequestBody>>,
    /// Reused from request to request: moving a deadline further away costs next to nothing, making a timer does not.
    timer: Option<Pin<Box<Sleep>>>,
}

/// How long and how often a connection may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// Not after this.
    pub(crate) until: Instant,
    /// For this many requests.
    pub(crate) uses: u32,
}

/// How long the response's head may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When the request as a whole is too late.
    pub(crate) until: Option<Instant>,
    /// For how long nothing may come once the request has been sent.
    pub(crate) after_sent: Option<Duration>,
}

/// Why a request got no response on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nothing of it was sent, so it can be sent elsewhere.
    #[error("the connection had ended before the request was sent: {1}")]
    Unsent(Box<Request<RequestBody>>, #[source] hyper::Error),
    /// It may have reached the endpoint.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    /// The request as a whole took too long.
    #[error("the request took too long")]
    RequestTimeout,
    /// The response's head took too long.
    #[error("the response's head took too long")]
    ResponseHeaderTimeout,
}

/// Why a response ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// The endpoint did it.
    #[error("the endpoint broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// We did.
    #[error("the request took too long")]
    RequestTimeout,
}

impl Connection {
    /// Connects to an endpoint.
    ///
    /// # Errors
    /// Where it refuses, or does not answer in time.
    pub(crate) async fn open(address: SocketAddr, within: Duration, life: Life) -> io::Result<Box<Self>> {
        let stream = tokio::time::timeout(within, TcpStream::connect(address)).await??;
        // Heads and bodies are written whole; waiting for more would only delay them.
        stream.set_nodelay(true)?;
        let handshake = http1::Builder::new().handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(io::Error::other)?;
        let line = Line { sender, driver: Some(driver), timer: None };
        Ok(Box::new(Self { address, line, relay: Relay::new(), uses: 0, life, idle_since: None }))
    }

    /// Where it goes.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has carried a request before: then the endpoint may be closing it just now.
    pub(crate) fn is_used(&self) -> bool {
        self.uses > 0
    }

    /// Sends a request and waits for its response's head. Dropping the future ends the connection.
    ///
    /// # Errors
    /// Where no response comes; the connection has ended then.
    pub(crate) async fn send(
        mut self: Box<Self>,
        request: Request<RequestBody>,
        began: Instant,
        patience: Patience,
    ) -> Result<(Response<Incoming>, Box<Self>), Unanswered> {
        self.uses += 1;
        let taken = match request.body() {
            RequestBody::Empty => None,
            RequestBody::Streaming { taken, .. } => Some(taken.clone()),
        };
        let Self { line, relay, .. } = &mut *self;
        line.look_again(patience.first_look(began));
        // The message that is sent now must wake nobody: the one who waits for its answer polls next.
        relay.rest();
        let mut answer = pin!(line.sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            relay.poll(cx, |cx| {
                let ended = line.drive(cx).is_ready();
                let answered = match answer.as_mut().poll(cx) {
                    Poll::Pending if ended => {
                        // Only now a request that the driver has not looked at comes back.
                        line.driver = None;
                        answer.as_mut().poll(cx)
                    }
                    answered => answered,
                };
                match answered {
                    Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                    Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                        Some(request) => Unanswered::Unsent(Box::new(request), error.into_error()),
                        None => Unanswered::Broken(error.into_error()),
                    })),
                    Poll::Pending => line.poll_patience(cx, &patience, began, taken.as_ref()).map(Err),
                }
            })
        });
        let response = answered.await?;
        Ok((response, self))
    }

    /// Reads on in the body of the response, until `until` at the latest.
    ///
    /// # Errors
    /// Where the body breaks off or takes too long.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
        until: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let Self { line, relay, .. } = self;
        relay.poll(cx, |cx| {
            // What has been read already needs no connection.
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(frame.map(|frame| frame.map_err(Interrupted::Broken)));
            }
            let ended = line.drive(cx).is_ready();
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Interrupted::Broken))),
                Poll::Pending => match until {
                    Some(until) if !ended => {
                        line.poll_until(cx, until).map(|()| Some(Err(Interrupted::RequestTimeout)))
                    }
                    _ => Poll::Pending,
                },
            }
        })
    }

    /// The connection again where it can carry another request, once the response's body has been read.
    pub(crate) fn reusable(mut self: Box<Self>, now: Instant) -> Option<Box<Self>> {
        if self.uses >= self.life.uses || now >= self.life.until {
            return None;
        }
        if !self.line.sender.is_ready() && self.ended_while_idle() {
            return None;
        }
        // A request whose body is not sent yet, though answered, keeps the connection busy.
        self.line.sender.is_ready().then(|| {
            self.idle_since = Some(now);
            self.relay.rest();
            self
        })
    }

    /// Drives the connection until the request and the response on it have ended, at the latest until this instant.
    pub(crate) async fn run_to_end(self: Box<Self>, until: Option<Instant>) {
        // Without a sender the driver ends after the present request.
        let Line { sender, driver: Some(mut driver), .. } = self.line else { return };
        drop(sender);
        let run = poll_fn(|cx| driver.poll_without_shutdown(cx));
        let _outcome_is_the_bodys = match until {
            Some(until) => tokio::time::timeout_at(until, run).await.unwrap_or(Ok(())),
            None => run.await,
        };
    }

    /// Looks after an idle connection: true where the endpoint has closed it.
    pub(crate) fn ended_while_idle(&mut self) -> bool {
        self.line.drive(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Since when it has carried no request.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// The socket of a connection that has changed its protocol, with what has been read already.
    pub(crate) fn into_upgraded(self) -> Option<(TcpStream, Bytes)> {
        let parts = self.line.driver?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

impl Line {
    /// Reads and writes what can be read and written now; ready when the connection has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.driver {
            // The outcome of the request, an error too, goes to who sent it.
            Some(driver) => driver.poll_without_shutdown(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    fn look_again(&mut self, at: Option<Instant>) {
        match (&mut self.timer, at) {
            (Some(timer), Some(at)) => timer.as_mut().reset(at),
            (None, Some(at)) => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
            (_, None) => self.timer = None,
        }
    }

    /// Ready when this instant has come.
    fn poll_until(&mut self, cx: &mut Context<'_>, instant: Instant) -> Poll<()> {
        if self.timer.as_ref().is_none_or(|timer| timer.deadline() != instant) {
            self.look_again(Some(instant));
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }

    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        patience: &Patience,
        began: Instant,
        taken: Option<&Taken>,
    ) -> Poll<Unanswered> {
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let sent_at = taken.map_or(Some(began), Taken::at);
            match patience.ends(Instant::now(), sent_at) {
                Ok(look_again_at) => self.look_again(Some(look_again_at)),
                Err(over) => return Poll::Ready(over),
            }
        }
        Poll::Pending
    }
}

impl Patience {
    fn first_look(&self, began: Instant) -> Option<Instant> {
        match (self.until, self.after_sent.map(|after| began + after)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When to look again, or what has taken too long. `sent_at` is none while the request is still being sent.
    fn ends(&self, now: Instant, sent_at: Option<Instant>) -> Result<Instant, Unanswered> {
        if self.until.is_some_and(|until| now >= until) {
            return Err(Unanswered::RequestTimeout);
        }
        let head_until = self.after_sent.map(|after| sent_at.unwrap_or(now) + after);
        if head_until.is_some_and(|until| now >= until) {
            return Err(Unanswered::ResponseHeaderTimeout);
        }
        let next = Self { until: self.until, after_sent: None }.first_look(now).into_iter().chain(head_until).min();
        Ok(next.unwrap_or(now + FAR))
    }
}

/// A timer was set, so something has a limit; this is only how the type is satisfied.
const FAR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_use_up_the_time_for_the_response() {
        let began = Instant::now();
        let patience = Patience { until: None, after_sent: Some(SECOND) };
        assert_eq!(patience.ends(began + 10 * SECOND, None).ok(), Some(began + 11 * SECOND));
        assert_eq!(patience.ends(began + 11 * SECOND, Some(began + 10 * SECOND + SECOND / 2)).ok(), {
            Some(began + 11 * SECOND + SECOND / 2)
        });
        let late = patience.ends(began + 12 * SECOND, Some(began + 11 * SECOND));
        assert!(matches!(late, Err(Unanswered::ResponseHeaderTimeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_requests_limit_holds_during_an_upload_too() {
        let began = Instant::now();
        let patience = Patience { until: Some(began + SECOND), after_sent: Some(5 * SECOND) };
        assert_eq!(patience.first_look(began), Some(began + SECOND));
        assert!(matches!(patience.ends(began + SECOND, None), Err(Unanswered::RequestTimeout)));
    }
}
