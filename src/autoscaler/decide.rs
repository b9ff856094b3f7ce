//! How many replicas: pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The HPA leaves the replicas as they are while the ratio is within this of one.
const TOLERANCE: f64 = 0.1;

/// One metric with its target for each replica (the HPA's `AverageValue`).
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub name: String,
    pub value: f64,
    pub target: f64,
}

impl Metric {
    /// As KEDA reads them: the float counts where it is above zero, the integer otherwise.
    #[allow(clippy::cast_precision_loss, reason = "targets and values are far below 2^52")]
    pub fn new(name: String, value_float: f64, value: i64, target_float: f64, target: i64) -> Self {
        let either = |float: f64, integer: i64| if float > 0.0 { float } else { integer as f64 };
        Self { name, value: either(value_float, value), target: either(target_float, target) }
    }

    /// The replicas that it asks for.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a float cast saturates; replicas are few"
    )]
    fn replicas(&self, now: usize) -> usize {
        if self.target <= 0.0 {
            return now;
        }
        let ratio = self.value / self.target;
        if now > 0 && (ratio / now as f64 - 1.0).abs() <= TOLERANCE { now } else { ratio.ceil() as usize }
    }
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub replicas: usize,
    pub why: Why,
}

/// The reason of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    Pushed,
    Active,
    Idle(Duration),
    Metric { name: String, value: f64, target: f64 },
    Bounds,
}

/// What is remembered of one workload between polls.
#[derive(Debug)]
pub struct Scaled {
    min: usize,
    max: usize,
    cooldown: Duration,
    scale_down_window: Duration,
    last_active: Option<Instant>,
    /// What the metrics asked for, newest last, within the scale-down window.
    wanted: VecDeque<(Instant, usize)>,
}

impl Scaled {
    pub fn new(min: u32, max: u32, cooldown: Duration, scale_down_window: Duration) -> Self {
        let mut new = Self { min: 0, max: 1, cooldown, scale_down_window, last_active: None, wanted: VecDeque::new() };
        new.set_bounds(min, max);
        new
    }

    /// The resource says other bounds than before.
    pub fn set_bounds(&mut self, min: u32, max: u32) {
        (self.min, self.max) = (min as usize, (max.max(min).max(1)) as usize);
    }

    /// `StreamIsActive` said true.
    pub fn pushed(&mut self, now: Instant, replicas: usize) -> Option<Decision> {
        self.last_active = Some(now);
        (replicas == 0).then_some(Decision { replicas: self.min.max(1), why: Why::Pushed })
    }

    /// A poll has answered.
    pub fn polled(&mut self, now: Instant, replicas: usize, active: bool, metrics: &[Metric]) -> Option<Decision> {
        if active {
            self.last_active = Some(now);
            if replicas == 0 {
                return Some(Decision { replicas: self.min.max(1), why: Why::Active });
            }
        }
        if replicas < self.min {
            return Some(Decision { replicas: self.min, why: Why::Bounds });
        }
        if replicas == 0 {
            return None;
        }
        // Who has just begun to look knows of no activity before: the cool-down begins now. KEDA keeps the time in the ScaledObject.
        let idle = now - *self.last_active.get_or_insert(now);
        if !active && idle >= self.cooldown {
            self.wanted.clear();
            return (replicas > self.min).then_some(Decision { replicas: self.min, why: Why::Idle(idle) });
        }
        let asks =
            metrics.iter().map(|metric| (metric.replicas(replicas), metric)).max_by_key(|(wanted, _)| *wanted)?;
        let asked = asks.0.clamp(self.min.max(1), self.max);
        if self.wanted.is_empty() {
            // What runs was wanted until now, as far as is known; so does the HPA begin.
            self.wanted.push_back((now, replicas));
        }
        self.wanted.retain(|(at, _)| now - *at < self.scale_down_window);
        self.wanted.push_back((now, asked));
        // Downwards only as far as was enough all along; upwards at once.
        let stable = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(asked);
        let wanted = if asked >= replicas { asked } else { stable.min(self.max).min(replicas) };
        let why = Why::Metric { name: asks.1.name.clone(), value: asks.1.value, target: asks.1.target };
        (wanted != replicas).then_some(Decision { replicas: wanted, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled() -> Scaled {
        Scaled::new(0, 10, Duration::from_secs(10), Duration::from_secs(5))
    }

    fn concurrency(value: f64) -> Vec<Metric> {
        vec![Metric { name: "c".into(), value, target: 5.0 }]
    }

    fn replicas(decision: Option<Decision>) -> Option<usize> {
        decision.map(|decision| decision.replicas)
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_wakes_from_zero_and_only_from_zero() {
        let mut scaled = scaled();
        assert_eq!(replicas(scaled.pushed(Instant::now(), 0)), Some(1));
        assert_eq!(replicas(scaled.pushed(Instant::now(), 3)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn load_scales_up_at_once_and_down_after_the_window() {
        let mut scaled = scaled();
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, true, &concurrency(23.0))), Some(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(replicas(scaled.polled(Instant::now(), 5, true, &concurrency(5.0))), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(replicas(scaled.polled(Instant::now(), 5, true, &concurrency(5.0))), Some(1));
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, true, &concurrency(500.0))), Some(10), "the maximum");
    }

    #[tokio::test(start_paused = true)]
    async fn other_bounds_hold_from_the_next_poll_on() {
        let mut scaled = scaled();
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, true, &concurrency(500.0))), Some(10));
        scaled.set_bounds(0, 3);
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, true, &concurrency(500.0))), Some(3));
        scaled.set_bounds(2, 3);
        assert_eq!(replicas(scaled.polled(Instant::now(), 0, false, &[])), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_begins_to_look_keeps_what_runs_for_as_long_as_the_times_say() {
        let (mut idle, mut busy, mut bounded) = (scaled(), scaled(), scaled());
        bounded.set_bounds(0, 3);
        assert_eq!(replicas(idle.polled(Instant::now(), 5, false, &concurrency(0.0))), None);
        assert_eq!(replicas(busy.polled(Instant::now(), 5, true, &concurrency(5.0))), None);
        assert_eq!(replicas(bounded.polled(Instant::now(), 5, true, &concurrency(5.0))), Some(3), "the maximum");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(replicas(busy.polled(Instant::now(), 5, true, &concurrency(5.0))), Some(1));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(replicas(idle.polled(Instant::now(), 5, false, &concurrency(0.0))), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenth_more_or_less_moves_nothing() {
        let mut scaled = scaled();
        assert_eq!(replicas(scaled.polled(Instant::now(), 4, true, &concurrency(21.9))), None);
        assert_eq!(replicas(scaled.polled(Instant::now(), 4, true, &concurrency(22.1))), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn inactivity_for_the_cool_down_goes_to_zero() {
        let mut scaled = scaled();
        scaled.pushed(Instant::now(), 0);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, false, &concurrency(0.0))), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(replicas(scaled.polled(Instant::now(), 1, false, &concurrency(0.0))), Some(0));
        assert_eq!(replicas(scaled.polled(Instant::now(), 0, false, &[])), None);
    }
}
