//! A new table out of new resources and the table before.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arc_swap::ArcSwap;
use plimsoll_wire::resources::{Affinity, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio_util::sync::CancellationToken;

use super::{Limits, Route, Table};
use crate::cold_start::ColdStart;
use crate::config::Config;
use crate::endpoints::{Ejection, EndpointSet, Endpoints, Options, Sessions};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::routing::Index;
use crate::static_routes::StaticRoutes;
use crate::upstream::Backend;

/// An endpoint that fails again and again is ejected for at most so many times the first time: Envoy's default proportion
/// (30 s and 300 s).
const LONGEST_EJECTION: u32 = 10;

/// Knows the newest table, and makes the next one.
#[derive(Debug)]
pub(crate) struct Tables {
    config: Config,
    ledger: Ledger,
    endpoints: Endpoints,
    metrics: Arc<Metrics>,
    /// The routes of the newest table, each with its resource's place in `workloads`.
    routes: HashMap<WorkloadId, (usize, Arc<Route>)>,
    workloads: Arc<Vec<Workload>>,
    current: Arc<ArcSwap<Table>>,
}

/// A table that is made, and what has to be done when it takes the place of the one before.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: Arc<Table>,
    /// How the endpoints of workloads that were there before are used from now on.
    configure: Vec<(Arc<EndpointSet>, Options)>,
    gone: Vec<(WorkloadId, CancellationToken)>,
}

/// What is to be done for so many workloads at once; others of the same thread have a turn in between.
const AT_ONCE: usize = 256;

impl Tables {
    /// No route yet.
    pub(crate) fn new(config: Config, ledger: Ledger, endpoints: Endpoints, metrics: Arc<Metrics>) -> Self {
        let workloads = Arc::<Vec<Workload>>::default();
        let empty = Table { index: Index::new([]), workloads: workloads.clone() };
        let current = Arc::new(ArcSwap::from_pointee(empty));
        Self { config, ledger, endpoints, metrics, routes: HashMap::new(), workloads, current }
    }

    /// Where the newest table always is.
    pub(crate) fn current(&self) -> Arc<ArcSwap<Table>> {
        self.current.clone()
    }

    /// Where the parts are that a change tells of routes that end.
    pub(super) fn told(&self) -> (Ledger, Arc<Metrics>) {
        (self.ledger.clone(), self.metrics.clone())
    }

    /// A table of these workloads. Routes whose resource is the same are the same, with all that they count and hold.
    ///
    /// It takes no lock that a request to a route of the newest table may want, so it may take its time.
    pub(super) fn make(&mut self, workloads: Arc<Vec<Workload>>) -> Change {
        let mut configure = Vec::new();
        let mut routes = HashMap::with_capacity(workloads.len());
        for (at, workload) in workloads.iter().enumerate() {
            routes.insert(workload.id.clone(), (at, self.route(workload, &mut configure)));
        }
        let listed = workloads.iter().filter_map(|workload| Some((workload, routes.get(&workload.id)?.1.clone())));
        let table = Arc::new(Table { index: Index::new(listed), workloads: workloads.clone() });
        self.workloads = workloads;
        let before = std::mem::replace(&mut self.routes, routes);
        let gone = before.into_iter().filter(|(id, _)| !self.routes.contains_key(id));
        Change { table, configure, gone: gone.map(|(id, (_, route))| (id, route.gone.clone())).collect() }
    }

    /// The route of a workload; what counts and waits is that of the route before it.
    fn route(&self, workload: &Workload, configure: &mut Vec<(Arc<EndpointSet>, Options)>) -> Arc<Route> {
        match self.routes.get(&workload.id) {
            Some((at, route)) if self.workloads.get(*at) == Some(workload) => route.clone(),
            before => Arc::new(self.new_route(workload, before.map(|(_, route)| &**route), configure)),
        }
    }

