//! The arithmetic behind the reports: intervals of percentiles, of means and of ratios, and the knee of a curve.
//!
//! Pure and seeded: the same input gives the same interval on every machine. All intervals are 95 %.

mod bootstrap;
mod knee;
mod order;
mod ratio;
mod thin;

pub use bootstrap::{RESAMPLES, mean_interval, moving_block, percentile_interval};
pub use knee::knee;
pub use order::{order_interval, ranks};
pub use ratio::{between_runs, geometric_mean, of_medians, within_runs};
pub use thin::{block_length, spearman, thinning_lag};

/// Samples that must lie beyond a percentile before it is shown.
pub const BEYOND_MIN: u64 = 10;

/// A closed range of values. Invariant: `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// The range between two values, in whatever order they come.
    #[must_use]
    pub fn new(a: f64, b: f64) -> Interval {
        Interval { low: a.min(b), high: a.max(b) }
    }

    /// The smallest range that holds both; so the wider of two that share a centre.
    #[must_use]
    pub fn hull(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// True when `value` lies inside, ends included.
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// As the schema stores it.
    #[must_use]
    pub fn span(self) -> [f64; 2] {
        [self.low, self.high]
    }
}

impl From<[f64; 2]> for Interval {
    fn from(span: [f64; 2]) -> Interval {
        Interval::new(span[0], span[1])
    }
}

/// True when enough of `count` samples lie beyond `quantile` (0 to 1) for it to be shown.
#[must_use]
pub fn is_shown(count: u64, quantile: f64) -> bool {
    // Half a sample of slack: 100,000 x (1 - 0.9999) is 9.99999999 in floating point.
    count as f64 * (1.0 - quantile) + 1e-6 >= BEYOND_MIN as f64
}

/// The middle of `values`, the mean of the middle two where their number is even; `None` for none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// The mean of `values`; 0 for none.
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The middle 95 % of what a bootstrap drew.
fn middle(drawn: &mut [f64]) -> Option<Interval> {
    drawn.sort_by(f64::total_cmp);
    let last = drawn.len().checked_sub(1)?;
    let low = (0.025 * last as f64).floor() as usize;
    Some(Interval { low: drawn[low], high: drawn[last - low] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        assert!(!is_shown(99_999, 0.9999));
        assert!(is_shown(100_000, 0.9999));
        assert!(is_shown(20, 0.5) && !is_shown(19, 0.5));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_hull_holds_both() {
        let hull = Interval::new(2.0, 1.0).hull(Interval::new(1.5, 3.0));
        assert_eq!(hull, Interval { low: 1.0, high: 3.0 });
        assert!(hull.contains(3.0) && !hull.contains(3.1));
    }
}
