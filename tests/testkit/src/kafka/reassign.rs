//! Moves a partition to other brokers: the one order that librdkafka has no call for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(10);

/// AlterPartitionReassignments, version 0 (KIP-455), in Kafka's flexible encoding: lengths are varints of one more.
const API_KEY: i16 = 45;

/// Orders partition 0 of the topic to be kept by these brokers, the first of them to lead. Any broker takes the order; it is
/// carried out after this has returned.
pub(super) async fn move_topic(broker: &str, topic: &str, replicas: &[i32]) -> Result<()> {
    timeout(LIMIT, exchange(broker, &request(topic, replicas)?))
        .await
        .with_context(|| format!("{broker} did not answer an order to move {topic}"))?
        .and_then(|answer| check(&answer))
        .with_context(|| format!("{topic} cannot be moved to brokers {replicas:?}"))
}

fn request(topic: &str, replicas: &[i32]) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(API_KEY.to_be_bytes());
    request.extend(0_i16.to_be_bytes()); // the version
    request.extend(1_i32.to_be_bytes()); // the correlation
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.push(0); // no tags
    request.extend(i32::try_from(LIMIT.as_millis())?.to_be_bytes());
    request.push(2); // one topic
    // Names are up to 249 bytes: a varint of at most two bytes.
    let length = topic.len() + 1;
    if length < 0x80 {
        request.push(u8::try_from(length)?);
    } else {
        request.extend([u8::try_from(length & 0x7f)? | 0x80, u8::try_from(length >> 7)?]);
    }
    request.extend(topic.as_bytes());
    request.push(2); // one partition
    request.extend(0_i32.to_be_bytes());
    request.push(u8::try_from(replicas.len() + 1)?);
    for replica in replicas {
        request.extend(replica.to_be_bytes());
    }
    request.extend([0, 0, 0]); // no tags of the partition, the topic, the request
    Ok(request)
}

async fn exchange(broker: &str, request: &[u8]) -> Result<Vec<u8>> {
    let mut connection = TcpStream::connect(broker).await?;
    connection.write_i32(i32::try_from(request.len())?).await?;
    connection.write_all(request).await?;
    let mut answer = vec![0; usize::try_from(connection.read_i32().await?)?];
    connection.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The answer: correlation, tags, throttle time, error code and text of the whole; then topics with partitions, of which each
/// has an index, an error code and a text.
fn check(answer: &[u8]) -> Result<()> {
    let whole = answer.get(9..11).context("the answer is too short")?;
    ensure!(whole == [0, 0], "Kafka's error code {}", i16::from_be_bytes([whole[0], whole[1]]));
    let text_length = usize::from(*answer.get(11).context("no text")?).saturating_sub(1);
    // After the text: the count of topics, the name, the count of partitions, the index.
    let name_at = 12 + text_length + 1;
    let (length, bytes) = match answer.get(name_at..name_at + 2).context("no topic")? {
        [low, high] if *low >= 0x80 => (usize::from(low & 0x7f) | usize::from(*high) << 7, 2),
        [low, _] => (usize::from(*low), 1),
        _ => (0, 0),
    };
    let code_at = name_at + bytes + length.saturating_sub(1) + 1 + 4;
    let code = answer.get(code_at..code_at + 2).context("no partition")?;
    ensure!(code == [0, 0], "Kafka's error code {} for the partition", i16::from_be_bytes([code[0], code[1]]));
    Ok(())
}
