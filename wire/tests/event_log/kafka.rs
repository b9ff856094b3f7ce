//! What only the Kafka form has to show: that it outlives its brokers, and that it leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::rdkafka::ClientConfig;
use ::rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use ::rdkafka::client::DefaultClientContext;
use plimsoll_testkit::{Kafka, KafkaSettings};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{EventLog, LogError, Pace, StartAt, Topic, TopicSpec};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::reading::{LIMIT, PACED, Reading, SharedLog, append, append_of, contents, create, unique, unique_many};

/// A broker that looks for records past their retention twice a second.
async fn broker() -> Kafka {
    let properties = [("log.retention.check.interval.ms", "500"), ("log.initial.task.delay.ms", "500")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Kafka::start_with(KafkaSettings { properties: properties.into(), ..KafkaSettings::default() }).await.unwrap()
}

/// The usual broker, which the tests share that leave it as it is. It ends with the program.
pub(crate) async fn shared() -> &'static Kafka {
    static SHARED: OnceCell<Kafka> = OnceCell::const_new();
    SHARED.get_or_init(|| async { Kafka::start().await.unwrap() }).await
}

fn log_at(kafka: &Kafka) -> KafkaLog {
    KafkaLog::new(KafkaConfig::new(kafka.bootstrap())).unwrap()
}

fn log_with(kafka: &Kafka, log_client: LogClient) -> KafkaLog {
    KafkaLog::new(KafkaConfig { log_client, ..KafkaConfig::new(kafka.bootstrap()) }).unwrap()
}

/// Runs each test with each client that appends.
macro_rules! with_each_client {
    ($($test:ident),* $(,)?) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::LogClient::Direct).await;
            })*
        }
        mod rdkafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::LogClient::Rdkafka).await;
            })*
        }
    };
}

with_each_client! {
    kafka_keeps_every_promise,
    an_outage_fails_appends_in_time_and_loses_or_repeats_nothing,
    a_broker_that_hangs_stops_the_proofs_until_it_goes_on,
}

async fn kafka_keeps_every_promise(log_client: LogClient) {
    let kafka = broker().await;
    let log = log_with(&kafka, log_client);
    log.check(Duration::from_secs(10)).await.unwrap();
    crate::keep_every_promise(&log).await;
    log.close().await;
}

async fn an_outage_fails_appends_in_time_and_loses_or_repeats_nothing(log_client: LogClient) {
    let mut kafka = broker().await;
    let log: SharedLog = Arc::new(log_with(&kafka, log_client));
    let topics = unique_many("outage", 20);
    create(&*log, &topics).await;
    let mut readings = [Pace::AtOnce, PACED].map(|pace| Reading::of(&*log, pace, &topics, StartAt::Oldest));
    for reading in &mut readings {
        reading.all().await;
    }
    let writer = Writer::start(log.clone(), topics.clone());
    sleep(Duration::from_secs(1)).await;

    kafka.stop().unwrap();
    let away = Instant::now();
    for reading in &mut readings {
        reading
            .until("the outage is told", |reading| {
                let told = |topic| {
                    reading
                        .failures
                        .iter()
                        .any(|(failed, error)| failed == topic && matches!(error, LogError::Unavailable { .. }))
                };
                topics.iter().all(told)
            })
            .await;
    }
    eprintln!("figure: an outage is told after {:?}", away.elapsed());
    let begun = Instant::now();
    let outcome = log.append(vec![append_of(&topics[0], "during")]).await;
    assert!(matches!(outcome[..], [Err(LogError::Unavailable { .. })]), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let error = outcome[0].clone().unwrap_err().to_string();
    assert!(error.contains(&kafka.bootstrap()), "{error}");

    // What was asked before the outage may still be answered; nothing else is claimed while it lasts. It lasts longer than a
    // client is given before it is replaced.
    while away.elapsed() < Duration::from_secs(15) {
        for reading in &mut readings {
            if let Ok(Some(batch)) = timeout(Duration::from_millis(100), reading.subscription.next()).await {
                assert!(batch.read_through.is_none_or(|proof| proof.as_of < away));
                assert!(batch.failures.is_empty(), "told more than once: {:?}", batch.failures);
                for record in batch.records {
                    reading.records.entry(record.topic.clone()).or_default().push(record);
                }
            }
        }
    }

    kafka.restart().await.unwrap();
    let back = Instant::now();
    while log.append(vec![append_of(&topics[0], "after")]).await[0].is_err() {
        assert!(back.elapsed() < LIMIT, "appending does not recover");
    }
    eprintln!("figure: appends work {:?} after the broker is ready", back.elapsed());
    for reading in &mut readings {
        reading.all().await;
    }
    eprintln!("figure: all is read and proven {:?} after the broker is ready", back.elapsed());
    let acknowledged = writer.stop().await;
    for reading in &mut readings {
        reading.all().await;
        for (topic, acknowledged) in &acknowledged {
            let offsets: Vec<u64> = reading.records[topic].iter().map(|record| record.offset).collect();
            assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>(), "{topic}: lost or repeated");
            let payloads = reading.payloads(topic);
            assert!(
                acknowledged.iter().all(|payload| payloads.contains(payload)),
                "{topic}: an acknowledged record is lost"
            );
        }
    }
}

