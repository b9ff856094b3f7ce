//! What the clients know: how many requests the interceptor must have seen, and how many it may have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::world::{Admitted, HOSTS, Host};

/// What a client knows of a request when it is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// A whole response of the workload's.
    Answered,
    /// The interceptor's own answer to a request that it has counted.
    Refused,
    /// The response broke off.
    Broke,
    /// The interceptor knew no route, or it was removed: it has counted the request, or not.
    NoRoute,
    /// No response, or the client did not wait for it: it may have arrived.
    Nothing,
}

impl Known {
    /// Whether the interceptor has counted it for certain.
    fn is_certain(self) -> bool {
        matches!(self, Self::Answered | Self::Refused | Self::Broke)
    }
}

/// All clients' counts. A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct Tallies(Arc<Mutex<BTreeMap<(Host, Known), u64>>>);

impl Tallies {
    pub fn add(&self, host: Host, known: Known) {
        *self.0.lock().entry((host, known)).or_default() += 1;
    }

    fn count(&self, of: impl Fn(Host, Known) -> bool) -> u64 {
        self.0.lock().iter().filter(|((host, known), _)| of(*host, *known)).map(|(_, count)| count).sum()
    }

    /// What has not happened yet. A soak in which nothing went right, or nothing wrong, shows nothing.
    pub fn missing(&self) -> Vec<String> {
        let hosts =
            HOSTS.into_iter().filter(|host| self.count(|at, known| at == *host && known == Known::Answered) == 0);
        let ends = [Known::Refused, Known::Broke, Known::NoRoute, Known::Nothing].into_iter();
        let ends = ends.filter(|known| self.count(|_, other| other == *known) == 0);
        let ends = ends.map(|known| format!("no request ended with {known:?}"));
        hosts.map(|host| format!("{host:?} answered nothing")).chain(ends).collect()
    }

    /// What was admitted is what was sent, as far as clients can know.
    pub fn assert_arrivals(&self, admitted: &Admitted) {
        for host in HOSTS {
            let certain = self.count(|at, known| at == host && known.is_certain());
            let possible = self.count(|at, _| at == host);
            let admitted = admitted[&host.workload()];
            assert!(
                (certain..=possible).contains(&admitted),
                "{host:?}: {admitted} requests admitted, but clients know of {certain} to {possible}"
            );
        }
    }
}

impl fmt::Display for Tallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((host, known), count) in &*self.0.lock() {
            writeln!(f, "{host:?} {known:?} {count}")?;
        }
        Ok(())
    }
}
