//! What a client gets in place of its workload's response, where the workload's resource says so.

use http::{Request, Response};

use super::{End, Exchange, Refusal, ResponseBody, headers};
use crate::fixed_response::{Asked, FixedResponse};
use crate::routes::Route;
use crate::routing;

/// That a request may be answered by its workload's resource.
#[derive(Debug)]
pub(crate) struct Instead {
    asked: Asked,
    /// The number of the static route that it belongs to.
    static_route: Option<usize>,
}

impl Instead {
    /// What the resource may answer to this request of its workload; none where it has nothing to say.
    pub(crate) fn of<B>(route: &Route, request: &Request<B>) -> Option<Self> {
        let static_route = if route.static_routes.is_empty() {
            None
        } else {
            let host = routing::host(headers::authority(request).unwrap_or_default());
            route.static_routes.find(&host, request.uri().path(), request.headers()).map(|(number, _)| number)
        };
        let speaks = static_route.is_some() || route.cold_start.has_placeholder();
        speaks.then(|| Self { asked: Asked::by(request), static_route })
    }

    /// Whether the request is no load of its workload.
    pub(crate) fn is_static(&self) -> bool {
        self.static_route.is_some()
    }

    /// Whether it is answered even while an endpoint is ready.
    pub(crate) fn at_once(&self, route: &Route) -> bool {
        self.static_route.and_then(|number| route.static_routes.get(number)).is_some_and(|route| route.always)
    }

    fn response<'a>(&self, route: &'a Route, refusal: &Refusal) -> Option<&'a FixedResponse> {
        match (refusal, self.static_route) {
            (Refusal::NoEndpoint, Some(number)) => route.static_routes.get(number).map(|route| &route.response),
            (Refusal::NoEndpoint, None) => route.cold_start.placeholder(),
            (Refusal::TooManyWaiting { .. }, None) => route.cold_start.on_overflow(),
            _ => None,
        }
    }
}

/// The answer to a request that was refused: its resource's where it has one for this case.
pub(crate) fn answer(mut exchange: Exchange, refusal: Refusal, instead: Option<&Instead>) -> Response<ResponseBody> {
    let route = exchange.route.clone();
    if matches!(refusal, Refusal::TooManyWaiting { without_endpoint: true, .. }) {
        route.metrics.cold_start_rejections.inc();
    }
    let fixed = instead.and_then(|instead| Some((instead.response(&route, &refusal)?, &instead.asked)));
    match fixed {
        Some((response, asked)) => {
            exchange.ends(if exchange.counts() { End::Refused } else { End::Finished });
            response.respond(asked, exchange)
        }
        None => refusal.into_response(Some(exchange)),
    }
}
