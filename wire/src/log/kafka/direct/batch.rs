//! A record batch (`magic` 2): what a topic is given in one request.
//!
//! The format is that of `kafka.apache.org/documentation/#recordbatch`. Frames are small and come one to a topic, so nothing is
//! compressed.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{put_varint, varint_len};

/// Bytes before the first record.
pub(super) const HEADER: usize = 61;
/// From the batch's beginning to behind its length field: what the length does not count.
const BEFORE_LENGTH_COUNTS: usize = 12;
/// Where the checksum stands.
const CRC_AT: usize = 17;
/// What the checksum covers begins here.
const COVERED_FROM: usize = 21;

/// No producer id, epoch, sequence or leader's epoch: the batch is not an idempotent producer's. A frame carries totals, so one
/// that is repeated does no harm.
const NONE: i64 = -1;

/// The bytes that a record takes in a batch at most, beyond its payload.
pub(super) const RECORD_OVERHEAD: usize = 24;

/// Writes a batch of these payloads, in order. `now_ms` is the time that the records claim, since the Unix epoch; a topic of
/// log-append time overwrites it.
pub(super) fn put_batch<'a>(to: &mut BytesMut, payloads: impl ExactSizeIterator<Item = &'a Bytes>, now_ms: i64) {
    let count = i32::try_from(payloads.len()).unwrap_or(i32::MAX);
    let start = to.len();
    to.put_i64(0); // The broker sets the offset.
    to.put_i32(0); // The length, known at the end.
    to.put_i32(NONE as i32);
    to.put_i8(2);
    to.put_u32(0); // The checksum, known at the end.
    to.put_i16(0); // Not compressed, create time, no transaction.
    to.put_i32(count - 1);
    to.put_i64(now_ms);
    to.put_i64(now_ms);
    to.put_i64(NONE);
    to.put_i16(NONE as i16);
    to.put_i32(NONE as i32);
    to.put_i32(count);
    for (offset, payload) in payloads.enumerate() {
        put_record(to, offset as i64, payload);
    }
    let batch = &mut to[start..];
    let length = (batch.len() - BEFORE_LENGTH_COUNTS) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[COVERED_FROM..]);
    batch[CRC_AT..COVERED_FROM].copy_from_slice(&checksum.to_be_bytes());
}

fn put_record(to: &mut BytesMut, offset: i64, payload: &Bytes) {
    let payload_len = payload.len() as i64;
    // Attributes, time, offset, no key, value, no headers.
    let length = 1 + 1 + varint_len(offset) + 1 + varint_len(payload_len) + payload.len() + 1;
    put_varint(to, length as i64);
    to.put_i8(0);
    put_varint(to, 0);
    put_varint(to, offset);
    put_varint(to, NONE);
    put_varint(to, payload_len);
    to.put_slice(payload);
    put_varint(to, 0);
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_implementation_reads_what_is_written(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..40),
            now_ms in 0i64..4_000_000_000_000,
        ) {
            let payloads: Vec<_> = payloads.into_iter().map(Bytes::from).collect();
            let mut written = BytesMut::new();
            put_batch(&mut written, payloads.iter(), now_ms);
            let room: usize = payloads.iter().map(|payload| payload.len() + RECORD_OVERHEAD).sum();
            prop_assert!(written.len() <= HEADER + room);
            // It checks the checksum, too.
            let read = RecordBatchDecoder::decode(&mut written.freeze()).expect("it is a batch").records;
            prop_assert_eq!(read.len(), payloads.len());
            for (at, (record, payload)) in read.iter().zip(&payloads).enumerate() {
                prop_assert_eq!(record.value.as_ref(), Some(payload));
                prop_assert_eq!((record.offset, record.timestamp), (at as i64, now_ms));
                prop_assert!(record.key.is_none() && record.headers.is_empty());
            }
        }
    }
}
