//! What sends requests to the API server, with the client certificate that the kubeconfig's files hold now.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use kube::client::Body;
use kube::config::AuthInfo;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::{BoxError, Service};
use tracing::{info, warn};

use crate::AccessError;
use crate::client::{Connect, Http, Shown};

/// Between two looks at the files. Who renews certificates does so hours before the old ones end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A file system that takes longer to give two small files hangs, and no request waits for that.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// A new connection and the beginning of an answer may take so long together. A server that takes connections and says nothing, for it
/// hangs, would be waited for without end otherwise. What follows the beginning of an answer has no limit here: watches are silent for minutes.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The API server takes requests and is silent.
#[derive(Debug, thiserror::Error)]
#[error("no answer has begun within {} s", ANSWER_LIMIT.as_secs())]
struct Unanswered;

/// Sends requests. A certificate that has been renewed counts from the next request on, over new connections: the API server goes by the
/// one that a connection began with. What is under way, watches included, ends as it began.
#[derive(Clone)]
pub struct Renewed {
    shared: Arc<Shared>,
}

struct Shared {
    connect: Connect,
    user: AuthInfo,
    held: Mutex<Held>,
}

struct Held {
    http: Http,
    shown: Shown,
    looked_at: Instant,
}

impl Renewed {
    /// Reads what the user shows.
    ///
    /// # Errors
    /// Where that can't be used.
    pub fn new(connect: Connect, user: &AuthInfo) -> Result<Self, AccessError> {
        let shown = Shown::read(user)?;
        let held = Held { http: connect.showing(&shown)?, shown, looked_at: Instant::now() };
        Ok(Self { shared: Arc::new(Shared { connect, user: user.clone(), held: Mutex::new(held) }) })
    }
}

impl Service<Request<Body>> for Renewed {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let http = shared.current().await;
            let answer = tokio::time::timeout(ANSWER_LIMIT, http.request(request)).await;
            Ok(answer.map_err(|_| Unanswered)??)
        })
    }
}

impl Shared {
    /// What sends requests now.
    async fn current(&self) -> Http {
        if self.is_due() {
            let user = self.user.clone();
            let read = tokio::task::spawn_blocking(move || Shown::read(&user));
            match tokio::time::timeout(LOOK_LIMIT, read).await {
                Ok(Ok(read)) => self.take(read),
                Ok(Err(error)) => warn!("can't read the client certificate for the API server again: {error}"),
                Err(_) => warn!("the files of the client certificate for the API server can't be read: they hang"),
            }
        }
        self.held.lock().http.clone()
    }

    /// Whether it is time to look. One request does it, and the others go on with what there is.
    fn is_due(&self) -> bool {
        let mut held = self.held.lock();
        let is_due = Shown::is_in_files(&self.user) && held.looked_at.elapsed() >= LOOK_EVERY;
        if is_due {
            held.looked_at = Instant::now();
        }
        is_due
    }

    /// Takes what the files hold, unless it is what there is, or no good. Certificate and key are two files: between the writing of
    /// one and of the other what was before is right.
    fn take(&self, read: Result<Shown, AccessError>) {
        let mut held = self.held.lock();
        match read {
            Ok(shown) if shown == held.shown => {}
            Ok(shown) => match self.connect.showing(&shown) {
                Ok(http) => {
                    info!("the client certificate for the API server has been read again");
                    (held.http, held.shown) = (http, shown);
                }
                Err(error) => warn!("{error}; what was before is still used"),
            },
            Err(error) => warn!("{error}; what was before is still used"),
        }
    }
}
