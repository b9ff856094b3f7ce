//! What is asked of brokers and ordered from them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use tokio::task::spawn_blocking;

use super::node::START_LIMIT;
use crate::wait_until;

/// One request about all topics.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// Topics of one request to create them: the controller takes 10,000 at most, and larger ones take longer than a client waits.
const TOPICS_A_REQUEST: usize = 1_000;
/// For each topic to become usable, on a busy machine.
const A_TOPIC: Duration = Duration::from_millis(20);
/// Where there are more, the making is told on standard error, for it takes long.
const MANY: usize = 2_000;

pub(super) fn client_of(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // By default a refused connection is tried again after up to 10 s.
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "50");
    config
}

/// Creates topics of one partition, and returns when they can be written.
pub(super) async fn create_topics(client: &ClientConfig, names: &[String], replicas: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let options = AdminOptions::new().operation_timeout(Some(START_LIMIT)).request_timeout(Some(START_LIMIT));
    for (index, part) in names.chunks(TOPICS_A_REQUEST).enumerate() {
        let topics: Vec<_> =
            part.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(replicas))).collect();
        for created in admin.create_topics(&topics, &options).await? {
            created.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} not created: {code}"))?;
        }
        if names.len() > MANY {
            eprintln!("created {} of {} topics", index * TOPICS_A_REQUEST + part.len(), names.len());
        }
    }
    // The answer comes before the topics are usable.
    let client = Arc::new(client.create()?);
    let limit = START_LIMIT + A_TOPIC * u32::try_from(names.len())?;
    wait_until("the new topics are usable", limit, async || {
        let usable = usable_topics(&client, 1).await?;
        let missing = names.iter().filter(|name| !usable.contains_key(*name)).count();
        ensure!(missing == 0, "{missing} of {} are missing", names.len());
        Ok(())
    })
    .await
}

/// The names of all topics, each with the broker that leads it; fails while fewer brokers than that are there or a partition
/// of any topic cannot be used.
pub(super) async fn usable_topics(client: &Arc<BaseConsumer>, brokers: usize) -> Result<HashMap<String, i32>> {
    let client = client.clone();
    spawn_blocking(move || {
        let metadata = client.fetch_metadata(None, PROBE_LIMIT).context("no metadata")?;
        ensure!(metadata.brokers().len() >= brokers, "{} of {brokers} brokers registered", metadata.brokers().len());
        let mut leaders = HashMap::new();
        let mut partitions = TopicPartitionList::new();
        for topic in metadata.topics() {
            ensure!(!topic.partitions().is_empty(), "topic {} has no partition", topic.name());
            for partition in topic.partitions() {
                ensure!(partition.leader() >= 0, "topic {} has no leader", topic.name());
                partitions.add_partition_offset(topic.name(), partition.id(), Offset::Offset(0))?;
                leaders.insert(topic.name().to_owned(), partition.leader());
            }
        }
        // Metadata names a leader before that has made the partition's log. Only a request to the leader tells, such as the
        // look-up of the offset at a time.
        if !leaders.is_empty() {
            for partition in client.offsets_for_times(partitions, PROBE_LIMIT)?.elements() {
                partition.error().with_context(|| format!("topic {} is not usable", partition.topic()))?;
            }
        }
        Ok(leaders)
    })
    .await?
}

/// The broker that leads the only partition of each of these topics, as the brokers see it now.
pub(super) async fn leaders(client: &ClientConfig) -> Result<HashMap<String, i32>> {
    let client: BaseConsumer = client.create()?;
    spawn_blocking(move || {
        let metadata = client.fetch_metadata(None, PROBE_LIMIT).context("no metadata")?;
        let first = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.partitions().first().map(|partition| (topic.name().to_owned(), partition.leader()))
        };
        Ok(metadata.topics().iter().filter_map(first).collect())
    })
    .await?
}