    fn new_route(
        &self,
        workload: &Workload,
        before: Option<&Route>,
        configure: &mut Vec<(Arc<EndpointSet>, Options)>,
    ) -> Route {
        let options = self.options(workload);
        let cold_start = ColdStart::of(workload, &self.endpoints);
        let endpoints = before.map_or_else(|| self.endpoints.of(&workload.id), |before| before.endpoints.clone());
        let of_fallback = Options { ejection: options.ejection, ..Options::default() };
        let sets = [(Some(&endpoints), &options), (cold_start.fallback.as_ref(), &of_fallback)];
        for (set, options) in sets.into_iter().filter_map(|(set, options)| Some((set?, options))) {
            match before {
                // Its requests take the set's lock.
                Some(_) => configure.push((set.clone(), options.clone())),
                None => set.configure(options),
            }
        }
        Route {
            totals: before.map_or_else(|| self.ledger.workload(&workload.id), |before| before.totals.clone()),
            endpoints,
            metrics: before.map_or_else(|| self.metrics.of(&workload.id), |before| before.metrics.clone()),
            limits: Limits::of(workload, &self.config),
            cold_start,
            static_routes: StaticRoutes::of(workload),
            sessions: options.sessions,
            backend: Backend::of(workload, &workload.target.service),
            fallback_backend: workload.cold_start.fallback.as_ref().map(|to| Backend::of(workload, &to.service)),
            gone: before.map(|route| route.gone.clone()).unwrap_or_default(),
        }
    }

    /// How a workload's requests are spread over its endpoints.
    fn options(&self, workload: &Workload) -> Options {
        let Config { eject_after, eject_time, max_pending_requests, ref affinity_key, .. } = self.config;
        let ejection = Ejection {
            after: eject_after,
            base: eject_time,
            longest: eject_time.saturating_mul(LONGEST_EJECTION),
            ramp: eject_time,
        };
        let sessions = workload.affinity.map(|Affinity::Cookie| Sessions {
            key: affinity_key.reveal().into(),
            workload: workload.id.to_string().into(),
        });
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let max_waiting = workload.cold_start.max_pending.map_or(max_pending_requests, count);
        Options {
            limit: workload.concurrency_limit.and_then(|limit| NonZeroUsize::new(count(limit.get()))),
            max_waiting: Some(max_waiting).filter(|bound| *bound > 0),
            sessions,
            ejection,
        }
    }
}

impl Change {
    /// The new table holds from now on; gives the one before. Requests in flight go on with the route they have.
    pub(super) async fn publish(self, current: &ArcSwap<Table>, ledger: &Ledger, metrics: &Metrics) -> Arc<Table> {
        for some in self.configure.chunks(AT_ONCE) {
            some.iter().for_each(|(set, options)| set.configure(options));
            tokio::task::yield_now().await;
        }
        let before = current.swap(self.table);
        for some in self.gone.chunks(AT_ONCE) {
            for (id, gone) in some {
                gone.cancel();
                ledger.forget(id);
                metrics.forget(id);
            }
            tokio::task::yield_now().await;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::resources::{Port, Rule};

    use super::*;
    use crate::ledger::Clock;

    fn workload(name: &str, path: &str) -> Workload {
        let target = plimsoll_wire::resources::Backend { service: "127.0.0.1".to_owned(), port: Port::Number(80) };
        let rule = Rule { hosts: vec![format!("{name}.test")], paths: vec![path.to_owned()], headers: Vec::new() };
        Workload { rules: vec![rule], ..Workload::new(WorkloadId::new("default", name), target) }
    }

    fn found(table: &Table, name: &str) -> Arc<Route> {
        table.index.find(&format!("{name}.test"), "/a/b", &http::HeaderMap::new()).unwrap().clone()
    }

    #[tokio::test]
    async fn what_is_the_same_stays_the_same_and_what_changes_keeps_what_it_counts() {
        let config = Config::from_environment().unwrap();
        let ledger = Ledger::new(Clock::start());
        let mut tables = Tables::new(config, ledger, Endpoints::new(), Arc::default());
        let ((ledger, metrics), current) = (tables.told(), tables.current());
        let before = tables.make(Arc::new(["same", "changed", "gone"].map(|name| workload(name, "/a")).into()));
        before.publish(&current, &ledger, &metrics).await;
        let before = current.load_full();
        let after = Arc::new(vec![workload("changed", "/"), workload("same", "/a"), workload("new", "/")]);
        tables.make(after).publish(&current, &ledger, &metrics).await;
        let after = current.load_full();

        assert!(Arc::ptr_eq(&found(&before, "same"), &found(&after, "same")));
        let (old, new) = (found(&before, "changed"), found(&after, "changed"));
        assert!(!Arc::ptr_eq(&old, &new));
        assert!(Arc::ptr_eq(&old.totals, &new.totals) && Arc::ptr_eq(&old.metrics, &new.metrics));
        assert!(Arc::ptr_eq(&old.endpoints, &new.endpoints));
        assert!(found(&before, "gone").gone.is_cancelled() && !new.gone.is_cancelled());
        assert!(after.index.find("gone.test", "/a", &http::HeaderMap::new()).is_none());
        assert!(!found(&after, "new").gone.is_cancelled());
    }
}
