//! Questions to the brokers: which topics are there, and where they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rdkafka::admin::AdminClient;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::KafkaConfig;
use super::clients::{self, Context, Reach, Role};
use super::leaders::{ByLeader, Leaders};
use super::native::{self, Answers, Described, Failed, Found, Miss, TopicId, Which};
use super::renewed::Renewed;
use crate::log::{LogError, Topic};
use crate::topic::INTERCEPTORS;

/// How long the brokers have for one answer. A reader's proofs wait for it, and 3 s without proof mean *unknown*.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Topics of one question about their existence at most.
const TOPICS_A_QUESTION: usize = 500;
/// How long the brokers have to tell who leads some topics, where others' answers are there already and wait for it.
const LEARN_TIMEOUT: Duration = Duration::from_millis(500);

/// Kafka's error codes.
const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
const INVALID_TOPIC: i32 = 17;

/// What came of a question, topic by topic.
pub(super) type PerTopic<T> = HashMap<Topic, Result<T, LogError>>;

type OffsetAnswers = HashMap<Topic, Result<Option<Found>, Miss>>;

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

impl Lookup {
    pub(super) fn new(config: Arc<KafkaConfig>, reach: Arc<Reach>) -> Result<Self, LogError> {
        let (of_client, settings) = (reach.clone(), config.clone());
        let asker = Renewed::new("questions", &config, move || {
            let client = clients::create(&settings, Role::Asker, &of_client)?;
            Ok(Asker { client, leaders: Leaders::default() })
        })?;
        Ok(Self { asker: Arc::new(asker), reach })
    }

