//! What reading a topic costs: the weights that planning evens out.

/// What a topic weighs that nothing is written to, in frames a second: it is asked for, answered for and shown all the same.
pub const IDLE: f64 = 0.1;

/// So many bytes cost as much as the frame that brings them does besides.
///
/// The frame's part is measured: 12 us of the reading client (`make bench-log`, 1,000 topics; docs/benchmarks.md). The byte's is an estimate, 3 ns:
/// it comes through the kernel, is copied, checked and copied into its record. So 12 us are 4,096 bytes. A factor of two either way would
/// not matter: frames have about a hundred bytes, of which this makes 2 %, and it only has to keep a topic whose records are much longer
/// than ours from looking as light as the others.
pub const BYTES_A_FRAME: f64 = 4096.0;

/// What a topic weighs, in frames a second, by what its reader measures. What is negative or no number counts as nothing.
#[must_use]
pub fn weight(frames_per_second: f64, bytes_per_second: f64) -> f64 {
    let counts = |measured: f64| if measured > 0.0 { measured } else { 0.0 };
    IDLE + counts(frames_per_second) + counts(bytes_per_second) / BYTES_A_FRAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_count_most_bytes_some_and_being_there_a_little() {
        assert_eq!(weight(0.0, 0.0), IDLE);
        assert_eq!(weight(10.0, 10.0 * BYTES_A_FRAME), IDLE + 20.0);
        assert!(weight(10.0, 1_000.0) < 10.4);
        assert_eq!(weight(f64::NAN, -5.0), IDLE);
    }
}
