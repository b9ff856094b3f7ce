//! Where a workload's requests can go now, and the line in which they wait for it.
//!
//! * [`Endpoints`] is written by whoever knows the addresses; an `EndpointSet` is what the requests of one workload see of it.
//! * Deciding is pure: `members` knows which endpoints are usable, `health` which are ejected, `view` chooses among the usable
//!   ones, `line` says who is next.
//! * `keeper` lets ejected endpoints return and probes starting ones.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

mod endpoint;
mod health;
mod keeper;
mod line;
mod members;
mod metrics;
mod set;
mod tag;
mod view;

pub(crate) use endpoint::{AtEndpoint, Endpoint};
pub(crate) use health::Ejection;
pub(crate) use metrics::Metrics;
pub(crate) use set::{EndpointSet, Entry, Waiting};
pub(crate) use tag::Tag;
pub(crate) use view::Wish;

/// What the source of an address says of it.
///
/// An EndpointSlice's conditions translate so: `terminating` is `Draining`, else `ready` is `Ready`, else `Starting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It gets requests.
    Ready,
    /// It is known, and not ready yet. It is probed (a TCP connection, again and again), and gets requests as soon as it
    /// accepts connections while no endpoint of the workload is ready: a cold start is over before its source has noticed.
    ///
    /// An endpoint that has been ready before is not probed: that it accepts connections is no news then.
    Starting,
    /// It is on its way out: it gets no new request and finishes those it has.
    Draining,
}

/// The addresses of each workload. Whoever knows them writes them; the proxy reads. A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    sets: Arc<Mutex<Sets>>,
    common: Arc<Common>,
}

#[derive(Debug, Default)]
struct Sets {
    of: HashMap<WorkloadId, Arc<EndpointSet>>,
    /// Those that were removed while somebody still held them, as routes do for a moment. They go when nobody does.
    removed: HashSet<WorkloadId>,
    /// Of those removed, so many were still held at the last look.
    held: usize,
}

impl Sets {
    /// Looks at those removed when they have become twice as many: where a whole fleet goes at once, its routes hold all of it until the end,
    /// and to look at all that went before with each that goes would take seconds.
    fn sweep_at_times(&mut self) {
        if self.removed.len() > 2 * self.held {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let Self { of, removed, held: left } = self;
        removed.retain(|workload| {
            let held = of.get(workload).is_some_and(|set| Arc::strong_count(set) > 1);
            if !held {
                of.remove(workload);
            }
            held
        });
        *left = removed.len();
    }
}

/// What all workloads' endpoints share.
#[derive(Debug, Default)]
struct Common {
    metrics: Metrics,
    /// Sets for the keeper to look after, each at most once.
    restless: Mutex<Vec<Weak<EndpointSet>>>,
    news: Notify,
}

impl Common {
    /// The keeper has work, with a set that it knows or with this one.
    fn look_after(&self, set: Option<Weak<EndpointSet>>) {
        self.restless.lock().extend(set);
        self.news.notify_one();
    }
}

/// How a workload's requests are spread over its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Requests at once at one endpoint; more wait.
    pub(crate) limit: Option<NonZeroUsize>,
    /// Requests that wait at once; more are refused.
    pub(crate) max_waiting: Option<usize>,
    /// Where a client's requests stay at one endpoint.
    pub(crate) sessions: Option<Sessions>,
    /// What happens to endpoints that fail.
    pub(crate) ejection: Ejection,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: None, max_waiting: None, sessions: None, ejection: Ejection::OFF }
    }
}

/// How the endpoints of a workload's sessions are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// Shared by all interceptors of a deployment.
    pub(crate) key: Arc<str>,
    /// The workload's name.
    pub(crate) workload: Arc<str>,
}

impl Sessions {
    /// The tag of an endpoint.
    pub(crate) fn tag(&self, address: SocketAddr) -> Tag {
        Tag::of(self.key.as_bytes(), &self.workload, address)
    }
}

