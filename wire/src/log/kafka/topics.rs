//! Making, changing, deleting and listing topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::KafkaConfig;
use super::clients::{self, Context, Reach, Role};
use super::lookup::{Lookup, PerTopic};
use super::renewed::Renewed;
use crate::log::{LogError, Topic, TopicSpec};

/// Topics of one request at most: a controller takes some milliseconds for each.
const TOPICS_A_REQUEST: usize = 500;
/// For one such request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long new topics may take to appear; brokers answer before they are usable.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(15);
const APPEAR_POLL: Duration = Duration::from_millis(50);
/// Kafka's `INVALID_TOPIC_EXCEPTION` and others of this family are for good.
const PERMANENT: [RDKafkaErrorCode; 7] = [
    RDKafkaErrorCode::InvalidTopic,
    RDKafkaErrorCode::InvalidConfig,
    RDKafkaErrorCode::InvalidReplicationFactor,
    RDKafkaErrorCode::InvalidPartitions,
    RDKafkaErrorCode::PolicyViolation,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
];

/// Gives the orders about topics.
#[derive(Debug)]
pub(super) struct Topics {
    client: Arc<Renewed<AdminClient<Context>>>,
    lookup: Lookup,
    reach: Arc<Reach>,
    replication: i32,
}

impl Topics {
    pub(super) fn new(config: Arc<KafkaConfig>, lookup: Lookup, reach: Arc<Reach>) -> Result<Self, LogError> {
        let replication = config.replication.map_or(-1, i32::from);
        let (of_client, settings) = (reach.clone(), config.clone());
        let client = Renewed::new("orders", &config, move || clients::create(&settings, Role::Asker, &of_client))?;
        Ok(Self { client: Arc::new(client), lookup, reach, replication })
    }

    pub(super) async fn create(&self, specs: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        let mut outcome: PerTopic<bool> = HashMap::with_capacity(specs.len());
        for chunk in specs.chunks(TOPICS_A_REQUEST) {
            outcome.extend(self.create_chunk(chunk).await);
        }
        let there: Vec<_> =
            specs.iter().filter(|spec| matches!(outcome.get(&spec.topic), Some(Ok(false)))).cloned().collect();
        for (topic, error) in self.raise_retention(&there).await {
            outcome.insert(topic, Err(error));
        }
        let new = specs.iter().map(|spec| &spec.topic).filter(|topic| matches!(outcome.get(*topic), Some(Ok(true))));
        for (topic, error) in self.appear(new.cloned().collect()).await {
            outcome.insert(topic, Err(error));
        }
        in_order(specs.iter().map(|spec| &spec.topic), &outcome)
    }

