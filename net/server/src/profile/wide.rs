//! A histogram since the node's start: the cores' counters are of 32 bits and would be full within a day.

use std::collections::BTreeMap;

use base::histogram::Histogram;

/// Sums of histograms, sparse. Only the metrics thread and readers touch it.
#[derive(Clone, Debug, Default)]
pub struct Wide {
    /// By the largest value of a counter, its count.
    counts: BTreeMap<u64, u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Wide {
    /// Adds all that a core counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (up_to, count) in other.counts() {
            *self.counts.entry(up_to).or_default() += u64::from(count);
        }
        self.count += other.count();
        self.sum += other.sum();
        self.max = self.max.max(other.max());
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum. Units: nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The largest, exact.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// As [`Histogram::percentile`].
    #[must_use]
    pub fn percentile(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (up_to, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return (*up_to).min(self.max);
            }
        }
        self.max
    }

    /// How many values lie in counters that end at `value` at the latest.
    #[must_use]
    pub fn count_up_to(&self, value: u64) -> u64 {
        self.counts.range(..=value).map(|(_, count)| count).sum()
    }

    /// The largest value of each counter that is not 0, and its count, ascending.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().map(|(up_to, count)| (*up_to, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_outgrows_the_counters_of_its_parts_and_reads_the_same() {
        let mut part = Histogram::default();
        part.record_n(1_000, 3_000_000_000);
        part.record_n(2_000_000, 1_000_000_000);
        let mut wide = Wide::default();
        (0..3).for_each(|_| wide.merge(&part));
        assert_eq!((wide.count(), wide.max(), wide.sum()), (12_000_000_000, 2_000_000, 3 * part.sum()));
        for quantile in [0.1, 0.5, 0.75, 0.76, 0.99, 1.0] {
            assert_eq!(wide.percentile(quantile), part.percentile(quantile), "p{quantile}");
        }
        assert_eq!((wide.count_up_to(5_000), wide.count_up_to(10_000_000)), (9_000_000_000, 12_000_000_000));
        assert_eq!(wide.counts().count(), 2);
    }
}
