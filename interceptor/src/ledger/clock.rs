//! The interceptor's own clock: what every time inside a frame is read from.

use tokio::time::Instant;

/// Microseconds since the interceptor's start; monotonic, and never compared with another host's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that shows zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time, in microseconds.
    #[must_use]
    pub fn now_us(self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.start);
        // 64 bits of microseconds are 584,000 years.
        since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
    }
}
