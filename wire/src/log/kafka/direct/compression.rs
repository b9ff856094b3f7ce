//! Batches that somebody has compressed: an appender that is not this one, or a cluster whose `compression.type` says so.

use std::io::Read;

use bytes::Bytes;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::codec::Garbled;

/// A batch is at most so large when it is unpacked, in bytes: a small one must not become a giant.
const UNPACKED_MAX: u64 = 32 * 1024 * 1024;
/// The same for what zstd keeps while it unpacks, as a power of two.
const WINDOW_LOG_MAX: u32 = 25;
/// Unpacked at a time, in bytes.
const CHUNK: usize = 64 * 1024;
/// What the Java library for snappy puts before its blocks: a magic word and two versions.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// The records of a batch, out of what the lowest bits of its attributes say that it is packed with.
pub(super) fn unpack(kind: i16, packed: Bytes) -> Result<Bytes, Garbled> {
    match kind {
        0 => Ok(packed),
        1 => all(flate2::read::MultiGzDecoder::new(&packed[..])),
        2 => snappy(&packed),
        3 => all(lz4_flex::frame::FrameDecoder::new(&packed[..])),
        4 => zstandard(&packed),
        _ => Err(Garbled::new("its records are compressed in a way that is unknown here")),
    }
}

const SPOILT: Garbled = Garbled::new("its compressed records can't be unpacked");
const TOO_LARGE: Garbled = Garbled::new("its compressed records are too large");

fn all(unpacking: impl Read) -> Result<Bytes, Garbled> {
    let mut unpacked = Vec::new();
    unpacking.take(UNPACKED_MAX + 1).read_to_end(&mut unpacked).map_err(|_| SPOILT)?;
    if unpacked.len() as u64 > UNPACKED_MAX { Err(TOO_LARGE) } else { Ok(unpacked.into()) }
}

fn zstandard(packed: &[u8]) -> Result<Bytes, Garbled> {
    let mut context = DCtx::try_create().ok_or(SPOILT)?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(|_| TOO_LARGE)?;
    let (mut input, mut chunk, mut unpacked) = (InBuffer::around(packed), vec![0; CHUNK], Vec::new());
    loop {
        let mut output = OutBuffer::around(&mut chunk[..]);
        let expected = context.decompress_stream(&mut output, &mut input).map_err(|_| SPOILT)?;
        let written = output.as_slice();
        unpacked.extend_from_slice(written);
        if unpacked.len() as u64 > UNPACKED_MAX {
            return Err(TOO_LARGE);
        }
        match (expected, input.pos() == packed.len()) {
            (0, true) => return Ok(unpacked.into()),
            // It is cut off.
            (_, true) if written.len() < CHUNK => return Err(SPOILT),
            _ => {}
        }
    }
}

/// One block, or several with the Java library's framing.
fn snappy(packed: &[u8]) -> Result<Bytes, Garbled> {
    let mut unpacked = Vec::new();
    if !packed.starts_with(XERIAL) {
        block(packed, &mut unpacked)?;
        return Ok(unpacked.into());
    }
    let mut rest = packed.get(XERIAL_HEADER..).ok_or(SPOILT)?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| SPOILT)?;
        let (packed, after) = after.split_at_checked(length).ok_or(SPOILT)?;
        block(packed, &mut unpacked)?;
        rest = after;
    }
    Ok(unpacked.into())
}

fn block(packed: &[u8], unpacked: &mut Vec<u8>) -> Result<(), Garbled> {
    let length = snap::raw::decompress_len(packed).map_err(|_| SPOILT)?;
    if (unpacked.len() + length) as u64 > UNPACKED_MAX {
        return Err(TOO_LARGE);
    }
    unpacked.extend(snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| SPOILT)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_does_not_become_a_giant() {
        let zeros = vec![0; UNPACKED_MAX as usize + 1];
        let mut packed = vec![0; zstd_safe::compress_bound(zeros.len())];
        let length = zstd_safe::compress(&mut packed[..], &zeros, 1).expect("it is packed");
        packed.truncate(length);
        assert!(packed.len() < 100_000);
        assert_eq!(unpack(4, packed.into()), Err(TOO_LARGE));
        let packed = snap::raw::Encoder::new().compress_vec(&zeros).expect("it is packed");
        assert_eq!(unpack(2, packed.into()), Err(TOO_LARGE));
    }

    #[test]
    fn what_is_not_packed_so_is_told() {
        for kind in 1..8 {
            assert!(unpack(kind, Bytes::from_static(b"\xff\xfe\xfd nothing of the kind")).is_err(), "{kind}");
        }
    }
}
