//! Connections that have changed their protocol (WebSocket and the like): bytes go both ways until both ends are done.

mod carry;
mod websocket;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::forward::Answered;
use super::{End, Exchange, Refusal, ResponseBody, headers};
use crate::endpoints::AtEndpoint;
use crate::server::client::OpenTunnel;
use crate::server::worker::Worker;
use crate::upstream::Stream;

/// Tells the client that the protocol changes, and joins the two connections when it has. The request stays in flight until
/// both directions have ended.
pub(crate) fn open(
    worker: &Rc<Worker>,
    mut exchange: Exchange,
    answered: Answered,
    open: Option<OpenTunnel>,
) -> Response<ResponseBody> {
    let Answered { response, at_endpoint, upgrade, .. } = answered;
    let (head, body) = response.into_parts();
    let (Some(client), Some((endpoint, read))) = (upgrade, body.into_upgraded()) else {
        let what = "it changed the protocol though nobody asked for it".to_owned();
        return Refusal::UpstreamFailed(what).into_response(Some(exchange));
    };
    let mut response = Response::from_parts(head, ResponseBody::empty());
    exchange.answered(response.status());
    at_endpoint.succeeded();
    let protocol = response.headers().get(UPGRADE).cloned();
    headers::to_client(&mut response);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let is_websocket = protocol.as_ref().is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // An extension could give frames another form; those that are in use don't.
    let farewell = is_websocket.then(|| worker.draining.clone());
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
    }
    let patience = worker.settings.client_write_timeout;
    let joined = join(client, (endpoint, read), (exchange, at_endpoint), farewell, patience);
    worker.tasks.spawn_local(async move {
        let _open = open;
        joined.await;
    });
    response
}

async fn join(
    client: OnUpgrade,
    endpoint: (Stream, Bytes),
    (mut exchange, at_endpoint): (Exchange, AtEndpoint),
    farewell: Option<CancellationToken>,
    patience: Option<Duration>,
) {
    let outcome = async {
        let client = TokioIo::new(client.await.map_err(std::io::Error::other)?);
        carry::carry(client, endpoint, farewell, patience).await
    };
    match outcome.await {
        Ok((sent_bytes, received_bytes)) => {
            exchange.ends(End::Finished);
            if let Some(trail) = exchange.trail() {
                trail.received(sent_bytes);
                trail.sends(received_bytes);
            }
            debug!(sent_bytes, received_bytes, "a tunnel has ended");
        }
        Err(error) => debug!("a tunnel broke off: {error}"),
    }
    drop((exchange, at_endpoint));
}
