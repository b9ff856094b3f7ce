//! Chance that is the same in each run.

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). A scenario must give the same day with
/// every version of this program, which the generators of `rand` do not promise.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// A sequence of its own for each purpose, so that one more draw for one leaves the others as they are.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mixed = purpose.bytes().fold(seed ^ 0x9E37_79B9_7F4A_7C15, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let mut chance = Self(mixed);
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From zero up to, not including, one.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of so many; zero of none.
    pub(super) fn index(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { (self.next() % count as u64) as usize }
    }

    /// The times, in seconds, of what happens so often an hour, each independent of the others, up to an end.
    pub(super) fn times(&mut self, per_hour: f64, end_s: f64) -> Vec<f64> {
        // Never happening is an infinite time until the first.
        let mut pause = || -(1.0 - self.fraction()).ln() * 3600.0 / per_hour;
        let (mut times, mut at) = (Vec::new(), pause());
        while at < end_s {
            times.push(at);
            at += pause();
        }
        times
    }
}
