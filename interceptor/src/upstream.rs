//! Connections to endpoints.
//!
//! A connection has no task of its own: whoever waits for its response, or reads the response's body, drives it. So a
//! request is one task's work from end to end, and a connection that nobody uses costs nothing. Each thread has its own pool.
//! Only connections of HTTP/2, which requests share, have tasks: see [`http2`]. [`Lines`] opens both kinds.
//!
//! [`http1`] is the protocol without I/O, [`io`] the stream and its buffers, [`Connection`] joins them.

pub(crate) mod connection;
pub(crate) mod fault;
mod http1;
pub(crate) mod http2;
mod io;
mod line;
pub(crate) mod patience;
pub(crate) mod pool;
mod request_body;
mod response_body;
mod sending;
mod stream;
pub(crate) mod tls;

pub(crate) use connection::Connection;
pub(crate) use fault::Unanswered;
pub(crate) use line::{Backend, Line, Lines, Origin};
pub(crate) use request_body::RequestBody;
pub(crate) use response_body::ResponseBody;
pub(crate) use stream::Stream;
