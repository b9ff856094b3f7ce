//! Waiting: for a cold start, or for a free place at an endpoint.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::{Exchange, Refusal};
use crate::endpoints::{AtEndpoint, Waiting};
use crate::server::client::Client;

/// How soon a client that went away is noticed while its request's body is still unread.
const HANG_UP_CHECK: Duration = Duration::from_millis(500);

/// Holds a request until it has a place at one of its workload's endpoints. Requests go on in the order in which they came.
/// They count as held for a cold start where there was no endpoint at all.
///
/// # Errors
/// Where there is no place in time, the route is removed meanwhile or its port vanishes, or the request may not wait for a cold start
/// at all.
pub(crate) async fn until_ready(
    client: &Client,
    exchange: &mut Exchange,
    waiting: Waiting,
    body_unread: bool,
    until: Option<Instant>,
) -> Result<AtEndpoint, Refusal> {
    let route = exchange.route.clone();
    if waiting.is_cold_start() && !may_be_held(exchange) {
        return Err(Refusal::NoEndpoint);
    }
    let readiness = route.limits.readiness.map(|limit| exchange.began + limit);
    let cold = waiting.is_cold_start();
    if cold {
        exchange.hold();
    }
    let counts = exchange.counts();
    // A body is not read while its request is held, and the end of the connection hides behind it.
    let _watch = body_unread.then(|| client.watch_for_hang_up());
    let outcome = tokio::select! {
        biased;
        at_endpoint = waiting => Ok(at_endpoint),
        () = route.gone.cancelled() => Err(Refusal::RouteRemoved),
        () = route.endpoints.until_unresolvable(), if counts => Err(Refusal::PortUnknown),
        () = at(until) => Err(Refusal::RequestTimeout),
        () = at(readiness) => Err(if cold { Refusal::NotReady } else { Refusal::NoPlace }),
        never = look_at_client(body_unread) => match never {},
    };
    exchange.release();
    outcome
}

/// Whether the request may wait for a cold start.
pub(crate) fn may_be_held(exchange: &Exchange) -> bool {
    exchange.counts() && exchange.route.cold_start.holds
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Never ends; each wake-up makes the connection look whether the client is still there.
async fn look_at_client(body_unread: bool) -> Infallible {
    if !body_unread {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(HANG_UP_CHECK).await;
    }
}
