//! Whether the log takes what is published, so that each change is said once and not at each tick.

use plimsoll_wire::log::LogError;
use tracing::{info, warn};

/// A topic may stay undelivered for this many ticks before that is worth a line: a new workload's topic takes a moment
/// to appear.
const PATIENCE: u32 = 5;

/// What the log did since the last tick, and what has been said of it.
#[derive(Debug, Default)]
pub(super) struct Health {
    acknowledged: bool,
    last_failure: Option<LogError>,
    undelivered_ticks: u32,
    said: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Well,
    /// Some topics don't take frames.
    Partial,
    /// Nothing gets through.
    Away,
}

impl Health {
    /// The log has taken something.
    pub(super) fn acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// The log has not taken something.
    pub(super) fn failed(&mut self, error: LogError) {
        self.last_failure = Some(error);
    }

    /// A tick: says what has changed since the one before.
    pub(super) fn tick(&mut self, undelivered: usize) {
        self.undelivered_ticks = if undelivered == 0 { 0 } else { self.undelivered_ticks.saturating_add(1) };
        let state = self.state();
        if state != self.said {
            let error = self.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
            match state {
                State::Well => info!("the log takes all frames again"),
                State::Partial => {
                    warn!(undelivered, error, "some topics don't take frames; the newest totals follow when they do")
                }
                State::Away => {
                    warn!(error, "the log takes nothing; proxying goes on, the newest totals follow when it is back")
                }
            }
            self.said = state;
        }
        self.acknowledged = false;
        self.last_failure = None;
    }

    fn state(&self) -> State {
        match (self.acknowledged, &self.last_failure) {
            (false, Some(_)) => State::Away,
            // Neither is news of the log: all is outstanding.
            (false, None) => self.said,
            (true, _) if self.undelivered_ticks >= PATIENCE => State::Partial,
            // Patience is for the way down; on the way up every topic has to be well.
            (true, _) if self.undelivered_ticks > 0 && self.said != State::Well => State::Partial,
            (true, _) => State::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> LogError {
        LogError::Unavailable { log: "broker:9092".into(), reason: "timed out".into() }
    }

    #[test]
    fn an_outage_is_said_when_it_begins_and_when_it_ends() {
        let mut health = Health::default();
        health.failed(unavailable());
        health.tick(1);
        assert_eq!(health.said, State::Away);
        health.tick(1);
        assert_eq!(health.said, State::Away, "an append that is not back says nothing new");
        health.acknowledged();
        health.tick(1);
        assert_eq!(health.said, State::Partial);
        health.acknowledged();
        health.tick(0);
        assert_eq!(health.said, State::Well);
    }

    #[test]
    fn a_new_workloads_missing_topic_is_no_trouble_until_it_lasts() {
        let mut health = Health::default();
        for tick in 1..=PATIENCE {
            assert_eq!(health.said, State::Well, "before tick {tick}");
            health.acknowledged();
            health.failed(LogError::UnknownTopic { topic: "plimsoll.shop.cart".into() });
            health.tick(1);
        }
        assert_eq!(health.said, State::Partial);
    }
}
