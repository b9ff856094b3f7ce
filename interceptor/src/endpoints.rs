//! Where a workload's requests can go now.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::Notify;

/// The ready addresses of each workload. Whoever knows them writes them; the proxy reads. A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    workloads: Arc<Mutex<HashMap<WorkloadId, Arc<Ready>>>>,
}

impl Endpoints {
    /// No workload has an endpoint yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The workload's ready addresses are these from now on; requests held for it go on if there are any.
    pub fn set(&self, workload: &WorkloadId, addresses: Vec<SocketAddr>) {
        self.of(workload).set(addresses);
    }

    /// The workload has no endpoint any more, and nobody keeps it up.
    pub fn remove(&self, workload: &WorkloadId) {
        let mut workloads = self.workloads.lock();
        if let Some(ready) = workloads.get(workload) {
            ready.set(Vec::new());
            // While a route holds it, a later `set` must reach the very same one.
            if Arc::strong_count(ready) == 1 {
                workloads.remove(workload);
            }
        }
    }

    /// All workloads' ready endpoints, in the order of their names: for those who look.
    pub(crate) fn all(&self) -> Vec<(WorkloadId, Arc<Ready>)> {
        let workloads = self.workloads.lock();
        let mut all: Vec<_> = workloads.iter().map(|(workload, ready)| (workload.clone(), ready.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The workload's ready endpoints, now and later.
    pub(crate) fn of(&self, workload: &WorkloadId) -> Arc<Ready> {
        let mut workloads = self.workloads.lock();
        match workloads.get(workload) {
            Some(ready) => ready.clone(),
            None => workloads.entry(workload.clone()).or_default().clone(),
        }
    }
}

/// The ready endpoints of one workload.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    changed: Notify,
}

impl Ready {
    fn set(&self, addresses: Vec<SocketAddr>) {
        let before = self.endpoints.load();
        // An endpoint that stays keeps its requests in flight.
        let kept = |address| before.iter().find(|endpoint| endpoint.address == address).cloned();
        let mut endpoints: Vec<_> = addresses
            .into_iter()
            .map(|address| kept(address).unwrap_or_else(|| Arc::new(Endpoint::new(address))))
            .collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        if endpoints.iter().map(|endpoint| endpoint.address).eq(before.iter().map(|endpoint| endpoint.address)) {
            return;
        }
        self.endpoints.store(Arc::new(endpoints));
        self.changed.notify_waiters();
    }

    /// The endpoints as of now.
    pub(crate) fn now(&self) -> Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// Waits until there is an endpoint. Those that wait are woken in the order in which they came.
    pub(crate) async fn any(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change is missed between.
            changed.as_mut().enable();
            if !self.endpoints.load().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

/// One address of a workload.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    in_flight: AtomicUsize,
    picks: AtomicU64,
}

impl Endpoint {
    fn new(address: SocketAddr) -> Self {
        Self { address, in_flight: AtomicUsize::new(0), picks: AtomicU64::new(0) }
    }

    /// Requests in flight there now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How often it has been chosen.
    pub(crate) fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// One more request in flight there, until the guard is dropped.
    pub(crate) fn enter(self: Arc<Self>) -> AtEndpoint {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.picks.fetch_add(1, Ordering::Relaxed);
        AtEndpoint { endpoint: self }
    }
}

/// A request in flight at an endpoint.
#[derive(Debug)]
pub(crate) struct AtEndpoint {
    endpoint: Arc<Endpoint>,
}

impl AtEndpoint {
    /// The endpoint's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }
}

impl Drop for AtEndpoint {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The less busy of two endpoints that `random` picks (power of two choices: Mitzenmacher, 2001); none where there is none.
///
/// `avoid` was just tried in vain: another one is taken where there is another one.
pub(crate) fn choose(endpoints: &[Arc<Endpoint>], avoid: Option<SocketAddr>, random: u64) -> Option<&Arc<Endpoint>> {
    let count = endpoints.len();
    if count <= 1 {
        return endpoints.first();
    }
    // Two different ones, each pair equally likely: both halves of the random number are scaled down to their range.
    let scaled = |half: u64, range: usize| ((half * range as u64) >> 32) as usize;
    let first = scaled(random >> 32, count);
    let second = (first + 1 + scaled(random & 0xffff_ffff, count - 1)) % count;
    let (first, second) = (&endpoints[first], &endpoints[second]);
    if Some(first.address) == avoid {
        return Some(second);
    }
    let busier = second.in_flight.load(Ordering::Relaxed) < first.in_flight.load(Ordering::Relaxed);
    Some(if busier && Some(second.address) != avoid { second } else { first })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count).map(|port| Arc::new(Endpoint::new(address(port)))).collect()
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_requests_in_flight() {
        let ready = Ready::default();
        ready.set(vec![address(1)]);
        let request = ready.now()[0].clone().enter();
        ready.set(vec![address(2), address(1)]);
        assert_eq!(ready.now()[0].in_flight.load(Ordering::Relaxed), 1);
        drop(request);
        assert_eq!(ready.now()[0].in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_route_that_outlives_a_removal_sees_the_next_set() {
        let (all, id) = (Endpoints::new(), WorkloadId::new("default", "a"));
        let held = all.of(&id);
        all.remove(&id);
        all.set(&id, vec![address(1)]);
        assert_eq!(held.now().len(), 1);
        drop(held);
        all.remove(&id);
        assert!(all.workloads.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_are_woken_in_the_order_in_which_they_came() {
        let (all, id) = (Endpoints::new(), WorkloadId::new("default", "a"));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (ready, woken) = (all.of(&id), woken.clone());
            waiting.spawn(async move {
                ready.any().await;
                woken.lock().push(number);
            });
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        all.set(&id, vec![address(1)]);
        waiting.join_all().await;
        assert_eq!(*woken.lock(), (0..100).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn the_busiest_endpoint_is_never_chosen_over_a_less_busy_one_beside_it(count in 2u16..20, busy in 0u16..20, random: u64) {
            let all = endpoints(count);
            let busiest = all[usize::from(busy % count)].clone();
            let _request = busiest.clone().enter();
            prop_assert_ne!(choose(&all, None, random).unwrap().address, busiest.address);
        }

        #[test]
        fn an_endpoint_just_tried_in_vain_is_avoided_where_there_is_another(count in 2u16..20, tried in 0u16..20, random: u64) {
            let tried = address(tried % count);
            prop_assert_ne!(choose(&endpoints(count), Some(tried), random).unwrap().address, tried);
        }
    }

    #[test]
    fn every_endpoint_has_its_share() {
        let all = endpoints(7);
        let mut counts = [0; 7];
        for i in 0..70_000u64 {
            // A Weyl sequence: even over all 64 bits.
            let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            counts[usize::from(choose(&all, None, random).unwrap().address.port())] += 1;
        }
        assert!(counts.iter().all(|count| (8_000..12_000).contains(count)), "{counts:?}");
    }
}
