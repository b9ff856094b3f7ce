//! The endpoints of one workload as its requests see them, and the line in which they wait.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::warn;

use super::endpoint::{AtEndpoint, Endpoint, Home};
use super::line::{Grant, Line, Turn};
use super::members::{Consequence, Member, Members};
use super::view::{Place, View, Wish};
use super::{Common, Options, State};

/// The endpoints of one workload.
///
/// A request to a workload with a usable endpoint and without a limit costs one load of the present [`View`]. All else (a
/// limit, no endpoint, a failure) takes the lock, for some hundreds of nanoseconds.
#[derive(Debug)]
pub(crate) struct EndpointSet {
    view: ArcSwap<View>,
    home: Home,
    common: Arc<Common>,
    /// There is no endpoint, and waiting for one is in vain.
    unresolvable: AtomicBool,
    /// Word of that, for those that wait already.
    in_vain: Notify,
    core: Mutex<Core>,
}

#[derive(Debug)]
struct Core {
    options: Options,
    members: Members,
    line: Line,
    random: SmallRng,
    /// The keeper has it on its list.
    kept: bool,
}

/// What a request that asks for an endpoint gets.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A place.
    Now(AtEndpoint),
    /// A turn in the line.
    Wait(Waiting),
    /// So many requests wait that one more may not.
    Full {
        /// How many do.
        waiting: usize,
        /// There is no usable endpoint; else all of them are full.
        without_endpoint: bool,
    },
}

/// One endpoint, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) address: SocketAddr,
    /// As its source says.
    pub(crate) state: State,
    /// Ejected for failures, and until when.
    pub(crate) ejected_until: Option<Instant>,
    /// Whether requests are given to it now.
    pub(crate) in_use: bool,
    pub(crate) in_flight: usize,
    /// Requests that have been given to it.
    pub(crate) picks: u64,
    /// Failures since its last success.
    pub(crate) failures: u32,
}

impl EndpointSet {
    /// A workload without an endpoint.
    pub(super) fn new(common: Arc<Common>) -> Arc<Self> {
        Arc::new_cyclic(|set| Self {
            view: ArcSwap::default(),
            home: Home { waiting: Arc::new(AtomicUsize::new(0)), set: set.clone() },
            common,
            unresolvable: AtomicBool::new(false),
            in_vain: Notify::new(),
            core: Mutex::new(Core {
                options: Options::default(),
                members: Members::default(),
                line: Line::default(),
                random: SmallRng::from_rng(&mut rand::rng()),
                kept: false,
            }),
        })
    }

    /// The usable endpoints as of now.
    pub(crate) fn now(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Requests that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.home.waiting.load(Ordering::Relaxed)
    }

