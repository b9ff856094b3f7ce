//! A broker that the controllers have lost, and its clients have not.

use anyhow::{Context as _, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _};
use plimsoll_testkit::{KafkaCluster, KafkaSettings, wait_until};
use plimsoll_wire::log::kafka::KafkaConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::lines::Lines;
use crate::outages::{LIMIT, topics};
use crate::trial::Trial;
use crate::verdict::nothing_is_lost_or_repeated;

/// It answers as the leader of topics that others lead by now, and what it calls their ends is too low: taken at its word it would prove
/// that nothing has come since. [`Trial`] holds every proof against what has been acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_cut_off_from_the_controllers_proves_nothing_that_others_know_better() {
    let lines = Lines::hear();
    let properties =
        [("min.insync.replicas", "1"), ("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500")];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let settings = KafkaSettings { heap_mib: 256, properties, divisible: true, ..KafkaSettings::default() };
    let cluster = KafkaCluster::start_with(settings).await.unwrap();
    let config = KafkaConfig::new(cluster.bootstrap());
    let topics = topics(&config, "cut-off", 12, 3).await;
    let trial = Trial::start("direct", config, &topics);
    trial.goes_on("the beginning", &topics, LIMIT).await;

    let lost = cluster.leader_of(&topics[0]).await.unwrap();
    let brokers: Vec<String> = cluster.bootstrap().split(',').map(str::to_owned).collect();
    let (cut_off, another) = (&brokers[lost as usize - 1], &brokers[lost as usize % 3]);
    let claims_to_lead = async || leader_seen_by(cut_off, &topics[0]).await.unwrap() == lost;
    assert!(claims_to_lead().await);
    cluster.cut_off(lost).unwrap();
    wait_until("another leads", LIMIT, async || {
        let leader = leader_seen_by(another, &topics[0]).await?;
        ensure!(leader >= 0 && leader != lost, "{leader} leads");
        Ok(())
    })
    .await
    .unwrap();
    assert!(claims_to_lead().await, "it has heard that others lead");
    trial.goes_on("a broker cut off from the controllers", &topics, LIMIT).await;
    assert!(claims_to_lead().await, "it has heard that others lead, so that nothing was shown");
    let told = lines.with(&["is no member of the cluster any more", "says broker", "controllers"]);
    assert!(!told.is_empty(), "nobody was told");

    cluster.rejoin();
    trial.goes_on("the broker back", &topics, LIMIT).await;
    let (written, seen) = trial.finish(LIMIT).await;
    nothing_is_lost_or_repeated(&written, &seen);
}

/// The broker that leads a topic, in the eyes of this one. librdkafka would ask any.
async fn leader_seen_by(broker: &str, topic: &str) -> anyhow::Result<i32> {
    const VERSION: i16 = 4;
    let header = RequestHeader::default().with_request_api_key(3).with_request_api_version(VERSION);
    let (mut request, mut body) = (BytesMut::new(), BytesMut::new());
    header.encode(&mut body, 1)?;
    MetadataRequest::default().with_topics(None).encode(&mut body, VERSION)?;
    request.put_u32(body.len() as u32);
    request.put(body);
    let mut stream = TcpStream::connect(broker).await?;
    stream.write_all(&request).await?;
    let mut answer = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut answer).await?;
    // Behind the correlation id.
    let view = MetadataResponse::decode(&mut Bytes::from(answer).slice(4..), VERSION)?;
    let named = view.topics.iter().find(|view| view.name.as_ref().is_some_and(|name| name.as_str() == topic));
    let partition = named.and_then(|named| named.partitions.first()).context("the broker does not know the topic")?;
    Ok(partition.leader_id.0)
}
