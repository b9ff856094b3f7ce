//! One workload's last hour, in bounded memory.
//!
//! A point is kept only where it differs from the one before, so a workload that idles costs one point, however long. What can differ is
//! kept in slots of [`SLOT`]: the peaks of what is counted, the newest of what is a mean already.

use std::collections::VecDeque;
use std::time::Duration;

use super::values::Values;

/// How long one point is for.
pub const SLOT: Duration = Duration::from_secs(15);
/// Points of an hour.
pub const SLOTS: u32 = 240;
/// Points of all workloads together, 20 bytes each: an hour of 10,000 workloads none of which ever stays the same. With more of such
/// workloads each has less than an hour.
pub const POINTS: usize = 2_400_000;
/// Marks a point at which the values were not known.
const UNKNOWN: f32 = -1.0;

/// The values of one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Slots since the manager started.
    pub slot: u32,
    /// The most that was seen in flight.
    pub in_flight: u32,
    /// The most that was seen held.
    pub held: u32,
    concurrency: f32,
    request_rate: f32,
}

impl Point {
    fn of(slot: u32, values: &Values) -> Self {
        if !values.known() {
            return Self { slot, in_flight: 0, held: 0, concurrency: UNKNOWN, request_rate: 0.0 };
        }
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            slot,
            in_flight: count(values.in_flight),
            held: count(values.held),
            concurrency: single(values.concurrency),
            request_rate: single(values.request_rate),
        }
    }

    /// Whether the values were known.
    pub fn known(&self) -> bool {
        self.concurrency >= 0.0
    }

    /// The mean requests in flight at the slot's end.
    pub fn concurrency(&self) -> f64 {
        f64::from(self.concurrency)
    }

    /// Requests per second, likewise.
    pub fn request_rate(&self) -> f64 {
        f64::from(self.request_rate)
    }

    fn repeats(&self, other: &Self) -> bool {
        Self { slot: other.slot, ..*self } == *other
    }
}

#[allow(clippy::cast_possible_truncation, reason = "seven digits are more than a chart shows")]
fn single(value: f64) -> f32 {
    value as f32
}

/// One workload's points.
#[derive(Debug, Default)]
pub struct History {
    kept: VecDeque<Point>,
    /// The slot that is not over.
    open: Option<Point>,
}

impl History {
    /// Takes what is seen in a slot, of which none is before the newest; keeps so many points at most.
    pub fn take(&mut self, slot: u32, values: &Values, points_max: usize) {
        let seen = Point::of(slot, values);
        let Some(open) = &mut self.open else {
            self.open = Some(seen);
            return;
        };
        if open.slot == slot {
            // A slot that was not known all the time is one that is not known.
            if open.known() && seen.known() {
                *open = Point { in_flight: open.in_flight.max(seen.in_flight), held: open.held.max(seen.held), ..seen };
            } else if open.known() {
                *open = seen;
            }
            return;
        }
        let before = std::mem::replace(open, seen);
        self.keep(before);
        if slot > before.slot + 1 {
            // Nobody looked, as while this host was suspended.
            self.keep(Point::of(before.slot + 1, &Values::default()));
        }
        // The point that holds at the beginning of the hour stays.
        while self.kept.len() > points_max.max(2) || self.kept.get(1).is_some_and(|next| next.slot + SLOTS <= slot) {
            self.kept.pop_front();
        }
    }

    fn keep(&mut self, point: Point) {
        if !self.kept.back().is_some_and(|last| last.repeats(&point)) {
            self.kept.push_back(point);
        }
    }

    /// One point for each slot from this one on, as far as any is known.
    pub fn since(&self, slot: u32) -> Vec<Point> {
        let (Some(open), mut points) = (self.open, Vec::new()) else { return Vec::new() };
        let first = self.kept.front().map_or(open.slot, |point| point.slot).max(slot);
        let mut kept = self.kept.iter().peekable();
        let mut holds: Option<&Point> = None;
        for slot in first..open.slot {
            while let Some(point) = kept.next_if(|point| point.slot <= slot) {
                holds = Some(point);
            }
            points.extend(holds.map(|point| Point { slot, ..*point }));
        }
        points.push(open);
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HEARD, KNOWN};

    fn values(in_flight: u64) -> Values {
        Values { flags: KNOWN | HEARD, in_flight, ..Values::default() }
    }

    fn slots(history: &History, since: u32) -> Vec<(u32, u32)> {
        history.since(since).iter().map(|point| (point.slot, point.in_flight)).collect()
    }

    #[test]
    fn a_slot_tells_the_peak_that_was_seen_in_it() {
        let mut history = History::default();
        for (slot, in_flight) in [(0, 1), (0, 9), (0, 2), (1, 4), (2, 0)] {
            history.take(slot, &values(in_flight), 100);
        }
        assert_eq!(slots(&history, 0), [(0, 9), (1, 4), (2, 0)]);
        assert_eq!(slots(&history, 2), [(2, 0)]);
    }

    #[test]
    fn what_stays_the_same_costs_nothing_and_is_told_all_the_same() {
        let mut history = History::default();
        for slot in 0..5_000 {
            history.take(slot, &values(3), 100);
        }
        assert_eq!(history.kept.len(), 1);
        let told = slots(&history, 5_000 - SLOTS);
        assert_eq!((told.len(), told[0]), (SLOTS as usize, (5_000 - SLOTS, 3)));
    }

    #[test]
    fn an_hour_is_kept_and_never_more_than_may_be() {
        let (mut long, mut short) = (History::default(), History::default());
        for slot in 0..5_000 {
            long.take(slot, &values(u64::from(slot)), 10_000);
            short.take(slot, &values(u64::from(slot)), 10);
        }
        assert!(long.kept.len() <= SLOTS as usize + 1, "{}", long.kept.len());
        assert_eq!(slots(&long, 5_000 - SLOTS).len(), SLOTS as usize);
        assert_eq!(short.kept.len(), 10);
        assert_eq!(slots(&short, 0).last(), Some(&(4_999, 4_999)));
    }

    #[test]
    fn what_was_not_known_or_not_looked_at_is_told_so() {
        let mut history = History::default();
        history.take(0, &values(1), 100);
        history.take(1, &values(1), 100);
        history.take(1, &Values::default(), 100);
        history.take(1, &values(1), 100);
        history.take(4, &values(1), 100);
        let known: Vec<bool> = history.since(0).iter().map(Point::known).collect();
        assert_eq!(known, [true, false, false, false, true]);
    }
}
