//! A request sent over a connection that it shares, up to the head of its response.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, request};
use tokio::time::Instant;

use super::super::fault::{Fault, Unanswered};
use super::super::patience::{Over, Patience, Timer};
use super::super::{RequestBody, ResponseBody};
use super::Download;
use super::head::to_http2;
use super::sessions::Place;
use super::upload::{Upload, Uploaded};
use crate::proxy::BodyError;

impl Place {
    /// Whether the connection has carried a request before: then the endpoint may be closing it just now.
    pub(crate) fn is_used(&self) -> bool {
        self.session.is_used()
    }

    /// Sends a request and waits for its response's head. Dropping the future resets the stream.
    ///
    /// # Errors
    /// Where no response comes. A request that the endpoint says it has not looked at counts as unsent (RFC 9113, section 8.7).
    pub(crate) async fn send(
        self,
        request: Request<RequestBody>,
        began: Instant,
        patience: Patience,
    ) -> Result<Response<ResponseBody>, Unanswered> {
        let (head, body) = request.into_parts();
        let outgoing = match to_http2(&head, self.session.secure) {
            Ok(outgoing) => outgoing,
            Err(error) => return Err(Unanswered::Broken(None, Fault::Head(error))),
        };
        let empty = matches!(body, RequestBody::Empty);
        let (mut response, stream) = match self.session.sender().send_request(outgoing, empty) {
            Ok(sent) => sent,
            // The connection had ended.
            Err(error) if error.is_io() || error.is_go_away() => {
                return Err(Unanswered::Unsent(Box::new(Request::from_parts(head, body)), error.into()));
            }
            Err(error) => return Err(Unanswered::Broken(None, error.into())),
        };
        let mut waiting = Waiting {
            upload: (!empty).then(|| Upload::new(stream, body)),
            sent_at: empty.then_some(began),
            timer: Timer::default(),
            patience,
        };
        waiting.timer.set(patience.first_look(began));
        match poll_fn(|cx| waiting.poll(cx, &mut response)).await {
            Ok(response) => Ok(self.answered(&head.method, response, waiting)),
            Err(No::TimedOut(Over::Request)) => Err(Unanswered::RequestTimeout),
            Err(No::TimedOut(Over::ResponseHeader)) => Err(Unanswered::ResponseHeaderTimeout),
            Err(No::Client(error)) => Err(Unanswered::Client(error)),
            Err(No::Reset(error)) => Err(unanswered(head, waiting, error)),
        }
    }

    fn answered(self, method: &Method, response: Response<RecvStream>, waiting: Waiting) -> Response<ResponseBody> {
        let length = content_length(response.headers());
        let bodyless = *method == Method::HEAD;
        let upload = waiting.upload.filter(|_| waiting.sent_at.is_none());
        let slot = self.slot;
        response.map(|stream| Download::new(stream, length, bodyless, waiting.patience.until, upload, slot).into())
    }
}

/// What became of a request whose stream ended without a response.
fn unanswered(head: request::Parts, waiting: Waiting, error: h2::Error) -> Unanswered {
    // `h2` gives a GOAWAY of the endpoint to those streams only that it has not looked at.
    let not_looked_at = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    let (bodyless, body) = (waiting.upload.is_none(), waiting.undo());
    match body.map(|body| Box::new(Request::from_parts(head, body))) {
        Some(request) if not_looked_at => Unanswered::Unsent(request, error.into()),
        // The connection broke, rather than this one stream.
        Some(request) if bodyless && error.is_io() => Unanswered::Broken(Some(request), error.into()),
        _ => Unanswered::Broken(None, error.into()),
    }
}

/// A request whose response has not begun.
struct Waiting {
    /// None where the request has no body.
    upload: Option<Upload>,
    /// When the last of the request was sent.
    sent_at: Option<Instant>,
    timer: Timer,
    patience: Patience,
}

/// Why there is no response.
enum No {
    TimedOut(Over),
    Client(BodyError),
    Reset(h2::Error),
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>, response: &mut ResponseFuture) -> Poll<Result<Response<RecvStream>, No>> {
        if self.sent_at.is_none()
            && let Some(upload) = &mut self.upload
        {
            match upload.poll(cx) {
                Poll::Pending => {}
                // An endpoint that wants no more of it may have answered all the same.
                Poll::Ready(Uploaded::Whole | Uploaded::Stopped) => self.sent_at = Some(Instant::now()),
                Poll::Ready(Uploaded::Abandoned(error)) => return Poll::Ready(Err(No::Client(error))),
            }
        }
        if let Poll::Ready(answered) = Pin::new(response).poll(cx) {
            return Poll::Ready(answered.map_err(No::Reset));
        }
        self.timer.poll_patience(cx, &self.patience, self.sent_at).map(|over| Err(No::TimedOut(over)))
    }

    /// The request's body as it was at first, where that can still be made.
    fn undo(self) -> Option<RequestBody> {
        self.upload.map_or(Some(RequestBody::Empty), Upload::undo)
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
