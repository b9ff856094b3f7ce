//! One workload's values at one moment, rounded to what people tell apart, so that a change is one that they can see.

use std::time::Duration;

use plimsoll_wire::resources::Scaling;

use crate::api::{ACTIVE, HEARD, KNOWN, ZERO_IS_UNKNOWN};
use crate::board::Cell;
use crate::catalogue::Entry;
use crate::told;

/// What is shown of one workload at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Values {
    /// Whether it is known, active, and the like: the API's flags.
    pub flags: u8,
    /// Requests in flight, held ones included.
    pub in_flight: u64,
    /// Requests held for a cold start.
    pub held: u64,
    /// Mean requests in flight over the window, to a hundredth.
    pub concurrency: f64,
    /// Requests per second over the window, to a hundredth.
    pub request_rate: f64,
    /// Replicas that what KEDA is told asks for; none while that is an error.
    pub wanted: Option<u32>,
}

impl Values {
    /// Those of now, and whose answer they are.
    pub fn now(entry: &Entry, cell: &Cell, activity_window: Duration) -> (Self, Option<std::sync::Arc<str>>) {
        let best = cell.best().ok();
        let known = best.is_some();
        let Some(heard) = best.or_else(|| cell.newest()) else { return (Self::default(), None) };
        let (answer, scaling) = (&heard.answer, &entry.workload.scaling);
        let mut flags = HEARD;
        let mut wanted = None;
        if answer.zero_is_unknown {
            flags |= ZERO_IS_UNKNOWN;
        }
        if known {
            flags |= KNOWN;
            let told = told::tell(answer, scaling, activity_window, heard.at.elapsed());
            let active = told.activity.active || cell.is_active();
            if active {
                flags |= ACTIVE;
            }
            wanted = Some(replicas(told.concurrency.value, told.request_rate.value, active, scaling));
        }
        let values = Self {
            flags,
            in_flight: answer.in_flight,
            held: answer.held,
            concurrency: hundredths(answer.concurrency),
            request_rate: hundredths(answer.request_rate),
            wanted,
        };
        (values, Some(heard.link.collector.clone()))
    }

    /// Whether they are known.
    pub fn known(&self) -> bool {
        self.flags & KNOWN != 0
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Replicas that these values ask for, as the HPA reckons with a target of an average value: the greatest of each value over its target,
/// rounded up; at least one while active; within the resource's bounds. Its tolerance and its stabilisation are left out: it is what is
/// asked for, not what is there.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floats saturate, and none is below zero")]
pub fn replicas(concurrency: f64, request_rate: f64, active: bool, scaling: &Scaling) -> u32 {
    let of = |value: f64, target: Option<u32>| target.map_or(0.0, |target| (value / f64::from(target.max(1))).ceil());
    let by_load = of(concurrency, scaling.concurrency_target).max(of(request_rate, scaling.rate_target)) as u32;
    let least = u32::from(active);
    by_load.max(least).max(scaling.min_replicas.unwrap_or(0)).min(scaling.max_replicas.unwrap_or(u32::MAX))
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
            max_replicas: Some(5),
        }
    }

    #[test]
    fn the_greater_demand_decides_how_many_replicas_are_asked_for() {
        assert_eq!(replicas(11.0, 10.0, true, &scaling()), 2);
        assert_eq!(replicas(1.0, 151.0, true, &scaling()), 4);
        assert_eq!(replicas(0.0, 0.0, true, &scaling()), 1, "active is at least one");
        assert_eq!(replicas(0.0, 0.0, false, &scaling()), 0);
        assert_eq!(replicas(1e30, 0.0, true, &scaling()), 5, "never above the bound");
        let least = Scaling { min_replicas: Some(2), ..scaling() };
        assert_eq!(replicas(0.0, 0.0, false, &least), 2);
    }
}
