//! Bodies that tell whether they are whole and whose they are: made from a number, and never the same for two.

/// The bytes of a body from `offset` on.
pub fn bytes(number: u64, offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(|at| byte(number, at)).collect()
}

/// One of them: a round of splitmix64 over the number and the place of its eight bytes.
fn byte(number: u64, at: usize) -> u8 {
    let mut mixed = number.wrapping_add((at as u64 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 27;
    mixed.to_le_bytes()[at % 8]
}

/// Whether `body` is the beginning of that number's body.
pub fn is_beginning(number: u64, body: &[u8]) -> bool {
    body.iter().enumerate().all(|(at, got)| *got == byte(number, at))
}

/// The sum that a backend answers an upload with (FNV-1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// What is sent back for an upload of `length` bytes.
    pub fn answer(self, length: usize) -> String {
        format!("{length} bytes, {:016x}", self.0)
    }
}