impl Endpoints {
    /// No workload has an endpoint yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The workload's addresses are these from now on, all of them ready: for sources that know nothing of states, such as
    /// DNS. See [`Endpoints::set_with_states`].
    pub fn set(&self, workload: &WorkloadId, addresses: Vec<SocketAddr>) {
        self.set_with_states(workload, addresses.into_iter().map(|address| (address, State::Ready)).collect());
    }

    /// The workload's addresses are these from now on, each once, with their states. Requests that wait go on in the order in
    /// which they came as soon as an endpoint is usable. An address that is missing is as good as [`State::Draining`].
    pub fn set_with_states(&self, workload: &WorkloadId, addresses: Vec<(SocketAddr, State)>) {
        self.of(workload).update(addresses);
    }

    /// The workload's requests can go nowhere, and waiting does not help: its service has no port of the name that the route asks
    /// for. They are answered with 500 until addresses are set again.
    pub fn set_unresolvable(&self, workload: &WorkloadId) {
        self.of(workload).set_unresolvable();
    }

    /// The workload has no endpoint any more, and nobody keeps it up.
    pub fn remove(&self, workload: &WorkloadId) {
        let mut sets = self.sets.lock();
        if let Some(set) = sets.of.get(workload) {
            set.update(Vec::new());
            // While a route holds it, a later `set` must reach the very same one.
            sets.removed.insert(workload.clone());
        }
        sets.sweep_at_times();
    }

    /// All workloads' endpoints, in the order of their names: for those who look.
    pub(crate) fn all(&self) -> Vec<(WorkloadId, Arc<EndpointSet>)> {
        let mut sets = self.sets.lock();
        sets.sweep();
        let mut all: Vec<_> = sets.of.iter().map(|(workload, set)| (workload.clone(), set.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The workload's endpoints, now and later.
    pub(crate) fn of(&self, workload: &WorkloadId) -> Arc<EndpointSet> {
        let mut sets = self.sets.lock();
        if sets.removed.remove(workload) {
            sets.held = sets.held.min(sets.removed.len());
        }
        match sets.of.get(workload) {
            Some(set) => set.clone(),
            None => sets.of.entry(workload.clone()).or_insert_with(|| EndpointSet::new(self.common.clone())).clone(),
        }
    }

    /// What balancing shows of itself.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.common.metrics
    }

    /// Lets ejected endpoints return, and probes starting ones where an attempt has a time to take. Ends with `shutdown`.
    pub(crate) async fn keep(self, probe_timeout: Option<Duration>, shutdown: CancellationToken) {
        keeper::keep(self.common, probe_timeout, shutdown).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_outlives_a_removal_sees_the_next_set() {
        let (all, id) = (Endpoints::new(), WorkloadId::new("default", "a"));
        let held = all.of(&id);
        all.remove(&id);
        all.set(&id, vec![([127, 0, 0, 1], 1).into()]);
        assert_eq!(held.now().len(), 1);
        drop(held);
        all.remove(&id);
        assert!(all.sets.lock().of.is_empty());
    }

    #[test]
    fn a_workload_that_is_removed_before_its_route_goes_with_it_unless_it_comes_back() {
        let (all, id) = (Endpoints::new(), WorkloadId::new("default", "a"));
        for comes_back in [true, false] {
            let route = all.of(&id);
            all.remove(&id);
            assert_eq!(all.all().len(), 1, "its route holds it");
            if comes_back {
                all.set(&id, vec![([127, 0, 0, 1], 1).into()]);
            }
            drop(route);
            assert_eq!(all.all().len(), usize::from(comes_back));
        }
    }

    #[test]
    fn a_fleet_that_goes_at_once_takes_no_longer_than_its_number() {
        let all = Endpoints::new();
        let fleet: Vec<_> = (0..20_000).map(|n| WorkloadId::new("default", format!("w{n}"))).collect();
        let routes: Vec<_> = fleet.iter().map(|workload| all.of(workload)).collect();
        let began = tokio::time::Instant::now();
        fleet.iter().for_each(|workload| all.remove(workload));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        drop(routes);
        assert!(all.all().is_empty());
    }
}
