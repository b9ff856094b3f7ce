//! Which broker leads which topic.
//!
//! One task asks, for all calls at once: when a broker is lost, or a thousand topics are new, the many calls that want to know
//! become few requests. What it has learnt stays until a broker says otherwise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::codec::Garbled;
use super::codes::{LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
use super::failure::Failure;
use super::link::{Links, Purpose};
use super::messages;
use super::settings::Settings;
use crate::log::Topic;

/// Topics of one question at most.
const TOPICS_A_QUESTION: usize = 1_000;
/// Calls that wait to be asked for at most; the next one waits for room until its deadline.
const QUEUED: usize = 64;
/// How long one broker has for its answer, before another one is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A topic that nobody has appended to for so long is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);

/// What the brokers say of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is led by a broker, which is known now.
    Led,
    /// It is not there.
    Unknown,
    /// It is there, and led by none now; or else its error code.
    Code(i16),
}

/// What is known of the cluster.
#[derive(Debug, Default)]
struct Known {
    brokers: HashMap<i32, Address>,
    topics: HashMap<Topic, Place>,
    /// Brokers that may not know who leads what, as those that are cut off from the controllers: they are asked last.
    suspects: HashSet<Address>,
}

#[derive(Debug)]
struct Place {
    leader: Address,
    used: Instant,
}

/// What came of asking, topic by topic.
pub(super) type Answer = Result<Arc<HashMap<Topic, Found>>, Failure>;

/// A call that wants to know.
#[derive(Debug)]
struct Wanted {
    topics: Vec<Topic>,
    reply: oneshot::Sender<Answer>,
}

/// Knows, or asks.
#[derive(Debug)]
pub(super) struct Leaders {
    settings: Arc<Settings>,
    links: Arc<Links>,
    known: Arc<Mutex<Known>>,
    asker: Mutex<Option<mpsc::Sender<Wanted>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Leaders {
    pub(super) fn new(settings: Arc<Settings>, links: Arc<Links>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { settings, links, known: Arc::default(), asker: Mutex::default(), tasks, stop }
    }

    /// The leaders of these topics that are known, and the topics whose leader is not.
    pub(super) fn known(&self, topics: &[Topic]) -> (HashMap<Topic, Address>, Vec<Topic>) {
        let (mut found, mut unknown) = (HashMap::with_capacity(topics.len()), Vec::new());
        let (mut known, now) = (self.known.lock(), Instant::now());
        for topic in topics {
            match known.topics.get_mut(topic) {
                Some(place) => {
                    place.used = now;
                    found.insert(topic.clone(), place.leader.clone());
                }
                None => unknown.push(topic.clone()),
            }
        }
        (found, unknown)
    }

    /// What is known of these topics is wrong, or may be.
    pub(super) fn forget<'a>(&self, topics: impl Iterator<Item = &'a Topic>) {
        let mut known = self.known.lock();
        for topic in topics {
            known.topics.remove(topic);
        }
    }

    /// The brokers of the cluster; those that the operator named where none are known.
    pub(super) fn brokers(&self) -> Vec<Address> {
        let known: Vec<_> = self.known.lock().brokers.values().cloned().collect();
        if known.is_empty() { self.settings.brokers.clone() } else { known }
    }

    /// Whether the cluster has this broker and no other.
    pub(super) fn is_alone(&self, broker: &Address) -> bool {
        let known = self.known.lock();
        known.brokers.len() == 1 && known.brokers.values().all(|known| known == broker)
    }

    /// This broker is asked about leaders when all others have failed to tell.
    pub(super) fn suspect(&self, broker: &Address) {
        self.known.lock().suspects.insert(broker.clone());
    }

    /// This broker is as good as any other.
    pub(super) fn trust(&self, broker: &Address) {
        self.known.lock().suspects.remove(broker);
    }

    /// Asks about these topics; what is found is known from then on.
    ///
    /// # Errors
    /// [`Failure`] when no broker tells by the deadline.
    pub(super) async fn learn(&self, topics: Vec<Topic>, deadline: Instant) -> Answer {
        if topics.is_empty() {
            return Ok(Arc::default());
        }
        let (reply, answer) = oneshot::channel();
        let asker = self.asker();
        let over = || Failure::Lost("the asking for leaders is over".into());
        let learnt = timeout_at(deadline, async {
            asker.send(Wanted { topics, reply }).await.map_err(|_| over())?;
            answer.await.map_err(|_| over())?
        });
        learnt.await.unwrap_or_else(|_| Err(Failure::Lost("no broker tells the topics' leaders in time".into())))
    }

