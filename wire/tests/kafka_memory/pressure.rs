//! A broker that takes nothing while more is offered than may wait.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use plimsoll_testkit::Kafka;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::{Append, EventLog, LogError, StartAt, Topic};
use tokio::time::Instant;

use crate::reading::{append_of, contents, unique_many};
use crate::{alone, resident_kib};

/// Calls under way at once.
const CALLS: usize = 300;
/// Topics of each.
const TOPICS: usize = 256;
/// Bytes of each record: the calls together offer 300 MiB.
const PAYLOAD: usize = 4 * 1024;
/// Of that, 64 MiB may be on their way; the rest is for what else goes on in this process.
const GROWTH_MAX_KIB: u64 = 180 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_costs_bounded_memory_and_the_newest_totals_come_through() {
    let _alone = alone().await;
    let kafka = Kafka::start().await.unwrap();
    let topics = unique_many("pressed", TOPICS);
    kafka.create_topics(&topics).await.unwrap();
    let log = KafkaLog::new(KafkaConfig::new(kafka.bootstrap())).unwrap();
    let all = |payload: &str| topics.iter().map(|topic| append_of(topic, payload)).collect();
    assert!(log.append(all("before")).await.iter().all(Result::is_ok));

    kafka.freeze().unwrap();
    let before = resident_kib();
    // The payload is shared: what grows is what the client keeps of it.
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let record = |topic: &Topic| Append { topic: topic.clone(), payload: payload.clone() };
    let begun = Instant::now();
    let calls = join_all((0..CALLS).map(|_| log.append(topics.iter().map(record).collect())));
    let (outcomes, most) = tokio::join!(calls, watch_memory(begun + Duration::from_secs(3)));
    let took = begun.elapsed();
    let growth = most.saturating_sub(before);
    eprintln!("figure: {CALLS} MiB offered to a broker that hangs: {growth} KiB more, given back after {took:.1?}");
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB");
    assert!(took < Duration::from_secs(30), "{took:?}");
    for outcome in outcomes.into_iter().flatten() {
        let Err(LogError::Unavailable { reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("not acknowledged within 3s"), "{reason}");
    }

    kafka.thaw().unwrap();
    let deadline = Instant::now() + crate::reading::LIMIT;
    while !log.append(all("newest")).await.iter().all(Result::is_ok) {
        assert!(Instant::now() < deadline, "nothing is taken any more");
    }
    for topic in [&topics[0], &topics[TOPICS - 1]] {
        let payloads = contents(&log, topic, StartAt::Oldest).await.payloads(topic);
        assert_eq!(payloads.last().map(String::as_str), Some("newest"));
    }
    log.close().await;
}

/// The most that this process had in memory until then.
async fn watch_memory(end: Instant) -> u64 {
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(resident_kib());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}
