//! Questions to the brokers: which topics are there, and where they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::RwLock;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::KafkaConfig;
use super::clients::{self, Context, Reach, Role};
use super::native::{self, Answers, Failed, Found, Miss, TopicId, Which};
use super::renewed::Renewed;
use crate::log::{LogError, Topic};

/// How long the brokers have for one answer. A reader's proofs wait for it, and 3 s without proof mean *unknown*.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Topics of one question about their existence at most.
const TOPICS_A_QUESTION: usize = 500;
/// What the client knows of a topic's leader is asked for anew after this; far sooner than the client forgets it.
const RENEW: Duration = Duration::from_secs(600);

/// Kafka's error codes.
const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
const INVALID_TOPIC: i32 = 17;

/// What came of a question, topic by topic.
pub(super) type PerTopic<T> = HashMap<Topic, Result<T, LogError>>;

/// Asks the brokers, for all subscriptions.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    asker: Arc<Renewed<Asker>>,
    reach: Arc<Reach>,
}

/// The client, and what it knows.
struct Asker {
    client: AdminClient<Context>,
    leaders: Leaders,
}

/// Keeps librdkafka from crashing.
///
/// When ListOffsets finds a topic's leader unknown to the client, librdkafka lets two threads work on the request: the caller's,
/// and its own as soon as the client learns anything about any topic. Under load they free it twice. So offsets are asked for
/// only where the client knows the leader, and the sending is kept apart from whatever makes the client learn.
#[derive(Debug, Default)]
struct Leaders {
    /// Topics that the client knows the leader of, and since when.
    known: Mutex<HashMap<Topic, Instant>>,
    /// Held to learn about topics (written), or while requests for offsets are put on their way (read).
    learning: Arc<RwLock<()>>,
}

impl Lookup {
    pub(super) fn new(config: Arc<KafkaConfig>, reach: Arc<Reach>) -> Result<Self, LogError> {
        let of_client = reach.clone();
        let asker = Renewed::new("questions", move || {
            let client = clients::create(&config, Role::Asker, &of_client)?;
            Ok(Asker { client, leaders: Leaders::default() })
        })?;
        Ok(Self { asker: Arc::new(asker), reach })
    }

    /// Which of these topics can be read and written; asked anew each time.
    pub(super) async fn describe(&self, topics: Vec<Topic>, timeout: Duration) -> Result<PerTopic<TopicId>, LogError> {
        let what = "asking which topics are there";
        let described = self.learn(&self.asker.get(), what, &topics, timeout).await?;
        Ok(self.explain(what, described))
    }

    /// Where these topics end now.
    pub(super) async fn ends(&self, topics: Vec<Topic>) -> Result<PerTopic<u64>, LogError> {
        self.offset_of(topics, Which::End).await
    }

    /// The oldest records that these topics keep.
    pub(super) async fn oldest(&self, topics: Vec<Topic>) -> Result<PerTopic<u64>, LogError> {
        self.offset_of(topics, Which::Oldest).await
    }

    async fn offset_of(&self, topics: Vec<Topic>, which: Which) -> Result<PerTopic<u64>, LogError> {
        let found = self.offsets(topics.into_iter().map(|topic| (topic, which)).collect()).await?;
        let offset = |found: Option<Found>| found.map_or(0, |found| found.offset);
        Ok(found.into_iter().map(|(topic, found)| (topic, found.map(offset))).collect())
    }

    /// Offsets of topics, each named once; `None` where a topic has no such record.
    pub(super) async fn offsets(&self, asked: Vec<(Topic, Which)>) -> Result<PerTopic<Option<Found>>, LogError> {
        let what = "asking for offsets";
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut answers = self.ask_offsets(what, asked.clone(), deadline).await?;
        let is_stale = |topic: &Topic| matches!(answers.get(topic), Some(Err(Miss::Leaderless)));
        let again: Vec<_> = asked.into_iter().filter(|(topic, _)| is_stale(topic)).collect();
        if !again.is_empty() {
            // The leader has changed, as after any restart; who it is now has to be learnt first.
            answers.extend(self.ask_offsets(what, again, deadline).await?);
        }
        Ok(self.explain(what, answers))
    }

