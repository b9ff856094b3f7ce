//! The REST API, its description, the probes and `/metrics`.
//!
//! * `listener` and `tls` accept clients, `guard` says who may do what, `failure` and `body` how what is wrong is told.
//! * `known` is all that one answer is made of, and `views` how it is shown; `reads` are the calls that show it.
//! * `change` keeps in the store what operators ask for; `topics`, `collectors`, `policy` and `rebalance` are the calls that do.
//! * `document` is the description of it all, made of the calls themselves.

mod body;
mod change;
mod collectors;
mod document;
mod events;
mod explain;
mod failure;
mod guard;
mod history;
mod known;
mod limits;
mod listener;
mod lists;
mod live;
mod measured;
mod policy;
mod probes;
mod reads;
mod rebalance;
mod settings;
mod shares;
pub(crate) mod tls;
mod tokens;
mod topics;
mod trial;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::{Router, middleware};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::store::{Leadership, Member, Store, StoreHealth, Stored, StoredDirectives};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::dashboard;
use crate::fleet::Fleet;
use crate::lead::decisions::Decisions;
use crate::live::Live;
use crate::metrics::RestMetrics;
use crate::watching::Verdicts;
use failure::Failure;

pub use document::openapi;
pub use settings::{Access, BadAccess, RestConfig};

/// What the API shows, and what it changes.
pub struct Rest {
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    pub board: Arc<Board>,
    pub store: Arc<dyn Store>,
    pub plan: watch::Receiver<Arc<Stored>>,
    pub members: watch::Receiver<Arc<BTreeMap<String, Member>>>,
    pub directives: watch::Receiver<Arc<StoredDirectives>>,
    pub leadership: watch::Receiver<Leadership>,
    pub health: watch::Receiver<StoreHealth>,
    /// How each collector is.
    pub verdicts: Arc<ArcSwap<Verdicts>>,
    /// What was decided, or seen to be.
    pub decisions: Arc<Decisions>,
    /// Asked only whether it could serve a provider.
    pub fleet: Arc<dyn Fleet>,
    /// All workloads as rows, and what changes of them.
    pub live: Live,
    /// Tells this run of the manager from all others, in the ids of events.
    pub run: Arc<str>,
    /// The turn of who tries a plan out.
    pub trials: Arc<Semaphore>,
    pub shutdown: CancellationToken,
    pub activity_window: Duration,
    /// What rules where operators have set no policy.
    pub default_policy: Policy,
    pub metrics: Arc<RestMetrics>,
    pub registry: Arc<Registry>,
}

/// A name for this run of the manager that no other has.
pub fn run() -> Arc<str> {
    let mut bytes = [0_u8; 8];
    // Without random numbers two runs could share a name, and a listener that comes back could miss an event.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    Arc::from(format!("{:016x}", u64::from_be_bytes(bytes)))
}

type Shown = State<Arc<Rest>>;

/// Serves until shutdown.
pub async fn serve(
    rest: Rest,
    access: Access,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let Access { guard, tokens, tls } = access;
    let rest = Arc::new(rest);
    let routes = routes(rest.clone(), Arc::new(guard));
    let follow_tokens = async {
        if let Some(tokens) = tokens {
            tokens.follow(shutdown.clone()).await;
        }
    };
    let follow_tls = async {
        if let Some(tls) = tls.clone() {
            tls.follow(shutdown.clone()).await;
        }
    };
    let served = listener::serve(listener, tls.clone(), routes, shutdown.clone());
    let (served, (), (), ()) = tokio::join!(served, follow_tokens, follow_tls, live::keep(&rest));
    served
}

/// All that is served, with everything that stands before it.
fn routes(rest: Arc<Rest>, guard: Arc<guard::Guard>) -> Router {
    let (calls, description) = document::calls().split_for_parts();
    let document = Arc::new(document::Document::new(&description));
    let names = Arc::new(measured::Names::new(&description));
    calls
        .merge(document::routes(document))
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(body::BODY_BYTES))
        .layer(middleware::from_fn_with_state(guard, guard::stand))
        .layer(middleware::from_fn(failure::as_problem))
        .layer(middleware::from_fn_with_state((names, rest.metrics.clone()), measured::count))
        .with_state(rest)
        .merge(dashboard::routes())
}

async fn no_such_path(uri: Uri) -> Failure {
    Failure::not_found(format!(
        "nothing is at {}: /docs says what there is, as /openapi.json does for machines",
        uri.path()
    ))
}
