//! The arithmetic of running totals: pure, with the time handed in.

/// Everything counted of one workload since the interceptor's start.
///
/// The integral of requests in flight over time needs no visit between arrivals and departures. A request that arrived
/// at `a` and departs at `d` adds `d - a`; one still in flight at `t` has added `t - a` so far. So the integral at `t`
/// is the sum of departure times, less the sum of arrival times, plus `t` for each request in flight: exact at every
/// instant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) admitted: u64,
    pub(super) finished: u64,
    pub(super) held: u64,
    pub(super) last_arrival_us: u64,
    pub(super) spell: Spell,
    /// Sums of times. They wrap, which cancels out: the integral itself is far from 2^64 request-microseconds.
    arrivals_us: u64,
    departures_us: u64,
}

/// Where the present busy spell began, and the totals just before its first arrival; nothing was in flight then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) at_us: u64,
    pub(super) admitted: u64,
    pub(super) busy_us: u64,
}

impl Counts {
    /// The next arrival, at this time, opens a busy spell.
    pub(super) fn begin_spell(&mut self, now_us: u64) {
        self.spell = Spell { at_us: now_us, admitted: self.admitted, busy_us: self.busy_us(now_us) };
    }

    pub(super) fn arrive(&mut self, now_us: u64) {
        self.admitted += 1;
        self.last_arrival_us = now_us;
        self.arrivals_us = self.arrivals_us.wrapping_add(now_us);
    }

    pub(super) fn depart(&mut self, now_us: u64) {
        self.finished += 1;
        self.departures_us = self.departures_us.wrapping_add(now_us);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.admitted - self.finished
    }

    /// The integral of requests in flight until now, in request-microseconds.
    pub(super) fn busy_us(&self, now_us: u64) -> u64 {
        let until_now = self.in_flight().wrapping_mul(now_us);
        self.departures_us.wrapping_sub(self.arrivals_us).wrapping_add(until_now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn busy_is_the_sum_of_the_time_each_request_was_in_flight(
            // Near the end of the clock's range too, where the sums of times wrap.
            start in prop_oneof![Just(0), Just(u64::MAX / 2)],
            requests in prop::collection::vec((0..1_000_000_u64, 0..1_000_000_u64), 0..50),
            now in 0..3_000_000_u64,
        ) {
            let mut events: Vec<(u64, bool)> = Vec::new();
            for (arrival, duration) in &requests {
                events.push((*arrival, true));
                events.push((arrival + duration, false));
            }
            // Of one instant, arrivals first: a request may take no time.
            events.sort_by_key(|(at, arrival)| (*at, !arrival));
            let mut counts = Counts::default();
            for (at, arrival) in events.into_iter().filter(|(at, _)| *at <= now) {
                if arrival { counts.arrive(start + at) } else { counts.depart(start + at) }
            }
            let truth: u64 = requests
                .iter()
                .map(|(arrival, duration)| (arrival + duration).min(now).saturating_sub(*arrival))
                .sum();
            prop_assert_eq!(counts.busy_us(start + now), truth);
        }
    }
}
