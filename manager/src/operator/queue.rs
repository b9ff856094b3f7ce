//! Which resources are to be looked at, and when. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// After the first failure; each further one doubles it.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// The longest time between two attempts.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Each resource stands in it at most once, so its size is bounded by their number.
#[derive(Debug)]
pub(super) struct Queue<K> {
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    busy: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new(), busy: BTreeSet::new(), failures: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// It is to be looked at then, or before where that is so already.
    pub(super) fn add(&mut self, key: K, at: Instant) {
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

    /// Nobody is at it any more. After a failure it is to be looked at again, the later the more often it has failed.
    pub(super) fn done(&mut self, key: &K, well: bool, now: Instant) {
        self.busy.remove(key);
        if well {
            self.failures.remove(key);
            return;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let again = AGAIN_MIN.saturating_mul(1 << (*failures).min(10)).min(AGAIN_MAX);
        *failures += 1;
        self.add(key.clone(), now + again);
    }

    /// It is no more.
    pub(super) fn forget(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
        self.failures.remove(key);
    }
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
        queue.done(&'a', true, now);
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
            queue.done(&'a', false, now);
            pauses.push((queue.next_due().unwrap() - now).as_millis());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        queue.add('a', now);
        queue.take(now).unwrap();
        queue.done(&'a', true, now);
        assert_eq!(queue.next_due(), None);
        queue.add('a', now);
        queue.forget(&'a');
        assert_eq!(queue.next_due(), None);
    }
}
