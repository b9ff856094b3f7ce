//! From an admitted request to the head of its workload's response.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::affinity::Session;
use super::client_body::{BodyState, ClientBody};
use super::{Exchange, Refusal, headers, hold, stall};
use crate::endpoints::{AtEndpoint, EndpointSet, Entry, Waiting, Wish};
use crate::routes::Route;
use crate::server::client::Client;
use crate::server::worker::Worker;
use crate::upstream::fault::Fault;
use crate::upstream::patience::Patience;
use crate::upstream::{Backend, Line, RequestBody, ResponseBody, Unanswered};

/// The pause after every endpoint has refused once; it doubles from time to time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A response whose body is still to come.
pub(crate) struct Answered {
    pub(crate) response: Response<ResponseBody>,
    pub(crate) at_endpoint: AtEndpoint,
    /// What went wrong with the request's body.
    pub(crate) body_state: BodyState,
    /// The client's side of a change of protocol, where it asked for one.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// Sends a request to one of its workload's endpoints, as soon as there is one.
///
/// # Errors
/// Where no response comes.
pub(crate) async fn forward(
    worker: &Worker,
    client: &Client,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Answered, Refusal> {
    let wanted = headers::wanted_upgrade(&request);
    let upgrade = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
    let version = request.version();
    headers::to_endpoint(&mut request, client.peer(worker.settings.forwarded), wanted);
    let session = exchange.route.sessions.as_ref().map(|sessions| Session::take(sessions, request.headers_mut()));
    let (head, incoming) = request.into_parts();
    let (body, body_state) = ClientBody::new(&head, version, incoming, exchange.route.limits.body)?;
    if let Some(trail) = exchange.trail() {
        trail.reads(body_state.clone());
    }
    let mut request = Request::from_parts(head, RequestBody::of(body));

    let body_unread = !matches!(request.body(), RequestBody::Empty);
    let limits = exchange.route.limits;
    let until = limits.request.map(|limit| exchange.began + limit);
    let mut attempts = Attempts { until, ..Attempts::default() };
    attempts.wish.pinned = session.as_ref().and_then(|session| session.given);
    loop {
        let Some(at_endpoint) = attempts.enter(worker, client, exchange, body_unread).await? else { continue };
        let (_, backend) = attempts.target(&exchange.route);
        let (address, wants_upgrade) = (at_endpoint.address(), upgrade.is_some());
        let line = match worker.line(backend, address, wants_upgrade, attempts.only_new) {
            Some(line) => line,
            None => match Box::pin(worker.connect(backend, address, wants_upgrade, limits.connect, until)).await {
                Ok(line) => line,
                Err(error) => {
                    Box::pin(attempts.failed(worker, exchange, at_endpoint, error.to_string())).await?;
                    continue;
                }
            },
        };
        let (used, shared) = (line.is_used(), matches!(line, Line::Shared(_)));
        exchange.sent(address, attempts.began);
        let began = attempts.began.unwrap_or(exchange.began);
        let patience = Patience { until, after_sent: limits.response_header };
        // A connection of HTTP/2 is read all the time.
        let watched = (body_unread && version != Version::HTTP_2).then_some(&body_state);
        let answered = match line {
            Line::Own(connection) if watched.is_some() => {
                Box::pin(stall::watched(client, watched, connection.send(request, began, patience))).await
            }
            Line::Own(connection) => connection.send(request, began, patience).await,
            // Larger than what every request needs that has a connection for itself.
            Line::Shared(place) => {
                Box::pin(stall::watched(client, watched, place.send(request, began, patience))).await
            }
        };
        match answered {
            Ok(mut response) => {
                if let Some(session) = session.filter(|_| !attempts.at_fallback) {
                    session.tell(at_endpoint.address(), response.headers_mut());
                }
                return Ok(Answered { response, at_endpoint, body_state, upgrade });
            }
            Err(Unanswered::RequestTimeout) => return Err(Refusal::RequestTimeout),
            Err(Unanswered::ResponseHeaderTimeout) => {
                at_endpoint.failed();
                return Err(Refusal::ResponseHeaderTimeout);
            }
            // The endpoint closed an idle connection: its good right, and no news of its health.
            Err(Unanswered::Unsent(unsent, _))
                if used && !(shared && std::mem::replace(&mut attempts.refused, true)) =>
            {
                request = *unsent;
                attempts.elsewhere(&at_endpoint);
            }
            Err(Unanswered::Unsent(unsent, error)) => {
                request = *unsent;
                Box::pin(attempts.failed(worker, exchange, at_endpoint, error.to_string())).await?;
            }
            Err(Unanswered::Broken(Some(sent), _)) if used && !attempts.only_new && is_idempotent(sent.method()) => {
                request = *sent;
                attempts.elsewhere(&at_endpoint);
            }
            // The gate takes more for a host than HTTP/2 does.
            Err(Unanswered::Broken(_, Fault::Head(_))) => return Err(Refusal::BadRequest("the Host field is no host")),
            Err(Unanswered::Broken(_, fault)) => {
                // A connection that was idle may have been closed for its age: no news of the endpoint's health.
                if !used && fault.is_the_endpoints() {
                    at_endpoint.failed();
                }
                return Err(Refusal::UpstreamFailed(fault.to_string()));
            }
            Err(Unanswered::Client(_)) => {
                let clients = client.news.fault().map(Refusal::Unread).or_else(|| body_state.refusal());
                return Err(clients.unwrap_or(Refusal::BadRequest("the body broke off")));
            }
        }
        worker.metrics.resent.inc();
        attempts.began = Some(Instant::now());
    }
}

/// Whether a request may be sent twice, if it has no body (RFC 9110, section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// What has been tried in vain.
#[derive(Debug, Default)]
struct Attempts {
    /// When the request is too late.
    until: Option<Instant>,
    /// When the present attempt began; none for one that began with the request.
    began: Option<Instant>,
    /// Where it should go now.
    wish: Wish,
    /// Connections that have been used before are not trusted any more.
    only_new: bool,
    /// A connection of HTTP/2 has refused it before.
    refused: bool,
    failures: u32,
    first_failure: Option<Instant>,
    /// The workload has been waited for in vain.
    at_fallback: bool,
}

impl Attempts {
    /// Where the request goes now, and what is spoken there.
    fn target<'a>(&self, route: &'a Route) -> (&'a Arc<EndpointSet>, &'a Backend) {
        match (&route.cold_start.fallback, &route.fallback_backend) {
            (Some(fallback), Some(backend)) if self.at_fallback => (fallback, backend),
            _ => (&route.endpoints, &route.backend),
        }
    }

    /// A place at an endpoint; none where the request turns to its fallback.
    async fn enter(
        &mut self,
        worker: &Worker,
        client: &Client,
        exchange: &mut Exchange,
        body_unread: bool,
    ) -> Result<Option<AtEndpoint>, Refusal> {
        match self.target(&exchange.route).0.enter(exchange.began, &self.wish, worker.random()) {
            Entry::Now(at_endpoint) => Ok(Some(at_endpoint)),
            _ if exchange.counts() && self.target(&exchange.route).0.is_unresolvable() => Err(Refusal::PortUnknown),
            Entry::Wait(waiting) => Box::pin(self.wait(client, exchange, waiting, body_unread)).await,
            Entry::Full { without_endpoint, .. } if without_endpoint && !hold::may_be_held(exchange) => {
                Err(Refusal::NoEndpoint)
            }
            Entry::Full { waiting, without_endpoint } => Err(Refusal::TooManyWaiting { waiting, without_endpoint }),
        }
    }

    /// There is no place: waits for one, or turns to the fallback once a cold start has taken too long.
    ///
    /// # Errors
    /// As [`hold::until_ready`] says, and where the fallback has no endpoint either.
    async fn wait(
        &mut self,
        client: &Client,
        exchange: &mut Exchange,
        waiting: Waiting,
        body_unread: bool,
    ) -> Result<Option<AtEndpoint>, Refusal> {
        if self.at_fallback {
            return Err(Refusal::NotReady);
        }
        let place = match hold::until_ready(client, exchange, waiting, body_unread, self.until).await {
            Err(Refusal::NotReady) if exchange.route.cold_start.fallback.is_some() => {
                self.at_fallback = true;
                None
            }
            outcome => Some(outcome?),
        };
        self.began = Some(Instant::now());
        Ok(place)
    }

    /// A connection that had been used before was closed: the next attempt is made with a new one and, unless the session is
    /// here, at another endpoint where there is one.
    fn elsewhere(&mut self, at_endpoint: &AtEndpoint) {
        self.only_new = true;
        if self.wish.pinned.is_none() {
            self.wish.avoid = Some(at_endpoint.address());
        }
    }

    /// No connection could be made, so nothing was sent. Waits before the next attempt where every endpoint has had one.
    ///
    /// # Errors
    /// Where this has gone on for too long.
    async fn failed(
        &mut self,
        worker: &Worker,
        exchange: &Exchange,
        at_endpoint: AtEndpoint,
        error: String,
    ) -> Result<(), Refusal> {
        at_endpoint.failed();
        self.wish.avoid = Some(at_endpoint.address());
        drop(at_endpoint);
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            return Err(Refusal::RequestTimeout);
        }
        let first_failure = *self.first_failure.get_or_insert(now);
        if now - first_failure >= worker.settings.connect_retry_timeout {
            return Err(Refusal::UpstreamFailed(error));
        }
        self.failures += 1;
        let endpoints = u32::try_from(self.target(&exchange.route).0.now().len()).unwrap_or(u32::MAX).max(1);
        if self.failures.is_multiple_of(endpoints) {
            let doublings = (self.failures / endpoints - 1).min(10);
            let pause = (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE);
            let wake = self.until.map_or(now + pause, |until| until.min(now + pause));
            tokio::time::sleep_until(wake).await;
        }
        self.began = Some(Instant::now());
        Ok(())
    }
}
