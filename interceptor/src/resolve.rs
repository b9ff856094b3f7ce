//! Endpoints by DNS: for routes whose target is a host name or an address.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
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
    let mut known = HashSet::new();
    let mut routes_end = false;
    loop {
        let workloads = routes.borrow_and_update().clone();
        let round = one_round(&workloads, &endpoints, &mut known);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = round => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            changed = routes.changed(), if !routes_end => routes_end = changed.is_err(),
        }
    }
}

async fn one_round(workloads: &[Workload], endpoints: &Endpoints, known: &mut HashSet<WorkloadId>) {
    let backends: Vec<(WorkloadId, &Backend)> = workloads.iter().flat_map(backends).collect();
    let wanted: HashSet<WorkloadId> = backends.iter().map(|(id, _)| id.clone()).collect();
    for gone in known.difference(&wanted) {
        endpoints.remove(gone);
    }
    let mut targets: HashMap<Target, Vec<WorkloadId>> = HashMap::new();
    for (id, backend) in backends {
        match &backend.port {
            Port::Number(port) => targets.entry((backend.service.clone(), *port)).or_default().push(id),
            Port::Name(name) => {
                if !known.contains(&id) {
                    warn!(workload = %id, "the port {name:?} is a name, which only a cluster knows: give its number");
                }
                endpoints.set_unresolvable(&id);
            }
        }
    }
    *known = wanted;
    let lookups = targets.into_iter().map(|(target, workloads)| async move {
        let addresses = lookup(&target).await;
        for workload in workloads {
            endpoints.set(&workload, addresses.clone());
        }
    });
    futures::stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).collect::<()>().await;
}

/// Where a workload's requests can go, each under its key in [`Endpoints`].
fn backends(workload: &Workload) -> impl Iterator<Item = (WorkloadId, &Backend)> {
    let fallback = workload.cold_start.fallback.as_ref().map(|fallback| (fallback_of(&workload.id), fallback));
    std::iter::once((workload.id.clone(), &workload.target)).chain(fallback)
}

async fn lookup((host, port): &Target) -> Vec<SocketAddr> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return vec![SocketAddr::new(address, *port)];
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), *port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            debug!(host, "does not resolve: {error}");
            Vec::new()
        }
        Err(_) => {
            debug!(host, "the resolver did not answer in time");
            Vec::new()
        }
    }
}
