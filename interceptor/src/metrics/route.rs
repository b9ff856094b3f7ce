//! The counters of one route: a request adds to them without a lock or a look-up.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::histogram::Histogram;
use crate::proxy::End;

/// The upper bounds of a request's duration, in microseconds: the add-on's, which are those of OpenTelemetry's
/// `http.server.request.duration`.
const DURATION_BOUNDS_US: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000, 5_000_000,
    7_500_000, 10_000_000,
];

/// The upper bounds of waits, in microseconds: from a retried connection to a large model's start.
const WAIT_BOUNDS_US: [u64; 16] = [
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    3_000_000,
    5_000_000,
    7_500_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// Pairs of method and status code that a route tells apart. Few routes have more than ten.
const ANSWERS: usize = 32;

/// What clients that left before their response are counted as (nginx's code for it).
const CLIENT_GONE: u16 = 499;

/// The label of methods that clients make up (the add-on's, by OpenTelemetry's conventions).
const OTHER_METHOD: &str = "_OTHER";

/// The counters of one route.
pub(crate) struct RouteMetrics {
    /// Filled from the front, never emptied.
    answers: [OnceLock<Box<Answers>>; ANSWERS],
    /// Requests that found no place there: only a client that plays with methods gets so far.
    more_answers: Answers,
    /// How long requests waited that did not go to an endpoint at once, until they did.
    pub(crate) queue: Histogram<{ WAIT_BOUNDS_US.len() }>,
    /// How long requests were held for a cold start, however that ended.
    pub(crate) cold_start: Histogram<{ WAIT_BOUNDS_US.len() }>,
    /// Requests for which there was no room to wait.
    pub(crate) cold_start_rejections: Counter,
    /// Requests that did not come to their end, in the order of [`End::BROKEN`].
    broken: [AtomicU64; End::BROKEN.len()],
}

/// Requests of one method with one status code.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) method: &'static str,
    /// 0 for all that found no place of their own.
    pub(super) code: u16,
    pub(super) duration: Histogram<{ DURATION_BOUNDS_US.len() }>,
    /// None before the first one.
    exemplars: Mutex<Option<Box<Exemplars>>>,
}

/// For each bucket, the newest request whose trace is kept.
pub(super) type Exemplars = [Option<Exemplar>; DURATION_BOUNDS_US.len() + 1];

/// A request to look at, for what a bucket has counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) duration: Duration,
    pub(crate) at: SystemTime,
}

impl Answers {
    fn new(method: &'static str, code: u16) -> Self {
        Self { method, code, duration: Histogram::new(&DURATION_BOUNDS_US), exemplars: Mutex::default() }
    }

    /// By bucket.
    pub(super) fn exemplars(&self) -> Exemplars {
        self.exemplars.lock().as_deref().copied().unwrap_or_default()
    }
}

impl Default for RouteMetrics {
    fn default() -> Self {
        Self {
            answers: [const { OnceLock::new() }; ANSWERS],
            more_answers: Answers::new(OTHER_METHOD, 0),
            queue: Histogram::new(&WAIT_BOUNDS_US),
            cold_start: Histogram::new(&WAIT_BOUNDS_US),
            cold_start_rejections: Counter::default(),
            broken: [const { AtomicU64::new(0) }; End::BROKEN.len()],
        }
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteMetrics").finish_non_exhaustive()
    }
}

impl RouteMetrics {
    /// A request has ended: with this status, or none where the client left before there was one.
    pub(crate) fn ended(&self, method: &'static str, status: Option<StatusCode>, end: End, after: Duration) {
        self.counted(method, status, end, after);
    }

    /// The same of a request whose trace is kept.
    pub(crate) fn ended_with(&self, method: &'static str, status: Option<StatusCode>, end: End, seen: Exemplar) {
        let (answers, bucket) = self.counted(method, status, end, seen.duration);
        answers.exemplars.lock().get_or_insert_default()[bucket] = Some(seen);
    }

    fn counted(
        &self,
        method: &'static str,
        status: Option<StatusCode>,
        end: End,
        after: Duration,
    ) -> (&Answers, usize) {
        let answers = self.answers_of(method, status.map_or(CLIENT_GONE, |status| status.as_u16()));
        if let Some(broken) = End::BROKEN.iter().position(|broken| *broken == end) {
            self.broken[broken].fetch_add(1, Relaxed);
        }
        (answers, answers.duration.observe(after))
    }

    fn answers_of(&self, method: &'static str, code: u16) -> &Answers {
        for slot in &self.answers {
            let answers = slot.get_or_init(|| Box::new(Answers::new(method, code)));
            if answers.code == code && answers.method == method {
                return answers;
            }
        }
        &self.more_answers
    }

    /// Every pair of method and code that has been seen.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Answers> {
        let more = Some(&self.more_answers).filter(|more| more.duration.snapshot().count() > 0);
        self.answers.iter().filter_map(OnceLock::get).map(Box::as_ref).chain(more)
    }

    /// How many requests ended before their end, by the reason.
    pub(super) fn broken(&self) -> impl Iterator<Item = (End, u64)> {
        End::BROKEN.into_iter().zip(&self.broken).map(|(end, count)| (end, count.load(Relaxed)))
    }
}

/// The method's label: clients must not make new series by making up methods.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER_METHOD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_makes_up_codes_or_methods_makes_no_series_without_end() {
        let metrics = RouteMetrics::default();
        for code in 100..600 {
            metrics.ended("GET", StatusCode::from_u16(code).ok(), End::Finished, Duration::ZERO);
        }
        assert_eq!(metrics.answers().count(), ANSWERS + 1);
        let counted: u64 = metrics.answers().map(|answers| answers.duration.snapshot().count()).sum();
        assert_eq!(counted, 500);
        assert_eq!(method_label(&Method::from_bytes(b"MADEUP").unwrap()), "_OTHER");
    }

    #[test]
    fn the_newest_request_of_a_bucket_is_its_exemplar() {
        let metrics = RouteMetrics::default();
        for span_id in [1, 2] {
            let seen =
                Exemplar { trace_id: 7, span_id, duration: Duration::from_millis(30), at: SystemTime::UNIX_EPOCH };
            metrics.ended_with("GET", Some(StatusCode::OK), End::Finished, seen);
        }
        let exemplars = metrics.answers().next().unwrap().exemplars();
        assert_eq!(exemplars.iter().flatten().map(|seen| seen.span_id).collect::<Vec<_>>(), [2]);
        assert!(exemplars[3].is_some(), "30 ms are in the bucket up to 50 ms");
    }
}
