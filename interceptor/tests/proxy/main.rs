//! The proxy against real clients and servers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod aborts;
mod access_log;
mod admin;
mod affinity;
mod backend_http2;
mod backend_tls;
mod balancing;
mod bodies;
mod certs;
mod client;
mod cold_start;
mod compared;
mod connections;
mod departures;
mod forwarding;
mod frames;
mod gate;
mod grpc;
mod h2spec;
mod held;
mod http2;
mod http2_abuse;
mod line;
mod logs;
mod otlp;
mod parking;
mod placeholder;
mod prometheus;
mod protocols;
mod resolve;
mod scene;
mod shutdown;
mod slow_bodies;
mod static_routes;
mod streams;
mod strict;
mod tls;
mod tools;
mod traces;
mod upstream;
mod websocket_http2;
