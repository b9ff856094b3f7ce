//! What each family of metrics says, without an interceptor that runs.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{Method, StatusCode};
use plimsoll_wire::topic::WorkloadId;
use prometheus_client::registry::Registry;

use super::{Format, Metrics, method_label, page};
use crate::endpoints::Endpoints;
use crate::ledger::{Clock, Ledger};
use crate::proxy::End;

/// A page of `/metrics` in OpenMetrics on which every family has a series, so that its labels can be seen; the values mean nothing.
///
/// # Errors
/// Where a metric can't be encoded.
pub fn described() -> Result<String, fmt::Error> {
    let (metrics, ledger, endpoints) = (Metrics::default(), Ledger::new(Clock::start()), Endpoints::new());
    let mut registry = Registry::default();
    let _published = metrics.register_all(&mut registry, &endpoints);
    metrics.tls.ends_at(String::new(), 0);

    let workload = WorkloadId::new("default", "hello");
    let _totals = ledger.workload(&workload);
    endpoints.set(&workload, vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 80))]);
    let route = metrics.of(&workload);
    route.ended(method_label(&Method::GET), Some(StatusCode::OK), End::ClientGone, Duration::ZERO);
    route.queue.observe(Duration::ZERO);
    route.cold_start.observe(Duration::ZERO);
    route.cold_start_rejections.inc();
    page::write(&registry, &metrics, &ledger, &endpoints, Format::OpenMetrics)
}
