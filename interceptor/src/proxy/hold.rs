//! Waiting for a cold start.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::{Exchange, Refusal};
use crate::server::client::Client;

/// How soon a client that went away is noticed while its request's body is still unread.
const HANG_UP_CHECK: Duration = Duration::from_millis(500);

/// Holds a request until its workload has a ready endpoint. Requests go on in the order in which they came.
///
/// # Errors
/// Where none becomes ready in time, the route is removed meanwhile, or the request may not wait at all.
pub(crate) async fn until_ready(
    client: &Client,
    exchange: &mut Exchange,
    body_unread: bool,
    until: Option<Instant>,
) -> Result<(), Refusal> {
    let route = exchange.route.clone();
    if !exchange.counts() || !route.cold_start.holds {
        return Err(Refusal::NoEndpoint);
    }
    let _place = route.cold_start.wait().map_err(|waiting| Refusal::TooManyWaiting { waiting })?;
    let readiness = route.limits.readiness.map(|limit| exchange.began + limit);
    exchange.hold();
    // A body is not read while its request is held, and the end of the connection hides behind it.
    let _watch = body_unread.then(|| client.watch_for_hang_up());
    let outcome = tokio::select! {
        biased;
        () = route.ready.any() => Ok(()),
        () = route.gone.cancelled() => Err(Refusal::RouteRemoved),
        () = at(until) => Err(Refusal::RequestTimeout),
        () = at(readiness) => Err(Refusal::NotReady),
        never = look_at_client(body_unread) => match never {},
    };
    exchange.release();
    outcome
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
