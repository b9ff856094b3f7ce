//! The manager's REST API, over real connections, on a store and a log in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod access;
mod collectors;
mod dashboard;
mod document;
mod events;
mod lists;
mod policy;
mod protocol;
mod scene;
mod topics;
