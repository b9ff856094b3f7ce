//! Three brokers, and what they listen on beside their plain listeners.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Kafka, KafkaCluster, KafkaSettings, Listener, PASSWORD, USER, wait_until};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use tokio::task::spawn_blocking;

const TOPIC: &str = "kept";
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_topic_outlives_its_leader_and_moves_to_the_broker_it_is_ordered_to() -> Result<()> {
    let mut cluster = KafkaCluster::start().await?;
    cluster.create_topics([TOPIC]).await?;
    let producer: FutureProducer = config(&cluster.bootstrap()).set("acks", "all").create()?;
    produce(&producer, "one").await?;

    let first = cluster.leader_of(TOPIC).await?;
    cluster.kill(first)?;
    wait_until("another broker leads", LIMIT, async || {
        let leader = cluster.leader_of(TOPIC).await?;
        ensure!(leader >= 0 && leader != first, "{leader} leads");
        Ok(())
    })
    .await?;
    produce(&producer, "two").await?;
    cluster.restart(first).await?;

    let target = 1 + (cluster.leader_of(TOPIC).await? % 3);
    cluster.move_topic(TOPIC, &[target]).await?;
    ensure!(cluster.leader_of(TOPIC).await? == target);
    produce(&producer, "three").await?;
    ensure!(records(config(&cluster.bootstrap()), 3).await? == ["one", "two", "three"]);

    let refused = cluster.move_topic("no-such-topic", &[1]).await;
    ensure!(refused.is_err());
    Ok(())
}

#[tokio::test]
async fn every_listener_lets_in_who_has_what_it_wants_and_nobody_else() -> Result<()> {
    let listeners = vec![Listener::Tls, Listener::MutualTls, Listener::Sasl, Listener::SaslTls];
    let kafka = Kafka::start_with(KafkaSettings { listeners, ..KafkaSettings::default() }).await?;
    kafka.create_topics([TOPIC]).await?;
    let at = |listener: Listener| -> Result<ClientConfig> {
        let mut config = config(&kafka.bootstrap_of(listener)?);
        config.set("security.protocol", listener.security_protocol());
        if listener != Listener::Sasl {
            config.set("ssl.ca.location", kafka.certificates()?.authority().display().to_string());
        }
        Ok(config)
    };
    let mutual = at(Listener::MutualTls)?
        .set("ssl.certificate.location", kafka.certificates()?.client_certificate().display().to_string())
        .set("ssl.key.location", kafka.certificates()?.client_key().display().to_string())
        .clone();
    let mut stranger = at(Listener::Tls)?;
    stranger.set("ssl.ca.location", kafka.certificates()?.stranger().display().to_string());

    let mut welcome = vec![at(Listener::Tls)?, mutual];
    let mut unwelcome = vec![at(Listener::MutualTls)?, stranger];
    for listener in [Listener::Sasl, Listener::SaslTls] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let login = |password| -> Result<ClientConfig> {
                let mut config = at(listener)?;
                config.set("sasl.mechanism", mechanism).set("sasl.username", USER).set("sasl.password", password);
                Ok(config)
            };
            welcome.push(login(PASSWORD)?);
            unwelcome.push(login("wrong")?);
        }
    }
    for config in welcome {
        let producer: FutureProducer = config.create()?;
        produce(&producer, "hello").await.with_context(|| format!("{config:?}"))?;
        ensure!(records(config, 1).await? == ["hello"]);
    }
    for mut config in unwelcome {
        let producer: FutureProducer = config.set("message.timeout.ms", "1000").create()?;
        ensure!(produce(&producer, "hello").await.is_err(), "let in: {config:?}");
    }
    Ok(())
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused, but it must be set")
        .set("topic.metadata.refresh.interval.ms", "500");
    config
}

async fn produce(producer: &FutureProducer, payload: &str) -> Result<()> {
    let record = FutureRecord::<(), _>::to(TOPIC).payload(payload);
    producer.send(record, Timeout::Never).await.map_err(|(error, _)| error)?;
    Ok(())
}

/// The first so many records.
async fn records(config: ClientConfig, count: usize) -> Result<Vec<String>> {
    spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
        consumer.assign(&start)?;
        (0..count)
            .map(|_| {
                let record = consumer.poll(LIMIT).context("no record in time")??;
                Ok(String::from_utf8(record.payload().context("no payload")?.to_vec())?)
            })
            .collect()
    })
    .await?
}
