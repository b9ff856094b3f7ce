//! HTTP/2 to endpoints: many requests share a connection.
//!
//! Unlike one of HTTP/1.1, such a connection has a task of its own (`session`), since no request may wait for another one's
//! client. A request still is one task's work: `exchange` sends it and waits for the head of the response, `upload` is the
//! part that sends the body, `download` reads the response's. `sessions` has the connections of one thread.

mod download;
mod exchange;
mod head;
mod session;
mod sessions;
mod upload;

pub(crate) use download::Download;
pub(crate) use session::{Session, Terms};
pub(crate) use sessions::{Place, Sessions};
