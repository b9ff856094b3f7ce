//! One topic's answers, of all the collectors that read it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::collector::Answer;
use plimsoll_wire::log::Topic;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cold::{ColdStart, ColdStarts};
use super::link::{Link, SILENCE};
use super::load::{Load, LoadMeter};

/// Why a workload's values can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No collector answers for it.
    #[error("no collector answers for topic {topic} yet")]
    Unanswered {
        /// The topic.
        topic: String,
    },
    /// The collector that answered is silent.
    #[error("collector {collector} has been silent for {seconds} s")]
    Silent {
        /// The collector.
        collector: String,
        /// For how long.
        seconds: u64,
    },
    /// The collector says that it does not know, and why.
    #[error("collector {collector}: {reason}")]
    NotKnown {
        /// The collector.
        collector: String,
        /// Its reason.
        reason: String,
    },
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// From whom.
    pub link: Arc<Link>,
    /// What it says.
    pub answer: Arc<Answer>,
    /// When it came.
    pub at: Instant,
}

/// All answers for one topic.
#[derive(Debug)]
pub struct Cell {
    topic: Topic,
    heard: Mutex<Vec<Heard>>,
    /// Until when the workload is active by what is known now. Watchers are woken only when it turns active.
    active_until: Mutex<watch::Sender<Option<Instant>>>,
    load: Mutex<LoadMeter>,
    cold: Mutex<ColdStarts>,
}

impl Cell {
    pub(super) fn new(topic: Topic) -> Self {
        Self {
            topic,
            heard: Mutex::default(),
            active_until: Mutex::new(watch::Sender::new(None)),
            load: Mutex::default(),
            cold: Mutex::default(),
        }
    }

    /// The answer to tell.
    ///
    /// # Errors
    /// Why there is none: the reason of the answer that comes nearest.
    pub fn best(&self) -> Result<Heard, Unknown> {
        let heard = self.heard.lock();
        let mut best: Option<&Heard> = None;
        let mut silent: Option<&Heard> = None;
        for one in heard.iter() {
            if one.link.silent_for() > SILENCE {
                silent = Some(one);
            } else if best.is_none_or(|best| rank(one) > rank(best)) {
                best = Some(one);
            }
        }
        match (best, silent) {
            (Some(best), _) if best.answer.known && best.answer.warm => Ok(best.clone()),
            (Some(best), _) => {
                let reason = if best.answer.unknown_reason.is_empty() {
                    "its window is not replayed yet"
                } else {
                    &best.answer.unknown_reason
                };
                Err(Unknown::NotKnown { collector: best.link.collector.to_string(), reason: reason.to_owned() })
            }
            (None, Some(silent)) => Err(Unknown::Silent {
                collector: silent.link.collector.to_string(),
                seconds: silent.link.silent_for().as_secs(),
            }),
            (None, None) => Err(Unknown::Unanswered { topic: self.topic.to_string() }),
        }
    }

    /// Whether it is known that nothing is in flight and no interceptor is missing: only then may a zero be told.
    #[must_use]
    pub fn zero_is_known(&self) -> bool {
        self.best().is_ok_and(|heard| heard.answer.in_flight == 0 && !heard.answer.zero_is_unknown)
    }

    /// The newest answer, known or not, for showing.
    #[must_use]
    pub fn newest(&self) -> Option<Heard> {
        self.heard.lock().iter().max_by_key(|heard| rank(heard)).cloned()
    }

    /// Whether this collector has replayed the topic's window.
    #[must_use]
    pub fn warm_on(&self, collector: &str) -> bool {
        self.heard.lock().iter().any(|heard| &*heard.link.collector == collector && heard.answer.warm)
    }

    /// Whether this collector answers well now, following a plan of at least this generation.
    #[must_use]
    pub fn good_on(&self, collector: &str, since: u64) -> bool {
        self.heard.lock().iter().any(|heard| {
            let (answer, link) = (&heard.answer, &heard.link);
            &*link.collector == collector
                && answer.known
                && answer.warm
                && link.silent_for() <= SILENCE
                && link.generation() >= since
        })
    }

    /// Until when the workload is active, by what has been heard; woken only when it turns active.
    #[must_use]
    pub fn active_until(&self) -> watch::Receiver<Option<Instant>> {
        self.active_until.lock().subscribe()
    }

    /// Whether the workload is active now, by what has been heard: calls and streams go by the same instant.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active_until.lock().borrow().is_some_and(|until| until > Instant::now())
    }

    /// What is read of it in a second.
    #[must_use]
    pub fn load(&self) -> Load {
        self.load.lock().now(Instant::now())
    }

    /// Its cold starts of late, the newest last.
    #[must_use]
    pub fn cold_starts(&self) -> Vec<ColdStart> {
        self.cold.lock().seen()
    }

    pub(super) fn take(&self, heard: Heard, activity_window: Duration) {
        let now = heard.at;
        let answer = heard.answer.clone();
        self.load.lock().add(&heard);
        self.cold.lock().take(&answer);
        {
            let mut all = self.heard.lock();
            match all.iter_mut().find(|one| one.link.collector == heard.link.collector) {
                Some(one) => *one = heard,
                None => all.push(heard),
            }
        }
        if !(answer.known && answer.warm) && answer.in_flight == 0 {
            return;
        }
        let until = if answer.in_flight > 0 {
            Some(now + activity_window)
        } else {
            answer.since_arrival_us.and_then(|us| (now + activity_window).checked_sub(Duration::from_micros(us)))
        };
        self.active_until.lock().send_if_modified(|known| {
            if until <= *known {
                return false;
            }
            // Under the watch's own lock, as streams look at the clock: none can have called it lapsed in between.
            let now = Instant::now();
            let turned = known.is_none_or(|known| known <= now) && until.is_some_and(|until| until > now);
            *known = until;
            turned
        });
    }

    /// Ends the streams that watch the workload: it has gone.
    pub(super) fn end_watchers(&self) {
        let mut sender = self.active_until.lock();
        let known = *sender.borrow();
        *sender = watch::Sender::new(known);
    }

    /// Whether any collector has an answer for it.
    pub(super) fn is_read(&self) -> bool {
        !self.heard.lock().is_empty()
    }

    pub(super) fn drop_collector(&self, collector: &str) {
        self.heard.lock().retain(|heard| &*heard.link.collector != collector);
    }
}

/// Known and warm before unknown, then the newest evidence.
fn rank(heard: &Heard) -> (bool, u64, Instant) {
    (heard.answer.known && heard.answer.warm, heard.answer.evidence_unix_ms, heard.at)
}
