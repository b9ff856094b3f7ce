//! The newest answers, and what each subscriber has not been told yet.
//!
//! A subscriber's backlog names topics and holds no answers: when it is slow it gets the newest ones later, and never costs more
//! memory than the topics there are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::collector::{Answer, CollectorLoad, InterceptorState, Update};
use plimsoll_wire::log::Topic;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Answers in one update at most: some 100 kB.
const CHUNK: usize = 512;
/// Subscribers at most. There are as many as managers, and each may have a dying stream besides its new one.
const SUBSCRIBERS_MAX: usize = 64;
/// What is known is as old as the reader's last sign of life. Older than this, as in a process that was frozen and wakes, it is not told
/// before the reader has looked: a manager takes what it hears for what is known now.
const ASLEEP: Duration = Duration::from_secs(3);

/// What the reader tells all subscribers at once.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) load: CollectorLoad,
    pub(crate) interceptors: Vec<InterceptorState>,
}

/// How soon an answer must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// In its turn.
    Paced,
    /// Before all that wait: a topic has turned active or idle.
    AtOnce,
}

/// The newest answers, for any number of subscribers.
#[derive(Debug)]
pub(crate) struct Hub {
    collector: String,
    incarnation: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Each with when it was made: what it says of the last arrival's age is as of then.
    answers: HashMap<Topic, (Answer, Instant)>,
    state: State,
    /// Grows when the interceptors differ from what was told.
    interceptors_version: u64,
    subscribers: HashMap<u64, Backlog>,
    next: u64,
    /// The reader's last sign of life; none before the first.
    beaten: Option<Instant>,
    leaving: bool,
    closed: bool,
}

/// Topics in the order in which they came, each once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Topic>,
    waiting: HashSet<Topic>,
}

/// What one subscriber has not been told.
#[derive(Debug)]
struct Backlog {
    news: Arc<Notify>,
    at_once: Queue,
    paced: Queue,
    released: HashSet<Topic>,
    /// Topics of the snapshot that are still to be told.
    snapshot: Option<usize>,
    /// The reader has shown life since the last update.
    beat: bool,
    interceptors_told: Option<u64>,
}

/// One subscriber's end. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscriber {
    hub: Arc<Hub>,
    id: u64,
    news: Arc<Notify>,
}

impl Hub {
    pub(crate) fn new(collector: String, incarnation: u64) -> Self {
        Self { collector, incarnation, held: Mutex::default() }
    }

    /// Whose answers these are.
    pub(crate) fn collector(&self) -> &str {
        &self.collector
    }

    /// A subscriber that will be told everything; none when there are too many, or at the end.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Option<Subscriber> {
        let mut held = self.held.lock();
        if held.closed || held.subscribers.len() >= SUBSCRIBERS_MAX {
            return None;
        }
        let news = Arc::new(Notify::new());
        let mut paced = Queue::default();
        for topic in held.answers.keys() {
            paced.push(topic);
        }
        let snapshot = Some(paced.len());
        let backlog = Backlog {
            news: news.clone(),
            at_once: Queue::default(),
            paced,
            released: HashSet::new(),
            snapshot,
            beat: true,
            interceptors_told: None,
        };
        let id = held.next;
        held.next += 1;
        held.subscribers.insert(id, backlog);
        Some(Subscriber { hub: self.clone(), id, news })
    }

    /// How many subscribers there are.
    pub(crate) fn subscribers(&self) -> usize {
        self.held.lock().subscribers.len()
    }

    /// Takes new answers.
    pub(crate) fn tell(&self, answers: Vec<Answer>, urgency: Urgency) {
        if answers.is_empty() {
            return;
        }
        let mut held = self.held.lock();
        let Held { answers: known, subscribers, .. } = &mut *held;
        let made = Instant::now();
        for answer in answers {
            let topic = match known.get_key_value(answer.topic.as_str()) {
                Some((topic, _)) => topic.clone(),
                None => Topic::from(answer.topic.as_str()),
            };
            for backlog in subscribers.values_mut() {
                backlog.released.remove(&topic);
                match urgency {
                    Urgency::Paced => backlog.paced.push(&topic),
                    Urgency::AtOnce => backlog.at_once.push(&topic),
                }
            }
            known.insert(topic, (answer, made));
        }
        held.notify();
    }

    /// These topics are not answered any more.
    pub(crate) fn release(&self, topics: impl IntoIterator<Item = Topic>) {
        let mut held = self.held.lock();
        for topic in topics {
            // One that nobody was told of need not be taken back.
            if held.answers.remove(&topic).is_some() {
                for backlog in held.subscribers.values_mut() {
                    backlog.released.insert(topic.clone());
                }
            }
        }
        held.notify();
    }

    /// The reader lives: every subscriber gets an update, with this.
    pub(crate) fn beat(&self, state: State) {
        let mut held = self.held.lock();
        if held.state.interceptors != state.interceptors {
            held.interceptors_version += 1;
        }
        held.state = state;
        held.beaten = Some(Instant::now());
        for backlog in held.subscribers.values_mut() {
            backlog.beat = true;
        }
        held.notify();
    }

    /// Tells all subscribers that the collector is about to stop.
    pub(crate) fn leave(&self) {
        let mut held = self.held.lock();
        held.leaving = true;
        for backlog in held.subscribers.values_mut() {
            backlog.beat = true;
        }
        held.notify();
    }

    /// Ends all subscriptions; what has not been told stays untold.
    pub(crate) fn close(&self) {
        let mut held = self.held.lock();
        held.closed = true;
        held.notify();
    }
}

