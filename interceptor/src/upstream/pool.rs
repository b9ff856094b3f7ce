//! The idle connections of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Connection, Origin};
use crate::endpoints::Endpoint;

/// Bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Idle connections of all endpoints together.
    pub(crate) total: usize,
    /// Idle connections of one endpoint.
    pub(crate) per_endpoint: usize,
    /// How long one may be idle.
    pub(crate) idle: Duration,
}

/// Idle connections by endpoint. What comes in over a bound is closed.
#[derive(Debug)]
pub(crate) struct Pool {
    bounds: Bounds,
    idle: RefCell<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    count: usize,
    by_endpoint: HashMap<Origin, OfEndpoint>,
}

#[derive(Debug)]
struct OfEndpoint {
    /// Whose requests the connections carried last.
    endpoint: Arc<Endpoint>,
    /// The one idle longest is first.
    #[allow(clippy::vec_box, reason = "connections are large and always move as boxes")]
    connections: Vec<Box<Connection>>,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, idle: RefCell::default() }
    }

    /// The connection used last: the others may grow old and be closed, so that no more stay than are needed.
    pub(crate) fn take(&self, origin: &Origin) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let connection = idle.by_endpoint.get_mut(origin)?.connections.pop()?;
        idle.count -= 1;
        Some(connection)
    }

    /// Keeps a connection to this endpoint, if it can carry another request, the endpoint gets more of them, and there is room.
    pub(crate) fn put(&self, connection: Box<Connection>, endpoint: &Arc<Endpoint>) {
        if endpoint.is_leaving() {
            return;
        }
        let Some(connection) = connection.reusable(Instant::now()) else { return };
        let mut idle = self.idle.borrow_mut();
        if idle.count >= self.bounds.total {
            return;
        }
        let fresh = || OfEndpoint { endpoint: endpoint.clone(), connections: Vec::new() };
        let of_endpoint = idle.by_endpoint.entry(connection.origin().clone()).or_insert_with(fresh);
        if !Arc::ptr_eq(&of_endpoint.endpoint, endpoint) {
            of_endpoint.endpoint = endpoint.clone();
        }
        if of_endpoint.connections.len() < self.bounds.per_endpoint {
            of_endpoint.connections.push(connection);
            idle.count += 1;
        }
    }

    /// How many connections are idle.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().count
    }

    /// Closes what has been idle too long, what has grown old, what the endpoint has closed, and all connections to endpoints that get
    /// no more requests.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let stays = |connection: &mut Box<Connection>| {
            connection.idle_since().is_some_and(|since| now - since < self.bounds.idle)
                && !connection.is_old(now)
                && !connection.ended_while_idle()
        };
        idle.by_endpoint.retain(|_, OfEndpoint { endpoint, connections }| {
            connections.retain_mut(stays);
            !connections.is_empty() && !endpoint.is_leaving()
        });
        idle.count = idle.by_endpoint.values().map(|of_endpoint| of_endpoint.connections.len()).sum();
    }
}
