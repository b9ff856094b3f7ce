//! ListOffsets: where topics end.
//!
//! Version 4 is the newest that Kafka 2.1 speaks. A leader that may hold back the newest of what was acknowledged, as one that has just become
//! it, answers with an error (KIP-207).

use bytes::BufMut;

use super::super::codec::{Garbled, Reader, put_count, put_string};
use super::{Api, Request};
use crate::log::Topic;

pub(in super::super) const LIST_OFFSETS: Api = Api { name: "ListOffsets", key: 2, version: 4 };

/// The time that stands for a topic's end.
const END: i64 = -1;
/// Bytes of a topic in the request, beyond its name.
const TOPIC_OVERHEAD: usize = 2 + 4 + 4 + 4 + 8;

/// Asks where these topics end.
pub(in super::super) fn ends(client_id: &str, topics: &[Topic]) -> Request {
    let room = topics.iter().map(|topic| topic.len() + TOPIC_OVERHEAD).sum::<usize>() + 16;
    let mut request = Request::begin(LIST_OFFSETS, client_id, room);
    let bytes = &mut request.bytes;
    bytes.put_i32(-1); // No replica.
    bytes.put_i8(0); // Transactions do not matter.
    put_count(bytes, topics.len());
    for topic in topics {
        put_string(bytes, topic);
        bytes.put_i32(1); // One partition, the first.
        bytes.put_i32(0);
        bytes.put_i32(-1); // Any leader's epoch.
        bytes.put_i64(END);
    }
    request
}

/// Each topic's error code, and where it ends.
pub(in super::super) fn read_ends(answer: &[u8]) -> Result<Vec<(&str, i16, i64)>, Garbled> {
    let mut reader = Reader::new(answer);
    let _throttle_ms = reader.int32()?;
    reader.array(|reader| {
        let topic = reader.string()?;
        let partitions = reader.array(|reader| {
            let (partition, code, _time) = (reader.int32()?, reader.int16()?, reader.int64()?);
            let (offset, _epoch) = (reader.int64()?, reader.int32()?);
            Ok((partition, code, offset))
        })?;
        let first = partitions.into_iter().find(|(partition, ..)| *partition == 0);
        let (_, code, offset) = first.ok_or(Garbled::new("it leaves out the partition asked about"))?;
        Ok((topic, code, offset))
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, RequestHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_meant() {
        let mut bytes = ends("me", &[Topic::from("a"), Topic::from("bb")]).into_bytes(5);
        assert_eq!(bytes.split_to(4)[..], (bytes.len() as u32).to_be_bytes());
        let header = RequestHeader::decode(&mut bytes, 1).expect("it has a header");
        assert_eq!((header.request_api_key, header.request_api_version), (LIST_OFFSETS.key, LIST_OFFSETS.version));
        let asked = ListOffsetsRequest::decode(&mut bytes, LIST_OFFSETS.version).expect("it has a body");
        assert!(bytes.is_empty());
        let read = |at: usize| (&*asked.topics[at].name.0, asked.topics[at].partitions[0].timestamp);
        assert_eq!([read(0), read(1)], [("a", END), ("bb", END)]);
    }

    #[test]
    fn an_answer_of_another_implementation_is_read() {
        let part = |index, code, offset| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_offset(offset)
        };
        let topic = |name: &str, partitions| {
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions)
        };
        let topics = vec![topic("a", vec![part(1, 0, 9), part(0, 0, 12)]), topic("b", vec![part(0, 5, -1)])];
        let mut written = BytesMut::new();
        ListOffsetsResponse::default().with_topics(topics).encode(&mut written, LIST_OFFSETS.version).expect("written");
        assert_eq!(read_ends(&written), Ok(vec![("a", 0, 12), ("b", 5, -1)]));
    }
}
