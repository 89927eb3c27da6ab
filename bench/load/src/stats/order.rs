//! Intervals of percentiles without any assumption on the distribution: binomial order statistics.
//!
//! Of `n` independent samples, the number below the true `q`-quantile is binomial with `n` and `q`. So the order
//! statistics at two ranks hold the quantile between them as often as that number lies between the ranks.

use hdrhistogram::Histogram;

use super::Interval;

/// Mass left out at each end of a 95 % interval.
const TAIL: f64 = 0.025;

/// Ranks (1-based) of the two samples between which the `quantile` (0 to 1) lies with at least 95 %; `None` where so
/// few samples have no such pair.
#[must_use]
pub fn ranks(count: u64, quantile: f64) -> Option<(u64, u64)> {
    if count == 0 || !(0.0 < quantile && quantile < 1.0) {
        return None;
    }
    let (mut low, mut high) = (0, None);
    let mut below = 0.0;
    for (successes, mass) in masses(count, quantile) {
        // `below` is P(B < successes).
        if below <= TAIL {
            low = successes;
        }
        below += mass;
        if below >= 1.0 - TAIL {
            high = Some(successes + 1);
            break;
        }
    }
    high.filter(|high| low >= 1 && *high <= count).map(|high| (low, high))
}

/// Binomial probabilities around the mean, where all but 1e-20 of the mass lies.
fn masses(count: u64, quantile: f64) -> impl Iterator<Item = (u64, f64)> {
    let (n, p) = (count as f64, quantile);
    let reach = 10.0 * (n * p * (1.0 - p)).sqrt() + 20.0;
    let first = (n * p - reach).max(0.0).floor();
    let last = (n * p + reach).min(n).floor() as u64;
    let log_mass = ln_gamma(n + 1.0) - ln_gamma(first + 1.0) - ln_gamma(n - first + 1.0)
        + first * p.ln()
        + (n - first) * (1.0 - p).ln();
    let odds = (p / (1.0 - p)).ln();
    let next = move |(successes, log_mass): &(u64, f64)| {
        let k = *successes as f64;
        (*successes < last).then(|| (successes + 1, log_mass + ((n - k) / (k + 1.0)).ln() + odds))
    };
    std::iter::successors(Some((first as u64, log_mass)), next).map(|(successes, log)| (successes, log.exp()))
}

/// The interval of a percentile of `histogram` whose samples follow each other closely: only every `lag`-th of them
/// counts as independent ([`super::thinning_lag`]).
///
/// Units: those of the histogram. `None` where too few samples are left.
#[must_use]
pub fn order_interval(histogram: &Histogram<u64>, quantile: f64, lag: usize) -> Option<Interval> {
    let count = histogram.len() / (lag.max(1) as u64);
    let (low, high) = ranks(count, quantile)?;
    let value = |rank: u64| histogram.value_at_quantile((rank as f64 - 0.5) / count as f64) as f64;
    Some(Interval::new(value(low), value(high)))
}

/// Lanczos' approximation with g = 7 and nine terms; good to 1e-13 for what is asked here.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let series = TERMS.iter().enumerate().skip(1).fold(TERMS[0], |sum, (i, term)| sum + term / (x + i as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;
    use crate::stats::thin::tests::uniform;

    #[test]
    fn ranks_are_those_of_the_binomial_tables() {
        // Conover, Practical Nonparametric Statistics: the median of 16 samples lies between the 4th and the 13th.
        assert_eq!(ranks(16, 0.5), Some((4, 13)));
        assert_eq!(ranks(6, 0.5), Some((1, 6)));
        assert_eq!(ranks(5, 0.5), None);
        // 1.96 standard deviations of 49.7 around 500,000 x 0.99 ... far from both ends the normal law holds.
        let (low, high) = ranks(1_000_000, 0.5).expect("enough samples");
        assert!((499_019..=499_021).contains(&low) && (500_980..=500_982).contains(&high), "{low} {high}");
    }

    #[test]
    fn a_tail_without_enough_samples_has_no_interval() {
        assert_eq!(ranks(100, 0.999), None);
        assert!(ranks(10_000, 0.999).is_some());
        assert_eq!(ranks(0, 0.5), None);
        assert_eq!(ranks(10, 1.0), None);
    }

    #[test]
    fn the_true_percentile_lies_inside_at_least_95_times_in_100() {
        let mut prng = Prng::new(11);
        for quantile in [0.5, 0.99] {
            let mut hits = 0;
            for _ in 0..200 {
                let mut histogram = Histogram::<u64>::new(3).expect("valid digits");
                for _ in 0..1_200 {
                    histogram.record((uniform(&mut prng) * 1e6) as u64).expect("recorded");
                }
                let interval = order_interval(&histogram, quantile, 1).expect("enough samples");
                // Three digits: the ends are known to 0.1 %.
                hits += u32::from(Interval { low: interval.low * 0.999, high: interval.high }.contains(quantile * 1e6));
            }
            assert!(hits >= 188, "p{quantile}: {hits} of 200");
        }
    }

    #[test]
    fn thinning_widens_the_interval() {
        let mut histogram = Histogram::<u64>::new(3).expect("valid digits");
        (1..=10_000).for_each(|value| histogram.record(value).expect("recorded"));
        let all = order_interval(&histogram, 0.9, 1).expect("enough");
        let thinned = order_interval(&histogram, 0.9, 16).expect("enough");
        let width = |interval: Interval| interval.high - interval.low;
        assert!(3.5 < width(thinned) / width(all) && width(thinned) / width(all) < 4.5, "{all:?} {thinned:?}");
        assert_eq!(order_interval(&histogram, 0.9, 9_000), None);
    }
}
