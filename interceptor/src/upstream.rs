//! Connections to endpoints.
//!
//! A connection has no task of its own: whoever waits for its response, or reads the response's body, drives it. So a
//! request is one task's work from end to end, and a connection that nobody uses costs nothing. Each thread has its own pool.

pub(crate) mod connection;
pub(crate) mod pool;
mod relay;
pub(crate) mod request_body;

pub(crate) use connection::{Connection, Unanswered};
pub(crate) use request_body::RequestBody;
