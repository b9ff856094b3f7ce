//! The custom resources of a Kubernetes cluster, followed while a program runs.
//!
//! What is read of an object is what is read of a document in a route file; [`read`] says what differs. A bad object never takes
//! the others away, and while the API server is away everything stays as it was.

mod read;
mod table;
mod watch;

pub use read::{Good, read};
pub use watch::{Routes, watch};
