//! Reads record batches: what a topic holds, as a broker keeps it (`kafka.apache.org/documentation/#recordbatch`).

use bytes::Bytes;

use super::batch::HEADER;
use super::codec::{Garbled, Reader};
use super::compression;
use crate::log::LogTime;

/// From a batch's beginning to behind its length field: what the length does not count.
const BEFORE_LENGTH_COUNTS: usize = 12;
/// Where the format's version stands.
const MAGIC_AT: usize = 16;
/// What the checksum covers begins here.
const COVERED_FROM: usize = 21;

/// The bits of a batch's attributes.
const COMPRESSION: i16 = 0b111;
const APPEND_TIME: i16 = 0b1000;
const CONTROL: i16 = 0b10_0000;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) offset: u64,
    pub(super) appended: LogTime,
    pub(super) payload: Bytes,
}

/// A batch's header, as far as it matters.
struct Header {
    base: u64,
    checksum: u32,
    attributes: i16,
    last: u64,
    base_ms: i64,
    newest_ms: i64,
    count: i32,
}

/// Hands out the records of these batches from this offset on, in order; the offset after them, and how many bytes they take unpacked. A
/// batch that is cut off at the end is left for the next time, and so is what comes after `room` bytes: one answer may have hundreds
/// of batches that each become a giant.
///
/// # Errors
/// [`Garbled`] for what is no batch, or one whose bytes are not what was appended.
pub(super) fn read(
    mut batches: Bytes,
    from: u64,
    room: usize,
    mut each: impl FnMut(Read),
) -> Result<(u64, usize), Garbled> {
    let (mut next, mut unpacked) = (from, 0);
    while unpacked < room {
        let Some(mut batch) = take_batch(&mut batches)? else { break };
        let header = read_header(&batch)?;
        if crc32c::crc32c(&batch[COVERED_FROM..]) != header.checksum {
            return Err(Garbled::new("a record batch does not have the checksum that it says"));
        }
        let after = header.last.checked_add(1).ok_or(Garbled::new("an offset is too large"))?;
        // Control batches end transactions and hold nothing.
        if after > next && header.attributes & CONTROL == 0 {
            let packed = batch.split_off(HEADER);
            let records = compression::unpack(header.attributes & COMPRESSION, packed)?;
            unpacked += records.len();
            read_records(&header, &records, next, &mut each)?;
        }
        // What compaction took has no record.
        next = next.max(after);
    }
    Ok((next, unpacked))
}

/// The next whole batch.
fn take_batch(batches: &mut Bytes) -> Result<Option<Bytes>, Garbled> {
    let Some(length) = batches.get(8..BEFORE_LENGTH_COUNTS).and_then(|bytes| bytes.try_into().ok()) else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Garbled::new("a batch has no length"))?;
    let whole = BEFORE_LENGTH_COUNTS + length;
    if batches.len() < whole {
        return Ok(None);
    }
    // Older formats have the version in the same place.
    if batches.get(MAGIC_AT) != Some(&2) || whole < HEADER {
        return Err(Garbled::new("its records are of a format before Kafka 0.11"));
    }
    Ok(Some(batches.split_to(whole)))
}

fn read_header(batch: &[u8]) -> Result<Header, Garbled> {
    let mut reader = Reader::new(batch);
    let base = u64::try_from(reader.int64()?).map_err(|_| Garbled::new("an offset is less than nothing"))?;
    let _length_and_epoch = (reader.int32()?, reader.int32()?);
    let _magic = reader.boolean()?;
    let checksum = reader.int32()? as u32;
    let (attributes, last) = (reader.int16()?, reader.int32()?);
    let (base_ms, newest_ms) = (reader.int64()?, reader.int64()?);
    let _producer = (reader.int64()?, reader.int16()?, reader.int32()?);
    let count = reader.int32()?;
    let last = u64::try_from(last).ok().and_then(|last| base.checked_add(last));
    let last = last.ok_or(Garbled::new("an offset is out of bounds"))?;
    Ok(Header { base, checksum, attributes, last, base_ms, newest_ms, count })
}

