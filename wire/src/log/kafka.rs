//! The log in Kafka: written and read by a client of its own or through librdkafka, administered through librdkafka.
//!
//! Reading does not use consumer groups: every subscription is told its topics, keeps its own place in them, and commits
//! nothing. Completeness ([`ReadThrough`](super::ReadThrough)) is proven by what the brokers say of where the topics end: our own
//! client hears it with the records; beside librdkafka they are asked twice a second, over a connection of its own, since one
//! that long-polls answers late.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::append::Producers;
use self::clients::Reach;
use self::direct::Direct;
use self::lookup::Lookup;
use self::reader::Reader;
use self::topics::Topics;
use super::{Append, EventLog, LogError, Pace, Subscription, Topic, TopicSpec};
use crate::topic::INTERCEPTORS;

mod append;
mod clients;
mod consumers;
mod direct;
mod leaders;
mod lookup;
mod native;
mod places;
mod reader;
mod remedy;
mod renewed;
mod starts;
mod topics;
mod waiting;

/// Which Kafka, and how to talk to it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Settings of librdkafka (its `CONFIGURATION.md` lists them), over ours: SASL and TLS for instance.
    pub client: BTreeMap<String, String>,
    /// Replicas of the topics that this log creates; none for the brokers' own default.
    pub replication: Option<u16>,
    /// What appends.
    pub log_client: LogClient,
    /// Whether [`LogClient::Direct`] reads too; else librdkafka does (see `docs/log-client.md`).
    pub direct_reading: bool,
}

/// What appends to Kafka. Administration is librdkafka's in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogClient {
    /// A client of Plimsoll's own, which puts many topics into one request.
    #[default]
    Direct,
    /// librdkafka, for what only that has: Kerberos, compression, plug-ins.
    Rdkafka,
}

impl LogClient {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Rdkafka];

    /// Its name, as `--log-client` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Rdkafka => "rdkafka",
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        let (brokers, client) = <(String, BTreeMap<String, String>)>::default();
        Self { brokers, client, replication: None, log_client: LogClient::default(), direct_reading: true }
    }
}

impl KafkaConfig {
    /// These brokers, and else the defaults.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), ..Self::default() }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be passwords.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client", &self.client.keys())
            .field("replication", &self.replication)
            .field("log_client", &self.log_client)
            .field("direct_reading", &self.direct_reading)
            .finish()
    }
}

/// An [`EventLog`] in Kafka.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    reach: Arc<Reach>,
    client: Client,
    lookup: Lookup,
    topics: Topics,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

/// What appends and reads.
#[derive(Debug)]
enum Client {
    Direct(Direct),
    Rdkafka(Arc<Producers>),
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Makes the clients. Needs no broker yet: what is tried while none can be reached fails by itself, and
    /// [`check`](Self::check) tells beforehand. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`LogError::BadSetting`] when librdkafka, or the client that appends, does not take one of the settings.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        if config.brokers.trim().is_empty() {
            return Err(LogError::BadSetting {
                setting: "brokers".into(),
                reason: "none is named; give host:port, several separated by commas".into(),
            });
        }
        let reach = Arc::new(Reach::new(&config.brokers));
        let config = Arc::new(config);
        // First, since librdkafka knows which settings there are.
        let lookup = Lookup::new(config.clone(), reach.clone())?;
        let client = match config.log_client {
            LogClient::Direct => Client::Direct(Direct::new(&config, &reach)?),
            LogClient::Rdkafka => Client::Rdkafka(Arc::new(Producers::new(&config, &reach)?)),
        };
        // With a client of its own: the making of a thousand topics must not keep a reader's proofs waiting.
        let topics = Topics::new(config.clone(), lookup.clone(), reach.clone())?;
        let stop = CancellationToken::new();
        Ok(Self {
            config,
            reach,
            client,
            lookup,
            topics,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Whether a broker answers within `timeout`, both what reads and what appends.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] with the brokers and what is known of the cause; try again after a while. [`LogError::Refused`] when
    /// only a person can help.
    pub async fn check(&self, timeout: Duration) -> Result<(), LogError> {
        // Any topic will do; one that is not there is an answer, too.
        let topic = Topic::from(INTERCEPTORS);
        let reads = self.lookup.describe(vec![topic.clone()], timeout);
        match &self.client {
            Client::Direct(direct) => {
                let (reads, appends) = tokio::join!(reads, direct.check(topic, timeout));
                // Our own client knows the cause at once; librdkafka's may only have waited in vain for the same one.
                appends.and(reads.map(|_| ()))
            }
            Client::Rdkafka(_) => reads.await.map(|_| ()),
        }
    }

    /// Ends all subscriptions ([`Subscription::next`] gives none), waits within bounds for records on their way, and returns
    /// when nothing of the subscriptions runs any more.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        match &self.client {
            Client::Direct(direct) => direct.close().await,
            Client::Rdkafka(producers) => {
                let producers = producers.clone();
                // It fails only when the runtime is shutting down, and then there is nothing left to wait with.
                let _ = spawn_blocking(move || producers.flush()).await;
            }
        }
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        match &self.client {
            Client::Direct(direct) => direct.append(records).await,
            Client::Rdkafka(producers) => producers.append(records).await,
        }
    }

    fn subscribe(&self, pace: Pace) -> Result<Subscription, LogError> {
        let runtime = Handle::try_current().map_err(|error| LogError::Refused {
            what: "a subscription".into(),
            reason: format!("{error}; subscribe inside a Tokio runtime"),
        })?;
        let (subscription, feed) = Subscription::channel();
        let (lookup, stop) = (self.lookup.clone(), self.stop.clone());
        match &self.client {
            Client::Direct(direct) if self.config.direct_reading => {
                self.tasks.spawn_on(direct::reading::Reader::new(direct, feed, pace, lookup).run(stop), &runtime);
            }
            Client::Direct(_) | Client::Rdkafka(_) => {
                let reader = Reader::new(feed, pace, self.config.clone(), self.reach.clone(), lookup);
                self.tasks.spawn_on(reader.run(stop), &runtime);
            }
        }
        Ok(subscription)
    }

    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        self.topics.create(topics).await
    }

    async fn delete_topics(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>> {
        self.topics.delete(topics).await
    }

    async fn list_topics(&self) -> Result<Vec<String>, LogError> {
        self.topics.list().await
    }
}
