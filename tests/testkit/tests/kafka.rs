//! The broker that other tests rely on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Kafka, KafkaSettings};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use tokio::{task::spawn_blocking, time::timeout};

const TOPIC: &str = "kept";

#[tokio::test]
async fn a_killed_broker_comes_back_on_the_same_port_with_its_data() -> Result<()> {
    let mut kafka = Kafka::start().await?;
    let before = kafka.bootstrap();
    kafka.create_topics([TOPIC]).await?;
    let producer = producer(&before)?;
    produce(&producer, "one").await?;

    kafka.stop()?;
    ensure!(kafka.process().has_ended()?);
    ensure!(tokio::net::TcpStream::connect(&before).await.is_err());

    kafka.restart().await?;
    ensure!(kafka.bootstrap() == before);
    ensure!(first_record(before).await? == "one");
    Ok(())
}

#[tokio::test]
async fn a_frozen_broker_acknowledges_when_it_is_thawed() -> Result<()> {
    let kafka = Kafka::start().await?;
    kafka.create_topics([TOPIC]).await?;
    let producer = producer(&kafka.bootstrap())?;
    produce(&producer, "before").await?;

    kafka.freeze()?;
    let held = timeout(Duration::from_millis(500), produce(&producer, "during"));
    ensure!(held.await.is_err(), "a frozen broker acknowledged a record");

    kafka.thaw()?;
    produce(&producer, "after").await
}

#[tokio::test]
async fn two_brokers_run_side_by_side_and_one_has_its_own_settings() -> Result<()> {
    let settings = KafkaSettings {
        heap_mib: 256,
        properties: vec![("log.message.timestamp.type".into(), "LogAppendTime".into())],
        ..KafkaSettings::default()
    };
    let (one, other) = tokio::try_join!(Kafka::start(), Kafka::start_with(settings))?;
    ensure!(one.bootstrap() != other.bootstrap());
    Ok(())
}

#[tokio::test]
async fn a_broker_that_cannot_start_says_why() -> Result<()> {
    let settings =
        KafkaSettings { properties: vec![("num.io.threads".into(), "none".into())], ..KafkaSettings::default() };
    let error = Kafka::start_with(settings).await.err();
    let error = format!("{:?}", error.context("it started")?);
    ensure!(error.contains("num.io.threads"), "{error}");
    Ok(())
}

fn producer(bootstrap: &str) -> Result<FutureProducer> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

async fn produce(producer: &FutureProducer, payload: &str) -> Result<()> {
    let record = FutureRecord::<(), _>::to(TOPIC).payload(payload);
    let sent = producer.send(record, Timeout::Never).await;
    sent.map_err(|(error, _)| error)?;
    Ok(())
}

async fn first_record(bootstrap: String) -> Result<String> {
    spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "unused, but it must be set")
            .create()?;
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
        consumer.assign(&start)?;
        let record = consumer.poll(Duration::from_secs(10)).context("no record within 10 s")??;
        Ok(String::from_utf8(record.payload().context("no payload")?.to_vec())?)
    })
    .await?
}
