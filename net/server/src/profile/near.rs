//! What requests of about the same total look like inside: for each quarter of an octave, a fair sample of eight.
//!
//! The stages of the requests near p99 add up to their total; each stage's own p99 never does.

use base::Prng;
use base::stages::Lengths;

/// Quarters of the octaves from 1 ns to 2^32 ns, which is the longest a total can be.
const BUCKETS: usize = 32 * 4;
/// Requests kept of each.
const KEPT: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    seen: u64,
    kept: [Lengths; KEPT],
}

/// The samples of one class.
#[derive(Clone, Debug)]
pub struct Near {
    buckets: Box<[Bucket]>,
    prng: Prng,
}

impl Default for Near {
    fn default() -> Near {
        Near { buckets: vec![Bucket::default(); BUCKETS].into_boxed_slice(), prng: Prng::new(0) }
    }
}

/// The quarter of an octave that a total is in.
fn bucket_of(total: u32) -> usize {
    let octave = total.max(1).ilog2();
    let quarter = if octave < 2 { 0 } else { total >> (octave - 2) & 3 };
    (octave * 4 + quarter) as usize
}

impl Near {
    /// Offers `count` requests of the same lengths. Each request seen has the same chance to be kept (Vitter's R).
    pub fn offer(&mut self, lengths: &Lengths, count: u32) {
        let bucket = &mut self.buckets[bucket_of(lengths.total)];
        for _ in 0..count.min(KEPT as u32) {
            let at = if bucket.seen < KEPT as u64 { bucket.seen } else { self.prng.below(bucket.seen + 1) };
            if let Some(kept) = bucket.kept.get_mut(at as usize) {
                *kept = *lengths;
            }
            bucket.seen += 1;
        }
        bucket.seen += u64::from(count.saturating_sub(KEPT as u32));
    }

    /// Adds another one's samples: each place is filled from either by how many requests that one has seen.
    pub fn merge(&mut self, other: &Near) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets).filter(|(_, theirs)| theirs.seen > 0) {
            let (held, more) = (mine.seen.min(KEPT as u64) as usize, theirs.seen.min(KEPT as u64) as usize);
            let mut next = 0;
            for at in 0..KEPT {
                let is_theirs = at >= held || self.prng.below(mine.seen + theirs.seen) < theirs.seen;
                if is_theirs && next < more {
                    mine.kept[at] = theirs.kept[next];
                    next += 1;
                }
            }
            mine.seen += theirs.seen;
        }
    }

    /// Keeps nothing any more.
    pub fn clear(&mut self) {
        self.buckets.iter_mut().for_each(|bucket| bucket.seen = 0);
    }

    /// The mean of the requests kept whose total is from `low` to `high`, and how many they are. The stages of it sum to its
    /// total, but for what division loses: less than a nanosecond each.
    #[must_use]
    pub fn mean(&self, low: u64, high: u64) -> Option<(Lengths, usize)> {
        let kept = self.buckets.iter().flat_map(|bucket| &bucket.kept[..bucket.seen.min(KEPT as u64) as usize]);
        let (mut sums, mut count) = ([0u64; base::stages::STAGES], 0u64);
        for lengths in kept.filter(|lengths| (low..=high).contains(&u64::from(lengths.total))) {
            sums.iter_mut().zip(lengths.of).for_each(|(sum, ns)| *sum += u64::from(ns));
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let of = sums.map(|sum| (sum / count) as u32);
        Some((Lengths { of, total: of.iter().sum() }, count as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::stages::Stage;

    fn lengths(sync: u32, quorum: u32) -> Lengths {
        let mut lengths = Lengths { total: sync + quorum, ..Lengths::default() };
        lengths.of[Stage::LogSync as usize] = sync;
        lengths.of[Stage::Quorum as usize] = quorum;
        lengths
    }

    #[test]
    fn quarters_of_octaves_are_in_order_and_all_there() {
        let mut last = 0;
        for total in (0..10_000).chain((14..32).map(|octave| 1 << octave)).chain([u32::MAX]) {
            let bucket = bucket_of(total);
            assert!(last <= bucket && bucket < BUCKETS, "{total} is in bucket {bucket}");
            last = bucket;
        }
        assert_eq!(last, BUCKETS - 1);
    }

    #[test]
    fn the_mean_near_a_total_adds_up_and_knows_nothing_of_others() {
        let mut near = Near::default();
        near.offer(&lengths(900, 100), 1000);
        near.offer(&lengths(90_000, 10_000), 5);
        near.offer(&lengths(10_000, 90_000), 5);
        let (mean, count) = near.mean(98_000, 102_000).unwrap();
        assert_eq!((mean.total, count), (100_000, 8));
        assert_eq!(mean.of.iter().sum::<u32>(), mean.total);
        assert_eq!(near.mean(1 << 20, 1 << 30), None);
    }

    #[test]
    fn every_request_has_the_same_chance_also_after_a_merge() {
        let mut hits = [0u32; 4];
        for seed in 0..2000 {
            let mut nears = [Near { prng: Prng::new(seed), ..Near::default() }, Near::default()];
            nears[1].prng = Prng::new(seed ^ 7);
            // Four kinds of one bucket: 100, 100, 100 here and 300 there.
            for (kind, count, at) in [(0u32, 100, 0), (1, 100, 0), (2, 100, 0), (3, 300, 1)] {
                (0..count).for_each(|_| nears[at].offer(&lengths(1024 + kind, 0), 1));
            }
            let [mut merged, other] = nears;
            merged.merge(&other);
            let bucket = &merged.buckets[bucket_of(1024)];
            assert_eq!(bucket.seen, 600);
            bucket.kept.iter().for_each(|kept| hits[(kept.total - 1024) as usize] += 1);
        }
        // 16,000 places: a sixth, a sixth, a sixth, a half; within ten standard deviations.
        for (kind, wanted) in [(0, 2667), (1, 2667), (2, 2667), (3, 8000)] {
            assert!(hits[kind].abs_diff(wanted) < 500, "{hits:?}");
        }
    }
}
