//! Calls to etcd: each with a deadline, each telling whether etcd answers.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, Event, WatchOptions, WatchStream};
use http::uri::Authority;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::store::pulse::Pulse;
use crate::store::{StoreError, StoreHealth};

/// etcd takes a client that pings more often than each 5 s for a broken one.
const PING: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// When nothing has been heard for this long, something is asked.
const QUIET: Duration = Duration::from_millis(1500);
/// A whole page of plan parts fits.
const MESSAGE_MAX: usize = 64 << 20;

/// The way to etcd. It connects with the first call, and again by itself.
#[derive(Debug)]
pub(super) struct Connection {
    endpoints: Vec<String>,
    call_timeout: Duration,
    client: OnceCell<ClientInner>,
    pulse: Pulse,
}

/// The client says nothing of itself.
struct ClientInner(Client);

impl std::fmt::Debug for ClientInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Connection {
    pub(super) fn new<E: AsRef<str>>(endpoints: &[E], call_timeout: Duration) -> Result<Self, StoreError> {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| endpoint.as_ref().trim().to_owned()).collect();
        let bad = |setting: String, reason: &str| StoreError::BadSetting { setting, reason: reason.to_owned() };
        if endpoints.is_empty() {
            return Err(bad("etcd".to_owned(), "name at least one endpoint, as http://HOST:PORT"));
        }
        for endpoint in &endpoints {
            let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
            if !address.parse::<Authority>().is_ok_and(|address| address.port_u16().is_some()) {
                return Err(bad(endpoint.clone(), "write an etcd endpoint as http://HOST:PORT; TLS is not built in"));
            }
        }
        let pulse = Pulse::new(format!("etcd at {}", endpoints.join(",")), QUIET);
        Ok(Self { endpoints, call_timeout, client: OnceCell::new(), pulse })
    }

    pub(super) fn health(&self) -> watch::Receiver<StoreHealth> {
        self.pulse.health()
    }

    /// Whom errors name.
    pub(super) fn name(&self) -> String {
        format!("etcd at {}", self.endpoints.join(","))
    }

    /// One call, with the deadline. `what` completes "etcd refused ...".
    pub(super) async fn call<T, F>(&self, what: &str, operation: impl FnOnce(Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let called = async {
            let client = self.client.get_or_try_init(|| self.connect()).await?;
            operation(client.0.clone()).await
        };
        match timeout(self.call_timeout, called).await {
            Ok(Ok(answer)) => {
                self.heard();
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(what, &error)),
            Err(_) => Err(self.silent(what, self.call_timeout)),
        }
    }

    async fn connect(&self) -> Result<ClientInner, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(self.call_timeout)
            .with_keep_alive(PING, PING_TIMEOUT)
            // Pings without a call in flight are against etcd's rules too.
            .with_keep_alive_while_idle(false)
            // A member that has lost the others says so, rather than keep its watchers in the dark.
            .with_require_leader(true);
        Client::connect(&self.endpoints, Some(options)).await.map(ClientInner)
    }

    /// Watches a key, or all keys that begin so, from a revision on.
    pub(super) async fn watch(self: &Arc<Self>, key: &str, prefix: bool, from: i64) -> Result<Events, StoreError> {
        let options = WatchOptions::new().with_start_revision(from);
        let options = if prefix { options.with_prefix() } else { options };
        let stream = self
            .call("a watch", |client| async move {
                client.watch_client().max_decoding_message_size(MESSAGE_MAX).watch(key, Some(options)).await
            })
            .await?;
        Ok(Events { stream, connection: self.clone() })
    }

    /// Asks for a sign of life whenever there was none for a while, so that health does not depend on what else is going on.
    pub(super) async fn probe(&self, key: String, stop: CancellationToken) {
        while self.pulse.silence(&stop).await {
            let key = key.clone();
            let asked = self.call("a probe", |client| async move { client.kv_client().get(key, None).await });
            // Its outcome is in the health.
            let _ = stop.run_until_cancelled(asked).await;
        }
    }

    fn heard(&self) {
        self.pulse.heard();
    }

    fn silent(&self, what: &str, after: Duration) -> StoreError {
        self.away(format!("no answer to {what} for {} ms", after.as_millis()))
    }

    fn away(&self, reason: String) -> StoreError {
        self.pulse.lost(&reason);
        StoreError::Unavailable { store: self.name(), reason }
    }

    /// What the client's error means here.
    fn failed(&self, what: &str, error: &Error) -> StoreError {
        let refused = match error {
            Error::GRpcStatus(status) => matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::OutOfRange
                    | Code::NotFound
                    | Code::FailedPrecondition
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::ResourceExhausted
                    | Code::Unimplemented
            ),
            Error::InvalidArgs(_) | Error::InvalidUri(_) => true,
            _ => false,
        };
        let reason = match error {
            Error::GRpcStatus(status) => status.message().to_owned(),
            other => other.to_string(),
        };
        if refused {
            self.heard();
            return StoreError::Refused { store: self.name(), what: what.to_owned(), reason };
        }
        self.away(format!("{what} failed: {reason}"))
    }
}

/// What happens to some keys.
pub(super) struct Events {
    stream: WatchStream,
    connection: Arc<Connection>,
}

impl Events {
    /// The next events, at least one. A stream that etcd has ended, or that does not even answer a question, is an error: start again from
    /// what is there now. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        let mut asked = false;
        loop {
            let patience = if asked { self.connection.call_timeout } else { QUIET };
            match timeout(patience, self.stream.message()).await {
                Ok(Ok(Some(response))) if response.canceled() => {
                    let reason = match response.compact_revision() {
                        0 => format!("the watch was ended: {}", response.cancel_reason()),
                        compacted => format!("the watch fell behind what etcd keeps (revision {compacted})"),
                    };
                    return Err(StoreError::Unavailable { store: self.connection.name(), reason });
                }
                Ok(Ok(Some(response))) => {
                    self.connection.heard();
                    asked = false;
                    if !response.events().is_empty() {
                        return Ok(response.events().to_vec());
                    }
                }
                Ok(Ok(None)) => return Err(self.connection.away("etcd ended a watch".to_owned())),
                Ok(Err(error)) => return Err(self.connection.failed("a watch", &error)),
                Err(_) if asked => return Err(self.connection.silent("a watch", QUIET + patience)),
                Err(_) => {
                    // A frozen etcd keeps its connections: only a question tells it from one where nothing happens.
                    asked = true;
                    let asking = self.stream.request_progress();
                    if !matches!(timeout(patience, asking).await, Ok(Ok(()))) {
                        return Err(self.connection.away("a watch takes no questions".to_owned()));
                    }
                }
            }
        }
    }
}

/// The client for keys, with room for a page of them.
pub(super) fn kv(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_endpoint_is_refused_before_anything_is_tried() {
        let made = |endpoints: &[&str]| Connection::new(endpoints, Duration::from_secs(1));
        assert!(made(&["http://127.0.0.1:2379", "etcd-1:2379", "http://[::1]:2379/"]).is_ok());
        for wrong in [&[][..], &[""], &["etcd"], &["https://etcd:2379"], &["http://etcd:2379/v3"], &["http://etcd:no"]]
        {
            assert!(matches!(made(wrong), Err(StoreError::BadSetting { .. })), "{wrong:?}");
        }
    }
}
