//! Where every random choice comes from: draw `k` of stream `s` is a function of `(seed, s, k)` and of nothing else.
//!
//! So operation `i` is the same on any number of cores, at any speed and against any target, and one more draw in one
//! stream never shifts another (docs/design/bench.md, "What is drawn").

use base::{Prng, mix64};

/// What a draw decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Stream {
    /// Gaps between operations.
    Arrival = 1,
    /// Which kind of operation.
    Op = 2,
    /// In which namespace.
    Namespace = 3,
    /// On which file or folder.
    Path = 4,
    /// How large a file is.
    Size = 5,
    /// What is in it.
    Content = 6,
    /// What a namespace holds before the first operation.
    Population = 7,
}

/// One stream of one seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draws {
    key: u64,
}

impl Draws {
    /// The stream of this seed.
    #[must_use]
    pub const fn new(seed: u64, stream: Stream) -> Draws {
        Draws { key: mix64(seed ^ mix64(stream as u64)) }
    }

    /// Draw `k`: 64 uniform bits.
    #[must_use]
    pub const fn bits(self, k: u64) -> u64 {
        mix64(self.key ^ mix64(k))
    }

    /// A generator for what needs more than one number at draw `k`.
    #[must_use]
    pub const fn prng(self, k: u64) -> Prng {
        Prng::new(self.bits(k))
    }

    /// Draw `k` as a number in the open interval (0, 1).
    #[must_use]
    pub fn unit(self, k: u64) -> f64 {
        unit(self.bits(k))
    }
}

/// 64 bits as a number in the open interval (0, 1), in steps of 2^-52.
#[must_use]
pub fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// A hash over operations that does not depend on who resolved which of them: each is hashed with its index, and the
/// hashes are added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamHash(pub u64);

impl StreamHash {
    /// Takes operation `index` in, whose content is `words`.
    pub fn add(&mut self, index: u64, words: [u64; 4]) {
        let hash = words.iter().fold(mix64(index), |hash, word| mix64(hash ^ word));
        self.0 = self.0.wrapping_add(hash);
    }

    /// The hash of both parts.
    #[must_use]
    pub fn join(self, other: StreamHash) -> StreamHash {
        StreamHash(self.0.wrapping_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_stream_and_number_only() {
        let arrivals = Draws::new(7, Stream::Arrival);
        let first: Vec<u64> = (0..4).map(|k| arrivals.bits(k)).collect();
        let again: Vec<u64> = (0..4).rev().map(|k| arrivals.bits(k)).collect();
        assert_eq!(first, again.into_iter().rev().collect::<Vec<_>>());
        assert_ne!(first[0], Draws::new(8, Stream::Arrival).bits(0));
        assert_ne!(first[0], Draws::new(7, Stream::Op).bits(0));
        // Pinned: results name a seed, and it must mean the same operations for ever.
        assert_eq!(Draws::new(1, Stream::Op).bits(2), mix64(mix64(1 ^ mix64(2)) ^ mix64(2)));
    }

    #[test]
    fn units_are_inside_the_open_interval_and_even() {
        assert!(0.0 < unit(0) && unit(u64::MAX) < 1.0);
        let draws = Draws::new(3, Stream::Size);
        let mean = (0..100_000).map(|k| draws.unit(k)).sum::<f64>() / 1e5;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
    }

    #[test]
    fn the_hash_does_not_care_who_resolved_what_but_cares_what() {
        let ops: Vec<[u64; 4]> = (0..100).map(|i| [i, i * i, 3, 4]).collect();
        let hash = |parts: usize| {
            let mut sums = vec![StreamHash::default(); parts];
            ops.iter().enumerate().for_each(|(i, words)| sums[i % parts].add(i as u64, *words));
            sums.into_iter().fold(StreamHash::default(), StreamHash::join)
        };
        assert_eq!(hash(1), hash(7));
        let mut swapped = StreamHash::default();
        ops.iter().enumerate().for_each(|(i, words)| swapped.add(99 - i as u64, *words));
        assert_ne!(swapped, hash(1));
    }
}
