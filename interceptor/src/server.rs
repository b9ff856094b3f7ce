//! The proxy's own side: listeners, threads, and clients' connections.

pub(crate) mod client;
pub(crate) mod crowd;
pub(crate) mod gate;
pub(crate) mod listener;
pub(crate) mod parking;
pub(crate) mod serving;
pub(crate) mod streams;
pub(crate) mod threads;
pub(crate) mod tls;
pub(crate) mod worker;
