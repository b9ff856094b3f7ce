//! The log's time, as the heartbeats in the interceptors' topic show it.

use plimsoll_wire::log::LogTime;

/// Between two heartbeats at most this much counts as time in which the log was alive.
///
/// An interceptor's time to live runs only then: after an outage of the broker, the first to come back must not bury the others.
const ALIVE_GAP_MS: u64 = 1_000;

/// A place on the log's time line, counted from the first heartbeat heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// Log time gone by. Negative for what was written before the first heartbeat heard.
    pub(crate) elapsed_ms: i64,
    /// Of that, time in which the log was alive.
    pub(crate) alive_ms: i64,
}

/// The sum of the log time between one heartbeat and the next, whosever they are.
///
/// Sums of steps and no differences of wall times: a broker's clock that is set back takes nothing away, and one that is set forward
/// is over with the next heartbeat.
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    newest: Option<LogTime>,
    now: Reading,
}

impl LogClock {
    /// The next heartbeat in the order of the log was appended then.
    pub(crate) fn advance(&mut self, appended: LogTime) -> Reading {
        if let Some(before) = self.newest {
            let gap = appended.0.saturating_sub(before.0);
            self.now.elapsed_ms = self.now.elapsed_ms.saturating_add_unsigned(gap);
            self.now.alive_ms = self.now.alive_ms.saturating_add_unsigned(gap.min(ALIVE_GAP_MS));
        }
        self.newest = Some(appended);
        self.now
    }

    /// As of the newest heartbeat.
    pub(crate) fn now(&self) -> Reading {
        self.now
    }

    /// When the newest heartbeat was appended; none before the first.
    pub(crate) fn newest(&self) -> Option<LogTime> {
        self.newest
    }

    /// Where a record of another topic lies. Outages between it and now are not known here: they count as time alive.
    pub(crate) fn place(&self, appended: LogTime) -> Reading {
        let ago = self.newest.map_or(0, |newest| newest.0.saturating_sub(appended.0));
        Reading {
            elapsed_ms: self.now.elapsed_ms.saturating_sub_unsigned(ago),
            alive_ms: self.now.alive_ms.saturating_sub_unsigned(ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_log_time_but_no_time_alive() {
        let mut clock = LogClock::default();
        for appended in [1_000, 1_500, 61_500, 62_000] {
            clock.advance(LogTime(appended));
        }
        assert_eq!(clock.now(), Reading { elapsed_ms: 61_000, alive_ms: 2_000 });
    }

    #[test]
    fn a_brokers_clock_set_back_takes_nothing_away() {
        let mut clock = LogClock::default();
        for appended in [5_000_000, 5_001_000, 1_000_000, 1_001_000] {
            clock.advance(LogTime(appended));
        }
        assert_eq!(clock.now().elapsed_ms, 2_000);
        assert_eq!(clock.newest(), Some(LogTime(1_001_000)));
    }
}