/// Appends to all topics ten times a second and keeps what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<BTreeMap<Topic, Vec<String>>>,
}

impl Writer {
    fn start(log: SharedLog, topics: Vec<Topic>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut acknowledged: BTreeMap<Topic, Vec<String>> = BTreeMap::new();
            for round in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let records = topics.iter().map(|topic| append_of(topic, format!("round {round}"))).collect();
                for (topic, outcome) in topics.iter().zip(log.append(records).await) {
                    if outcome.is_ok() {
                        acknowledged.entry(topic.clone()).or_default().push(format!("round {round}"));
                    }
                }
                sleep(Duration::from_millis(100)).await;
            }
            acknowledged
        });
        Self { stop, task }
    }

    async fn stop(self) -> BTreeMap<Topic, Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn a_broker_that_hangs_stops_the_proofs_until_it_goes_on(log_client: LogClient) {
    let kafka = broker().await;
    let log = log_with(&kafka, log_client);
    let topic = unique("hangs");
    create(&log, std::slice::from_ref(&topic)).await;
    let mut reading = Reading::of(&log, Pace::AtOnce, std::slice::from_ref(&topic), StartAt::Oldest);
    append(&log, &topic, "before").await;
    reading.all().await;
    kafka.freeze().unwrap();
    let frozen = Instant::now();
    let outcome = log.append(vec![append_of(&topic, "during")]).await;
    assert!(matches!(outcome[..], [Err(LogError::Unavailable { .. })]), "{outcome:?}");
    assert!(frozen.elapsed() < Duration::from_secs(5), "{:?}", frozen.elapsed());
    reading.until("the outage is told", |reading| !reading.failures.is_empty()).await;
    assert!(reading.read_through.as_ref().is_some_and(|proof| proof.as_of < frozen + Duration::from_millis(100)));
    kafka.thaw().unwrap();
    reading.all().await;
    append(&log, &topic, "after").await;
    reading.all().await;
    let payloads = reading.payloads(&topic);
    assert_eq!((payloads.first().unwrap().as_str(), payloads.last().unwrap().as_str()), ("before", "after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_keeps_records_too_short_is_changed_and_keeps_its_other_settings() {
    let kafka = shared().await;
    let log = log_at(kafka);
    let topic = unique("settings");
    let spec = |seconds| [TopicSpec { topic: topic.clone(), retention: Duration::from_secs(seconds) }];
    assert_eq!(log.create_topics(&spec(60)).await, [Ok(true)]);
    let settings = settings_of(kafka, &topic).await;
    assert_eq!(settings["retention.ms"], "60000");
    assert_eq!(settings["cleanup.policy"], "delete");
    assert_eq!(settings["message.timestamp.type"], "LogAppendTime");
    assert!(settings["segment.ms"].parse::<u64>().unwrap() <= 60_000);

    assert_eq!(log.create_topics(&spec(30)).await, [Ok(false)]);
    assert_eq!(settings_of(kafka, &topic).await["retention.ms"], "60000", "it is never lowered");
    set_by_hand(kafka, &topic, &[("retention.ms", "1000"), ("max.message.bytes", "54321")]).await;
    assert_eq!(log.create_topics(&spec(900)).await, [Ok(false)]);
    let settings = settings_of(kafka, &topic).await;
    assert_eq!(settings["retention.ms"], "900000");
    assert_eq!(settings["message.timestamp.type"], "LogAppendTime");
    assert_eq!(settings["max.message.bytes"], "54321", "what an operator set stays");
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap()
}

async fn settings_of(kafka: &Kafka, topic: &str) -> BTreeMap<String, String> {
    let described = admin(kafka).describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let topic = described.unwrap().pop().unwrap().unwrap();
    topic.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

pub(crate) async fn set_by_hand(kafka: &Kafka, topic: &str, settings: &[(&str, &str)]) {
    let alter = ::rdkafka::admin::AlterConfig::new(ResourceSpecifier::Topic(topic));
    let alter = settings.iter().fold(alter, |alter, (key, value)| alter.set(key, value));
    admin(kafka).alter_configs(&[alter], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_out_of_reach_is_named_with_the_cause() {
    let log = KafkaLog::new(KafkaConfig::new("127.0.0.1:1")).unwrap();
    let begun = Instant::now();
    let error = log.check(Duration::from_secs(2)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(matches!(error, LogError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_setting_that_librdkafka_does_not_know_is_named_and_no_secret_is_shown() {
    let mut config = KafkaConfig::new("127.0.0.1:1");
    config.client.insert("sasl.pasword".into(), "secret".into());
    let error = KafkaLog::new(config.clone()).unwrap_err();
    assert!(matches!(error, LogError::BadSetting { .. }), "{error:?}");
    assert!(error.to_string().contains("sasl.pasword"), "{error}");
    assert!(!error.to_string().contains("secret") && !format!("{config:?}").contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_by_one_log_is_read_by_another() {
    let kafka = shared().await;
    let (writer, reader) = (log_at(kafka), log_at(kafka));
    let topic = unique("shared");
    create(&writer, std::slice::from_ref(&topic)).await;
    append(&writer, &topic, "0").await;
    assert_eq!(contents(&reader, &topic, StartAt::Oldest).await.payloads(&topic), ["0"]);
}