    async fn ask_offsets(
        &self,
        what: &'static str,
        mut asked: Vec<(Topic, Which)>,
        deadline: Instant,
    ) -> Result<HashMap<Topic, Result<Option<Found>, Miss>>, LogError> {
        let asker = self.asker.get();
        let mut answers = HashMap::with_capacity(asked.len());
        let strange = asker.leaders.strange(&asked);
        if !strange.is_empty() {
            for (topic, described) in self.learn(&asker, what, &strange, left_until(deadline)).await? {
                if let Err(miss) = described {
                    answers.insert(topic, Err(miss));
                }
            }
            asked.retain(|(topic, _)| !answers.contains_key(topic));
        }
        if asked.is_empty() {
            return Ok(answers);
        }
        let sending = asker.leaders.learning.clone().read_owned().await;
        let (asking, timeout) = (asker.clone(), left_until(deadline));
        let found = self.ask(what, move || native::offsets(asking.client.inner(), &asked, timeout, sending)).await?;
        asker.leaders.note(found.iter().filter(|(_, found)| found.is_err()).map(|(topic, _)| (topic, false)));
        answers.extend(found);
        Ok(answers)
    }

    /// Asks which of these topics are there, whereby the client learns their leaders.
    async fn learn(
        &self,
        asker: &Arc<Asker>,
        what: &'static str,
        topics: &[Topic],
        timeout: Duration,
    ) -> Result<Answers<TopicId>, LogError> {
        let mut all = Vec::with_capacity(topics.len());
        for chunk in topics.chunks(TOPICS_A_QUESTION) {
            let learning = asker.leaders.learning.clone().write_owned().await;
            let (asking, chunk) = (asker.clone(), chunk.to_vec());
            let question = move || {
                let _learning = learning;
                native::describe(asking.client.inner(), &chunk, timeout)
            };
            let described = self.ask(what, question).await?;
            asker.leaders.note(described.iter().map(|(topic, described)| (topic, described.is_ok())));
            all.extend(described);
        }
        Ok(all)
    }

    async fn ask<T, F>(&self, what: &'static str, question: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Failed> + Send + 'static,
    {
        let asker = self.asker.clone();
        let asked = spawn_blocking(move || {
            let outcome = question();
            match &outcome {
                Ok(_) => asker.worked(),
                Err(_) => asker.failed(),
            }
            outcome
        });
        match asked.await {
            Ok(Ok(answer)) => {
                self.reach.found();
                Ok(answer)
            }
            Ok(Err(failed)) => Err(match failed.code {
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::UnsupportedFeature => {
                    LogError::Refused { what: what.into(), reason: failed.reason }
                }
                _ => self.reach.lost(what, &failed.reason),
            }),
            Err(cancelled) => Err(self.reach.unavailable(what, &cancelled.to_string())),
        }
    }

    fn explain<T>(&self, what: &str, answers: impl IntoIterator<Item = (Topic, Result<T, Miss>)>) -> PerTopic<T> {
        let explained = answers.into_iter().map(|(topic, answer)| {
            let answer = answer.map_err(|miss| self.missed(what, &topic, miss));
            (topic, answer)
        });
        explained.collect()
    }

    fn missed(&self, what: &str, topic: &Topic, miss: Miss) -> LogError {
        let what = format!("{what} (topic {topic})");
        match miss {
            Miss::Unknown => LogError::UnknownTopic { topic: topic.to_string() },
            Miss::Leaderless => self.reach.unavailable(&what, "no broker leads the topic now"),
            Miss::Silent => self.reach.unavailable(&what, "its broker did not answer"),
            Miss::Code(TOPIC_AUTHORIZATION_FAILED) => LogError::Refused {
                what,
                reason: "not authorized; allow this user to read, write and describe the topic".into(),
            },
            Miss::Code(INVALID_TOPIC) => LogError::Refused { what, reason: "not a legal topic name".into() },
            Miss::Code(code) => self.reach.unavailable(&what, &format!("Kafka's error code {code}")),
        }
    }
}

impl Leaders {
    /// The topics whose leader the client may not know.
    fn strange(&self, asked: &[(Topic, Which)]) -> Vec<Topic> {
        let known = self.known.lock();
        let is_known = |topic: &Topic| known.get(topic).is_some_and(|since| since.elapsed() < RENEW);
        asked.iter().map(|(topic, _)| topic).filter(|topic| !is_known(topic)).cloned().collect()
    }

    /// Notes which topics' leaders are known, or are not any more.
    fn note<'a>(&self, topics: impl Iterator<Item = (&'a Topic, bool)>) {
        let mut known = self.known.lock();
        let now = Instant::now();
        for (topic, is_known) in topics {
            if is_known {
                known.insert(topic.clone(), now);
            } else {
                known.remove(topic);
            }
        }
        // Topics that nobody asks about any more.
        known.retain(|_, since| since.elapsed() < 2 * RENEW);
    }
}

fn left_until(deadline: Instant) -> Duration {
    // librdkafka takes 0 for no limit at all in some places.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}
