//! Fetch: the records of many topics in one request.
//!
//! Version 10 is the newest that a follower never answers (from 11 on it may, and what it knows of a topic's end lags
//! behind the leader's, which would make a proof of completeness a guess); Kafka 2.1 to 4.x speak it. Sessions (KIP-227) are not used:
//! what a poll costs is the broker's look into each partition, with or without them.

use bytes::BufMut;

use super::super::codec::{Garbled, Reader, put_count, put_string};
use super::{Api, Request};
use crate::log::Topic;

pub(in super::super) const FETCH: Api = Api { name: "Fetch", key: 1, version: 10 };

/// How much is wanted, and how long a broker may wait for it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Wanted {
    /// How long to wait for the first record, in milliseconds; 0 for not at all.
    pub(in super::super) wait_ms: i32,
    /// Bytes of the answer at most, but for a first record that is larger.
    pub(in super::super) bytes: i32,
    /// Bytes of one topic at most.
    pub(in super::super) topic_bytes: i32,
}

/// Bytes of a topic in the request, beyond its name.
const TOPIC_OVERHEAD: usize = 2 + 4 + 4 + 4 + 8 + 8 + 4;

/// Asks for the records of these topics, each from its offset on.
pub(in super::super) fn fetch(client_id: &str, wanted: Wanted, topics: &[(Topic, u64)]) -> Request {
    let room = topics.iter().map(|(topic, _)| topic.len() + TOPIC_OVERHEAD).sum::<usize>() + 64;
    let mut request = Request::begin(FETCH, client_id, room);
    let bytes = &mut request.bytes;
    bytes.put_i32(-1); // No replica.
    bytes.put_i32(wanted.wait_ms);
    bytes.put_i32(1); // One byte is enough to answer before that.
    bytes.put_i32(wanted.bytes);
    bytes.put_i8(0); // Transactions do not matter.
    bytes.put_i32(0); // No session,
    bytes.put_i32(-1); // and none wanted.
    put_count(bytes, topics.len());
    for (topic, offset) in topics {
        put_string(bytes, topic);
        bytes.put_i32(1); // One partition, the first.
        bytes.put_i32(0);
        bytes.put_i32(-1); // Any leader's epoch.
        bytes.put_i64(i64::try_from(*offset).unwrap_or(i64::MAX));
        bytes.put_i64(-1); // The log's start is a follower's to say.
        bytes.put_i32(wanted.topic_bytes);
    }
    bytes.put_i32(0); // Nothing of a session is forgotten.
    request
}

/// What a broker has of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Fetched<'a> {
    pub(in super::super) topic: &'a str,
    /// 0 is none.
    pub(in super::super) code: i16,
    /// The end of what consumers may read, when it answered.
    pub(in super::super) end: i64,
    /// Record batches; the last one may be cut off.
    pub(in super::super) records: &'a [u8],
}

/// The error code of the whole, and what there is of each topic.
pub(in super::super) fn read_fetch(answer: &[u8]) -> Result<(i16, Vec<Fetched<'_>>), Garbled> {
    let mut reader = Reader::new(answer);
    let _throttle_ms = reader.int32()?;
    let (code, _session) = (reader.int16()?, reader.int32()?);
    let topics = reader.array(|reader| {
        let topic = reader.string()?;
        let partitions = reader.array(read_partition)?;
        let first = partitions.into_iter().find(|(partition, ..)| *partition == 0);
        let (_, code, end, records) = first.ok_or(Garbled::new("it leaves out the partition asked about"))?;
        Ok(Fetched { topic, code, end, records })
    })?;
    Ok((code, topics))
}

fn read_partition<'a>(reader: &mut Reader<'a>) -> Result<(i32, i16, i64, &'a [u8]), Garbled> {
    let (partition, code, end) = (reader.int32()?, reader.int16()?, reader.int64()?);
    let _stable_and_start = (reader.int64()?, reader.int64()?);
    let _aborted = reader.array(|reader| Ok((reader.int64()?, reader.int64()?)))?;
    Ok((partition, code, end, reader.bytes()?))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchRequest, FetchResponse, RequestHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_meant() {
        let topics = [(Topic::from("a"), 7), (Topic::from("bb"), 0)];
        let wanted = Wanted { wait_ms: 250, bytes: 1_000, topic_bytes: 100 };
        let mut bytes = fetch("me", wanted, &topics).into_bytes(5);
        assert_eq!(bytes.split_to(4)[..], (bytes.len() as u32).to_be_bytes());
        let header = RequestHeader::decode(&mut bytes, 1).expect("it has a header");
        assert_eq!((header.request_api_key, header.request_api_version), (FETCH.key, FETCH.version));
        let asked = FetchRequest::decode(&mut bytes, FETCH.version).expect("it has a body");
        assert!(bytes.is_empty());
        assert_eq!((asked.max_wait_ms, asked.min_bytes, asked.max_bytes, asked.session_epoch), (250, 1, 1_000, -1));
        let read = |at: usize| (&*asked.topics[at].topic.0, asked.topics[at].partitions[0].fetch_offset);
        assert_eq!([read(0), read(1)], [("a", 7), ("bb", 0)]);
        assert_eq!(asked.topics[0].partitions[0].partition_max_bytes, 100);
    }

    #[test]
    fn an_answer_of_another_implementation_is_read() {
        let part = |index, code, end, records: &'static [u8]| {
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_high_watermark(end)
                .with_records(Some(Bytes::from_static(records)))
        };
        let topic = |name: &str, partitions| {
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            FetchableTopicResponse::default().with_topic(name).with_partitions(partitions)
        };
        let topics = vec![
            topic("a", vec![part(1, 9, 9, b"another partition's"), part(0, 0, 12, b"records")]),
            topic("b", vec![part(0, 6, -1, b"")]),
        ];
        let mut written = BytesMut::new();
        FetchResponse::default().with_responses(topics).encode(&mut written, FETCH.version).expect("it is written");
        let (code, read) = read_fetch(&written).expect("it is an answer");
        assert_eq!(code, 0);
        let expected = [
            Fetched { topic: "a", code: 0, end: 12, records: b"records" },
            Fetched { topic: "b", code: 6, end: -1, records: b"" },
        ];
        assert_eq!(read, expected);
    }
}
