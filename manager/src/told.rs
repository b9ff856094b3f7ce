//! What KEDA is told of a workload, and why: pure.
//!
//! The rules are the design's "What KEDA is told". Every value keeps its terms, so that `ctl` and the dashboard can show them.

use std::time::Duration;

use plimsoll_wire::collector::Answer;
use plimsoll_wire::resources::Scaling;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A burst counts once its mean is at least this many times the window's (Knative's panic threshold, 200 %).
const BURST_RATIO: f64 = 2.0;

/// The values for KEDA, with the terms that they are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Requests in flight to scale on.
    pub concurrency: Concurrency,
    /// Requests per second to scale on.
    pub request_rate: RequestRate,
    /// Whether the workload should have a replica at all.
    pub activity: Activity,
}

/// The greatest of the terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// What KEDA gets.
    pub value: f64,
    /// Which term it is.
    pub because: ConcurrencyTerm,
    /// The mean over the window.
    pub mean: f64,
    /// Requests held for a cold start now: waiting demand is not averaged away.
    pub held: u64,
    /// The mean over the window's last tenth; counts only as a burst.
    pub burst: f64,
    /// For each replica; none where the workload does not scale on it.
    pub target: Option<u32>,
}

/// A term of the concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConcurrencyTerm {
    /// The mean over the window.
    Mean,
    /// Requests held now.
    Held,
    /// The mean over the window's last tenth.
    Burst,
}

/// The rate, raised while requests are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRate {
    /// What KEDA gets, in requests per second.
    pub value: f64,
    /// The mean over the window.
    pub mean: f64,
    /// Whether held requests raised it to one target.
    pub raised_for_held: bool,
    /// For each replica; none where the workload does not scale on it.
    pub target: Option<u32>,
}

/// Whether the workload is active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// What KEDA gets. Requests that were in flight within the window count too, where this manager has heard of them.
    pub active: bool,
    /// Requests in flight now.
    pub in_flight: u64,
    /// Seconds since the last arrival; none if none was ever seen.
    pub seconds_since_arrival: Option<f64>,
    /// An arrival within this many seconds keeps the workload active.
    pub activity_window_seconds: f64,
}

/// What is told of an answer that came `age` ago.
#[must_use]
pub fn tell(answer: &Answer, scaling: &Scaling, activity_window: Duration, age: Duration) -> Told {
    Told {
        concurrency: concurrency(answer, scaling),
        request_rate: request_rate(answer, scaling),
        activity: activity(answer, activity_window, age),
    }
}

/// The concurrency that is told.
#[must_use]
pub fn concurrency(answer: &Answer, scaling: &Scaling) -> Concurrency {
    let (mean, burst) = (answer.concurrency, answer.burst_concurrency);
    let mut value = mean;
    let mut because = ConcurrencyTerm::Mean;
    if burst >= BURST_RATIO * mean && burst > value {
        (value, because) = (burst, ConcurrencyTerm::Burst);
    }
    if held_of(answer) > value {
        (value, because) = (held_of(answer), ConcurrencyTerm::Held);
    }
    Concurrency { value, because, mean, held: answer.held, burst, target: scaling.concurrency_target }
}

/// The request rate that is told: with requests held, at least one target, so that the first replica comes.
#[must_use]
pub fn request_rate(answer: &Answer, scaling: &Scaling) -> RequestRate {
    let mean = answer.request_rate;
    let floor = match scaling.rate_target {
        Some(target) if answer.held > 0 => f64::from(target),
        _ => 0.0,
    };
    RequestRate { value: mean.max(floor), mean, raised_for_held: floor > mean, target: scaling.rate_target }
}

/// Whether the workload is active: short requests between two polls must not look like silence.
#[must_use]
pub fn activity(answer: &Answer, activity_window: Duration, age: Duration) -> Activity {
    let since_arrival = answer.since_arrival_us.map(|us| Duration::from_micros(us) + age);
    Activity {
        active: answer.in_flight > 0 || since_arrival.is_some_and(|since| since <= activity_window),
        in_flight: answer.in_flight,
        seconds_since_arrival: since_arrival.map(|since| since.as_secs_f64()),
        activity_window_seconds: activity_window.as_secs_f64(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "requests held are far below 2^52")]
pub(crate) fn held_of(answer: &Answer) -> f64 {
    answer.held as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling() -> Scaling {
        Scaling {
            concurrency_target: Some(10),
            rate_target: Some(50),
            concurrency_window: Duration::from_secs(15),
            rate_window: Duration::from_secs(60),
            min_replicas: None,
            max_replicas: None,
        }
    }

    #[test]
    fn waiting_demand_is_not_averaged_away() {
        let told = concurrency(&Answer { concurrency: 2.0, held: 30, in_flight: 30, ..Answer::default() }, &scaling());
        assert_eq!((told.value, told.because), (30.0, ConcurrencyTerm::Held));
    }

    #[test]
    fn a_burst_counts_from_twice_the_mean() {
        let of = |burst| {
            concurrency(&Answer { concurrency: 4.0, burst_concurrency: burst, ..Answer::default() }, &scaling())
        };
        assert_eq!((of(7.9).value, of(7.9).because), (4.0, ConcurrencyTerm::Mean));
        assert_eq!((of(8.0).value, of(8.0).because), (8.0, ConcurrencyTerm::Burst));
    }

    #[test]
    fn held_requests_ask_for_the_first_replica_by_rate() {
        let told = request_rate(&Answer { request_rate: 0.02, held: 1, ..Answer::default() }, &scaling());
        assert!(told.raised_for_held);
        assert_eq!(told.value, 50.0);
        let told = request_rate(&Answer { request_rate: 70.0, held: 1, ..Answer::default() }, &scaling());
        assert_eq!((told.value, told.raised_for_held), (70.0, false));
    }

    #[test]
    fn an_arrival_keeps_a_workload_active_for_the_activity_window() {
        let answer = Answer { since_arrival_us: Some(20_000_000), ..Answer::default() };
        let window = Duration::from_secs(30);
        assert!(activity(&answer, window, Duration::from_secs(10)).active);
        assert!(!activity(&answer, window, Duration::from_secs(11)).active);
        assert!(!activity(&Answer::default(), window, Duration::ZERO).active);
        let busy = Answer { in_flight: 1, since_arrival_us: Some(900_000_000), ..Answer::default() };
        assert!(activity(&busy, window, Duration::ZERO).active, "a long request is activity");
    }
}
