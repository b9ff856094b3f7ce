//! The series of routes and endpoints, written in OpenMetrics when somebody scrapes.
//!
//! They are written here and not by the registry's encoder because that takes no exemplars that were kept elsewhere, and because
//! there may be tens of thousands of them.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

use plimsoll_wire::topic::WorkloadId;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::histogram::Snapshot;
use super::route::{Answers, Exemplars};
use super::{Format, Metrics};
use crate::endpoints::Endpoints;
use crate::ledger::Ledger;

/// The whole page of `/metrics` in one of the two formats.
///
/// # Errors
/// Where a metric of the registry can't be encoded.
pub(crate) fn write(
    registry: &Registry,
    metrics: &Metrics,
    ledger: &Ledger,
    endpoints: &Endpoints,
    format: Format,
) -> Result<String, fmt::Error> {
    let mut page = String::new();
    encode_registry(&mut page, registry)?;
    routes(&mut page, metrics)?;
    in_flight(&mut page, ledger)?;
    picks(&mut page, endpoints)?;
    encode_eof(&mut page)?;
    Ok(match format {
        Format::OpenMetrics => page,
        Format::Text => super::text::from_open_metrics(&page),
    })
}

/// How requests ended and how long they took and waited.
fn routes(page: &mut String, metrics: &Metrics) -> fmt::Result {
    let routes = metrics.routes();
    let nowhere = WorkloadId { namespace: String::new(), name: String::new() };
    let all = || routes.iter().map(|(workload, metrics)| (workload, &**metrics)).chain([(&nowhere, &metrics.no_route)]);

    family(page, "interceptor_request_count", "counter", "Requests that have ended")?;
    for (workload, metrics) in all() {
        for answers in metrics.answers() {
            let labels = answer_labels(answers, workload);
            writeln!(page, "interceptor_request_count_total{{{labels}}} {}", answers.duration.snapshot().count())?;
        }
    }
    let name = "interceptor_request_duration_seconds";
    family(page, name, "histogram", "From a request's arrival to the last byte of its response")?;
    for (workload, metrics) in all() {
        for answers in metrics.answers() {
            let labels = answer_labels(answers, workload);
            histogram(page, name, &labels, &answers.duration.snapshot(), &answers.exemplars())?;
        }
    }
    family(page, "interceptor_broken_requests", "counter", "Requests that did not come to their end, by the reason")?;
    for (workload, metrics) in all() {
        for (end, count) in metrics.broken().filter(|(_, count)| *count > 0) {
            let (end, labels) = (end.name(), Labels(workload));
            writeln!(page, "interceptor_broken_requests_total{{reason=\"{end}\",{labels}}} {count}")?;
        }
    }
    let name = "interceptor_request_queue_duration_seconds";
    family(page, name, "histogram", "Until a request that had to wait was sent to an endpoint; others are not in it")?;
    for (workload, metrics) in all() {
        waits(page, name, workload, &metrics.queue.snapshot())?;
    }
    let name = "interceptor_cold_start_duration_seconds";
    family(page, name, "histogram", "How long requests were held because their workload had no ready endpoint")?;
    for (workload, metrics) in all() {
        waits(page, name, workload, &metrics.cold_start.snapshot())?;
    }
    let name = "interceptor_cold_start_rejections";
    family(page, name, "counter", "Requests that found no room to wait for a cold start")?;
    for (workload, metrics) in all().filter(|(_, metrics)| metrics.cold_start_rejections.get() > 0) {
        writeln!(page, "{name}_total{{{}}} {}", Labels(workload), metrics.cold_start_rejections.get())?;
    }
    Ok(())
}

/// What the ledger counts.
fn in_flight(page: &mut String, ledger: &Ledger) -> fmt::Result {
    let mut workloads = ledger.snapshot();
    workloads.sort_by(|(a, _), (b, _)| a.cmp(b));
    family(page, "interceptor_request_concurrency", "gauge", "Requests in flight, held ones included")?;
    for (workload, totals) in &workloads {
        writeln!(page, "interceptor_request_concurrency{{{}}} {}", Labels(workload), totals.in_flight)?;
    }
    family(page, "interceptor_request_held", "gauge", "Requests held for a cold start now")?;
    for (workload, totals) in &workloads {
        writeln!(page, "interceptor_request_held{{{}}} {}", Labels(workload), totals.held)?;
    }
    Ok(())
}

/// How requests are spread. The series of an endpoint go with it.
fn picks(page: &mut String, endpoints: &Endpoints) -> fmt::Result {
    family(page, "interceptor_endpoint_picks", "counter", "Times that an endpoint was chosen for a request")?;
    for (workload, set) in endpoints.all() {
        for endpoint in set.shown() {
            let (address, picks) = (endpoint.address, endpoint.picks);
            let labels = Labels(&workload);
            writeln!(page, "interceptor_endpoint_picks_total{{endpoint=\"{address}\",{labels}}} {picks}")?;
        }
    }
    Ok(())
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(page, "# HELP {name} {help}.\n# TYPE {name} {kind}")?;
    if name.ends_with("_seconds") { writeln!(page, "# UNIT {name} seconds") } else { Ok(()) }
}

fn waits(page: &mut String, name: &str, workload: &WorkloadId, waits: &Snapshot) -> fmt::Result {
    if waits.count() == 0 {
        return Ok(());
    }
    histogram(page, name, &Labels(workload), waits, &Exemplars::default())
}

fn histogram(
    page: &mut String,
    name: &str,
    labels: &impl Display,
    times: &Snapshot,
    exemplars: &Exemplars,
) -> fmt::Result {
    let mut below = 0;
    for (bucket, (bound, count)) in times.buckets.iter().enumerate() {
        below += count;
        match bound.as_ref().map(Duration::as_secs_f64) {
            // A bound is written with a point, as OpenMetrics wants floats.
            Some(bound) => write!(page, "{name}_bucket{{le=\"{bound:?}\",{labels}}} {below}")?,
            None => write!(page, "{name}_bucket{{le=\"+Inf\",{labels}}} {below}")?,
        }
        if let Some(seen) = exemplars.get(bucket).copied().flatten() {
            let at = seen.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let (trace, span, seconds) = (seen.trace_id, seen.span_id, seen.duration.as_secs_f64());
            write!(page, " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {seconds:?} {at:.3}")?;
        }
        page.push('\n');
    }
    writeln!(page, "{name}_sum{{{labels}}} {:?}\n{name}_count{{{labels}}} {below}", times.sum.as_secs_f64())
}

/// `route_name` and `route_namespace`, the add-on's labels; both empty where no route matched.
struct Labels<'a>(&'a WorkloadId);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of Kubernetes have nothing that needs escaping, and others are no workloads.
        write!(f, "route_name=\"{}\",route_namespace=\"{}\"", self.0.name, self.0.namespace)
    }
}

fn answer_labels(answers: &Answers, workload: &WorkloadId) -> String {
    format!("code=\"{}\",method=\"{}\",{}", answers.code, answers.method, Labels(workload))
}
