//! The two questions to the brokers that the `rdkafka` crate has no call for: which topics are there, and where they end.
//!
//! `rdkafka`'s own `offsets_for_times` is no substitute for the second: one topic that is unknown to the brokers fails the
//! look-up of all others with it, for as long as the client remembers the topic.

#![allow(unsafe_code, reason = "librdkafka is C, and rdkafka does not wrap these calls; all of it is in this module")]

use std::ffi::{CString, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::log::Topic;
use handles::{Event, Options, Partitions, Queue, c_string, list};

mod handles;

/// Topics of one request at most: librdkafka merges the answers in a time that grows with the square of it.
const TOPICS_A_REQUEST: usize = 100;

/// What tells a topic from an earlier one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId {
    most: i64,
    least: i64,
}

impl TopicId {
    /// For brokers before 2.8, which have none.
    pub(super) const NONE: Self = Self { most: 0, least: 0 };

    #[cfg(test)]
    pub(super) const fn of(least: i64) -> Self {
        Self { most: 1, least }
    }
}

/// A topic that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) id: TopicId,
    /// The broker that leads it.
    pub(super) leader: i32,
}

/// Which offset of a topic is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Of the oldest record kept, or the end where there is none.
    Oldest,
    /// Of the next record to come.
    End,
    /// Of the record with the greatest time.
    Newest,
    /// Of the first record at or after this time, in milliseconds since the epoch.
    From(i64),
}

impl Which {
    /// As ListOffsets (KIP-79, KIP-734) encodes it.
    fn code(self) -> i64 {
        match self {
            Self::End => -1,
            Self::Oldest => -2,
            Self::Newest => -3,
            Self::From(time_ms) => time_ms.max(0),
        }
    }
}

/// A place in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: u64,
    /// Milliseconds since the epoch; set for [`Which::Newest`] and [`Which::From`].
    pub(super) time_ms: i64,
}

/// Why there is no answer for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// The brokers do not know the topic.
    Unknown,
    /// The client's idea of who leads the topic is out of date, or nobody does.
    Leaderless,
    /// No answer from the topic's leader.
    Silent,
    /// Kafka's error code.
    Code(i32),
}

/// What came of a question about many topics.
pub(super) type Answers<T> = Vec<(Topic, Result<T, Miss>)>;

/// A request that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) code: RDKafkaErrorCode,
    pub(super) reason: String,
}

/// Asks which of these topics are there. Blocks until all answers are in or `timeout` is over.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[Topic],
    timeout: Duration,
) -> Result<Answers<Described>, Failed> {
    let names: Vec<CString> = topics.iter().map(|topic| c_string(topic)).collect();
    let mut pointers: Vec<*const std::ffi::c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    let queue = Queue::new(rk);
    let options = Options::new(rk, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
    // SAFETY: `pointers` holds as many C strings as it says; librdkafka copies them before it returns. All handles live
    // until the end of this function.
    unsafe {
        let collection = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(rk, collection, options.0.as_ptr(), queue.0.as_ptr());
        c::rd_kafka_TopicCollection_destroy(collection);
    }
    let event = queue.next(timeout)?;
    // SAFETY: the result and what it lists live as long as `event`.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        if result.is_null() {
            return Err(Failed::odd("no DescribeTopics result"));
        }
        let mut count = 0;
        let first = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        list(first, count).iter().map(|description| read_description(*description)).collect::<Vec<_>>()
    };
    // The answers come in the order of the questions.
    Ok(topics.iter().cloned().zip(described).collect())
}

/// SAFETY: `description` must be alive.
unsafe fn read_description(description: *const c::rd_kafka_TopicDescription_t) -> Result<Described, Miss> {
    if description.is_null() {
        return Err(Miss::Silent);
    }
    // SAFETY: what is asked for lives as long as the description.
    unsafe {
        let error = c::rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            match c::rd_kafka_error_code(error) as i32 {
                0 => {}
                code => return Err(Miss::from(code)),
            }
        }
        let mut count = 0;
        let first = c::rd_kafka_TopicDescription_partitions(description, &raw mut count);
        let Some(partition) = list(first, count).first() else { return Err(Miss::Leaderless) };
        let leader = c::rd_kafka_TopicPartitionInfo_leader(*partition);
        if leader.is_null() {
            return Err(Miss::Leaderless);
        }
        let id = c::rd_kafka_TopicDescription_topic_id(description);
        let id = match id.is_null() {
            true => TopicId::NONE,
            false => TopicId {
                most: c::rd_kafka_Uuid_most_significant_bits(id),
                least: c::rd_kafka_Uuid_least_significant_bits(id),
            },
        };
        Ok(Described { id, leader: c::rd_kafka_Node_id(leader) })
    }
}

