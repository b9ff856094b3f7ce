//! How slowly the body of a request may come.
//!
//! Only the time counts in which the client is waited for: a workload that takes its time to read is not the client's fault.

use std::time::Duration;

use tokio::time::Instant;

/// Limits of a body's pace; none is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PaceLimits {
    /// From one read to the next.
    pub(crate) pause: Option<Duration>,
    /// On the whole.
    pub(crate) rate: Option<MinRate>,
}

/// The least that must come in the time that the client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinRate {
    /// So long it does not matter.
    pub(crate) grace: Duration,
    /// Afterwards so many bytes buy a second each time.
    pub(crate) bytes_per_second: u64,
}

/// How a body is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Nothing has come for too long.
    Stopped,
    /// Too little has come.
    Drips,
}

/// The pace of one body.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: PaceLimits,
    /// How long the client has been waited for, the present wait apart.
    waited: Duration,
    waiting_since: Option<Instant>,
}

/// No wait is measured in more than this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Pace {
    /// Of a body of which nothing has come.
    pub(crate) fn new(limits: PaceLimits) -> Self {
        Self { limits, waited: Duration::ZERO, waiting_since: None }
    }

    /// Nothing is there at this time, after so many bytes: when it will be too late, and why. `may_pause`: nothing need come any
    /// more; `may_drip`: it need not be much.
    pub(crate) fn waits(
        &mut self,
        now: impl FnOnce() -> Instant,
        received: u64,
        may_pause: bool,
        may_drip: bool,
    ) -> Option<(Instant, Slow)> {
        let pause = self.limits.pause.filter(|_| !may_pause);
        let rate = self.limits.rate.filter(|_| !may_drip);
        if self.limits.pause.is_none() && self.limits.rate.is_none() {
            return None;
        }
        let since = *self.waiting_since.get_or_insert_with(now);
        let stopped = pause.map(|pause| (since + pause.min(LONGEST), Slow::Stopped));
        let drips = rate.map(|rate| {
            let allowed = rate.grace + Duration::from_secs(received / rate.bytes_per_second.max(1));
            (since + allowed.saturating_sub(self.waited).min(LONGEST), Slow::Drips)
        });
        stopped.into_iter().chain(drips).min_by_key(|(at, _)| *at)
    }

    /// Something has come.
    pub(crate) fn goes_on(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now() - since;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn of(pause_s: u64, grace_s: u64, bytes_per_second: u64) -> Pace {
        let rate = MinRate { grace: grace_s as u32 * S, bytes_per_second };
        Pace::new(PaceLimits { pause: Some(pause_s as u32 * S), rate: Some(rate) })
    }

    #[test]
    fn a_byte_a_second_is_cut_after_the_grace_though_it_never_pauses() {
        let (began, mut pace) = (Instant::now(), of(60, 20, 240));
        for second in 0..20 {
            let due = pace.waits(|| began + second * S, u64::from(second), false, false);
            assert_eq!(due, Some((began + 20 * S, Slow::Drips)), "{second}");
            pace.goes_on(|| began + (second + 1) * S);
        }
        assert_eq!(pace.waits(|| began + 20 * S, 20, false, false), Some((began + 20 * S, Slow::Drips)));
    }

    #[test]
    fn a_body_that_stops_is_cut_after_the_pause_however_much_has_come() {
        let (now, mut pace) = (Instant::now(), of(60, 20, 240));
        assert_eq!(pace.waits(|| now, 1 << 30, false, false), Some((now + 60 * S, Slow::Stopped)));
        assert_eq!(pace.waits(|| now + S, 1 << 30, false, true), Some((now + 60 * S, Slow::Stopped)), "one wait");
    }

    #[test]
    fn a_body_beside_its_response_may_drip_and_over_http_2_rest() {
        let (now, mut pace) = (Instant::now(), of(60, 20, 240));
        assert_eq!(pace.waits(|| now, 0, false, true), Some((now + 60 * S, Slow::Stopped)));
        assert_eq!(pace.waits(|| now, 0, true, true), None);
    }

    #[test]
    fn without_limits_the_clock_is_not_asked() {
        let mut pace = Pace::new(PaceLimits::default());
        assert_eq!(pace.waits(|| unreachable!(), 0, false, false), None);
        pace.goes_on(|| unreachable!());
    }

    proptest! {
        /// Whoever sends as much as is asked for in every wait is never cut, and time in which nobody waits costs nothing.
        #[test]
        fn who_keeps_the_pace_is_let_through(
            waits in proptest::collection::vec((0u64..5_000, 0u64..100_000), 1..50), rate in 1u64..10_000,
        ) {
            let mut pace = of(60, 6, rate);
            let (mut now, mut received) = (Instant::now(), 0);
            for (wait_ms, elsewhere_ms) in waits {
                let (due, _) = pace.waits(|| now, received, false, false).unwrap();
                now += Duration::from_millis(wait_ms);
                prop_assert!(now < due, "cut {:?} too early", now - due);
                pace.goes_on(|| now);
                received += (wait_ms * rate).div_ceil(1000);
                now += Duration::from_millis(elsewhere_ms);
            }
        }

        #[test]
        fn no_numbers_overflow(received in any::<u64>(), rate in any::<u64>(), pause_s in any::<u32>(), grace_s in 0u64..1 << 32) {
            let now = Instant::now();
            let (due, _) = of(pause_s.into(), grace_s, rate).waits(|| now, received, false, false).unwrap();
            prop_assert!(due <= now + LONGEST);
        }
    }
}
