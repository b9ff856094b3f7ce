//! Which resources are to be looked at, and when. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// After the first failure; each further one doubles it.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// The longest time between two attempts.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Where nothing has had to be written again for so long, nobody writes against it any more.
const CALM: Duration = Duration::from_secs(60);
/// So many times is no accident.
const CONTESTED: u32 = 4;

/// How it went with one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is as it should be.
    Well,
    /// It is now, and the same had been written before: somebody has undone it.
    Repeated,
    /// Something could not be written.
    Failed,
}

/// What has had to be written again.
#[derive(Debug)]
struct Contest {
    /// How often.
    times: u32,
    /// It is not looked at before.
    until: Instant,
}

/// Each resource stands in it at most once, so its size is bounded by their number.
#[derive(Debug)]
pub(super) struct Queue<K> {
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    busy: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
    contests: BTreeMap<K, Contest>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            busy: BTreeSet::new(),
            failures: BTreeMap::new(),
            contests: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// It is to be looked at then, or before where that is so already; later where somebody writes against it.
    pub(super) fn add(&mut self, key: K, at: Instant) {
        let at = self.contests.get(&key).map_or(at, |contest| at.max(contest.until));
        match self.due.get(&key) {
            Some(due) if *due <= at => return,
            Some(due) => {
                self.order.remove(&(*due, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// When the next one is due that nobody is at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.iter().find(|(_, key)| !self.busy.contains(key)).map(|(at, _)| *at)
    }

    /// The next one that is due; somebody is at it until [`Queue::done`].
    pub(super) fn take(&mut self, now: Instant) -> Option<K> {
        let next =
            self.order.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| !self.busy.contains(key)).cloned()?;
        self.order.remove(&next);
        self.due.remove(&next.1);
        self.busy.insert(next.1.clone());
        Some(next.1)
    }

    /// Nobody is at it any more. After a failure it is to be looked at again, the later the more often it has failed; what has had
    /// to be written again and again is looked at ever more seldom, whatever happens to it.
    pub(super) fn done(&mut self, key: &K, outcome: Outcome, now: Instant) {
        self.busy.remove(key);
        if outcome == Outcome::Failed {
            let failures = self.failures.entry(key.clone()).or_default();
            let again = doubled(*failures);
            *failures += 1;
            self.add(key.clone(), now + again);
            return;
        }
        self.failures.remove(key);
        if outcome == Outcome::Repeated {
            self.repeated(key, now);
        }
        let Some(contest) = self.contests.get(key) else { return };
        let calm = contest.until + CALM;
        if now >= calm {
            self.contests.remove(key);
        } else if contest.times >= CONTESTED {
            // What has been said of it is to be taken back.
            self.add(key.clone(), calm);
        }
    }

    fn repeated(&mut self, key: &K, now: Instant) {
        let contest = self.contests.entry(key.clone()).or_insert(Contest { times: 0, until: now });
        if now >= contest.until + CALM {
            contest.times = 0;
        }
        // Once may be anybody's mistake, and is put right at once.
        let pause = contest.times.checked_sub(1).map_or(Duration::ZERO, doubled);
        contest.times = contest.times.saturating_add(1);
        contest.until = now + pause;
        let until = contest.until;
        if let Some(due) = self.due.get(key).copied().filter(|due| *due < until) {
            self.order.remove(&(due, key.clone()));
            self.due.remove(key);
            self.add(key.clone(), until);
        }
    }

    /// Whether somebody writes against it.
    pub(super) fn is_contested(&self, key: &K, now: Instant) -> bool {
        self.contests.get(key).is_some_and(|contest| contest.times >= CONTESTED && now < contest.until + CALM)
    }

    /// It is no more.
    pub(super) fn forget(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
        self.failures.remove(key);
        self.contests.remove(key);
    }

    /// Only these are left.
    pub(super) fn retain(&mut self, is: impl Fn(&K) -> bool) {
        self.due.retain(|key, _| is(key));
        self.order.retain(|(_, key)| is(key));
        self.failures.retain(|key, _| is(key));
        self.contests.retain(|key, _| is(key));
    }
}

/// The pause after as many pauses.
fn doubled(times: u32) -> Duration {
    AGAIN_MIN.saturating_mul(1 << times.min(10)).min(AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_taken_once_when_it_is_due_and_not_while_somebody_is_at_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        queue.add('b', later);
        queue.add('a', now);
        queue.add('a', later);
        assert_eq!(queue.next_due(), Some(now));
        assert_eq!((queue.take(now), queue.take(now)), (Some('a'), None));
        queue.add('a', now);
        assert_eq!(queue.take(now), None, "somebody is at it");
        assert_eq!(queue.next_due(), Some(later));
        queue.done(&'a', Outcome::Well, now);
        assert_eq!(queue.take(now), Some('a'), "it has changed meanwhile");
        assert_eq!(queue.take(later), Some('b'));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_later_and_later_until_it_goes_well() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            queue.add('a', now);
            queue.take(now).unwrap();
            queue.done(&'a', Outcome::Failed, now);
            pauses.push((queue.next_due().unwrap() - now).as_millis());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        queue.add('a', now);
        queue.take(now).unwrap();
        queue.done(&'a', Outcome::Well, now);
        assert_eq!(queue.next_due(), None);
        queue.add('a', now);
        queue.forget(&'a');
        assert_eq!(queue.next_due(), None);
    }
    #[tokio::test(start_paused = true)]
    async fn two_who_write_against_each_other_do_so_ever_more_seldom() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let (mut now, mut pauses, mut contested) = (start, Vec::new(), Vec::new());
        for _ in 0..12 {
            // Somebody undoes it at once, each time.
            queue.add('a', now);
            let due = queue.next_due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
            assert_eq!(queue.take(now), Some('a'));
            contested.push(queue.is_contested(&'a', now));
            queue.done(&'a', Outcome::Repeated, now);
        }
        assert_eq!(pauses, [0, 0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(contested.iter().filter(|is| !**is).count(), 4, "{contested:?}");
        queue.add('b', now);
        assert_eq!(queue.next_due(), Some(now), "others wait for nothing");
        queue.take(now).unwrap();
        queue.done(&'b', Outcome::Well, now);
        // When the other has stopped, that is noticed, and everything is as before.
        now += Duration::from_secs(121);
        assert_eq!(queue.take(now), Some('a'), "it is looked at once more without an event");
        assert!(!queue.is_contested(&'a', now));
        queue.done(&'a', Outcome::Well, now);
        assert_eq!(queue.next_due(), None);
        queue.add('a', now);
        assert_eq!(queue.next_due(), Some(now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_it_is_written_waits_as_well() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for _ in 0..3 {
            queue.add('a', now);
            queue.take(now + Duration::from_secs(1)).unwrap();
            queue.add('a', now);
            queue.done(&'a', Outcome::Repeated, now);
        }
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_gone_leaves_nothing() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (key, outcome) in [('a', Outcome::Failed), ('b', Outcome::Repeated), ('c', Outcome::Failed)] {
            queue.add(key, now);
            queue.take(now).unwrap();
            queue.done(&key, outcome, now);
        }
        queue.retain(|key| *key == 'c');
        assert_eq!((queue.failures.len(), queue.contests.len(), queue.due.len(), queue.order.len()), (1, 0, 1, 1));
    }
}
