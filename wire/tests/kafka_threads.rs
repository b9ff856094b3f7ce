//! A test alone in its process, since it counts the process's threads.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use plimsoll_testkit::{Kafka, wait_until};
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog, LogClient};
use plimsoll_wire::log::{Append, EventLog, Pace, StartAt, Subscription, Topic, TopicSpec};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_subscription_ends_its_threads_and_a_closed_log_its_subscriptions() {
    let kafka = Kafka::start().await.unwrap();
    for log_client in LogClient::ALL {
        subscriptions_and_logs_end(&kafka, log_client).await;
    }
}

async fn subscriptions_and_logs_end(kafka: &Kafka, log_client: LogClient) {
    let log = KafkaLog::new(KafkaConfig { log_client, ..KafkaConfig::new(kafka.bootstrap()) }).unwrap();
    let specs: Vec<_> = (0..250)
        .map(|number| TopicSpec { topic: Topic::from(format!("t{number}")), retention: Duration::from_secs(60) })
        .collect();
    // For the second client they are there.
    assert!(log.create_topics(&specs).await.iter().all(Result::is_ok));
    // So that the log's own clients have all the threads they need.
    let records = specs.iter().map(|spec| Append { topic: spec.topic.clone(), payload: "frame".into() }).collect();
    assert!(log.append(records).await.iter().all(Result::is_ok));
    let before = client_threads();

    let mut at_once = log.subscribe(Pace::AtOnce).unwrap();
    let mut paced = log.subscribe(Pace::Every(Duration::from_millis(100))).unwrap();
    for subscription in [&mut at_once, &mut paced] {
        subscription.add(specs.iter().map(|spec| (spec.topic.clone(), StartAt::Oldest)));
        read_records(subscription, specs.len()).await;
    }
    let reading = client_threads();
    match log_client {
        LogClient::Direct => assert_eq!(reading, before, "reading takes no thread of librdkafka's"),
        LogClient::Rdkafka => assert!(reading > before, "{reading} threads while reading, {before} before"),
    }
    drop(paced);
    at_once.remove(specs.iter().map(|spec| spec.topic.clone()));
    until_threads_are(before).await;

    log.close().await;
    timeout(LIMIT, async { while at_once.next().await.is_some() {} }).await.unwrap();
    drop(log);
    until_threads_are(0).await;
}

async fn read_records(subscription: &mut Subscription, count: usize) {
    let mut read = 0;
    while read < count {
        read += timeout(LIMIT, subscription.next()).await.unwrap().unwrap().records.len();
    }
}

async fn until_threads_are(count: usize) {
    let there_are = async || {
        let now = client_threads();
        anyhow::ensure!(now <= count, "{now} threads of Kafka clients");
        Ok(())
    };
    wait_until(&format!("{count} threads are left"), LIMIT, there_are).await.unwrap();
}

/// librdkafka names its threads.
fn client_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| name(task.ok()?)).filter(|name| name.starts_with("rdk:")).count()
}