fn read_records(header: &Header, records: &Bytes, from: u64, each: &mut impl FnMut(Read)) -> Result<(), Garbled> {
    let mut reader = Reader::new(records);
    for _ in 0..header.count {
        let mut record = Reader::new(reader.varbytes()?.unwrap_or_default());
        let _attributes = record.boolean()?;
        let (delta_ms, delta) = (record.varint()?, record.varint()?);
        let _key = record.varbytes()?;
        let payload = record.varbytes()?.unwrap_or_default();
        let offset = u64::try_from(delta).ok().and_then(|delta| header.base.checked_add(delta));
        let offset =
            offset.filter(|offset| *offset <= header.last).ok_or(Garbled::new("an offset is out of bounds"))?;
        if offset < from {
            continue;
        }
        let time = match header.attributes & APPEND_TIME {
            0 => header.base_ms.saturating_add(delta_ms),
            _ => header.newest_ms,
        };
        let appended = LogTime(u64::try_from(time).unwrap_or(0));
        each(Read { offset, appended, payload: records.slice_ref(payload) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::indexmap::IndexMap;
    use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
    use proptest::prelude::*;

    use super::super::batch::put_batch;
    use super::*;

    fn read_all(batches: &Bytes, from: u64) -> Result<(Vec<Read>, u64), Garbled> {
        let mut found = Vec::new();
        let (next, _) = read(batches.clone(), from, usize::MAX, |record| found.push(record))?;
        Ok((found, next))
    }

    /// A batch as another implementation writes it.
    fn another_batch(payloads: &[Vec<u8>], base: i64) -> Bytes {
        let records: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(at, payload)| Record {
                delete_horizon: false,
                transactional: false,
                control: false,
                partition_leader_epoch: 3,
                producer_id: -1,
                producer_epoch: -1,
                timestamp_type: TimestampType::Creation,
                timestamp: 1_000 + at as i64,
                sequence: -1,
                offset: base + at as i64,
                key: Some(Bytes::from_static(b"key")),
                value: Some(payload.clone().into()),
                headers: IndexMap::new(),
            })
            .collect();
        let mut written = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut written, &records, &options).expect("it is written");
        written.freeze()
    }

    proptest! {
        #[test]
        fn what_another_implementation_writes_is_read_from_any_offset_on(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
            base in 0i64..1_000_000,
            skipped in 0usize..20,
        ) {
            let batch = another_batch(&payloads, base);
            let skipped = skipped.min(payloads.len());
            let (found, next) = read_all(&batch, base as u64 + skipped as u64).expect("it is a batch");
            prop_assert_eq!(next, base as u64 + payloads.len() as u64);
            let expected: Vec<_> = payloads.iter().enumerate().skip(skipped).map(|(at, payload)| Read {
                offset: base as u64 + at as u64,
                appended: LogTime(1_000 + at as u64),
                payload: payload.clone().into(),
            }).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_memory(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes.clone().into(), 0);
            // As far as the checksum lets them.
            if bytes.len() > HEADER {
                let length = (bytes.len() - BEFORE_LENGTH_COUNTS) as u32;
                bytes[8..12].copy_from_slice(&length.to_be_bytes());
                bytes[MAGIC_AT] = 2;
                let checksum = crc32c::crc32c(&bytes[COVERED_FROM..]);
                bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
                let _ = read_all(&bytes.into(), 0);
            }
        }
    }

    #[test]
    fn what_is_unpacked_at_a_time_is_bounded_and_the_rest_is_left_for_the_next_time() {
        let mut batches = BytesMut::new();
        for offset in 0..3 {
            batches.extend_from_slice(&another_batch(&[vec![0; 1_000]], offset));
        }
        let batches = batches.freeze();
        let within = |from, room| {
            let mut found = Vec::new();
            let read = read(batches.clone(), from, room, |record| found.push(record.offset));
            (found, read.expect("they are batches").0)
        };
        assert_eq!(within(0, 0), (vec![], 0));
        assert_eq!(within(0, 1), (vec![0], 1));
        assert_eq!(within(0, 1_500), (vec![0, 1], 2));
        assert_eq!(within(2, 1_500), (vec![2], 3));
    }

    #[test]
    fn a_batch_cut_off_is_left_for_the_next_time_and_a_changed_one_is_told() {
        let mut written = BytesMut::new();
        put_batch(&mut written, [Bytes::from_static(b"whole")].iter(), 5);
        let whole = written.len();
        put_batch(&mut written, [Bytes::from_static(b"cut")].iter(), 5);
        let written = written.freeze();
        for end in whole..written.len() {
            let (found, next) = read_all(&written.slice(..end), 0).expect("as far as it goes");
            assert_eq!((found.len(), next), (1, 1));
        }
        let mut changed = written.to_vec();
        changed[HEADER + 8] ^= 1;
        assert!(read_all(&changed.into(), 0).expect_err("it is not the same").to_string().contains("checksum"));
    }
}
