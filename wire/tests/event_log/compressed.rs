//! Records that somebody else has compressed: another client, or the broker by a topic's `compression.type`.

use std::time::Duration;

use ::rdkafka::ClientConfig;
use ::rdkafka::producer::{FutureProducer, FutureRecord};
use ::rdkafka::util::Timeout;
use futures::future::join_all;
use plimsoll_testkit::Kafka;
use plimsoll_wire::log::kafka::{KafkaConfig, KafkaLog};
use plimsoll_wire::log::{EventLog, StartAt, Topic};

use crate::kafka::{set_by_hand, shared};
use crate::reading::{append_of, contents, unique};

/// Kafka's ways, each with the number that a batch bears.
const WAYS: [(&str, u8); 4] = [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
/// Records of each topic.
const RECORDS: usize = 500;

fn payload(number: usize) -> String {
    format!("{number:06} {}", "the same again and again ".repeat(20))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_records_of_others_are_read() {
    let kafka = shared().await;
    let log = KafkaLog::new(KafkaConfig::new(kafka.bootstrap())).unwrap();
    for (way, number) in WAYS {
        let (by_client, by_broker) = (unique(&format!("client-{way}")), unique(&format!("broker-{way}")));
        kafka.create_topics([&by_client, &by_broker]).await.unwrap();
        produce_compressed(kafka, way, &by_client).await;
        set_by_hand(kafka, &by_broker, &[("compression.type", way)]).await;
        let records = (0..RECORDS).map(|number| append_of(&by_broker, payload(number))).collect();
        assert!(log.append(records).await.iter().all(Result::is_ok));
        for topic in [&by_client, &by_broker] {
            assert_eq!(way_of_first_batch(kafka, topic), number, "{topic} is not compressed by {way}");
            let read = contents(&log, topic, StartAt::Oldest).await.payloads(topic);
            assert_eq!(read.len(), RECORDS, "{topic}");
            assert!(read.iter().enumerate().all(|(number, read)| *read == payload(number)), "{topic}");
            // From the middle of a batch on.
            let last = contents(&log, topic, StartAt::BeforeNewest(Duration::ZERO)).await.payloads(topic);
            assert_eq!(last.last(), Some(&payload(RECORDS - 1)), "{topic}");
        }
    }
    log.close().await;
}

async fn produce_compressed(kafka: &Kafka, way: &str, topic: &Topic) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("compression.type", way).set("linger.ms", "200");
    let producer: FutureProducer = config.create().unwrap();
    let sent = (0..RECORDS).map(async |number| {
        let payload = payload(number);
        let record = FutureRecord::<(), _>::to(topic).payload(&payload);
        producer.send(record, Timeout::After(Duration::from_secs(30))).await.unwrap();
    });
    join_all(sent).await;
}

/// The lowest bits of the attributes, which stand at the batch's 22nd and 23rd byte.
fn way_of_first_batch(kafka: &Kafka, topic: &Topic) -> u8 {
    let segment = kafka.data().join("data").join(format!("{topic}-0")).join("00000000000000000000.log");
    std::fs::read(segment).unwrap()[22] & 0b111
}
