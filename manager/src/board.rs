//! The newest answers of all collectors: what every call from KEDA is answered from, without waiting.
//!
//! A topic on the move is answered by two collectors for a while. An aggregate is a pure function of the log, so either answer is right; the one
//! with the newest evidence is taken, and nothing is ever added up over collectors.

mod cell;
mod cold;
mod link;
mod load;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use plimsoll_wire::collector::Answer;
use plimsoll_wire::log::Topic;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use cell::{Cell, Heard, Unknown};
pub use cold::ColdStart;
pub use link::{Link, SILENCE};

/// All topics' answers.
#[derive(Debug)]
pub struct Board {
    activity_window: Duration,
    cells: RwLock<HashMap<Topic, Arc<Cell>>>,
    links: RwLock<HashMap<Arc<str>, Arc<Link>>>,
    /// Told when planning may have something to do: a collector came, went silent, or a topic turned warm.
    pub changed: Notify,
}

impl Board {
    /// An empty board; activity is judged by this window.
    #[must_use]
    pub fn new(activity_window: Duration) -> Self {
        Self { activity_window, cells: RwLock::default(), links: RwLock::default(), changed: Notify::new() }
    }

    /// The topic's cell, made on first use.
    #[must_use]
    pub fn cell(&self, topic: &Topic) -> Arc<Cell> {
        if let Some(cell) = self.cells.read().get(topic) {
            return cell.clone();
        }
        self.cells.write().entry(topic.clone()).or_insert_with(|| Arc::new(Cell::new(topic.clone()))).clone()
    }

    /// The collector's link, made on first use.
    #[must_use]
    pub fn link(&self, collector: &str) -> Arc<Link> {
        if let Some(link) = self.links.read().get(collector) {
            return link.clone();
        }
        self.links.write().entry(Arc::from(collector)).or_insert_with(|| Arc::new(Link::new(collector))).clone()
    }

    /// Whose topics a collector is for, as it was registered last; none where nobody listens to it.
    #[must_use]
    pub fn provider(&self, collector: &str) -> Option<String> {
        self.links.read().get(collector).and_then(|link| link.state().provider)
    }

    /// All links, sorted by collector.
    #[must_use]
    pub fn links(&self) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = self.links.read().values().cloned().collect();
        links.sort_by(|a, b| a.collector.cmp(&b.collector));
        links
    }

    /// Takes a collector's answers.
    pub fn take(&self, link: &Arc<Link>, answers: Vec<Answer>) {
        let at = Instant::now();
        let mut turned_warm = false;
        for answer in answers {
            let cell = self.cell(&Topic::from(answer.topic.as_str()));
            turned_warm |= answer.warm && !cell.warm_on(&link.collector);
            cell.take(Heard { link: link.clone(), answer: Arc::new(answer), at }, self.activity_window);
        }
        if turned_warm {
            self.changed.notify_one();
        }
    }

    /// The collector does not read these topics any more.
    pub fn release<'a>(&self, link: &Link, topics: impl IntoIterator<Item = &'a str>) {
        let cells = self.cells.read();
        for topic in topics {
            if let Some(cell) = cells.get(topic) {
                cell.drop_collector(&link.collector);
            }
        }
    }

    /// Everything that the collector said is void: it has started anew.
    pub fn forget_answers(&self, link: &Link) {
        self.keep_answers(link, |_| false);
    }

    /// What the collector said of other topics than these is void: its snapshot does not name them.
    pub fn keep_answers(&self, link: &Link, told: impl Fn(&str) -> bool) {
        for (topic, cell) in self.cells.read().iter() {
            if !told(topic) {
                cell.drop_collector(&link.collector);
            }
        }
    }

    /// The collector is gone for good.
    pub fn forget_link(&self, collector: &str) {
        if let Some(link) = self.links.write().remove(collector) {
            self.forget_answers(&link);
            self.changed.notify_one();
        }
    }

    /// Ends what watches workloads that have gone, and drops their cells when nobody reads them any more.
    ///
    /// What is still read stays: its collector says nothing new of an idle topic, and the workload may come back.
    pub fn keep_topics(&self, wanted: impl Fn(&str) -> bool) {
        self.cells.write().retain(|topic, cell| {
            if wanted(topic) {
                return true;
            }
            cell.end_watchers();
            cell.is_read()
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(topic: &str, concurrency: f64, evidence: u64) -> Answer {
        Answer {
            topic: topic.into(),
            concurrency,
            evidence_unix_ms: evidence,
            known: true,
            warm: true,
            ..Answer::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_on_the_move_is_answered_once_by_the_newest_evidence() {
        let board = Board::new(Duration::from_secs(30));
        let (a, b) = (board.link("a"), board.link("b"));
        a.heard();
        b.heard();
        board.take(&a, vec![answer("t", 5.0, 100)]);
        board.take(&b, vec![Answer { warm: false, ..answer("t", 1.0, 200) }]);
        let cell = board.cell(&Topic::from("t"));
        assert_eq!(cell.best().unwrap().answer.concurrency, 5.0, "a cold answer is not told");
        board.take(&b, vec![answer("t", 5.5, 200)]);
        assert_eq!(cell.best().unwrap().answer.concurrency, 5.5);
        board.release(&a, ["t"]);
        assert_eq!(cell.best().unwrap().answer.concurrency, 5.5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_collectors_answers_become_unknown() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        link.heard();
        board.take(&link, vec![answer("t", 5.0, 100)]);
        let cell = board.cell(&Topic::from("t"));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(cell.best().is_ok());
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(matches!(cell.best(), Err(Unknown::Silent { .. })));
        link.heard();
        assert!(cell.best().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_workload_that_goes_and_comes_back_is_known_at_once() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        link.heard();
        board.take(&link, vec![answer("t", 0.0, 1)]);
        let mut stream = board.cell(&Topic::from("t")).active_until();
        board.keep_topics(|_| false);
        assert!(stream.changed().await.is_err(), "its stream has ended");
        assert!(board.cell(&Topic::from("t")).best().is_ok());
        board.release(&link, ["t"]);
        board.keep_topics(|_| false);
        assert!(matches!(board.cell(&Topic::from("t")).best(), Err(Unknown::Unanswered { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_are_woken_when_a_topic_turns_active_and_not_while_it_stays_so() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        link.heard();
        let cell = board.cell(&Topic::from("t"));
        let mut watcher = cell.active_until();
        board.take(&link, vec![answer("t", 0.0, 1)]);
        assert!(!watcher.has_changed().unwrap());
        board.take(&link, vec![Answer { in_flight: 1, ..answer("t", 0.1, 2) }]);
        assert!(watcher.has_changed().unwrap());
        watcher.mark_unchanged();
        tokio::time::advance(Duration::from_secs(1)).await;
        board.take(&link, vec![Answer { in_flight: 2, ..answer("t", 0.2, 3) }]);
        assert!(!watcher.has_changed().unwrap(), "still active");
        assert!(watcher.borrow().unwrap() > Instant::now() + Duration::from_secs(29));
    }
}
