//! The ledger: running totals of each workload at this interceptor.
//!
//! A request costs two short critical sections of its workload's lock, one when it is admitted and one when it departs.
//! Times are read under that lock, so the totals of any instant are exact. Nothing is ever counted back: what the log
//! has been told stays true, whatever gets lost on the way.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::Topic;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::Notify;

mod clock;
mod counts;

pub use clock::Clock;
use counts::Counts;

/// All workloads' totals. Clones share them.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    workloads: RwLock<HashMap<WorkloadId, Arc<Totals>>>,
    woken: Arc<Woken>,
}

/// Workloads whose busy spell has begun and that the publisher has not taken yet. Each is in here at most once, since
/// its next spell begins only after the publisher has closed this one: as many as there are workloads at most.
#[derive(Default)]
struct Woken {
    list: Mutex<Vec<Arc<Totals>>>,
    news: Notify,
}

/// What is known of a workload this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests admitted and not finished, held ones included.
    pub in_flight: u64,
    /// Of those, requests that wait for a cold start.
    pub held: u64,
    /// Requests admitted since the interceptor's start.
    pub admitted: u64,
}

/// What a frame says besides the totals: who cut it, and how often it is cut.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) interceptor: String,
    pub(crate) incarnation: u64,
    pub(crate) tick_us: u64,
}

impl Ledger {
    /// An empty ledger that reads its times from this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { clock, workloads: RwLock::default(), woken: Arc::default() }) }
    }

    /// The workload's totals: made on first use, the same ones ever after. Worth keeping beside the route: a look-up
    /// costs more than a request.
    #[must_use]
    pub fn workload(&self, id: &WorkloadId) -> Arc<Totals> {
        let known = self.shared.workloads.read().get(id).cloned();
        let totals = known.unwrap_or_else(|| {
            let mut workloads = self.shared.workloads.write();
            workloads.entry(id.clone()).or_insert_with(|| Arc::new(Totals::new(id, &self.shared))).clone()
        });
        totals.state.lock().forgotten = false;
        totals
    }

    /// The route is gone. What is in flight is counted and published to its end; then the workload is in no snapshot
    /// any more.
    ///
    /// Its totals are kept all the same (under half a kilobyte), for within one run of an interceptor they must not
    /// start again from zero: should the route come back, a collector would take that for totals that went back.
    pub fn forget(&self, id: &WorkloadId) {
        if let Some(totals) = self.shared.workloads.read().get(id) {
            totals.state.lock().forgotten = true;
        }
    }

    /// All workloads but those forgotten with nothing in flight, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(WorkloadId, Snapshot)> {
        let workloads = self.shared.workloads.read();
        workloads.values().filter_map(|totals| Some((totals.id.clone(), totals.snapshot()?))).collect()
    }

    /// The clock that all times are read from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Waits until a busy spell has begun that [`Ledger::take_woken`] has not handed out. May return without one.
    /// Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.shared.woken.news.notified().await;
    }

    /// The workloads whose busy spell has begun since the last call.
    pub(crate) fn take_woken(&self) -> Vec<Arc<Totals>> {
        std::mem::take(&mut *self.shared.woken.list.lock())
    }

    /// The time now, and the workloads as [`Ledger::take_woken`] gives them: every spell that began before this time is
    /// among them or was handed out before, since a spell's first arrival reads the clock under the same lock.
    pub(crate) fn watermark(&self) -> (u64, Vec<Arc<Totals>>) {
        let mut list = self.shared.woken.list.lock();
        (self.shared.clock.now_us(), std::mem::take(&mut *list))
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("workloads", &self.shared.workloads.read().len()).finish_non_exhaustive()
    }
}

/// The running totals of one workload.
pub struct Totals {
    id: WorkloadId,
    topic: Topic,
    clock: Clock,
    woken: Arc<Woken>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// A busy spell runs: from its first arrival until the publisher has delivered totals with nothing in flight. While
    /// it runs the workload is in the publisher's hands.
    busy: bool,
    forgotten: bool,
}

