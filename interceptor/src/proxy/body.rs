//! The body of a response on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::forward::Answered;
use super::{End, Exchange, headers};
use crate::endpoints::AtEndpoint;
use crate::server::client::ActiveRequest;
use crate::server::streams::Delivery;
use crate::server::worker::Worker;
use crate::upstream;
use crate::upstream::fault::{Fault, Interrupted};

/// What a client gets after the head. The request departs when this is dropped: sent as a whole, or given up.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    exchange: Option<Exchange>,
    /// Waits to be dropped, and knows whether that is in the middle of the body.
    active: Option<ActiveRequest>,
    /// Who wants to know what the stream has been given; none over HTTP/1.
    delivery: Option<Rc<Delivery>>,
}

#[derive(Debug)]
enum Content {
    Text(Option<Bytes>),
    Forwarded(Forwarded),
}

/// The workload's own body.
#[derive(Debug)]
struct Forwarded {
    body: upstream::ResponseBody,
    at_endpoint: Option<AtEndpoint>,
    worker: Rc<Worker>,
    until: Option<Instant>,
    /// How long nothing may come.
    idle: Option<Duration>,
    /// Since when nothing has come though the client would take it.
    waiting_since: Option<Instant>,
}

impl ResponseBody {
    /// Nothing, and nobody departs with it.
    pub(crate) fn empty() -> Self {
        Self { content: Content::Text(None), exchange: None, active: None, delivery: None }
    }

    /// A short text of our own.
    pub(crate) fn text(text: Bytes, mut exchange: Option<Exchange>) -> Self {
        if let Some(trail) = exchange.as_mut().and_then(Exchange::trail) {
            trail.sends(text.len() as u64);
        }
        let content = Content::Text(Some(text).filter(|text| !text.is_empty()));
        Self { content, exchange, active: None, delivery: None }
    }

    /// Puts another text in the place of one that has not been sent.
    pub(crate) fn says(&mut self, text: Bytes) {
        self.content = Content::Text(Some(text));
    }

    /// The client's connection is busy until this body has been sent; `delivery` is told how far that is, where it goes by a stream.
    pub(crate) fn keep(&mut self, active: ActiveRequest, delivery: Option<Rc<Delivery>>) {
        self.active = Some(active);
        self.delivery = delivery;
    }
}

/// The workload's response as the client gets it.
pub(crate) fn respond(worker: &Rc<Worker>, mut exchange: Exchange, answered: Answered) -> Response<ResponseBody> {
    let Answered { mut response, at_endpoint, body_state, .. } = answered;
    body_state.response_begun();
    exchange.answered(response.status());
    headers::to_client(&mut response);
    let (head, mut body) = response.into_parts();
    if let Some(sending) = body.rest_of_request() {
        worker.tasks.spawn_local(sending);
    }
    let mut forwarded = Forwarded {
        until: body.until(),
        body,
        at_endpoint: Some(at_endpoint),
        worker: worker.clone(),
        idle: exchange.route.limits.idle,
        waiting_since: None,
    };
    if forwarded.body.is_end_stream() {
        forwarded.finish();
        // hyper reads no further, and sends what there is of the head.
        exchange.ends(End::Finished);
    }
    let content = Content::Forwarded(forwarded);
    let body = ResponseBody { content, exchange: Some(exchange), active: None, delivery: None };
    Response::from_parts(head, body)
}

impl Forwarded {
    /// All of the body has been read: the endpoint is free, and so is the connection.
    fn finish(&mut self) {
        let Some(at_endpoint) = self.at_endpoint.take() else { return };
        at_endpoint.succeeded();
        if let Some(connection) = self.body.connection() {
            // Before the place is free: who waits for it may take the connection.
            self.worker.pool.put(connection, at_endpoint.endpoint());
        }
    }

    /// When the next piece of the body is too late. A client that does not read takes none of this time.
    fn deadline(&mut self) -> Option<Instant> {
        let idle = self.idle.map(|idle| *self.waiting_since.get_or_insert_with(Instant::now) + idle);
        idle.into_iter().chain(self.until).min()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let deadline = self.deadline();
        let frame = self.body.poll_frame_before(cx, deadline);
        if frame.is_ready() {
            self.waiting_since = None;
        }
        match &frame {
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => {}
            Poll::Ready(Some(Err(error))) => {
                if let (Interrupted::Broken(fault), Some(at_endpoint)) = (error, &self.at_endpoint)
                    && fault.is_the_endpoints()
                {
                    at_endpoint.failed();
                }
            }
            Poll::Ready(_) => self.finish(),
            Poll::Pending => {}
        }
        frame
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let Self { content, exchange, active, delivery } = self.get_mut();
        let forwarded = match content {
            Content::Text(text) => {
                let text = text.take();
                if let (Some(text), Some(delivery)) = (&text, delivery) {
                    delivery.gave(text.len());
                }
                return Poll::Ready(text.map(|text| Ok(Frame::data(text))));
            }
            Content::Forwarded(forwarded) => forwarded,
        };
        let frame = forwarded.poll_frame(cx);
        if let Some(active) = active {
            active.sends(|| match &frame {
                Poll::Ready(None) => true,
                Poll::Ready(Some(Ok(_))) => forwarded.body.is_end_stream(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            });
        }
        match (&frame, delivery) {
            (_, None) => {}
            (Poll::Ready(Some(Ok(frame))), Some(delivery)) => delivery.gave(frame.data_ref().map_or(0, Bytes::len)),
            (_, Some(delivery)) => delivery.lacks(),
        }
        if let (Poll::Ready(read), Some(exchange)) = (&frame, exchange) {
            if let (Some(Ok(frame)), Some(trail)) = (read, exchange.trail()) {
                trail.sends(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            match read {
                Some(Ok(_)) if !forwarded.body.is_end_stream() => {}
                Some(Ok(_)) | None => exchange.ends(End::Finished),
                Some(Err(Interrupted::Broken(Fault::Client(_)))) => exchange.ends(End::ClientGone),
                Some(Err(Interrupted::Broken(_))) => exchange.ends(End::UpstreamFailed),
                Some(Err(Interrupted::RequestTimeout)) => exchange.ends(End::Timeout),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Forwarded(forwarded) => forwarded.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Content::Forwarded(forwarded) => forwarded.body.size_hint(),
        }
    }
}
