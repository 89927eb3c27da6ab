//! The moving-block bootstrap: intervals of anything over a series whose neighbours are alike.
//!
//! Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989.

use std::collections::BTreeMap;

use base::Prng;
use hdrhistogram::Histogram;

use super::{Interval, block_length, middle};

/// Resamples of an interval that is shown.
pub const RESAMPLES: usize = 1_000;

/// The interval of `statistic` over `count` places: each resample is `count` places, in blocks of `block` neighbours
/// drawn with replacement. `statistic` gets them as indexes. `None` when it gives no figure, or for no places.
pub fn moving_block(
    count: usize,
    block: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if count == 0 {
        return None;
    }
    let block = block.clamp(1, count);
    let mut prng = Prng::new(seed);
    let mut places = Vec::with_capacity(count + block);
    let mut drawn = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        places.clear();
        while places.len() < count {
            let first = prng.below((count - block + 1) as u64) as usize;
            places.extend(first..first + block);
        }
        places.truncate(count);
        drawn.extend(statistic(&places));
    }
    middle(&mut drawn)
}

/// The interval of the mean of a series, as of the rate of each second. `None` for fewer than 3 places.
#[must_use]
pub fn mean_interval(series: &[f64], seed: u64) -> Option<Interval> {
    if series.len() < 3 {
        return None;
    }
    moving_block(series.len(), block_length(series), seed, |places| {
        Some(places.iter().map(|place| series[*place]).sum::<f64>() / places.len() as f64)
    })
}

/// The interval of a percentile of all `intervals` together, where each is the histogram of one second. `None` for
/// fewer than 3 of them, or when they are empty.
#[must_use]
pub fn percentile_interval(intervals: &[&Histogram<u64>], quantile: f64, seed: u64) -> Option<Interval> {
    if intervals.len() < 3 {
        return None;
    }
    // Resamples share their values: counting by value once leaves only additions for the thousand rounds.
    let counts = CountsByValue::new(intervals);
    let own: Vec<f64> = intervals.iter().map(|interval| interval.value_at_quantile(quantile) as f64).collect();
    let mut weights = vec![0u64; intervals.len()];
    moving_block(intervals.len(), block_length(&own), seed, |places| {
        weights.fill(0);
        places.iter().for_each(|place| weights[*place] += 1);
        counts.percentile(&weights, quantile)
    })
}

/// The counts of several histograms, ascending by value.
struct CountsByValue {
    values: Vec<u64>,
    /// Row by row: `(interval, count)` pairs of the value at the same place; `ends[i]` closes row `i`.
    pairs: Vec<(u32, u64)>,
    ends: Vec<usize>,
    totals: Vec<u64>,
}

impl CountsByValue {
    fn new(intervals: &[&Histogram<u64>]) -> CountsByValue {
        let mut rows: BTreeMap<u64, Vec<(u32, u64)>> = BTreeMap::new();
        for (place, interval) in intervals.iter().enumerate() {
            for step in interval.iter_recorded() {
                rows.entry(step.value_iterated_to()).or_default().push((place as u32, step.count_at_value()));
            }
        }
        let totals = intervals.iter().map(|interval| interval.len()).collect();
        let mut counts = CountsByValue { values: Vec::new(), pairs: Vec::new(), ends: Vec::new(), totals };
        for (value, row) in rows {
            counts.values.push(value);
            counts.pairs.extend(row);
            counts.ends.push(counts.pairs.len());
        }
        counts
    }

    /// The percentile when interval `i` counts `weights[i]` times.
    fn percentile(&self, weights: &[u64], quantile: f64) -> Option<f64> {
        let total: u64 = self.totals.iter().zip(weights).map(|(total, weight)| total * weight).sum();
        let wanted = ((quantile * total as f64).ceil() as u64).clamp(1, total.max(1));
        // From the nearer end: a p99 then looks at few values.
        let rows = 0..self.values.len();
        let found = if quantile <= 0.5 {
            self.first_with(rows, weights, wanted)
        } else {
            self.first_with(rows.rev(), weights, (total + 1).saturating_sub(wanted))
        };
        found.map(|row| self.values[row] as f64)
    }

    /// The row with which `rows` hold `wanted` samples; `None` when all hold fewer.
    fn first_with(&self, mut rows: impl Iterator<Item = usize>, weights: &[u64], wanted: u64) -> Option<usize> {
        let mut seen = 0;
        rows.find(|row| {
            let begin = if *row == 0 { 0 } else { self.ends[row - 1] };
            let pairs = &self.pairs[begin..self.ends[*row]];
            seen += pairs.iter().map(|(place, count)| count * weights[*place as usize]).sum::<u64>();
            seen >= wanted && wanted > 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::thin::tests::{autoregressive, normal, uniform};

    #[test]
    fn the_mean_of_independent_seconds_is_found_as_often_as_promised() {
        let mut prng = Prng::new(5);
        let mut hits = 0;
        for seed in 0..200 {
            let series: Vec<f64> = (0..30).map(|_| 1_000.0 + 20.0 * normal(&mut prng)).collect();
            hits += u32::from(mean_interval(&series, seed).expect("an interval").contains(1_000.0));
        }
        // The percentile bootstrap of 30 places covers a little less than 95 %.
        assert!((176..=198).contains(&hits), "{hits} of 200");
    }

    #[test]
    fn blocks_make_the_interval_of_a_correlated_series_wider() {
        let mut prng = Prng::new(6);
        let series = autoregressive(&mut prng, 300, 0.9);
        let mean = |places: &[usize]| Some(places.iter().map(|at| series[*at]).sum::<f64>() / places.len() as f64);
        let single = moving_block(series.len(), 1, 1, mean).expect("an interval");
        let blocks = moving_block(series.len(), 22, 1, mean).expect("an interval");
        assert!(blocks.high - blocks.low > 2.0 * (single.high - single.low), "{single:?} {blocks:?}");
    }

    #[test]
    fn percentiles_are_resampled_by_adding_histograms() {
        let mut prng = Prng::new(7);
        let mut hits = 0;
        for seed in 0..20 {
            let seconds: Vec<Histogram<u64>> = (0..30)
                .map(|_| {
                    let mut second = Histogram::new(3).expect("valid digits");
                    (0..100).for_each(|_| second.record((uniform(&mut prng) * 1e6) as u64).expect("recorded"));
                    second
                })
                .collect();
            let seconds: Vec<&Histogram<u64>> = seconds.iter().collect();
            let interval = percentile_interval(&seconds, 0.9, seed).expect("an interval");
            assert!(interval.high - interval.low < 60_000.0, "{interval:?}");
            hits += u32::from(interval.contains(900_000.0));
        }
        assert!(hits >= 17, "{hits} of 20");
    }

    #[test]
    fn too_few_places_have_no_interval() {
        let empty = Histogram::<u64>::new(3).expect("valid digits");
        assert_eq!(mean_interval(&[1.0, 2.0], 0), None);
        assert_eq!(percentile_interval(&[&empty, &empty, &empty], 0.5, 0), None);
        assert_eq!(moving_block(0, 3, 0, |_| Some(1.0)), None);
        assert_eq!(moving_block(4, 9, 0, |_| Some(1.0)), Some(Interval { low: 1.0, high: 1.0 }));
    }

    #[test]
    fn one_seed_gives_one_interval() {
        let series: Vec<f64> = (0..20).map(|x| f64::from(x % 7)).collect();
        assert_eq!(mean_interval(&series, 9), mean_interval(&series, 9));
    }
}
