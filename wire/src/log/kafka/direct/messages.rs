//! The messages that appending and reading need, each in the one version that every broker from Kafka 2.1 to 4.x speaks.
//!
//! These versions name topics by name and know no tagged fields, so that reading and writing them is this short. The
//! crate `kafka-protocol`, which has all versions, serves the tests as the second opinion; it is not used here because it sets
//! aside memory for as many elements as an answer claims to have, and a peer that is no broker may claim two milliards.

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::put_batch;
use super::codec::{Garbled, Reader, put_count, put_string};
use crate::log::Topic;

/// A kind of request, in the version that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) name: &'static str,
    pub(super) key: i16,
    pub(super) version: i16,
}

pub(super) const PRODUCE: Api = Api { name: "Produce", key: 0, version: 7 };
pub(super) const METADATA: Api = Api { name: "Metadata", key: 3, version: 4 };
pub(super) const SASL_HANDSHAKE: Api = Api { name: "SaslHandshake", key: 17, version: 1 };
pub(super) const API_VERSIONS: Api = Api { name: "ApiVersions", key: 18, version: 0 };
/// Version 1 tells how long the login is good for; Kafka 2.1 has only version 0.
pub(super) const SASL_AUTHENTICATE: Api = Api { name: "SaslAuthenticate", key: 36, version: 1 };

/// Where the correlation id of a request stands.
const CORRELATION_AT: usize = 8;

/// A request, ready but for its correlation id.
#[derive(Debug)]
pub(super) struct Request {
    bytes: BytesMut,
}

impl Request {
    fn begin(api: Api, client_id: &str, room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(room + client_id.len() + 16);
        bytes.put_i32(0); // The length, known at the end.
        bytes.put_i16(api.key);
        bytes.put_i16(api.version);
        bytes.put_i32(0); // The correlation id.
        put_string(&mut bytes, client_id);
        Self { bytes }
    }

    /// The bytes to send, with this correlation id.
    pub(super) fn into_bytes(mut self, correlation: i32) -> Bytes {
        let length = (self.bytes.len() - 4) as u32;
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        self.bytes.freeze()
    }
}

/// Asks which versions the broker speaks.
pub(super) fn api_versions(client_id: &str) -> Request {
    Request::begin(API_VERSIONS, client_id, 0)
}

/// The versions of one API that a broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) key: i16,
    pub(super) min: i16,
    pub(super) max: i16,
}

/// A broker's error code, and the versions it speaks.
pub(super) fn read_api_versions(answer: &[u8]) -> Result<(i16, Vec<Spoken>), Garbled> {
    let mut reader = Reader::new(answer);
    let code = reader.int16()?;
    let spoken =
        reader.array(|reader| Ok(Spoken { key: reader.int16()?, min: reader.int16()?, max: reader.int16()? }))?;
    Ok((code, spoken))
}

/// Asks for the leaders of these topics. None of them is created by the asking.
pub(super) fn metadata(client_id: &str, topics: &[Topic]) -> Request {
    let mut request =
        Request::begin(METADATA, client_id, topics.iter().map(|topic| topic.len() + 2).sum::<usize>() + 8);
    put_count(&mut request.bytes, topics.len());
    for topic in topics {
        put_string(&mut request.bytes, topic);
    }
    request.bytes.put_u8(0);
    request
}

/// What a broker knows of the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClusterView<'a> {
    pub(super) brokers: Vec<BrokerView<'a>>,
    pub(super) topics: Vec<TopicView<'a>>,
}

/// A broker's id and where it listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokerView<'a> {
    pub(super) id: i32,
    pub(super) host: &'a str,
    pub(super) port: i32,
}

/// A topic, as far as its first partition goes: the topics of this log have no other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TopicView<'a> {
    pub(super) code: i16,
    pub(super) name: &'a str,
    /// The broker's id; none while no broker leads it.
    pub(super) leader: Option<i32>,
}

pub(super) fn read_metadata(answer: &[u8]) -> Result<ClusterView<'_>, Garbled> {
    let mut reader = Reader::new(answer);
    let _throttle_ms = reader.int32()?;
    let brokers = reader.array(|reader| {
        let broker = BrokerView { id: reader.int32()?, host: reader.string()?, port: reader.int32()? };
        let _rack = reader.nullable_string()?;
        Ok(broker)
    })?;
    let _cluster = reader.nullable_string()?;
    let _controller = reader.int32()?;
    let topics = reader.array(|reader| {
        let (code, name) = (reader.int16()?, reader.string()?);
        let _internal = reader.boolean()?;
        let leaders = reader.array(read_leader)?;
        let leader = leaders.into_iter().find(|(partition, _)| *partition == 0).map(|(_, leader)| leader);
        Ok(TopicView { code, name, leader: leader.filter(|id| *id >= 0) })
    })?;
    Ok(ClusterView { brokers, topics })
}