    /// Which of these topics can be read and written; asked anew each time.
    pub(super) async fn describe(&self, topics: Vec<Topic>, timeout: Duration) -> Result<PerTopic<TopicId>, LogError> {
        let what = "asking which topics are there";
        let described = self.learn(&self.asker.get(), what, &topics, timeout).await?;
        Ok(self.explain(what, described.into_iter().map(|(topic, described)| (topic, described.map(|it| it.id)))))
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
    ///
    /// Topics led by a broker that hangs are answered by [`LogError::Unavailable`] before long, so that the others' answers are in time.
    pub(super) async fn offsets(&self, asked: Vec<(Topic, Which)>) -> Result<PerTopic<Option<Found>>, LogError> {
        let what = "asking for offsets";
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let asker = self.asker.get();
        let (led, mut strange) = asker.leaders.split(&asked);
        let mut answers = self.ask_leaders(&asker, what, led, deadline).await?;
        // Where the leader has changed, as after any restart, who it is now has to be learnt first.
        let is_stale = |topic: &Topic| matches!(answers.get(topic), Some(Err(Miss::Leaderless)));
        strange.extend(asked.into_iter().filter(|(topic, _)| is_stale(topic)));
        if !strange.is_empty() {
            let others_wait = answers.values().any(Result::is_ok);
            let silent = strange.clone().into_iter().map(|(topic, _)| (topic, Err(Miss::Silent)));
            if others_wait && asker.leaders.cannot_be_learnt() {
                answers.extend(silent);
                return Ok(self.explain(what, answers));
            }
            let found = self.ask_strange(&asker, what, strange, deadline, others_wait).await;
            asker.leaders.learnt(found.is_ok());
            match found {
                Ok(found) => answers.extend(found),
                Err(_) if others_wait => answers.extend(silent),
                Err(error) => return Err(error),
            }
        }
        Ok(self.explain(what, answers))
    }

    /// Learns the leaders of these topics, then asks them.
    async fn ask_strange(
        &self,
        asker: &Arc<Asker>,
        what: &'static str,
        mut asked: Vec<(Topic, Which)>,
        deadline: Instant,
        others_wait: bool,
    ) -> Result<OffsetAnswers, LogError> {
        let topics: Vec<_> = asked.iter().map(|(topic, _)| topic.clone()).collect();
        let left = left_until(deadline);
        let timeout = if others_wait { left.min(LEARN_TIMEOUT) } else { left };
        let mut answers = OffsetAnswers::new();
        for (topic, described) in self.learn(asker, what, &topics, timeout).await? {
            if let Err(miss) = described {
                answers.insert(topic, Err(miss));
            }
        }
        asked.retain(|(topic, _)| !answers.contains_key(topic));
        let (led, lost) = asker.leaders.split(&asked);
        // Found to have no leader by somebody else in the meantime.
        answers.extend(lost.into_iter().map(|(topic, _)| (topic, Err(Miss::Leaderless))));
        answers.extend(self.ask_leaders(asker, what, led, deadline).await?);
        Ok(answers)
    }

    /// Asks each leader by itself; the answers of those that do not hang.
    async fn ask_leaders(
        &self,
        asker: &Arc<Asker>,
        what: &'static str,
        led: ByLeader,
        deadline: Instant,
    ) -> Result<OffsetAnswers, LogError> {
        let alone = led.len() <= 1;
        let parts = join_all(led.into_iter().map(async |(leader, asked)| {
            let silent = || asked.iter().map(|(topic, _)| (topic.clone(), Err(Miss::Silent))).collect();
            let left = left_until(deadline);
            let patience = if alone { left + left } else { asker.leaders.patience(leader) };
            if !alone && asker.leaders.hangs(leader) {
                return Ok(silent());
            }
            // Others may be learning; that is not the broker's fault.
            let sending = asker.leaders.learning.clone().read_owned().await;
            // When it is given up here, it goes on by itself until its own timeout.
            match timeout(patience, self.ask_leader(asker, what, leader, asked.clone(), left, sending)).await {
                // The others tell whether the brokers as such are well.
                Ok(Err(LogError::Unavailable { .. })) if !alone => Ok(silent()),
                Ok(found) => found,
                Err(_) => Ok(silent()),
            }
        }))
        .await;
        let mut answers = OffsetAnswers::new();
        let (mut failed, mut is_answered) = (None, alone);
        for part in parts {
            match part {
                Ok(part) => {
                    is_answered |= part.iter().any(|(_, found)| *found != Err(Miss::Silent));
                    answers.extend(part);
                }
                Err(error) => failed = Some(error),
            }
        }
        asker.leaders.note(answers.iter().filter(|(_, found)| found.is_err()).map(|(topic, _)| (topic, None)));
        match failed {
            Some(error) if answers.is_empty() => Err(error),
            _ if !is_answered && !answers.is_empty() => Err(self.reach.lost(what, "no broker answers in time")),
            _ => Ok(answers),
        }
    }

    async fn ask_leader(
        &self,
        asker: &Arc<Asker>,
        what: &'static str,
        leader: i32,
        asked: Vec<(Topic, Which)>,
        timeout: Duration,
        sending: OwnedRwLockReadGuard<()>,
    ) -> Result<Answers<Option<Found>>, LogError> {
        let asking = asker.clone();
        let number = asker.leaders.ask(leader);
        let topics: Vec<_> = asked.iter().map(|(topic, _)| topic.clone()).collect();
        let found = self.ask(what, move || {
            let found = native::offsets(asking.client.inner(), &asked, timeout, sending);
            let is_answer = |found: &Answers<_>| found.iter().any(|(_, found)| *found != Err(Miss::Silent));
            asking.leaders.asked(leader, number, found.as_ref().is_ok_and(is_answer));
            found
        });
        let found = found.await;
        if found.is_err() {
            asker.leaders.note(topics.iter().map(|topic| (topic, None)));
        }
        found
    }

    /// Asks which of these topics are there, whereby the client learns their leaders.
    async fn learn(
        &self,
        asker: &Arc<Asker>,
        what: &'static str,
        topics: &[Topic],
        timeout: Duration,
    ) -> Result<Answers<Described>, LogError> {
        let mut all = Vec::with_capacity(topics.len());
        for chunk in topics.chunks(TOPICS_A_QUESTION) {
            let learning = asker.leaders.learning.clone().write_owned().await;
            let (asking, chunk) = (asker.clone(), chunk.to_vec());
            let question = move || {
                let _learning = learning;
                let described = native::describe(asking.client.inner(), &chunk, timeout);
                if described.is_err() {
                    // The question goes to the broker that takes orders, and nothing else tells this client when that is another one.
                    // Any broker knows.
                    let _ = asking.client.inner().fetch_metadata(Some(INTERCEPTORS), timeout.min(LEARN_TIMEOUT));
                }
                described
            };
            let described = self.ask(what, question).await?;
            asker.leaders.note(
                described
                    .iter()
                    .map(|(topic, described)| (topic, described.as_ref().ok().map(|described| described.leader))),
            );
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

fn left_until(deadline: Instant) -> Duration {
    // librdkafka takes 0 for no limit at all in some places.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(50))
}