    /// All the known endpoints.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let core = self.core.lock();
        let view = self.now();
        let show = |member: &Member| Shown {
            address: member.endpoint.address,
            state: member.state,
            ejected_until: member.health.ejected_until(),
            in_use: view.endpoints.iter().any(|endpoint| Arc::ptr_eq(endpoint, &member.endpoint)),
            in_flight: member.endpoint.in_flight(),
            picks: member.endpoint.picks(),
            failures: member.endpoint.failures(),
        };
        core.members.iter().map(show).collect()
    }

    /// These rules hold from now on.
    pub(crate) fn configure(&self, options: &Options) {
        let mut core = self.core.lock();
        if core.options != *options {
            core.options = options.clone();
            self.changed(core);
        }
    }

    /// A place for a request that arrived then, or a turn in the line.
    pub(crate) fn enter(self: &Arc<Self>, arrived: Instant, wish: &Wish, random: u64) -> Entry {
        let view = self.view.load();
        if view.limit.is_none()
            && let Place::At(endpoint) = view.place(wish, random)
        {
            return Entry::Now(endpoint.clone().enter());
        }
        drop(view);
        self.enter_in_turn(arrived, wish)
    }

    fn enter_in_turn(self: &Arc<Self>, arrived: Instant, wish: &Wish) -> Entry {
        let mut core = self.core.lock();
        let view = self.view.load_full();
        // A place that has just become free belongs to who waits for it.
        let mut grants = core.grant(&view);
        let random = core.random.next_u64();
        let entry = if let Place::At(endpoint) = view.place(wish, random) {
            Entry::Now(endpoint.clone().enter())
        } else if core.options.max_waiting.is_some_and(|most| core.line.len() >= most) {
            self.common.metrics.refused.inc();
            Entry::Full { waiting: core.line.len(), without_endpoint: view.is_empty() }
        } else {
            let (turn, granted) = core.line.join(arrived, *wish);
            self.count(&core);
            // A request that departed before this one was counted has woken nobody: see `AtEndpoint::drop`.
            grants.extend(core.grant(&view));
            Entry::Wait(Waiting { set: self.clone(), turn: Some(turn), granted, without_endpoint: view.is_empty() })
        };
        self.deliver(core, grants);
        entry
    }

    /// A place has become free and somebody waits.
    pub(super) fn place_freed(&self) {
        let mut core = self.core.lock();
        let grants = core.grant(&self.view.load());
        self.deliver(core, grants);
    }

    /// The endpoint has failed so many times in a row.
    pub(super) fn failed(&self, endpoint: &Endpoint, failures: u32) {
        let mut core = self.core.lock();
        let Core { members, options, .. } = &mut *core;
        match members.failed(endpoint, failures, &options.ejection, Instant::now()) {
            Consequence::None => return,
            Consequence::Ejected => {
                self.common.metrics.ejections.inc();
                warn!(address = %endpoint.address, failures, "an endpoint fails and gets no requests for a while");
            }
            Consequence::Tried => {}
        }
        self.changed(core);
    }

    /// Nobody can say where the workload's requests go.
    pub(super) fn set_unresolvable(&self) {
        // First: a request that finds no endpoint must see that waiting for one is in vain.
        self.unresolvable.store(true, Ordering::Relaxed);
        self.know(Vec::new());
        self.in_vain.notify_waiters();
    }

    /// Ready when waiting for an endpoint is in vain.
    pub(crate) async fn until_unresolvable(&self) {
        loop {
            // Made before the look: word that comes between the two is not lost.
            let told = self.in_vain.notified();
            if self.is_unresolvable() {
                return;
            }
            told.await;
        }
    }

    /// Whether waiting for an endpoint is in vain.
    pub(crate) fn is_unresolvable(&self) -> bool {
        self.unresolvable.load(Ordering::Relaxed)
    }

    /// The workload's addresses are these from now on.
    pub(super) fn update(&self, known: Vec<(SocketAddr, State)>) {
        self.unresolvable.store(false, Ordering::Relaxed);
        self.know(known);
    }

    fn know(&self, known: Vec<(SocketAddr, State)>) {
        let mut core = self.core.lock();
        if core.members.update(known, &self.home, Instant::now()) {
            self.changed(core);
        }
    }

    /// Lets time do its work; true where there is more of it to come.
    pub(super) fn review(&self) -> bool {
        let mut core = self.core.lock();
        let Core { members, options, .. } = &mut *core;
        let changed = members.review(&options.ejection, Instant::now());
        let restless = members.is_restless();
        core.kept = restless;
        if changed {
            self.publish(core);
        }
        restless
    }

    /// The starting endpoints that nobody tries yet; each is handed out once.
    pub(super) fn take_unprobed(&self) -> Vec<SocketAddr> {
        self.core.lock().members.take_unprobed()
    }

    /// Whether a probe of this address should go on.
    pub(super) fn is_probed(&self, address: SocketAddr) -> bool {
        self.core.lock().members.is_probed(address)
    }

    /// A starting endpoint has accepted a probe's connection.
    pub(super) fn accepted(&self, address: SocketAddr) {
        let mut core = self.core.lock();
        if core.members.accepted(address) {
            self.common.metrics.probed.inc();
            self.publish(core);
        }
    }

    /// Something has changed: requests should know, and time may have work with it.
    fn changed(&self, mut core: MutexGuard<'_, Core>) {
        if core.members.is_restless() {
            self.common.look_after(if core.kept { None } else { Some(self.home.set.clone()) });
            core.kept = true;
        }
        self.publish(core);
    }

    /// Those that wait have their places before those that come now can see any.
    fn publish(&self, mut core: MutexGuard<'_, Core>) {
        let view = Arc::new(core.members.view(&core.options, Instant::now()));
        let grants = core.grant(&view);
        self.view.store(view);
        self.deliver(core, grants);
    }

    fn deliver(&self, core: MutexGuard<'_, Core>, grants: Vec<Grant>) {
        self.count(&core);
        drop(core);
        grants.into_iter().for_each(Grant::deliver);
    }

    /// Tells departing requests how many wait.
    fn count(&self, core: &Core) {
        let waiting = core.line.len();
        let before = self.home.waiting.swap(waiting, Ordering::SeqCst);
        self.common.metrics.waiting.inc_by(waiting as i64 - before as i64);
    }
}

impl Core {
    fn grant(&mut self, view: &View) -> Vec<Grant> {
        let Self { line, random, .. } = self;
        line.grant(view, || random.next_u64())
    }
}

/// A request's turn in the line; it becomes its place. Dropping it gives up either.
#[derive(Debug)]
pub(crate) struct Waiting {
    set: Arc<EndpointSet>,
    /// None once the place is there.
    turn: Option<Turn>,
    granted: oneshot::Receiver<AtEndpoint>,
    without_endpoint: bool,
}

impl Waiting {
    /// Whether there was no usable endpoint when it began: a cold start. Else all endpoints are full.
    pub(crate) fn is_cold_start(&self) -> bool {
        self.without_endpoint
    }
}

impl Future for Waiting {
    type Output = AtEndpoint;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AtEndpoint> {
        match Pin::new(&mut self.granted).poll(cx) {
            Poll::Ready(Ok(at_endpoint)) => {
                self.turn = None;
                Poll::Ready(at_endpoint)
            }
            // The line keeps the other end until it grants; and this future ends with that.
            Poll::Ready(Err(_)) => unreachable!("a request that waits is in the line"),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // If the place has been granted meanwhile it becomes free again with the channel.
        if let Some(turn) = self.turn.take() {
            let mut core = self.set.core.lock();
            if core.line.leave(turn) {
                self.set.count(&core);
            }
        }
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
