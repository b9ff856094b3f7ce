//! What the client that asks knows of the brokers: who leads which topic, and who keeps it waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::time::Instant;

use super::native::Which;
use crate::log::Topic;

/// What the client knows of a topic's leader is asked for anew after this; far sooner than the client forgets it.
const RENEW: Duration = Duration::from_secs(600);
/// Where several brokers are asked, one that takes longer than this holds up the answers of the others no longer. One that is slow, and
/// no more than that, is given more from its first answer on.
const PATIENCE: Duration = Duration::from_millis(500);
/// More than that would make all proofs too old: 3 s without one mean *unknown*.
const MOST_PATIENCE: Duration = Duration::from_millis(1_500);

/// Who leads what is not asked for again for so long after it was asked in vain, while other questions wait.
const LEARN_AGAIN: Duration = Duration::from_secs(1);

/// Questions of topics, by the broker that leads them.
pub(super) type ByLeader = HashMap<i32, Vec<(Topic, Which)>>;

/// Keeps librdkafka from crashing, and brokers that hang from holding up the others.
///
/// When ListOffsets finds a topic's leader unknown to the client, librdkafka lets two threads work on the request: the caller's,
/// and its own as soon as the client learns anything about any topic. Under load they free it twice. So offsets are asked for
/// only where the client knows the leader, and the sending is kept apart from whatever makes the client learn.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    /// Topics that the client knows the leader of, that leader, and since when.
    known: Mutex<HashMap<Topic, (i32, Instant)>>,
    waits: Mutex<HashMap<i32, Wait>>,
    /// When the brokers last failed to tell who leads what.
    untold: Mutex<Option<Instant>>,
    /// Held to learn about topics (written), or while requests for offsets are put on their way (read).
    pub(super) learning: Arc<RwLock<()>>,
}

/// How long a broker keeps its questioners waiting.
#[derive(Debug, Default)]
struct Wait {
    /// Questions under way, each with its number, and when it was put.
    asked: Vec<(u64, Instant)>,
    put: u64,
    /// What its last answer took.
    took: Duration,
}

impl Leaders {
    /// The questions by leader, and the topics whose leader the client may not know.
    pub(super) fn split(&self, asked: &[(Topic, Which)]) -> (ByLeader, Vec<(Topic, Which)>) {
        let known = self.known.lock();
        let (mut led, mut strange) = (ByLeader::new(), Vec::new());
        for question in asked {
            match known.get(&question.0) {
                Some((leader, since)) if since.elapsed() < RENEW => {
                    led.entry(*leader).or_default().push(question.clone());
                }
                _ => strange.push(question.clone()),
            }
        }
        (led, strange)
    }

    /// Notes which topics' leaders are known, or are not any more (none).
    pub(super) fn note<'a>(&self, topics: impl Iterator<Item = (&'a Topic, Option<i32>)>) {
        let mut known = self.known.lock();
        let now = Instant::now();
        for (topic, leader) in topics {
            match leader {
                Some(leader) => known.insert(topic.clone(), (leader, now)),
                None => known.remove(topic),
            };
        }
        // Topics that nobody asks about any more.
        known.retain(|_, (_, since)| since.elapsed() < 2 * RENEW);
    }

    /// The brokers have told who leads what, or failed to.
    pub(super) fn learnt(&self, told: bool) {
        *self.untold.lock() = (!told).then(Instant::now);
    }

    /// Whether they have failed to only just now, as they do while the one that is asked hangs.
    pub(super) fn cannot_be_learnt(&self) -> bool {
        self.untold.lock().is_some_and(|at| at.elapsed() < LEARN_AGAIN)
    }

    /// A question to this broker is put, whose end is to be told under this number.
    pub(super) fn ask(&self, leader: i32) -> u64 {
        let mut waits = self.waits.lock();
        let wait = waits.entry(leader).or_default();
        wait.put += 1;
        wait.asked.push((wait.put, Instant::now()));
        wait.put
    }

    /// The question has been answered, or given up.
    pub(super) fn asked(&self, leader: i32, number: u64, answered: bool) {
        let mut waits = self.waits.lock();
        let Some(wait) = waits.get_mut(&leader) else { return };
        if let Some(at) = wait.asked.iter().position(|(other, _)| *other == number) {
            let (_, since) = wait.asked.swap_remove(at);
            if answered {
                wait.took = since.elapsed();
            }
        }
        // Brokers come and go; of one that is asked nothing, nothing needs to be known.
        if wait.asked.is_empty() && wait.took < PATIENCE / 4 {
            waits.remove(&leader);
        }
    }

    /// How long the answers of others wait for this broker's.
    pub(super) fn patience(&self, leader: i32) -> Duration {
        let took = self.waits.lock().get(&leader).map_or(Duration::ZERO, |wait| wait.took);
        (2 * took).clamp(PATIENCE, MOST_PATIENCE)
    }

    /// Whether it has not answered an earlier question yet, though it has had the time.
    pub(super) fn hangs(&self, leader: i32) -> bool {
        let patience = self.patience(leader);
        let waits = self.waits.lock();
        waits.get(&leader).is_some_and(|wait| wait.asked.iter().any(|(_, since)| since.elapsed() >= patience))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_broker_hangs_while_a_question_is_overdue_and_no_longer() {
        let leaders = Leaders::default();
        let number = leaders.ask(1);
        assert!(!leaders.hangs(1));
        advance(PATIENCE).await;
        assert!(leaders.hangs(1) && !leaders.hangs(2));
        leaders.asked(1, number, false);
        assert!(!leaders.hangs(1), "it is tried again");
        assert_eq!(leaders.patience(1), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_answers_slowly_is_waited_for_longer_within_bounds() {
        let leaders = Leaders::default();
        for (took_ms, patience_ms) in [(100, 500), (600, 1_200), (5_000, 1_500), (10, 500)] {
            let number = leaders.ask(1);
            advance(Duration::from_millis(took_ms)).await;
            leaders.asked(1, number, true);
            assert_eq!(leaders.patience(1), Duration::from_millis(patience_ms));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_known_until_it_is_found_to_be_another_or_has_been_known_for_long() {
        let leaders = Leaders::default();
        let asked = ["a", "b"].map(|topic| (Topic::from(topic), Which::End));
        leaders.note([(&asked[0].0, Some(1)), (&asked[1].0, Some(2))].into_iter());
        let (led, strange) = leaders.split(&asked);
        assert_eq!((led.len(), strange.len()), (2, 0));
        leaders.note([(&asked[0].0, None)].into_iter());
        assert_eq!(leaders.split(&asked).1, asked[..1]);
        advance(RENEW).await;
        assert_eq!(leaders.split(&asked).1, asked);
    }
}
