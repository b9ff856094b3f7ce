//! When the batches of a tick are appended: one after the other, so that the log's brokers have even work.
//!
//! All at once, those of ten thousand busy workloads would take every thread of a broker for a fifth of a second, and whatever else is
//! written or read meanwhile would wait: wake-ups too. Their frames have been cut at the tick all the same.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// From batch to batch. A broker takes some 25 us for a frame (`make bench-log`), so 6 ms for a batch of them.
const STEP: Duration = Duration::from_millis(10);

/// Batches whose turn is still to come; of each workload there is one frame in here at most.
#[derive(Debug)]
pub(super) struct Pacing<T> {
    waiting: VecDeque<T>,
    /// All batches of a tick go within this time of it.
    within: Duration,
    /// The next one goes then, not sooner.
    next: Instant,
    /// By then all are to have gone.
    until: Instant,
}

/// How long to wait after a batch where `waiting` are left for so long a time.
#[must_use]
pub fn pause(waiting: usize, left: Duration) -> Duration {
    let parts = u32::try_from(waiting).unwrap_or(u32::MAX).max(1);
    STEP.min(left / parts)
}

/// By when the batches of a tick are to have gone: their answers need the rest of it.
#[must_use]
pub fn limit(tick: Duration) -> Duration {
    tick / 2
}

impl<T> Pacing<T> {
    pub(super) fn new(within: Duration) -> Self {
        let now = Instant::now();
        Self { waiting: VecDeque::new(), within, next: now, until: now }
    }

    /// A tick begins.
    pub(super) fn tick(&mut self) {
        self.until = Instant::now() + self.within;
    }

    /// From now on no batch waits.
    pub(super) fn lift(&mut self) {
        self.within = Duration::ZERO;
        self.next = Instant::now();
    }

    pub(super) fn push(&mut self, batch: T) {
        self.waiting.push_back(batch);
    }

    /// When the next batch is due.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// The batch that is due now.
    pub(super) fn pop(&mut self) -> Option<T> {
        let now = Instant::now();
        if self.next > now {
            return None;
        }
        let batch = self.waiting.pop_front()?;
        self.next = now + pause(self.waiting.len(), self.until.saturating_duration_since(now));
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    /// When each of so many batches goes, after the tick.
    async fn times(batches: usize) -> Vec<Duration> {
        let mut pacing = Pacing::new(limit(TICK));
        advance(TICK).await;
        let start = Instant::now();
        pacing.tick();
        (0..batches).for_each(|batch| pacing.push(batch));
        let mut times = Vec::new();
        while let Some(due) = pacing.due() {
            sleep_until(due).await;
            assert_eq!(pacing.pop(), Some(times.len()), "in their order");
            times.push(start.elapsed());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_batch_waits_for_nothing_and_a_few_for_one_another() {
        assert_eq!(times(1).await, [Duration::ZERO]);
        assert_eq!(times(4).await, [0, 10, 20, 30].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_they_are_all_go_evenly_within_half_the_tick() {
        for batches in [40, 100, 1_000] {
            let times = times(batches).await;
            assert!(times.last().is_some_and(|last| *last <= limit(TICK)), "{batches}: {:?}", times.last());
            let step = limit(TICK) / u32::try_from(batches).unwrap();
            // Timers have a millisecond's grain.
            let most = times.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(most.is_some_and(|most| most <= step + Duration::from_millis(2)), "{batches}: {most:?}");
        }
    }
}