/// Asks for an offset of each of these topics, each named once; `None` where the topic has no such record. Blocks until
/// all answers are in or `timeout` is over.
///
/// The client must know the topics' leaders, and learn nothing until `sending` is dropped, which is done when all requests are
/// on their way: librdkafka's `rd_kafka_topic_partition_list_query_leaders_async` races with itself else.
pub(super) fn offsets<C: ClientContext>(
    client: &Client<C>,
    asked: &[(Topic, Which)],
    timeout: Duration,
    sending: impl Sized,
) -> Result<Answers<Option<Found>>, Failed> {
    let rk = client.native_ptr();
    let queue = Queue::new(rk);
    let chunks: Vec<_> = asked.chunks(TOPICS_A_REQUEST).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let options = Options::new(rk, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
        let partitions = Partitions::new(chunk);
        // SAFETY: all handles are alive; librdkafka copies what it needs before it returns. The opaque is a number in a
        // pointer's clothes, which nobody follows.
        unsafe {
            c::rd_kafka_AdminOptions_set_opaque(options.0.as_ptr(), ptr::without_provenance_mut::<c_void>(number));
            c::rd_kafka_ListOffsets(rk, partitions.0.as_ptr(), options.0.as_ptr(), queue.0.as_ptr());
        }
    }
    drop(sending);
    let mut answers = Vec::with_capacity(asked.len());
    let mut failed = Failed {
        code: RDKafkaErrorCode::OperationTimedOut,
        reason: format!("no answer within {:.1} s", timeout.as_secs_f32()),
    };
    for _ in 0..chunks.len() {
        let event = queue.next_event(timeout)?;
        // SAFETY: `event` is alive; the opaque is the chunk's number.
        let chunk =
            chunks.get(unsafe { c::rd_kafka_event_opaque(event.0.as_ptr()) }.addr()).copied().unwrap_or_default();
        let mut none = |miss| answers.extend(chunk.iter().map(|(topic, _)| (topic.clone(), Err(miss))));
        match event.check() {
            Ok(()) => read_offsets(&event, chunk, &mut answers)?,
            // What librdkafka says when it finds a leader for none of the topics.
            Err(error) if error.code == RDKafkaErrorCode::NoEnt => none(Miss::Leaderless),
            Err(error) => {
                none(Miss::Silent);
                failed = error;
            }
        }
    }
    if !answers.is_empty() && answers.iter().all(|(_, answer)| *answer == Err(Miss::Silent)) {
        return Err(failed);
    }
    Ok(answers)
}

fn read_offsets(event: &Event, chunk: &[(Topic, Which)], answers: &mut Answers<Option<Found>>) -> Result<(), Failed> {
    // SAFETY: the result and what it lists live as long as `event`.
    unsafe {
        let result = c::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        if result.is_null() {
            return Err(Failed::odd("no ListOffsets result"));
        }
        let mut count = 0;
        let first = c::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let infos = list(first, count);
        // The answers come in the order of the questions.
        answers.extend(chunk.iter().zip(infos).map(|((topic, _), info)| {
            let partition = c::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            // Read as the integer that it is in C: a newer broker's code may be none of the Rust enum's.
            let code = (&raw const (*partition).err).cast::<i32>().read();
            let answer = match (code, (*partition).offset) {
                (0, -1) => Ok(None),
                // Where a leader's whole answer is missing, the entry keeps no error and an invalid offset.
                (0, offset) => u64::try_from(offset)
                    .map_err(|_| Miss::Silent)
                    .map(|offset| Some(Found { offset, time_ms: c::rd_kafka_ListOffsetsResultInfo_timestamp(*info) })),
                (code, _) => Err(Miss::from(code)),
            };
            (topic.clone(), answer)
        }));
    }
    Ok(())
}

impl From<i32> for Miss {
    fn from(code: i32) -> Self {
        use RDKafkaRespErr as E;
        const UNKNOWN: [i32; 5] = [
            E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32,
            E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID as i32,
            E::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32,
            E::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as i32,
            E::RD_KAFKA_RESP_ERR__NOENT as i32,
        ];
        const LEADERLESS: [i32; 7] = [
            E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32,
            E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as i32,
            E::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE as i32,
            E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR as i32,
            E::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH as i32,
            E::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH as i32,
            E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE as i32,
        ];
        const SILENT: [i32; 4] = [
            E::RD_KAFKA_RESP_ERR__TIMED_OUT as i32,
            E::RD_KAFKA_RESP_ERR__TRANSPORT as i32,
            E::RD_KAFKA_RESP_ERR__IN_PROGRESS as i32,
            E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as i32,
        ];
        match code {
            code if UNKNOWN.contains(&code) => Self::Unknown,
            code if LEADERLESS.contains(&code) => Self::Leaderless,
            code if SILENT.contains(&code) => Self::Silent,
            code => Self::Code(code),
        }
    }
}

impl Failed {
    fn odd(what: &str) -> Self {
        Self { code: RDKafkaErrorCode::BadMessage, reason: format!("{what} in librdkafka's answer") }
    }
}
