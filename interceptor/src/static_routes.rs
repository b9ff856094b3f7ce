//! Requests of a workload that are no load: health checks and the like.

use http::HeaderMap;
use plimsoll_wire::resources::{self, ResponseMode, Workload};

use crate::fixed_response::FixedResponse;
use crate::routing::Index;

/// The static routes of one workload, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct StaticRoutes(Vec<StaticRoute>);

/// Requests that do not count, and their answer.
#[derive(Debug)]
pub(crate) struct StaticRoute {
    /// Has one entry for each rule, all of them this route: so that its rules match as the workload's own do.
    rules: Index<()>,
    /// The answer.
    pub(crate) response: FixedResponse,
    /// It is given even while an endpoint is ready.
    pub(crate) always: bool,
}

impl StaticRoutes {
    /// The static routes of a workload.
    pub(crate) fn of(workload: &Workload) -> Self {
        Self(workload.static_routes.iter().map(|route| StaticRoute::new(workload, route)).collect())
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first route that matches a request, and its number. The host is written as [`crate::routing::host`] gives it.
    pub(crate) fn find(&self, host: &str, path: &str, headers: &HeaderMap) -> Option<(usize, &StaticRoute)> {
        self.0.iter().enumerate().find(|(_, route)| route.rules.find(host, path, headers).is_some())
    }

    /// The route of this number.
    pub(crate) fn get(&self, number: usize) -> Option<&StaticRoute> {
        self.0.get(number)
    }
}

impl StaticRoute {
    fn new(workload: &Workload, said: &resources::StaticRoute) -> Self {
        let requests =
            Workload { rules: said.rules.clone(), ..Workload::new(workload.id.clone(), workload.target.clone()) };
        Self {
            rules: Index::new([(&requests, ())]),
            response: FixedResponse::new(&said.response),
            always: said.mode == ResponseMode::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::resources::{Backend, FixedBody, HeaderRule, Port, Rule};
    use plimsoll_wire::topic::WorkloadId;

    use super::*;

    fn route(hosts: &[&str], paths: &[&str], header: Option<&str>, mode: ResponseMode) -> resources::StaticRoute {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let headers = header.map(|name| HeaderRule { name: name.to_owned(), value: None }).into_iter().collect();
        resources::StaticRoute {
            rules: vec![Rule { hosts: owned(hosts), paths: owned(paths), headers }],
            response: resources::FixedResponse { status: 200, headers: vec![], body: FixedBody::default() },
            mode,
        }
    }

    #[test]
    fn the_first_route_that_matches_host_path_and_headers_is_taken() {
        let target = Backend { service: "a".to_owned(), port: Port::Number(80) };
        let workload = Workload {
            static_routes: vec![
                route(&["*"], &["/healthz"], Some("x-probe"), ResponseMode::Always),
                route(&["*.a.test", "b.test"], &["/healthz", "/ready"], None, ResponseMode::WhenUnavailable),
                route(&["*"], &["/"], None, ResponseMode::Always),
            ],
            ..Workload::new(WorkloadId::new("default", "a"), target)
        };
        let routes = StaticRoutes::of(&workload);
        let probe = HeaderMap::from_iter([("x-probe".parse().unwrap(), "1".parse().unwrap())]);
        let number = |host: &str, path: &str, headers: &HeaderMap| routes.find(host, path, headers).unwrap().0;
        assert_eq!(number("b.test", "/healthz", &probe), 0);
        assert_eq!(number("b.test", "/healthz/deep", &HeaderMap::new()), 1);
        assert_eq!(number("x.a.test", "/ready", &probe), 1);
        assert_eq!(number("c.test", "/ready", &probe), 2);
        assert_eq!(number("b.test", "/healthzz", &HeaderMap::new()), 2);
        assert!(!routes.get(1).unwrap().always);
        assert!(StaticRoutes::default().find("b.test", "/", &probe).is_none());
    }
}
