//! Kafka's primitive types, as far as they are needed here (`kafka.apache.org/protocol`, the non-flexible encodings).
//!
//! What a peer says about lengths is never believed: nothing is set aside before the bytes for it are there.

use bytes::{BufMut, BytesMut};

/// A message that is not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its answer is no Kafka answer: {what}")]
pub(super) struct Garbled {
    what: &'static str,
}

impl Garbled {
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what }
    }
}

/// Reads a message from its beginning.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Garbled::new("it ends too soon"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Garbled> {
        self.take::<1>().map(|[byte]| byte != 0)
    }

    pub(super) fn int16(&mut self) -> Result<i16, Garbled> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Result<i32, Garbled> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Result<i64, Garbled> {
        self.take().map(i64::from_be_bytes)
    }

    /// A string that must be there.
    pub(super) fn string(&mut self) -> Result<&'a str, Garbled> {
        self.nullable_string()?.ok_or(Garbled::new("a string is missing"))
    }

    /// A string or none.
    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>, Garbled> {
        let length = self.int16()?;
        let Some(bytes) = self.of_length(i32::from(length))? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| Garbled::new("a string is not UTF-8"))
    }

    /// Bytes; none are no bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Garbled> {
        let length = self.int32()?;
        Ok(self.of_length(length)?.unwrap_or_default())
    }

    /// All elements of an array; none is an empty one. Elements of no size would make a small message a large array, so there are
    /// none in what is read here.
    pub(super) fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Garbled>,
    ) -> Result<Vec<T>, Garbled> {
        let mut elements = Vec::new();
        for _ in 0..self.int32()? {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// An integer of records: zigzagged, in groups of seven bits.
    pub(super) fn varint(&mut self) -> Result<i64, Garbled> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Garbled::new("an integer has no end"))
    }

    /// Bytes of a record, or none.
    pub(super) fn varbytes(&mut self) -> Result<Option<&'a [u8]>, Garbled> {
        let length = i32::try_from(self.varint()?).map_err(|_| Garbled::new("it ends too soon"))?;
        self.of_length(length)
    }

    fn of_length(&mut self, length: i32) -> Result<Option<&'a [u8]>, Garbled> {
        // -1 says that there is none.
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Garbled::new("it ends too soon"))?;
        self.0 = rest;
        Ok(Some(taken))
    }
}

/// Writes a string. One too long for its length field is cut: topics' names and mechanisms never are, by far.
pub(super) fn put_string(to: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let length = bytes.len().min(i16::MAX as usize);
    to.put_u16(length as u16);
    to.put_slice(&bytes[..length]);
}

/// Writes the number of an array's elements.
pub(super) fn put_count(to: &mut BytesMut, count: usize) {
    to.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Writes an integer zigzagged, in groups of seven bits: what records are made of.
pub(super) fn put_varint(to: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        to.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.put_u8(rest as u8);
}

/// The bytes that [`put_varint`] writes.
pub(super) fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varints_length_is_known_beforehand(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut written = BytesMut::new();
            put_varint(&mut written, value);
            prop_assert_eq!(written.len(), varint_len(value));
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.varint(), Ok(value));
        }

        #[test]
        fn no_message_makes_the_reader_panic_or_read_past_its_end(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&message);
            let _ = reader.array(|reader| Ok((reader.string()?.len(), reader.bytes()?.len(), reader.int64()?)));
            let _ = (reader.nullable_string(), reader.boolean(), reader.int16(), reader.int32());
            let mut reader = Reader::new(&message);
            let _ = (reader.varint(), reader.varbytes(), reader.varbytes());
        }
    }

    #[test]
    fn an_array_said_to_be_giant_takes_no_memory() {
        let mut message = BytesMut::new();
        message.put_i32(i32::MAX);
        message.put_slice(&[0; 64]);
        assert!(Reader::new(&message).array(|reader| reader.int64()).is_err());
    }
}