impl Held {
    fn notify(&self) {
        for backlog in self.subscribers.values() {
            backlog.news.notify_one();
        }
    }
}

impl Queue {
    fn push(&mut self, topic: &Topic) {
        if self.waiting.insert(topic.clone()) {
            self.order.push_back(topic.clone());
        }
    }

    fn pop(&mut self) -> Option<Topic> {
        let topic = self.order.pop_front()?;
        self.waiting.remove(&topic);
        Some(topic)
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

impl Subscriber {
    /// The next update, as soon as there is something to tell; none at the end. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Update> {
        loop {
            {
                let mut held = self.hub.held.lock();
                if held.closed {
                    return None;
                }
                if let Some(update) = self.update(&mut held) {
                    return Some(update);
                }
            }
            self.news.notified().await;
        }
    }

    fn update(&self, held: &mut Held) -> Option<Update> {
        let Held { answers, state, interceptors_version, subscribers, beaten, leaving, .. } = held;
        if beaten.is_some_and(|beaten| beaten.elapsed() > ASLEEP) {
            return None;
        }
        let backlog = subscribers.get_mut(&self.id)?;
        let idle = backlog.at_once.len() == 0 && backlog.paced.len() == 0 && backlog.released.is_empty();
        if idle && backlog.snapshot.is_none() && !backlog.beat {
            return None;
        }
        backlog.beat = false;
        let mut told = Vec::new();
        while told.len() < CHUNK {
            let topic = match backlog.at_once.pop() {
                Some(topic) => topic,
                None => {
                    let Some(topic) = backlog.paced.pop() else { break };
                    // The snapshot stands at the head of the queue, whatever has changed since.
                    backlog.snapshot = backlog.snapshot.map(|left| left.saturating_sub(1));
                    topic
                }
            };
            // It may have been released since.
            told.extend(answers.get(&topic).map(|(answer, made)| aged(answer, *made)));
        }
        let snapshot_continues = backlog.snapshot.is_some_and(|left| left > 0);
        if !snapshot_continues {
            backlog.snapshot = None;
        }
        let interceptors_changed = backlog.interceptors_told != Some(*interceptors_version);
        backlog.interceptors_told = Some(*interceptors_version);
        Some(Update {
            collector: self.hub.collector.clone(),
            incarnation: self.hub.incarnation,
            generation: state.generation,
            snapshot_continues,
            answers: told,
            released: backlog.released.drain().map(|topic| topic.to_string()).collect(),
            load: Some(state.load),
            interceptors: if interceptors_changed { state.interceptors.clone() } else { Vec::new() },
            interceptors_changed,
            leaving: *leaving,
        })
    }
}

/// An answer that was made a while ago, as of now.
fn aged(answer: &Answer, made: Instant) -> Answer {
    let passed_us = u64::try_from(made.elapsed().as_micros()).unwrap_or(u64::MAX);
    let since_arrival_us = answer.since_arrival_us.map(|us| us.saturating_add(passed_us));
    Answer { since_arrival_us, ..answer.clone() }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.hub.held.lock().subscribers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
