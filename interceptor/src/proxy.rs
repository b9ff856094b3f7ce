//! What happens to a request, from its arrival to its departure.

mod affinity;
mod body;
mod client_body;
mod end;
mod exchange;
mod extended_connect;
mod forward;
pub(crate) mod forwarded;
mod headers;
mod hold;
mod instead;
mod pace;
mod refusal;
mod stall;
mod tunnel;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

pub(crate) use body::ResponseBody;
pub(crate) use client_body::{BodyError, BodyLimits, BodyState, ClientBody};
pub(crate) use end::End;
pub(crate) use exchange::Exchange;
use instead::Instead;
pub(crate) use refusal::Refusal;

use crate::metrics::Metrics;
use crate::observe::{Ended, Trail};
use crate::routes::Route;
use crate::routing;
use crate::server::client::Client;
use crate::server::gate;
use crate::server::worker::Worker;

/// Tells whether the request was held; the add-on's name.
const COLD_START: HeaderName = HeaderName::from_static("x-keda-http-cold-start");

/// Answers a request; it always has an answer, whatever goes wrong.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let mut active = client.begin_request();
    // Before anything is awaited: another stream may be at work afterwards.
    let delivery = worker.streams.delivery();
    let version = request.version();
    let mut response = match gate::refused(&client, &request) {
        Some(fault) => {
            worker.metrics.not_let_in.inc();
            worker.metrics.refused(request.method(), fault.status());
            Refusal::Unread(fault).into_response(None)
        }
        // In a box: hyper has room for what is outside it in each connection, and every layer outside would move it, and have room for it twice.
        None => whatever_happens(&worker.metrics, Box::pin(routed(&worker, &client, request))).await,
    };
    client.news.answered(response.status() == StatusCode::SWITCHING_PROTOCOLS);
    refusal::finish(worker.settings.error_format, version, &mut response);
    if worker.is_leaving() && version != Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Whoever sends its next request elsewhere has none under way here when idle connections are closed.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // HTTP/1.0 has no chunks.
    active.answered(version == Version::HTTP_10 && response.body().size_hint().exact().is_none());
    response.body_mut().keep(active, delivery);
    response
}

/// The response, or 500 where making it panics: the request departs with the future, and the thread goes on.
async fn whatever_happens<F>(metrics: &Metrics, response: F) -> Response<ResponseBody>
where
    F: Future<Output = Response<ResponseBody>>,
{
    // What the future had is gone with it, and what it shares with others is whole between any two steps.
    AssertUnwindSafe(response).catch_unwind().await.unwrap_or_else(|_| {
        // The panic hook has said what panicked, and where.
        metrics.panics.inc();
        Refusal::Panicked.into_response(None)
    })
}

async fn routed(worker: &Rc<Worker>, client: &Arc<Client>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let observer = worker.settings.observer.as_ref();
    let trail = observer.map(|observer| Trail::begin(observer, client.address(), &mut request));
    let websocket = match extended_connect::take(&mut request, || worker.random()) {
        Ok(websocket) => websocket,
        Err(refusal) => return refused(worker, refusal, request.method(), trail),
    };
    let route = match route_of(worker, &request) {
        Ok(route) => route,
        Err(refusal) => return refused(worker, refusal, request.method(), trail),
    };
    let instead = Instead::of(&route, &request);
    let mut exchange = match &instead {
        Some(instead) if instead.is_static() => Exchange::uncounted(route, request.method(), trail),
        _ => Exchange::begin(route, request.method(), trail),
    };
    let forwarded = match &instead {
        Some(instead) if instead.at_once(&exchange.route) => Err(Refusal::NoEndpoint),
        _ => forward::forward(worker, client, &mut exchange, request).await,
    };
    let mut response = match forwarded {
        Ok(answered) if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            // A connection of HTTP/1 is the tunnel; one of HTTP/2 goes on beside it.
            let open = websocket.then(|| client.opens_tunnel());
            tunnel::open(worker, exchange, answered, open)
        }
        Ok(answered) => {
            let cold = exchange.was_held();
            let mut response = body::respond(worker, exchange, answered);
            mark_cold_start(worker, &mut response, cold);
            response
        }
        Err(refusal) => {
            let cold = exchange.was_held() || (exchange.counts() && refusal.is_cold_start());
            let mut response = instead::answer(exchange, refusal, instead.as_ref());
            mark_cold_start(worker, &mut response, cold);
            response
        }
    };
    // The client's connection decides how the response is framed, not the endpoint's.
    *response.version_mut() = Version::HTTP_11;
    if websocket { extended_connect::answer(response) } else { response }
}

/// The answer to a request that belongs nowhere.
fn refused(worker: &Worker, refusal: Refusal, method: &Method, trail: Option<Box<Trail>>) -> Response<ResponseBody> {
    let response = refusal.into_response(None);
    let (status, end) = (Some(response.status()), End::Refused);
    worker.metrics.refused(method, response.status());
    if let Some(mut trail) = trail {
        trail.sends(response.body().size_hint().exact().unwrap_or(0));
        trail.ended(&Ended { workload: None, status, end, after: Duration::ZERO });
    }
    response
}

/// Where the request belongs.
///
/// # Errors
/// Where it is none for a reverse proxy, or no route matches.
fn route_of(worker: &Worker, request: &Request<Incoming>) -> Result<Arc<Route>, Refusal> {
    // Over HTTP/1 the gate has counted them.
    if request.version() == Version::HTTP_2 && request.headers().len() > worker.settings.head.fields {
        return Err(Refusal::Unread(gate::Fault::TooManyFields));
    }
    let host = routing::host(headers::authority(request)?);
    let route = worker.with_table(|table| table.index.find(&host, request.uri().path(), request.headers()).cloned());
    route.ok_or_else(|| {
        worker.metrics.unrouted.inc();
        Refusal::NoRoute { host: host.into_owned() }
    })
}

fn mark_cold_start(worker: &Worker, response: &mut Response<ResponseBody>, cold: bool) {
    if worker.settings.cold_start_header {
        let value = HeaderValue::from_static(if cold { "true" } else { "false" });
        response.headers_mut().insert(COLD_START, value);
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::topic::WorkloadId;

    use super::*;
    use crate::ledger::{Clock, Ledger};

    #[tokio::test]
    async fn a_request_whose_handling_panics_departs_and_is_answered() {
        let (ledger, metrics) = (Ledger::new(Clock::start()), Metrics::default());
        let totals = ledger.workload(&WorkloadId::new("default", "app"));
        let response = whatever_happens(&metrics, async {
            let _in_flight = totals.admit();
            tokio::task::yield_now().await;
            panic!("a test wants this");
        });
        assert_eq!(response.await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let (_, counts) = ledger.snapshot()[0];
        assert_eq!((counts.admitted, counts.in_flight), (1, 0));
        assert_eq!(metrics.panics.get(), 1);
    }
}
