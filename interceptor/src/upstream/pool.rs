//! The idle connections of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Connection;

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
    /// The one idle longest is first.
    #[allow(clippy::vec_box, reason = "connections are large and always move as boxes")]
    by_endpoint: HashMap<SocketAddr, Vec<Box<Connection>>>,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, idle: RefCell::default() }
    }

    /// The connection used last: the others may grow old and be closed, so that no more stay than are needed.
    pub(crate) fn take(&self, endpoint: SocketAddr) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let connection = idle.by_endpoint.get_mut(&endpoint)?.pop()?;
        idle.count -= 1;
        Some(connection)
    }

    /// Keeps a connection, if it can carry another request and there is room.
    pub(crate) fn put(&self, connection: Box<Connection>) {
        let Some(connection) = connection.reusable(Instant::now()) else { return };
        let mut idle = self.idle.borrow_mut();
        if idle.count >= self.bounds.total {
            return;
        }
        let of_endpoint = idle.by_endpoint.entry(connection.address()).or_default();
        if of_endpoint.len() < self.bounds.per_endpoint {
            of_endpoint.push(connection);
            idle.count += 1;
        }
    }

    /// How many connections are idle.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().count
    }

    /// Closes what has been idle too long, and what the endpoint has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let stays = |connection: &mut Box<Connection>| {
            connection.idle_since().is_some_and(|since| now - since < self.bounds.idle)
                && !connection.ended_while_idle()
        };
        idle.by_endpoint.retain(|_, connections| {
            connections.retain_mut(stays);
            !connections.is_empty()
        });
        idle.count = idle.by_endpoint.values().map(Vec::len).sum();
    }
}
