//! The reverse proxy: it routes requests to workloads, holds them while a workload has no ready endpoint, forwards them over
//! pooled connections, counts them, and publishes what it has counted.
//!
//! * [`Interceptor`] is the whole; [`Config`], [`Parts`] and [`Endpoints`] are what it is made of.
//! * Deciding is pure: `routing` finds a request's workload, `endpoints` chooses where it goes.
//! * `server` has the threads and clients' connections, `proxy` follows a request from its arrival to its departure,
//!   `upstream` has the connections to endpoints. A request stays on the thread that it came in on, and in one task.
//! * [`ledger`] counts, [`publish`] tells the log. `metrics`, `admin` and `observe` (access log, traces) show people what goes on.

mod admin;
mod cluster;
mod cold_start;
mod config;
mod endpoints;
mod fixed_response;
mod interceptor;
pub mod ledger;
mod metrics;
mod observe;
mod proxy;
pub mod publish;
mod resolve;
mod routes;
/// Public for the benchmark of look-ups alone; no promise to anybody else.
#[doc(hidden)]
pub mod routing;
mod server;
mod static_routes;
mod tls_client;
mod upstream;

pub use cluster::{Cluster, Resources, resolve_by_cluster};
pub use cold_start::fallback_of;
pub use config::{Config, ErrorFormat, Secret};
pub use endpoints::{Endpoints, State};
pub use interceptor::{Error, Interceptor, Parts, run};
pub use metrics::described as described_metrics;
pub use observe::{AccessLogFormat, OtlpProtocol, TracesError};
pub use proxy::forwarded::{NoNetwork, TrustedProxies};
pub use resolve::resolve_by_dns;
pub use server::tls::{ClientAuth, TlsConfig, TlsError, TlsVersion};
pub use upstream::tls::UpstreamTlsConfig;
