//! Where the frames of a WebSocket begin and end (RFC 6455, section 5.2): only between two frames something can be said.

/// A close frame: status 1001, "going away". Clients take it as a reason to connect again.
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The longest head of a frame: two bytes, eight of length, four of mask.
const MAX_HEAD: usize = 14;

/// Follows the frames that a server sends.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; MAX_HEAD],
    /// Bytes of the present frame's head that have been seen.
    seen: usize,
    /// Bytes of the present frame's payload that are to come.
    payload: u64,
    /// The server has said its last word.
    closed: bool,
}

impl Frames {
    /// Goes on with these bytes as far as the end of a frame, and says how many they are.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload > 0 {
                let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.payload -= taken as u64;
                at += taken;
            } else {
                self.head[self.seen] = bytes[at];
                self.seen += 1;
                at += 1;
                if self.seen < self.head_length() {
                    continue;
                }
                self.payload = self.payload_length();
                // 0x8: a close frame.
                self.closed |= self.head[0] & 0x0f == 0x08;
                self.seen = 0;
            }
            if self.is_between() {
                break;
            }
        }
        at
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.seen == 0 && self.payload == 0
    }

    /// Whether a close frame has begun: nothing may be said after it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn head_length(&self) -> usize {
        if self.seen < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        // Servers don't mask; one that does is followed all the same.
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_length(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |length: u64, byte| (length << 8) | u64::from(*byte));
        match self.head[1] & 0x7f {
            126 => big_endian(&self.head[2..4]),
            127 => big_endian(&self.head[2..10]),
            length => u64::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with a payload of so many bytes.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..=125 => frame.push(mask | length as u8),
            126..=65_535 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([0xff; 4]);
        }
        frame.extend(vec![0xff; length]);
        frame
    }

    proptest! {
        #[test]
        fn the_borders_are_found_however_the_bytes_come(
            lengths in proptest::collection::vec((prop_oneof![0usize..300, Just(70_000)], any::<bool>()), 1..6),
            cut in 1usize..5_000,
        ) {
            let ends: Vec<usize> = lengths
                .iter()
                .scan(0, |end, (length, masked)| {
                    *end += frame(*length, *masked).len();
                    Some(*end)
                })
                .collect();
            let bytes: Vec<u8> = lengths.iter().flat_map(|(length, masked)| frame(*length, *masked)).collect();
            let mut frames = Frames::default();
            let (mut at, mut found) = (0, Vec::new());
            for piece in bytes.chunks(cut) {
                let mut read = 0;
                while read < piece.len() {
                    read += frames.read(&piece[read..]);
                    if frames.is_between() {
                        found.push(at + read);
                    }
                }
                at += piece.len();
            }
            prop_assert_eq!(found, ends);
            prop_assert!(!frames.is_closed());
        }
    }

    #[test]
    fn a_close_frame_is_the_last_word() {
        let mut frames = Frames::default();
        assert_eq!(frames.read(&GOING_AWAY), 4);
        assert!(frames.is_closed() && frames.is_between());
    }
}
