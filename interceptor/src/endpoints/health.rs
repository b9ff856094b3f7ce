//! Whether an endpoint deserves requests. Pure.
//!
//! An endpoint that fails several times in a row is ejected for a while, longer each time, and then gets its share back bit by
//! bit. The models are Envoy's outlier detection (consecutive gateway failures and local-origin failures, ejection time that
//! grows with the number of ejections, a ceiling of ejected hosts) and linkerd's failure accrual (consecutive failures, then
//! a back-off, then trial requests).

use std::time::Duration;

use tokio::time::Instant;

use super::view::WHOLE;

/// The weight with which an endpoint returns, in percent.
const FIRST_WEIGHT: u8 = 10;
/// The part of the base time for which an endpoint is ejected that has never answered: it may just be starting.
const NEVER_ANSWERED: u32 = 10;

/// When endpoints are ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejection {
    /// After so many failures in a row; never where it is 0.
    pub(crate) after: u32,
    /// The first time; the n-th time in short order lasts n times as long (Envoy's rule).
    pub(crate) base: Duration,
    /// At most so long.
    pub(crate) longest: Duration,
    /// From the return to the whole share.
    pub(crate) ramp: Duration,
}

impl Ejection {
    /// Endpoints are never ejected.
    pub(crate) const OFF: Self = Self { after: 0, base: Duration::ZERO, longest: Duration::ZERO, ramp: Duration::ZERO };
}

/// How an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// It gets its share. Failures in a row make it `Ejected`.
    #[default]
    Good,
    /// It gets nothing until then; then it is `Returning`.
    Ejected { until: Instant },
    /// It gets a growing part of its share; the whole share makes it `Good`.
    Returning { since: Instant },
}

/// An endpoint's health.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    standing: Standing,
    /// Ejections that are not forgiven yet.
    times: u32,
    /// When it returned, or an ejection was forgiven last.
    forgiven: Option<Instant>,
}

impl Health {
    /// Takes the endpoint out. `has_answered` is whether it ever answered a request.
    pub(super) fn eject(&mut self, now: Instant, rules: &Ejection, has_answered: bool) {
        self.forgive(now, rules);
        let time = if has_answered {
            self.times = self.times.saturating_add(1);
            rules.base.saturating_mul(self.times).min(rules.longest)
        } else {
            rules.base / NEVER_ANSWERED
        };
        self.standing = Standing::Ejected { until: now + time };
    }

    /// Lets time do its work. True where something changed that requests should know.
    pub(super) fn review(&mut self, now: Instant, rules: &Ejection) -> bool {
        match self.standing {
            Standing::Good => false,
            Standing::Ejected { until } if now < until => false,
            Standing::Ejected { .. } => {
                self.readmit(now);
                true
            }
            Standing::Returning { since } => {
                if now - since >= rules.ramp {
                    self.standing = Standing::Good;
                }
                true
            }
        }
    }

    /// Ends the ejection now.
    pub(super) fn readmit(&mut self, now: Instant) {
        self.standing = Standing::Returning { since: now };
        self.forgiven = Some(now);
    }

    /// The end of its ejection, while it is ejected.
    pub(super) fn ejected_until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Ejected { until } => Some(until),
            _ => None,
        }
    }

    /// Whether time will change something.
    pub(super) fn is_settled(&self) -> bool {
        self.standing == Standing::Good
    }

    /// The part of its share that it gets, in percent.
    pub(super) fn weight(&self, now: Instant, rules: &Ejection) -> u8 {
        match self.standing {
            Standing::Returning { since } if now - since < rules.ramp => {
                let part = (now - since).as_secs_f64() / rules.ramp.as_secs_f64();
                FIRST_WEIGHT + (f64::from(WHOLE - FIRST_WEIGHT) * part).round() as u8
            }
            // All ejected endpoints are tried when there are no others, and then they are equal.
            _ => WHOLE,
        }
    }

    /// One ejection is forgiven for each base time since the return.
    fn forgive(&mut self, now: Instant, rules: &Ejection) {
        let Some(since) = self.forgiven.filter(|_| !rules.base.is_zero()) else { return };
        let times = ((now - since).as_nanos() / rules.base.as_nanos()).min(u128::from(u32::MAX)) as u32;
        self.times = self.times.saturating_sub(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RULES: Ejection =
        Ejection { after: 5, base: SECOND, longest: Duration::from_secs(3), ramp: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn each_ejection_in_short_order_is_longer_up_to_the_longest() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for seconds in [1, 2, 3, 3, 3] {
            health.eject(now, &RULES, true);
            assert_eq!(health.ejected_until(), Some(now + seconds * SECOND));
            now += seconds * SECOND;
            assert!(health.review(now, &RULES));
            assert_eq!(health.ejected_until(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn good_service_is_repaid_with_forgiveness() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.eject(start, &RULES, true);
        health.review(start + SECOND, &RULES);
        health.eject(start + 2 * SECOND + SECOND / 2, &RULES, true);
        assert_eq!(health.ejected_until(), Some(start + 3 * SECOND + SECOND / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_answered_is_soon_tried_again() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..3 {
            health.eject(now, &RULES, false);
            assert_eq!(health.ejected_until(), Some(now + SECOND / 10));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_grows_back_slowly() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.eject(start, &RULES, true);
        let back = start + SECOND;
        health.review(back, &RULES);
        let weights: Vec<u8> = (0..=11).map(|second| health.weight(back + second * SECOND, &RULES)).collect();
        assert_eq!(weights, [10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 100, 100]);
        assert!(!health.is_settled());
        health.review(back + 10 * SECOND, &RULES);
        assert!(health.is_settled());
    }
}
