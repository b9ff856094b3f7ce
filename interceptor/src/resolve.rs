//! Endpoints by DNS: for routes whose target is a host name or an address.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cold_start::fallback_of;
use crate::endpoints::Endpoints;

/// Between two looks at each name.
const EVERY: Duration = Duration::from_secs(2);
/// A resolver that takes longer than this has failed for this time.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Look-ups at once. Each blocks a thread of the runtime's pool.
const LOOKUPS_AT_ONCE: usize = 32;
/// Besides, so many of names for which the resolver took too long the last time: others do not wait for them.
const SLOW_LOOKUPS_AT_ONCE: usize = 16;

/// A host name or address, and a port.
type Target = (String, u16);

/// Keeps `endpoints` filled: each route's endpoints are all the addresses that its target resolves to, looked up again every
/// two seconds and at once when the routes change. Fallback services are looked up in the same way. A target that does not resolve has no endpoint, so its requests are held.
/// Ends when `shutdown` is cancelled.
pub async fn resolve_by_dns(
    mut routes: watch::Receiver<Arc<Vec<Workload>>>,
    endpoints: Endpoints,
    shutdown: CancellationToken,
) {
    let mut names = Names::new(endpoints);
    let mut lookups = FuturesUnordered::new();
    let mut routes_end = false;
    let workloads = routes.borrow_and_update().clone();
    names.follow(&workloads, Instant::now());
    loop {
        while let Some((target, lane)) = names.take_due(Instant::now()) {
            lookups.push(look_up(target, lane));
        }
        let next = names.next_due();
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(found) = lookups.next() => names.found(found, Instant::now()),
            () = at(next) => {}
            changed = routes.changed(), if !routes_end => match changed {
                Ok(()) => {
                    let workloads = routes.borrow_and_update().clone();
                    names.follow(&workloads, Instant::now());
                }
                Err(_) => routes_end = true,
            },
        }
    }
}

async fn at(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// In which of two lanes a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    Quick,
    /// The resolver took too long the last time.
    Slow,
}

/// Names that wait to be looked up, and how many are being.
#[derive(Debug)]
struct Lane {
    /// Those that are due first are at the front: each rests for the same time.
    waiting: VecDeque<(Instant, Target)>,
    underway: usize,
    most: usize,
}

impl Lane {
    fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), underway: 0, most }
    }

    /// When the next look-up may begin; none where others have to end before.
    fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.waiting.front().filter(|_| self.underway < self.most)?;
        Some(*due)
    }

    fn take_due(&mut self, now: Instant) -> Option<Target> {
        self.next_due().filter(|due| *due <= now)?;
        let (_, target) = self.waiting.pop_front()?;
        self.underway += 1;
        Some(target)
    }
}

/// All names, and who wants their addresses. A name waits in one lane, or is being looked up.
#[derive(Debug)]
struct Names {
    endpoints: Endpoints,
    known: HashSet<WorkloadId>,
    wanting: HashMap<Target, Vec<WorkloadId>>,
    quick: Lane,
    slow: Lane,
    underway: HashSet<Target>,
}

/// What came of a look-up.
#[derive(Debug)]
struct Found {
    target: Target,
    lane: Speed,
    addresses: Vec<SocketAddr>,
    /// Whether the resolver took too long.
    late: bool,
}

impl Names {
    fn new(endpoints: Endpoints) -> Self {
        let (known, wanting, underway) = <(HashSet<_>, HashMap<_, _>, HashSet<_>)>::default();
        let (quick, slow) = (Lane::new(LOOKUPS_AT_ONCE), Lane::new(SLOW_LOOKUPS_AT_ONCE));
        Self { endpoints, known, wanting, quick, slow, underway }
    }

    /// These are the workloads from now on: all names are looked up at once.
    fn follow(&mut self, workloads: &[Workload], now: Instant) {
        let backends: Vec<(WorkloadId, &Backend)> = workloads.iter().flat_map(backends).collect();
        let wanted: HashSet<WorkloadId> = backends.iter().map(|(id, _)| id.clone()).collect();
        for gone in self.known.difference(&wanted) {
            self.endpoints.remove(gone);
        }
        let mut wanting: HashMap<Target, Vec<WorkloadId>> = HashMap::new();
        for (id, backend) in backends {
            match &backend.port {
                Port::Number(port) => wanting.entry((backend.service.clone(), *port)).or_default().push(id),
                Port::Name(name) => {
                    if !self.known.contains(&id) {
                        warn!(workload = %id, "the port {name:?} is a name, which only a cluster knows: give its number");
                    }
                    self.endpoints.set_unresolvable(&id);
                }
            }
        }
        let slow: HashSet<Target> = self.slow.waiting.drain(..).map(|(_, target)| target).collect();
        self.quick.waiting.clear();
        for target in wanting.keys().filter(|target| !self.underway.contains(*target)) {
            let lane = if slow.contains(target) { &mut self.slow } else { &mut self.quick };
            lane.waiting.push_back((now, target.clone()));
        }
        (self.known, self.wanting) = (wanted, wanting);
    }