impl Totals {
    fn new(id: &WorkloadId, shared: &Shared) -> Self {
        Self {
            id: id.clone(),
            topic: id.topic().into(),
            clock: shared.clock,
            woken: shared.woken.clone(),
            state: Mutex::default(),
        }
    }

    /// A request has come in. It is in flight until the value is dropped.
    pub fn admit(self: &Arc<Self>) -> InFlight {
        let mut state = self.state.lock();
        if state.busy {
            state.counts.arrive(self.clock.now_us());
        } else {
            state.busy = true;
            // Together with the time: see `Ledger::watermark`. The lock order is a workload's, then the list's.
            let mut list = self.woken.list.lock();
            let now_us = self.clock.now_us();
            list.push(self.clone());
            drop(list);
            state.counts.begin_spell(now_us);
            state.counts.arrive(now_us);
            drop(state);
            self.woken.news.notify_one();
        }
        InFlight { totals: self.clone(), held: false }
    }

    /// Whose totals they are.
    pub(crate) fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// The workload's topic.
    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The totals as of now.
    pub(crate) fn cut(&self, by: &Identity) -> Frame {
        let (at_us, counts) = {
            let state = self.state.lock();
            (self.clock.now_us(), state.counts)
        };
        Frame {
            interceptor: by.interceptor.clone(),
            incarnation: by.incarnation,
            at_us,
            admitted: counts.admitted,
            finished: counts.finished,
            busy_us: counts.busy_us(at_us),
            held: counts.held,
            last_arrival_us: counts.last_arrival_us,
            spell_at_us: counts.spell.at_us,
            spell_admitted: counts.spell.admitted,
            spell_busy_us: counts.spell.busy_us,
            tick_us: by.tick_us,
            open: false,
        }
    }

    /// Requests admitted and requests finished, as of now.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.counts.admitted, state.counts.finished)
    }

    /// The log has acknowledged totals with this many admitted and nothing in flight: where they are still the newest,
    /// the busy spell is over, and the next arrival begins another one.
    ///
    /// The spell lasts until then, not until its final frame is cut, so that a lost final frame costs nothing: the next
    /// frame's spell still begins where the last delivered one left off.
    pub(crate) fn settle(&self, admitted: u64) -> bool {
        let mut state = self.state.lock();
        if state.counts.admitted == admitted && state.counts.in_flight() == 0 {
            state.busy = false;
        }
        !state.busy
    }

    /// The topic does not exist: where the workload is forgotten and nothing is in flight, nobody is left to tell, and
    /// the busy spell is over.
    pub(crate) fn settle_forgotten(&self) -> bool {
        let mut state = self.state.lock();
        if state.forgotten && state.counts.in_flight() == 0 {
            state.busy = false;
        }
        !state.busy
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let state = self.state.lock();
        let in_flight = state.counts.in_flight();
        let gone = state.forgotten && in_flight == 0;
        (!gone).then_some(Snapshot { in_flight, held: state.counts.held, admitted: state.counts.admitted })
    }
}

impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totals")
            .field("workload", &self.id)
            .field("counts", &self.state.lock().counts)
            .finish_non_exhaustive()
    }
}

/// A request in flight. Dropping it, on whatever path, is its departure.
#[derive(Debug)]
#[must_use = "the request departs when this is dropped"]
pub struct InFlight {
    totals: Arc<Totals>,
    held: bool,
}

impl InFlight {
    /// The request waits for a cold start from now on. A second call changes nothing.
    pub fn hold(&mut self) {
        if !self.held {
            self.held = true;
            self.totals.state.lock().counts.held += 1;
        }
    }

    /// The wait is over. Without one nothing changes.
    pub fn release(&mut self) {
        if self.held {
            self.held = false;
            self.totals.state.lock().counts.held -= 1;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.totals.state.lock();
        state.counts.held -= u64::from(self.held);
        state.counts.depart(self.totals.clock.now_us());
    }
}

#[cfg(test)]
mod tests;
