//! Since when this process has run without a pause.
//!
//! A manager that was frozen or starved has heard nobody meanwhile. Without this it would take every collector for silent when
//! it wakes, before it has read what they said.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A look that comes later than this after the one before means that the process has not run. Less than a collector's silence.
const PAUSE: Duration = Duration::from_millis(1500);

/// Looks at the clock, so that pauses show.
#[derive(Debug)]
pub struct Awake {
    /// The last look, and since when no look was late.
    looks: Mutex<(Instant, Instant)>,
}

impl Awake {
    /// Awake long since: who starts to look has not slept.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let long_since = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
        Self { looks: Mutex::new((now, long_since)) }
    }

    /// Since when the process has run without a pause, this look included.
    pub fn since(&self, now: Instant) -> Instant {
        let mut looks = self.looks.lock();
        if now.saturating_duration_since(looks.0) > PAUSE {
            looks.1 = now;
        }
        looks.0 = looks.0.max(now);
        looks.1
    }

    /// Whether the process has run without a pause for so long, this look included.
    pub fn has_run_for(&self, least: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since(now)) >= least
    }

    /// Looks at the clock for as long as it is polled.
    pub async fn keep_looking(&self) {
        loop {
            self.since(Instant::now());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_begins_the_time_anew() {
        let start = Instant::now();
        let awake = Awake::new(start);
        let early = awake.since(start + Duration::from_secs(1));
        assert!(early < start);
        assert_eq!(awake.since(start + Duration::from_secs(2)), early);
        let woken = start + Duration::from_secs(9);
        assert_eq!(awake.since(woken), woken);
        assert_eq!(awake.since(woken + Duration::from_secs(1)), woken);
    }
}
