//! The running totals of one interceptor's run in one topic, and what they were at any time between.

use std::collections::VecDeque;

/// Running totals at one time of a run's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// When, in the run's own microseconds. First of the fields, since points are ordered by it.
    pub(crate) at_us: u64,
    /// The integral of requests in flight over time, in request-microseconds.
    pub(crate) busy_us: u64,
    /// Requests admitted.
    pub(crate) admitted: u64,
}

/// Points in the order of their time, whatever order they came in.
#[derive(Debug, Default)]
pub(crate) struct History {
    points: VecDeque<Point>,
}

/// Where a value lies between two points.
///
/// The whole part stays an integer until two of them are subtracted: totals of months outgrow a float's 53 bits.
#[derive(Debug, Clone, Copy)]
struct Between {
    busy_us: u64,
    busy_part: f64,
    admitted: u64,
    admitted_part: f64,
}

/// What changed from one time to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Change {
    /// Request-microseconds.
    pub(crate) busy_us: f64,
    /// Requests.
    pub(crate) admitted: f64,
}

impl History {
    /// Takes a point; the same one twice changes nothing.
    pub(crate) fn insert(&mut self, point: Point) {
        if self.points.back().is_none_or(|last| *last < point) {
            self.points.push_back(point);
        } else if let Err(place) = self.points.binary_search(&point) {
            self.points.insert(place, point);
        }
    }

    /// Drops what no window that begins at or after `from_us` needs.
    pub(crate) fn forget_before(&mut self, from_us: u64) {
        while self.points.get(1).is_some_and(|second| second.at_us <= from_us) {
            self.points.pop_front();
        }
        // An idle topic is one of thousands: it must not hold on to the memory of its busiest minute.
        if self.points.capacity() > 16 && self.points.len() * 4 < self.points.capacity() {
            self.points.shrink_to(self.points.len() * 2);
        }
    }

    /// What changed between two times of the run's own clock; nothing where `to_us` is not after `from_us`.
    pub(crate) fn change(&self, from_us: u64, to_us: u64) -> Change {
        if to_us <= from_us || self.points.back().is_none_or(|last| last.at_us <= from_us) {
            return Change::default();
        }
        match (self.value(from_us), self.value(to_us)) {
            (Some(from), Some(to)) => to.since(from),
            _ => Change::default(),
        }
    }

    /// Linear between two points; before the first and after the last one nothing changes.
    fn value(&self, at_us: u64) -> Option<Between> {
        let after = self.points.partition_point(|point| point.at_us <= at_us);
        let Some(before) = after.checked_sub(1).and_then(|index| self.points.get(index)) else {
            return self.points.front().map(|first| Between::at(*first));
        };
        let Some(next) = self.points.get(after) else { return Some(Between::at(*before)) };
        let share = to_f64(at_us - before.at_us) / to_f64(next.at_us - before.at_us);
        Some(Between {
            busy_us: before.busy_us,
            busy_part: share * to_f64(next.busy_us.saturating_sub(before.busy_us)),
            admitted: before.admitted,
            admitted_part: share * to_f64(next.admitted.saturating_sub(before.admitted)),
        })
    }
}

impl Between {
    fn at(point: Point) -> Self {
        Self { busy_us: point.busy_us, busy_part: 0.0, admitted: point.admitted, admitted_part: 0.0 }
    }

    fn since(self, earlier: Self) -> Change {
        let change = |now: u64, now_part: f64, then: u64, then_part: f64| {
            // Not below zero: a run whose totals go back breaks the protocol, and must not lower the others' sum.
            (to_f64(now.saturating_sub(then)) + (now_part - then_part)).max(0.0)
        };
        Change {
            busy_us: change(self.busy_us, self.busy_part, earlier.busy_us, earlier.busy_part),
            admitted: change(self.admitted, self.admitted_part, earlier.admitted, earlier.admitted_part),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "differences inside a window of minutes are far below 2^53")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(at_us: u64, admitted: u64, busy_us: u64) -> Point {
        Point { at_us, busy_us, admitted }
    }

    fn history(points: &[Point]) -> History {
        let mut history = History::default();
        for point in points {
            history.insert(*point);
        }
        history
    }

    #[test]
    fn between_two_points_a_total_grows_evenly_and_outside_not_at_all() {
        let history = history(&[point(100, 0, 0), point(200, 10, 50)]);
        assert_eq!(history.change(0, 150), Change { busy_us: 25.0, admitted: 5.0 });
        assert_eq!(history.change(150, 900), Change { busy_us: 25.0, admitted: 5.0 });
        assert_eq!(history.change(0, 900), Change { busy_us: 50.0, admitted: 10.0 });
        assert_eq!(history.change(300, 900), Change::default());
    }

    #[test]
    fn totals_beyond_a_floats_precision_are_told_apart() {
        let base = 1 << 62;
        let history = history(&[point(0, base, base), point(1_000, base + 1, base + 3)]);
        assert_eq!(history.change(0, 1_000), Change { busy_us: 3.0, admitted: 1.0 });
    }

    proptest! {
        #[test]
        fn order_and_repetition_of_points_change_nothing(steps in prop::collection::vec((1u64..100, 0u64..5, 0u64..500), 1..40), seed: u64) {
            let mut totals = (0, 0, 0);
            let points: Vec<_> = steps.iter().map(|(time, admitted, busy)| {
                totals = (totals.0 + time, totals.1 + admitted, totals.2 + busy);
                point(totals.0, totals.1, totals.2)
            }).collect();
            let mut shuffled: Vec<_> = points.iter().chain(&points).copied().collect();
            shuffled.sort_by_key(|point| (point.at_us ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (ordered, shuffled) = (history(&points), history(&shuffled));
            prop_assert_eq!(&ordered.points, &shuffled.points);
        }

        #[test]
        fn forgetting_changes_no_later_window(steps in prop::collection::vec((1u64..100, 0u64..5, 0u64..500), 1..40), from in 0u64..3_000, length in 0u64..3_000) {
            let mut totals = (0, 0, 0);
            let points: Vec<_> = steps.iter().map(|(time, admitted, busy)| {
                totals = (totals.0 + time, totals.1 + admitted, totals.2 + busy);
                point(totals.0, totals.1, totals.2)
            }).collect();
            let whole = history(&points);
            let mut short = history(&points);
            short.forget_before(from);
            prop_assert_eq!(whole.change(from, from + length), short.change(from, from + length));
        }
    }
}
