//! Whether the interceptors are heard: how far their topic has been read, and how long ago the newest heartbeat was.

use std::time::Duration;

use plimsoll_wire::log::{LogError, LogTime, ReadThrough};
use plimsoll_wire::topic::INTERCEPTORS;
use tokio::time::Instant;

use super::topic::{LAG_LIMIT, keep_first, over};

/// No interceptor's heartbeat for longer than this means that nothing is known.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
/// A heartbeat received this long after the newest proof of completeness may have been in the log for too long.
const BACKLOG_LIMIT: Duration = Duration::from_secs(2);

/// Reading of the interceptors' topic.
#[derive(Debug)]
pub(crate) struct Hearing {
    since: Instant,
    read_through: Option<Instant>,
    failure: Option<LogError>,
    ever_heard: bool,
    /// When the newest heartbeat was received that is known to be new. What comes from a backlog may be from long ago.
    heard: Option<Instant>,
    /// The offset after the last record taken, and when that was appended.
    next: u64,
    newest: LogTime,
}

impl Hearing {
    /// Reading begins now.
    pub(crate) fn new(since: Instant) -> Self {
        let (next, newest) = (0, LogTime::default());
        Self { since, read_through: None, failure: None, ever_heard: false, heard: None, next, newest }
    }

    /// A record has come; whether it has come before.
    ///
    /// When a broker has lost the end of the topic, it is read once more from its beginning. Taken for news, its heartbeats would let the
    /// log's time go by once more, and end all runs. An offset alone does not tell: what was appended since, or to a topic made anew,
    /// may have one that has been before, but was appended later. From there on offsets count from that one: what is appended together
    /// has one time, and all of it but the first would be taken for a repetition.
    pub(crate) fn is_repetition(&mut self, offset: u64, appended: LogTime) -> bool {
        if offset < self.next && appended <= self.newest {
            return true;
        }
        (self.next, self.newest) = (offset.saturating_add(1), appended);
        false
    }

    /// A heartbeat of anyone has been received.
    pub(crate) fn heard(&mut self, received: Instant) {
        self.ever_heard = true;
        self.failure = None;
        // All that was in the log at that proof had been read before: this one was appended after it.
        let appended_after = self.read_through;
        if appended_after.is_some_and(|proof| received.saturating_duration_since(proof) <= BACKLOG_LIMIT) {
            self.heard = Some(received);
        }
    }

    /// The topic has been read through.
    pub(crate) fn read_through(&mut self, proof: &ReadThrough) {
        if proof.as_of >= self.since && !proof.behind.iter().any(|topic| &**topic == INTERCEPTORS) {
            self.read_through = Some(proof.as_of);
            self.failure = None;
        }
    }

    /// The topic can't be read now.
    pub(crate) fn failed(&mut self, error: LogError) {
        keep_first(&mut self.failure, error);
    }

    /// Whether all that was in the topic when reading began has been read.
    pub(crate) fn is_replayed(&self) -> bool {
        self.read_through.is_some()
    }

    /// How long ago everything that was in the topic then had been read.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.read_through.unwrap_or(self.since))
    }

    /// Why nothing is known of any topic.
    pub(crate) fn unknown(&self, now: Instant) -> Option<String> {
        let because = || self.failure.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        if self.read_through.is_none() {
            return Some(format!("the interceptors' topic {INTERCEPTORS} is being replayed{}", because()));
        }
        let lag = self.lag(now);
        if lag > LAG_LIMIT {
            let (over, because) = (over(lag), because());
            return Some(format!(
                "the interceptors' topic {INTERCEPTORS} has not been read to its end for over {over}{because}"
            ));
        }
        let Some(heard) = self.heard else {
            let ever = if self.ever_heard { "since the start of this collector" } else { "yet" };
            return Some(format!("no interceptor has been heard {ever}"));
        };
        let silence = now.saturating_duration_since(heard);
        let over = over(silence);
        (silence > SILENCE_LIMIT)
            .then(|| format!("no interceptor has been heard for over {over}: all are away, or the log is out of reach"))
    }
}
