//! A histogram of times with two significant digits, in memory that never grows: what a core records into.
//!
//! ```text
//! value v, ns       v < 256: counter v      else k = floor(log2 v) - 7: counter 128 * k + (v >> k)
//! counters          3840 x u32 = 15 KiB     1 ns to 2^36 - 1 ns (68.7 s), each at most 1/128 wide
//! ```
//! Recording is an index and an addition: no branch on configuration, no allocation, no atomic. Two histograms are merged
//! by adding their counters; percentiles are never averaged. Source: docs/design/profile.md.

/// Counters of a histogram.
pub const COUNTERS: usize = 3840;
/// The largest value that has a counter of its own; larger ones count there, and as overflow.
pub const VALUE_MAX: u64 = (1 << 36) - 1;

/// Counts of times. Units: nanoseconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u32; COUNTERS]>,
    /// Invariant: the sum of the counters, unless one of them is at its end.
    count: u64,
    /// Values beyond [`VALUE_MAX`].
    overflow: u64,
    sum: u128,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let counts = vec![0; COUNTERS].into_boxed_slice().try_into().expect("it has that length");
        Histogram { counts, count: 0, overflow: 0, sum: 0, max: 0 }
    }
}

/// The counter of a value, and where it stands.
#[inline]
fn index_of(value: u64) -> usize {
    if value < 256 {
        return value as usize;
    }
    let shift = value.ilog2() - 7;
    128 * shift as usize + (value >> shift) as usize
}

/// The largest value of a counter.
fn highest_of(index: usize) -> u64 {
    if index < 256 {
        return index as u64;
    }
    let shift = index / 128 - 1;
    let lowest = ((index - 128 * shift) as u64) << shift;
    lowest + (1 << shift) - 1
}

impl Histogram {
    /// Counts a value once.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `times` times. A counter that is full stays full.
    #[inline]
    pub fn record_n(&mut self, value: u64, times: u32) {
        let counter = &mut self.counts[index_of(value.min(VALUE_MAX))];
        *counter = counter.saturating_add(times);
        self.count += u64::from(times);
        if value > VALUE_MAX {
            self.overflow += u64::from(times);
        }
        self.sum += u128::from(value) * u128::from(times);
        if value > self.max && times > 0 {
            self.max = value;
        }
    }

    /// Adds all that the other one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (counter, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *counter = counter.saturating_add(*more);
        }
        self.count += other.count;
        self.overflow += other.overflow;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Counts nothing any more; the memory is kept.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.overflow, self.sum, self.max) = (0, 0, 0, 0);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them were beyond [`VALUE_MAX`].
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The sum of all values, exact. Units: nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The largest value, exact; 0 of none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; 0 of none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        u64::try_from(self.sum / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// A value that at least `quantile` of all values do not exceed, at most 1/128 above the exact one, and never above
    /// [`Histogram::max`]; 0 of none. `quantile` is from 0 to 1.
    #[must_use]
    pub fn percentile(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                let is_last = index == COUNTERS - 1;
                return if is_last { self.max } else { highest_of(index).min(self.max) };
            }
        }
        self.max
    }

    /// How many values are at most `value`, within the width of one counter: those of the counter that holds `value` all
    /// count.
    #[must_use]
    pub fn count_up_to(&self, value: u64) -> u64 {
        let last = index_of(value.min(VALUE_MAX));
        self.counts[..=last].iter().map(|count| u64::from(*count)).sum()
    }

    /// Counters that are not 0: the largest value of each, and its count, ascending.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u32)> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, count)| (highest_of(at), *count))
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = |quantile| self.percentile(quantile);
        write!(f, "Histogram({} values, p50 {} p99 {} max {} ns)", self.count, p(0.5), p(0.99), self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Prng;

    #[test]
    fn counters_meet_without_gap_or_overlap_up_to_the_last() {
        for index in 0..COUNTERS {
            assert_eq!(index_of(highest_of(index)), index, "the highest value of a counter is its own");
            if index + 1 < COUNTERS {
                assert_eq!(index_of(highest_of(index) + 1), index + 1, "the next value is the next counter's");
            }
        }
        assert_eq!(highest_of(COUNTERS - 1), VALUE_MAX);
    }

    #[test]
    fn small_values_are_exact_and_large_ones_within_one_part_in_128() {
        for value in (0..256).chain((8..36).flat_map(|k| [1 << k, (1 << k) + 1, (2 << k) - 1])) {
            let highest = highest_of(index_of(value));
            assert!(value <= highest && highest - value <= value / 128, "{value} reads as {highest}");
        }
    }

    #[test]
    fn a_value_too_large_counts_in_the_last_counter_and_as_overflow() {
        let mut histogram = Histogram::default();
        histogram.record_n(1 << 40, 3);
        histogram.record(5);
        assert_eq!((histogram.count(), histogram.overflow(), histogram.max()), (4, 3, 1 << 40));
        assert_eq!(histogram.percentile(0.99), 1 << 40);
        assert_eq!(histogram.sum(), (3u128 << 40) + 5);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut prng = Prng::new(3);
        let mut values: Vec<u64> = (0..20_000).map(|_| prng.next_u64() >> (28 + prng.below(34))).collect();
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        values.sort_unstable();
        for quantile in [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let place = ((values.len() as f64 * quantile).ceil() as usize).max(1) - 1;
            let (exact, told) = (values[place], histogram.percentile(quantile));
            assert!(exact <= told && told - exact <= exact / 128, "p{quantile}: {told} told, {exact} exact");
        }
        assert_eq!(histogram.mean(), (values.iter().map(|v| u128::from(*v)).sum::<u128>() / 20_000) as u64);
        assert_eq!(histogram.max(), *values.last().unwrap());
    }

    #[test]
    fn nothing_counted_is_zero_everywhere() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.percentile(0.5), histogram.mean(), histogram.max()), (0, 0, 0, 0));
        assert_eq!(histogram.counts().count(), 0);
    }

    #[test]
    fn a_full_counter_stays_full() {
        let mut histogram = Histogram::default();
        histogram.record_n(7, u32::MAX);
        histogram.record_n(7, 2);
        assert_eq!(histogram.counts().next(), Some((7, u32::MAX)));
    }

    proptest! {
        #[test]
        fn a_merge_is_the_histogram_of_both(left in prop::collection::vec((0u64..1 << 37, 1u32..4), 0..60),
                                            right in prop::collection::vec((0u64..1 << 37, 1u32..4), 0..60)) {
            let of = |values: &[(u64, u32)]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|(value, times)| histogram.record_n(*value, *times));
                histogram
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let both: Vec<(u64, u32)> = left.iter().chain(&right).copied().collect();
            prop_assert_eq!(&merged, &of(&both));
            merged.clear();
            prop_assert_eq!(merged, Histogram::default());
        }

        #[test]
        fn counts_up_to_a_value_miss_none_of_them(values in prop::collection::vec(0u64..1 << 36, 1..60), bound in 0u64..1 << 36) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            let exact = values.iter().filter(|value| **value <= bound).count() as u64;
            let wide = values.iter().filter(|value| **value <= bound + bound / 128 + 1).count() as u64;
            let told = histogram.count_up_to(bound);
            prop_assert!(exact <= told && told <= wide, "{} told, {} to {}", told, exact, wide);
        }
    }
}
