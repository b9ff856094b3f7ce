//! The line in which a workload's requests wait for an endpoint, or for a free place at one. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::endpoint::AtEndpoint;
use super::view::{Place, View, Wish};

/// A request's place in the order: by its arrival, so that one that waits again has its old place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    arrived: Instant,
    /// Tells requests of the same instant apart.
    number: u64,
}

/// Requests in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<Turn, Waiting>,
    numbers: u64,
}

#[derive(Debug)]
struct Waiting {
    wish: Wish,
    granted: oneshot::Sender<AtEndpoint>,
}

/// A place that a request has got, still to be handed over. If the request has gone meanwhile, the place becomes free again.
#[derive(Debug)]
pub(super) struct Grant {
    granted: oneshot::Sender<AtEndpoint>,
    at_endpoint: AtEndpoint,
}

impl Grant {
    /// Wakes the request. Not under the set's lock: a place that becomes free takes it.
    pub(super) fn deliver(self) {
        drop(self.granted.send(self.at_endpoint));
    }
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A request begins to wait.
    pub(super) fn join(&mut self, arrived: Instant, wish: Wish) -> (Turn, oneshot::Receiver<AtEndpoint>) {
        let turn = Turn { arrived, number: self.numbers };
        self.numbers += 1;
        let (granted, receiver) = oneshot::channel();
        self.waiting.insert(turn, Waiting { wish, granted });
        (turn, receiver)
    }

    /// A request waits no more. False where it has got its place already.
    pub(super) fn leave(&mut self, turn: Turn) -> bool {
        self.waiting.remove(&turn).is_some()
    }

    /// Gives all the free places away, in order. A request whose session is at a full endpoint lets others pass that can't take
    /// its place anyway.
    pub(super) fn grant(&mut self, view: &View, mut random: impl FnMut() -> u64) -> Vec<Grant> {
        let mut grants = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some((&turn, next)) = self.waiting.range((from, Bound::Unbounded)).next() {
            match view.place(&next.wish, random()) {
                Place::At(endpoint) => {
                    let at_endpoint = endpoint.clone().enter();
                    grants.extend(self.waiting.remove(&turn).map(|next| Grant { granted: next.granted, at_endpoint }));
                }
                Place::Later => {}
                Place::Nowhere => break,
            }
            from = Bound::Excluded(turn);
        }
        grants
    }
}