    /// The queue of the task that asks, which is begun where there is none.
    fn asker(&self) -> mpsc::Sender<Wanted> {
        let mut asker = self.asker.lock();
        if let Some(asker) = &*asker
            && !asker.is_closed()
        {
            return asker.clone();
        }
        let (sender, wanted) = mpsc::channel(QUEUED);
        let task = Asker {
            settings: self.settings.clone(),
            links: self.links.clone(),
            known: self.known.clone(),
            wanted,
            last: None,
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
        *asker = Some(sender.clone());
        sender
    }
}

/// The task that asks.
struct Asker {
    settings: Arc<Settings>,
    links: Arc<Links>,
    known: Arc<Mutex<Known>>,
    wanted: mpsc::Receiver<Wanted>,
    /// Who answered last.
    last: Option<Address>,
}

impl Asker {
    async fn run(mut self) {
        let mut calls = Vec::new();
        while self.wanted.recv_many(&mut calls, QUEUED).await > 0 {
            calls.retain(|call| !call.reply.is_closed());
            let topics: HashSet<_> = calls.iter().flat_map(|call| call.topics.iter().cloned()).collect();
            let topics: Vec<_> = topics.into_iter().collect();
            let answer = if topics.is_empty() { Ok(HashMap::new()) } else { self.ask_all(&topics).await };
            let answer = answer.map(Arc::new);
            for call in calls.drain(..) {
                let _ = call.reply.send(answer.clone());
            }
        }
    }

    async fn ask_all(&mut self, topics: &[Topic]) -> Result<HashMap<Topic, Found>, Failure> {
        let mut found = HashMap::with_capacity(topics.len());
        for topics in topics.chunks(TOPICS_A_QUESTION) {
            self.ask(topics, &mut found).await?;
        }
        Ok(found)
    }

    /// Asks one broker after the other until one tells.
    async fn ask(&mut self, topics: &[Topic], found: &mut HashMap<Topic, Found>) -> Result<(), Failure> {
        let mut failed = Failure::Lost("no broker is known".into());
        for broker in self.candidates() {
            let request = messages::metadata(&self.settings.client_id, topics);
            let deadline = Instant::now() + ANSWER_TIMEOUT;
            match self.links.ask(&broker, Purpose::Leaders, request, None, deadline).await {
                Ok(answer) => match self.note(&answer, topics, found) {
                    Ok(()) => {
                        self.last = Some(broker);
                        return Ok(());
                    }
                    Err(garbled) => failed = Failure::lost(&broker, garbled),
                },
                // A refusal says more than a broker that is away.
                Err(failure) if matches!(failed, Failure::Lost(_)) => failed = failure,
                Err(_) => {}
            }
        }
        self.last = None;
        Err(failed)
    }

    /// Who to ask: the one that answered last, then those that are known, then those that were named by the operator; of all these,
    /// suspects last. Those of the operator are never forgotten: a cluster that comes back tells for a moment that it has no brokers.
    fn candidates(&self) -> Vec<Address> {
        let mut candidates: Vec<_> = self.last.iter().cloned().collect();
        let known = self.known.lock();
        for address in known.brokers.values().chain(&self.settings.brokers) {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates.sort_by_key(|candidate| known.suspects.contains(candidate));
        candidates
    }

    fn note(&self, answer: &[u8], asked: &[Topic], found: &mut HashMap<Topic, Found>) -> Result<(), Garbled> {
        let view = messages::read_metadata(answer)?;
        let asked: HashMap<&str, &Topic> = asked.iter().map(|topic| (&**topic, topic)).collect();
        let (mut known, now) = (self.known.lock(), Instant::now());
        known.brokers = view
            .brokers
            .iter()
            .filter_map(|broker| Some((broker.id, Address::told(broker.host, broker.port)?)))
            .collect();
        for topic in view.topics {
            let leader = topic.leader.and_then(|leader| known.brokers.get(&leader)).cloned();
            // What has not been asked about is not kept, so that no answer makes this grow.
            let Some(&name) = asked.get(topic.name) else { continue };
            let place = match (topic.code, leader) {
                (0, Some(leader)) => {
                    known.topics.insert(name.clone(), Place { leader, used: now });
                    Found::Led
                }
                (0, None) => Found::Code(LEADER_NOT_AVAILABLE),
                (UNKNOWN_TOPIC_OR_PARTITION, _) => Found::Unknown,
                (code, _) => Found::Code(code),
            };
            found.insert(name.clone(), place);
        }
        known.topics.retain(|_, place| now - place.used < FORGET);
        Ok(())
    }
}