    /// A name that is to be looked up now.
    fn take_due(&mut self, now: Instant) -> Option<(Target, Speed)> {
        let quick = self.quick.take_due(now).map(|target| (target, Speed::Quick));
        let taken = quick.or_else(|| self.slow.take_due(now).map(|target| (target, Speed::Slow)))?;
        self.underway.insert(taken.0.clone());
        Some(taken)
    }

    /// When the next name is to be looked up, if nothing happens before.
    fn next_due(&self) -> Option<Instant> {
        self.quick.next_due().into_iter().chain(self.slow.next_due()).min()
    }

    /// Tells those who want a name now what it resolves to; it is looked up again after a while.
    fn found(&mut self, Found { target, lane, addresses, late }: Found, now: Instant) {
        self.lane(lane).underway -= 1;
        self.underway.remove(&target);
        let Some(workloads) = self.wanting.get(&target) else { return };
        for workload in workloads {
            self.endpoints.set(workload, addresses.clone());
        }
        let lane = self.lane(if late { Speed::Slow } else { Speed::Quick });
        lane.waiting.push_back((now + EVERY, target));
    }

    fn lane(&mut self, speed: Speed) -> &mut Lane {
        match speed {
            Speed::Quick => &mut self.quick,
            Speed::Slow => &mut self.slow,
        }
    }
}

/// Where a workload's requests can go, each under its key in [`Endpoints`].
fn backends(workload: &Workload) -> impl Iterator<Item = (WorkloadId, &Backend)> {
    let fallback = workload.cold_start.fallback.as_ref().map(|fallback| (fallback_of(&workload.id), fallback));
    std::iter::once((workload.id.clone(), &workload.target)).chain(fallback)
}

async fn look_up(target: Target, lane: Speed) -> Found {
    let (host, port) = &target;
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        let addresses = vec![SocketAddr::new(address, *port)];
        return Found { target, lane, addresses, late: false };
    }
    let (addresses, late) =
        match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(addresses)) => (addresses.collect(), false),
            Ok(Err(error)) => {
                debug!(host, "does not resolve: {error}");
                (Vec::new(), false)
            }
            Err(_) => {
                debug!(host, "the resolver did not answer in time");
                (Vec::new(), true)
            }
        };
    Found { target, lane, addresses, late }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are looked up from now on.
    fn begin(names: &mut Names, now: Instant) -> Vec<(Target, Speed)> {
        std::iter::from_fn(|| names.take_due(now)).collect()
    }

    fn end(names: &mut Names, looked_up: Vec<(Target, Speed)>, late: bool, now: Instant) {
        for (target, lane) in looked_up {
            names.found(Found { target, lane, addresses: Vec::new(), late }, now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_hang_keep_no_others_waiting() {
        let count = LOOKUPS_AT_ONCE + 8;
        let workload = |number: usize| {
            let target = Backend { service: format!("host-{number}"), port: Port::Number(80) };
            Workload::new(WorkloadId::new("default", format!("w{number}")), target)
        };
        let workloads: Vec<Workload> = (0..count).map(workload).collect();
        let (mut names, mut now) = (Names::new(Endpoints::new()), Instant::now());
        names.follow(&workloads, now);
        let hanging = begin(&mut names, now);
        assert_eq!(hanging.len(), LOOKUPS_AT_ONCE);
        assert_eq!(names.next_due(), None, "there is no room for one more");
        end(&mut names, hanging, true, now);
        let well = begin(&mut names, now);
        assert_eq!(well.len(), 8);
        end(&mut names, well, false, now);
        now += EVERY;
        let (hanging, mut well): (Vec<_>, Vec<_>) =
            begin(&mut names, now).into_iter().partition(|(_, lane)| *lane == Speed::Slow);
        assert_eq!((hanging.len(), well.len()), (SLOW_LOOKUPS_AT_ONCE, 8));
        // The others are looked up again and again while those hang, also when the routes change.
        for _ in 0..3 {
            end(&mut names, well, false, now);
            names.follow(&workloads, now);
            well = begin(&mut names, now);
            assert_eq!(well.len(), 8, "{well:?}");
        }
        // Who does not hang any more is one of them.
        end(&mut names, hanging, false, now);
        now += EVERY;
        let quick = begin(&mut names, now).into_iter().filter(|(_, lane)| *lane == Speed::Quick).count();
        assert_eq!(quick, SLOW_LOOKUPS_AT_ONCE);
    }
}
