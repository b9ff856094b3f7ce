//! What the leader has decided, and why: the last decisions, and word of each new one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use plimsoll_scheduler::plan::{CollectorId, Topic};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Decisions remembered; the oldest go first. Room for a fleet's topics to move once, at a few hundred bytes each.
const REMEMBERED: usize = 10_000;
/// Decisions that wait for one slow listener; then it is told how many it has missed.
const WAITING: usize = 4_096;

/// One decision of the leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Counts this manager's decisions from 1; without gaps.
    pub sequence: u64,
    /// When, by this manager's wall clock: for people.
    pub unix_ms: u64,
    /// The plan's generation at that time.
    pub generation: u64,
    /// What was decided.
    #[serde(flatten)]
    pub what: What,
}

/// What was decided, or seen and acted upon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum What {
    /// A topic goes elsewhere.
    Move {
        /// Which.
        topic: Topic,
        /// Its owner until now; none where it is new.
        from: Option<CollectorId>,
        /// Its owner, at once or when it is warm.
        to: Option<CollectorId>,
        /// A short word, as in the metric's label.
        reason: String,
        /// A sentence for people: why it is where it is now.
        because: String,
        /// True: at once, since nobody else answers. False: when the new owner is warm.
        forced: bool,
    },
    /// A move is over: the new owner is warm and answers.
    Arrived {
        /// Which topic.
        topic: Topic,
        /// Its owner now.
        collector: CollectorId,
        /// From the decision until then, in seconds.
        seconds: f64,
    },
    /// A collector is seen in another state.
    Collector {
        /// Which.
        collector: CollectorId,
        /// Its state before; none for a new one.
        from: Option<String>,
        /// Its state now; none when it has gone.
        to: Option<String>,
        /// Why, for people.
        because: String,
    },
    /// The fleet is asked for another number of collectors.
    Scale {
        /// Whose collectors; empty where all are alike.
        provider: String,
        /// Collectors asked for until now.
        from: usize,
        /// Collectors asked for now.
        to: usize,
        /// Why, for people.
        because: String,
    },
    /// A topic was created or deleted in the log.
    Topic {
        /// Which.
        topic: Topic,
        /// True: created. False: deleted.
        created: bool,
        /// Why, for people.
        because: String,
    },
}

/// The last decisions of this manager. A manager that does not lead decides nothing.
#[derive(Debug)]
pub struct Decisions {
    held: Mutex<Held>,
    told: broadcast::Sender<Arc<Decision>>,
}

#[derive(Debug, Default)]
struct Held {
    ring: VecDeque<Arc<Decision>>,
    sequence: u64,
}

impl Default for Decisions {
    fn default() -> Self {
        Self { held: Mutex::default(), told: broadcast::Sender::new(WAITING) }
    }
}

impl Decisions {
    /// Remembers decisions, and tells whoever listens.
    pub fn record(&self, generation: u64, decided: impl IntoIterator<Item = What>) {
        let unix_ms = unix_ms();
        let mut held = self.held.lock();
        for what in decided {
            held.sequence += 1;
            let decision = Arc::new(Decision { sequence: held.sequence, unix_ms, generation, what });
            if held.ring.len() == REMEMBERED {
                held.ring.pop_front();
            }
            held.ring.push_back(decision.clone());
            // Under the lock, so that listeners get them in order. Nobody listening is no failure.
            let _ = self.told.send(decision);
        }
    }

    /// Those after this sequence number that are still remembered, oldest first, and all that come from now on: none twice, none left out but
    /// for what the ring has forgotten, and what a listener that is too slow is told to have missed.
    #[must_use]
    pub fn listen(&self, after: u64) -> (Vec<Arc<Decision>>, broadcast::Receiver<Arc<Decision>>) {
        let held = self.held.lock();
        let known = held.ring.iter().filter(|decision| decision.sequence > after).cloned().collect();
        (known, self.told.subscribe())
    }

    /// The number of the newest decision; zero before the first.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.held.lock().sequence
    }

    /// The last decisions that the filter lets through, the newest first, so many at most.
    #[must_use]
    pub fn last(&self, limit: usize, wanted: impl Fn(&Decision) -> bool) -> Vec<Arc<Decision>> {
        self.held.lock().ring.iter().rev().filter(|decision| wanted(decision)).take(limit).cloned().collect()
    }

    /// What was decided about this topic, the newest first, so many at most: why it is where it is.
    #[must_use]
    pub fn of_topic(&self, topic: &str, limit: usize) -> Vec<Arc<Decision>> {
        self.last(limit, |decision| match &decision.what {
            What::Move { topic: about, .. } | What::Arrived { topic: about, .. } | What::Topic { topic: about, .. } => {
                about == topic
            }
            What::Collector { .. } | What::Scale { .. } => false,
        })
    }
}

/// Milliseconds since the Unix epoch by this manager's wall clock.
#[expect(clippy::disallowed_methods, reason = "people read it; nothing is decided by it")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn arrived(topic: usize) -> What {
        What::Arrived { topic: format!("t{topic}"), collector: "c".into(), seconds: 1.5 }
    }

    #[test]
    fn the_oldest_decisions_are_forgotten_first() {
        let decisions = Decisions::default();
        decisions.record(1, (0..REMEMBERED + 5).map(arrived));
        let (known, _) = decisions.listen(0);
        assert_eq!((known.len(), known[0].sequence), (REMEMBERED, 6));
        assert!(decisions.of_topic("t4", 9).is_empty());
        assert_eq!(decisions.of_topic("t5", 9).len(), 1);
    }

    #[test]
    fn who_listens_misses_none_and_hears_none_twice() {
        let decisions = Decisions::default();
        decisions.record(1, (0..3).map(arrived));
        let (known, mut coming) = decisions.listen(1);
        decisions.record(2, [arrived(3)]);
        let mut all: Vec<u64> = known.iter().map(|decision| decision.sequence).collect();
        all.push(coming.try_recv().unwrap().sequence);
        assert_eq!(all, [2, 3, 4]);
        assert!(coming.try_recv().is_err());
    }

    #[test]
    fn the_form_of_a_decision_names_its_kind() {
        let decision = Decision { sequence: 7, unix_ms: 8, generation: 9, what: arrived(1) };
        let text = serde_json::to_string(&decision).unwrap();
        assert_eq!(
            text,
            r#"{"sequence":7,"unixMs":8,"generation":9,"kind":"arrived","topic":"t1","collector":"c","seconds":1.5}"#
        );
        assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
    }
}