    async fn create_chunk(&self, specs: &[TopicSpec]) -> PerTopic<bool> {
        let configs: Vec<_> = specs.iter().map(settings).collect();
        let new: Vec<_> = specs
            .iter()
            .zip(&configs)
            .map(|(spec, config)| {
                let topic = NewTopic::new(&spec.topic, 1, TopicReplication::Fixed(self.replication));
                config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let answer = self.client.get().create_topics(&new, &options()).await;
        let names = specs.iter().map(|spec| &spec.topic);
        self.per_topic("creating topics", names, answer, |code| match code {
            RDKafkaErrorCode::TopicAlreadyExists => Some(false),
            _ => None,
        })
    }

    /// Waits until the topics can be used; those that can't be in time.
    async fn appear(&self, mut topics: Vec<Topic>) -> Vec<(Topic, LogError)> {
        let what = "waiting for new topics";
        let deadline = Instant::now() + APPEAR_TIMEOUT;
        let mut error = self.reach.unavailable(what, "not tried");
        while !topics.is_empty() && Instant::now() < deadline {
            // The metadata names a leader a little before that leader knows.
            match self.lookup.ends(topics.clone()).await {
                Ok(ends) => {
                    topics.retain(|topic| !matches!(ends.get(topic), Some(Ok(_))));
                    error = self.reach.unavailable(what, "made, but not usable yet; use it a little later");
                }
                Err(failed) => error = failed,
            }
            if !topics.is_empty() {
                sleep(APPEAR_POLL).await;
            }
        }
        topics.into_iter().map(|topic| (topic, error.clone())).collect()
    }

    /// Gives topics that were there before the settings they need, if they keep records for too short a time or stamp them
    /// otherwise than readers expect. What else an operator has set stays.
    async fn raise_retention(&self, specs: &[TopicSpec]) -> Vec<(Topic, LogError)> {
        let mut failed = Vec::new();
        for chunk in specs.chunks(TOPICS_A_REQUEST) {
            if let Err(error) = self.raise_retention_of(chunk).await {
                failed.extend(chunk.iter().map(|spec| (spec.topic.clone(), error.clone())));
            }
        }
        failed
    }

    async fn raise_retention_of(&self, specs: &[TopicSpec]) -> Result<(), LogError> {
        let resources: Vec<_> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.topic)).collect();
        let what = "reading topics' settings";
        let described = self.client.get().describe_configs(&resources, &options()).await;
        let described = described.map_err(|error| self.failed(what, &error))?;
        let wanted: HashMap<&str, &TopicSpec> = specs.iter().map(|spec| (&*spec.topic, spec)).collect();
        // The old and the wanted settings together: AlterConfigs resets what it does not name.
        let mut changes: Vec<(&TopicSpec, Vec<(String, String)>)> = Vec::new();
        for resource in described {
            let resource = resource.map_err(|code| self.refused_or_away(what, code))?;
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
            let Some(spec) = wanted.get(name.as_str()) else { continue };
            if suffices(&resource, spec) {
                continue;
            }
            let new = settings(spec);
            let old = resource.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            let old = old.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
            let kept = old.filter(|(key, _)| !new.iter().any(|(named, _)| named == key)).collect::<Vec<_>>();
            let new = new.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            changes.push((*spec, new.chain(kept).collect()));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let alter: Vec<_> = changes
            .iter()
            .map(|(spec, settings)| {
                let alter = AlterConfig::new(ResourceSpecifier::Topic(&spec.topic));
                settings.iter().fold(alter, |alter, (key, value)| alter.set(key, value))
            })
            .collect();
        let what = "changing topics' settings";
        let altered =
            self.client.get().alter_configs(&alter, &options()).await.map_err(|error| self.failed(what, &error))?;
        for outcome in altered {
            outcome.map_err(|(_, code)| self.refused_or_away(what, code))?;
        }
        for (spec, _) in changes {
            info!(topic = %spec.topic, retention = ?spec.retention, "the topic's settings were changed to what is needed");
        }
        Ok(())
    }

    pub(super) async fn delete(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>> {
        let mut outcome = HashMap::with_capacity(topics.len());
        for chunk in topics.chunks(TOPICS_A_REQUEST) {
            let names: Vec<&str> = chunk.iter().map(|topic| &**topic).collect();
            let answer = self.client.get().delete_topics(&names, &options()).await;
            outcome.extend(self.per_topic("deleting topics", chunk.iter(), answer, |code| match code {
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Some(false),
                _ => None,
            }));
        }
        in_order(topics.iter(), &outcome)
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, LogError> {
        let what = "listing topics";
        let client = self.client.get();
        let listed = spawn_blocking(move || client.inner().fetch_metadata(None, REQUEST_TIMEOUT)).await;
        let metadata = listed
            .map_err(|cancelled| self.reach.unavailable(what, &cancelled.to_string()))?
            .map_err(|error| self.failed(what, &error))?;
        self.worked();
        let ours = metadata.topics().iter().filter(|topic| topic.error().is_none() && !topic.name().starts_with("__"));
        Ok(ours.map(|topic| topic.name().to_owned()).collect())
    }

    fn per_topic<'a>(
        &self,
        what: &str,
        topics: impl Iterator<Item = &'a Topic>,
        answer: KafkaResult<Vec<TopicResult>>,
        harmless: impl Fn(RDKafkaErrorCode) -> Option<bool>,
    ) -> PerTopic<bool> {
        match answer {
            Ok(answers) => {
                self.worked();
                let answers = answers.into_iter().map(|answer| match answer {
                    Ok(topic) => (Topic::from(topic), Ok(true)),
                    Err((topic, code)) => {
                        let outcome = harmless(code)
                            .ok_or_else(|| self.refused_or_away(&format!("{what} (topic {topic})"), code));
                        (Topic::from(topic), outcome)
                    }
                });
                answers.collect()
            }
            Err(error) => {
                let error = self.failed(what, &error);
                topics.map(|topic| (topic.clone(), Err(error.clone()))).collect()
            }
        }
    }

    fn failed(&self, what: &str, error: &KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(code) if PERMANENT.contains(&code) => self.refused_or_away(what, code),
            _ => {
                let client = self.client.clone();
                // Nobody waits for it: whether the client is replaced shows with the next order.
                drop(spawn_blocking(move || client.failed()));
                self.reach.lost(what, &error.to_string())
            }
        }
    }

    fn worked(&self) {
        self.client.worked();
        self.reach.found();
    }

    fn refused_or_away(&self, what: &str, code: RDKafkaErrorCode) -> LogError {
        if PERMANENT.contains(&code) {
            let reason = format!(
                "{code}; check the topic's name, the brokers' default.replication.factor and this user's rights"
            );
            return LogError::Refused { what: what.to_owned(), reason };
        }
        self.reach.unavailable(what, &code.to_string())
    }
}

fn options() -> AdminOptions {
    // The controller may take as long as the request: a topic it is late with would be reported as failed and made all the same.
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// What a topic needs, as Kafka's settings.
fn settings(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let retention_ms = spec.retention.as_millis();
    // Only whole segments are deleted, so a record may stay for a segment's time longer.
    let segment_ms = (retention_ms / 3).max(1_000);
    vec![
        ("cleanup.policy", "delete".into()),
        ("retention.ms", retention_ms.to_string()),
        ("message.timestamp.type", "LogAppendTime".into()),
        ("segment.ms", segment_ms.to_string()),
        ("segment.bytes", (4 * 1024 * 1024).to_string()),
        // The default reserves 10 MiB of address space for each index of each of thousands of topics.
        ("segment.index.bytes", (64 * 1024).to_string()),
        // From the place in the index on, a broker looks at one batch after the other, with a system call for each: with the default,
        // 4 KiB, at some 14 of our small ones for each look that finds something.
        ("index.interval.bytes", "256".into()),
    ]
}

fn suffices(resource: &ConfigResource, spec: &TopicSpec) -> bool {
    let map = resource.entry_map();
    let value = |key: &str| map.get(key).and_then(|entry| entry.value.as_deref());
    let keeps_long_enough = match value("retention.ms").and_then(|value| value.parse::<i128>().ok()) {
        // Without limit.
        Some(-1) => true,
        Some(retention_ms) => u128::try_from(retention_ms).is_ok_and(|ms| ms >= spec.retention.as_millis()),
        None => false,
    };
    keeps_long_enough && value("message.timestamp.type") == Some("LogAppendTime")
}

fn in_order<'a>(topics: impl Iterator<Item = &'a Topic>, outcome: &PerTopic<bool>) -> Vec<Result<bool, LogError>> {
    let lost = |topic: &Topic| LogError::Refused {
        what: format!("topic {topic}"),
        reason: "the brokers' answer does not mention it".into(),
    };
    topics.map(|topic| outcome.get(topic).cloned().unwrap_or_else(|| Err(lost(topic)))).collect()
}
