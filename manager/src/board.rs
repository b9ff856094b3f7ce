//! The newest answers of all collectors: what every call from KEDA is answered from, without waiting.
//!
//! A topic on the move is answered by two collectors for a while. An aggregate is a pure function of the log, so either answer is right; the one
//! with the newest evidence is taken, and nothing is ever added up over collectors.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use plimsoll_wire::collector::{Answer, InterceptorState};
use plimsoll_wire::log::Topic;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Answers of a collector that has been silent for this long are not told any more: it sends an update every second.
pub const SILENCE: Duration = Duration::from_secs(3);

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

/// One collector's connection, as the board sees it.
#[derive(Debug)]
pub struct Link {
    /// The collector's name.
    pub collector: Arc<str>,
    origin: Instant,
    heard_ms: AtomicU64,
    connected: AtomicBool,
    parted: AtomicBool,
    state: Mutex<LinkState>,
}

/// What a collector last said of itself.
#[derive(Debug, Clone, Default)]
pub struct LinkState {
    /// The run of the collector that this is about.
    pub incarnation: u64,
    /// The plan it follows.
    pub generation: u64,
    /// Frames and bytes read since it started.
    pub frames_total: u64,
    /// See `frames_total`.
    pub bytes_total: u64,
    /// How long ago everything that was then in the log had been read.
    pub lag: Duration,
    /// The interceptors that it hears.
    pub interceptors: Vec<InterceptorState>,
    /// It is about to stop, and asks for its topics to be taken over.
    pub leaving: bool,
}

impl Link {
    fn new(collector: &str) -> Self {
        Self {
            collector: Arc::from(collector),
            origin: Instant::now(),
            heard_ms: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            parted: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// An update has come.
    pub fn heard(&self) {
        let ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(ms, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
        self.parted.store(false, Ordering::Relaxed);
    }

    /// The collector has ended its stream as one does that stops: nothing more comes from this run of it.
    pub fn part(&self) {
        self.parted.store(true, Ordering::Relaxed);
    }

    /// Whether the collector has said goodbye, and nothing since.
    #[must_use]
    pub fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Relaxed)
    }

    /// Whether any update has ever come.
    #[must_use]
    pub fn ever_heard(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How long ago the newest update came; since the link was made, if none has.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// What the collector last said of itself.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state.lock().clone()
    }

    /// The generation of the plan that it follows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// The run of the collector that the board's answers are of.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.state.lock().incarnation
    }

    /// Changes what is known of the collector.
    pub fn update(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut self.state.lock());
    }
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
}

/// Frames a second of one topic, smoothed.
#[derive(Debug, Default)]
struct LoadMeter {
    /// When the newest count came, from whom, and what it was.
    last: Option<(Instant, Arc<Link>, u64)>,
    frames_per_second: f64,
}

/// How long the meter averages, in seconds: long enough that a tick more or less makes no move.
const LOAD_SMOOTHING_S: f64 = 30.0;
/// Another collector's count is taken up only when the one before has said nothing for this long.
const LOAD_HANDOVER: Duration = Duration::from_secs(2);

impl LoadMeter {
    /// Takes a count. Each collector counts from when it took the topic over, and a replay is no load.
    #[allow(clippy::cast_precision_loss, reason = "frames between two answers are few")]
    fn add(&mut self, heard: &Heard) {
        let (now, total) = (heard.at, heard.answer.frames_total);
        if !heard.answer.warm {
            return;
        }
        if let Some((before, link, frames)) = &self.last {
            let (same, passed) = (Arc::ptr_eq(link, &heard.link), now.duration_since(*before));
            if (same && passed < Duration::from_secs(1)) || (!same && passed < LOAD_HANDOVER) {
                return;
            }
            if same && total >= *frames {
                let seconds = passed.as_secs_f64();
                let rate = (total - frames) as f64 / seconds;
                let weight = 1.0 - (-seconds / LOAD_SMOOTHING_S).exp();
                self.frames_per_second += weight * (rate - self.frames_per_second);
            }
        }
        self.last = Some((now, heard.link.clone(), total));
    }

    /// Frames a second; answers come only when something changes, so silence decays.
    fn now(&self, now: Instant) -> f64 {
        let last = self.last.as_ref();
        let silent = last.map_or(0.0, |(at, ..)| now.duration_since(*at).as_secs_f64() - 2.0).max(0.0);
        self.frames_per_second * (-silent / LOAD_SMOOTHING_S).exp()
    }
}

impl Cell {
    fn new(topic: Topic) -> Self {
        Self {
            topic,
            heard: Mutex::default(),
            active_until: Mutex::new(watch::Sender::new(None)),
            load: Mutex::default(),
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

    /// Frames a second.
    #[must_use]
    pub fn frames_per_second(&self) -> f64 {
        self.load.lock().now(Instant::now())
    }

    fn take(&self, heard: Heard, activity_window: Duration) {
        let now = heard.at;
        let answer = heard.answer.clone();
        self.load.lock().add(&heard);
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
    fn end_watchers(&self) {
        let mut sender = self.active_until.lock();
        let known = *sender.borrow();
        *sender = watch::Sender::new(known);
    }

    fn drop_collector(&self, collector: &str) {
        self.heard.lock().retain(|heard| &*heard.link.collector != collector);
    }
}

/// Known and warm before unknown, then the newest evidence.
fn rank(heard: &Heard) -> (bool, u64, Instant) {
    (heard.answer.known && heard.answer.warm, heard.answer.evidence_unix_ms, heard.at)
}

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
            !cell.heard.lock().is_empty()
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
    async fn neither_another_collectors_count_nor_a_replay_looks_like_load() {
        let board = Board::new(Duration::from_secs(30));
        let (old, new) = (board.link("old"), board.link("new"));
        let frames = |total| Answer { frames_total: total, ..answer("t", 1.0, total) };
        board.take(&new, vec![Answer { warm: false, ..frames(80) }]);
        for second in 0..60 {
            board.take(&old, vec![frames(86_400 + second)]);
            board.take(&new, vec![frames(80 + second)]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let load = board.cell(&Topic::from("t")).frames_per_second();
        assert!((0.5..=1.1).contains(&load), "{load}");
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