/// A partition's number and the id of its leader.
fn read_leader(reader: &mut Reader<'_>) -> Result<(i32, i32), Garbled> {
    let _code = reader.int16()?;
    let (partition, leader) = (reader.int32()?, reader.int32()?);
    let _replicas = reader.array(Reader::int32)?;
    let _in_sync = reader.array(Reader::int32)?;
    Ok((partition, leader))
}

/// A topic's part of a produce request: the payloads of its records, in order.
pub(super) type Part<'a> = (&'a Topic, Vec<&'a Bytes>);

/// How produce requests are to be acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acks {
    /// 1 for the leader alone, -1 for all replicas in sync.
    pub(super) wanted: i16,
    /// How long the leader may wait for the others.
    pub(super) timeout_ms: i32,
}

/// Appends to many topics, each named once. `size` is about how large the request gets, in bytes.
pub(super) fn produce(client_id: &str, acks: Acks, parts: &[Part<'_>], now_ms: i64, size: usize) -> Request {
    let mut request = Request::begin(PRODUCE, client_id, size);
    let bytes = &mut request.bytes;
    bytes.put_i16(-1); // No transaction.
    bytes.put_i16(acks.wanted);
    bytes.put_i32(acks.timeout_ms);
    put_count(bytes, parts.len());
    for (topic, payloads) in parts {
        put_string(bytes, topic);
        bytes.put_i32(1); // One partition, the first.
        bytes.put_i32(0);
        let length_at = bytes.len();
        bytes.put_i32(0);
        put_batch(bytes, payloads.iter().copied(), now_ms);
        let length = (bytes.len() - length_at - 4) as u32;
        bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
    request
}

/// The bytes that a topic takes in a produce request, beyond its name and its batch.
pub(super) const PART_OVERHEAD: usize = 14;

/// The error code for each topic; 0 is none.
pub(super) fn read_produce(answer: &[u8]) -> Result<Vec<(&str, i16)>, Garbled> {
    let mut reader = Reader::new(answer);
    let topics = reader.array(|reader| {
        let topic = reader.string()?;
        let codes = reader.array(|reader| {
            let (partition, code) = (reader.int32()?, reader.int16()?);
            let _offset_and_times = (reader.int64()?, reader.int64()?, reader.int64()?);
            Ok((partition, code))
        })?;
        let code = codes.iter().find(|(partition, _)| *partition == 0);
        code.map(|(_, code)| (topic, *code)).ok_or(Garbled::new("it leaves out the partition asked about"))
    })?;
    let _throttle_ms = reader.int32()?;
    Ok(topics)
}

/// Names the mechanism to log in with.
pub(super) fn sasl_handshake(client_id: &str, mechanism: &str) -> Request {
    let mut request = Request::begin(SASL_HANDSHAKE, client_id, mechanism.len() + 2);
    put_string(&mut request.bytes, mechanism);
    request
}

/// The error code, and the mechanisms that the broker takes.
pub(super) fn read_sasl_handshake(answer: &[u8]) -> Result<(i16, Vec<&str>), Garbled> {
    let mut reader = Reader::new(answer);
    Ok((reader.int16()?, reader.array(Reader::string)?))
}

/// Hands over a message of the mechanism, in this version.
pub(super) fn sasl_authenticate(client_id: &str, version: i16, token: &[u8]) -> Request {
    let mut request = Request::begin(Api { version, ..SASL_AUTHENTICATE }, client_id, token.len() + 4);
    put_count(&mut request.bytes, token.len());
    request.bytes.put_slice(token);
    request
}

/// The broker's side of a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SaslAnswer<'a> {
    pub(super) code: i16,
    pub(super) error: Option<&'a str>,
    pub(super) token: &'a [u8],
    /// How long the login is good for, in milliseconds; 0 for ever.
    pub(super) lifetime_ms: i64,
}

pub(super) fn read_sasl_authenticate(answer: &[u8], version: i16) -> Result<SaslAnswer<'_>, Garbled> {
    let mut reader = Reader::new(answer);
    let (code, error, token) = (reader.int16()?, reader.nullable_string()?, reader.bytes()?);
    let lifetime_ms = if version >= 1 { reader.int64()? } else { 0 };
    Ok(SaslAnswer { code, error, token, lifetime_ms })
}

pub(super) mod ends;
pub(super) mod fetch;
#[cfg(test)]
mod tests;
