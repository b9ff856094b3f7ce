//! Uploads of which an endpoint takes nothing more: their clients are looked after.

use std::convert::Infallible;
use std::time::Duration;

use super::client_body::BodyState;
use crate::server::client::Client;

/// When nothing of a body has been taken for so long, it is looked whether its client is still there; and again each time.
const STALLED: Duration = Duration::from_secs(2);

/// Sends a request that may have a body of this client's. While the endpoint takes no more of it, nothing is read of the client either,
/// and nobody would notice that it has hung up: such a request would be in flight for as long as the endpoint likes.
pub(super) async fn watched<T>(client: &Client, body: Option<&BodyState>, sending: impl Future<Output = T>) -> T {
    let Some(body) = body else { return sending.await };
    tokio::select! {
        biased;
        sent = sending => sent,
        never = look_after(client, body) => match never {},
    }
}

/// Never ends; each wake-up makes the connection look whether the client is still there, if it is to look.
async fn look_after(client: &Client, body: &BodyState) -> Infallible {
    let mut stalled = false;
    while !body.has_ended() {
        let before = body.received();
        let _watch = stalled.then(|| client.watch_for_hang_up());
        tokio::time::sleep(STALLED).await;
        stalled = body.received() == before;
    }
    // Whoever speaks HTTP with the client reads on behind the body, and sees the connection's end.
    std::future::pending().await
}
