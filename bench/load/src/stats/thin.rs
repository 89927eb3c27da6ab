//! How far apart samples must lie before they count as independent.

/// Lags looked at before a series counts as correlated throughout.
const LAG_MAX: usize = 1_000;

/// The rank correlation below which samples count as independent.
const RHO_MAX: f64 = 0.1;

/// The smallest distance in `samples` (in the order they were taken) at which they are nearly independent: |Spearman's
/// rho| < 0.1. `None` when there is none up to a thousand, or up to a quarter of the samples.
///
/// Source: BENCH A6; thinning as in Chen and Kelton, "Quantile and tolerance-interval estimation", 2006.
#[must_use]
pub fn thinning_lag(samples: &[f64]) -> Option<usize> {
    let ranked = ranks(samples);
    let lags = 1..=LAG_MAX.min(samples.len() / 4);
    lags.into_iter().find(|lag| correlation(&ranked[..ranked.len() - lag], &ranked[*lag..]).abs() < RHO_MAX)
}

/// Spearman's rho of a series with itself `lag` places on; 0 where nothing varies or too few samples overlap.
#[must_use]
pub fn spearman(samples: &[f64], lag: usize) -> f64 {
    let ranked = ranks(samples);
    match ranked.len().checked_sub(lag) {
        Some(overlap) if overlap >= 2 => correlation(&ranked[..overlap], &ranked[lag..]),
        _ => 0.0,
    }
}

/// The block of a moving-block bootstrap over `series`: the first lag whose autocorrelation is not significant
/// (|r| < 1.96 / sqrt(n)), at least 1, at most a third of the series.
#[must_use]
pub fn block_length(series: &[f64]) -> usize {
    let longest = (series.len() / 3).max(1);
    let bound = 1.96 / (series.len().max(1) as f64).sqrt();
    (1..longest).find(|lag| autocorrelation(series, *lag).abs() < bound).unwrap_or(longest)
}

/// Each value's place in the order of all, 0-based; equal values share the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|at| ranks[*at] = shared);
        first += equal.len();
    }
    ranks
}

/// Pearson's r of two series of one length; 0 where one does not vary.
fn correlation(xs: &[f64], ys: &[f64]) -> f64 {
    let (mean_x, mean_y) = (super::mean(xs), super::mean(ys));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in xs.iter().zip(ys) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        (xy, xx, yy) = (xy + dx * dy, xx + dx * dx, yy + dy * dy);
    }
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

/// The sample autocorrelation at `lag`, against the variance of the whole series.
fn autocorrelation(series: &[f64], lag: usize) -> f64 {
    let mean = super::mean(series);
    let variance: f64 = series.iter().map(|x| (x - mean) * (x - mean)).sum();
    let shifted: f64 = series.iter().zip(&series[lag..]).map(|(x, y)| (x - mean) * (y - mean)).sum();
    if variance > 0.0 { shifted / variance } else { 0.0 }
}

#[cfg(test)]
pub(super) mod tests {
    use base::Prng;

    use super::*;

    /// Uniform in 0 to 1, both ends out.
    pub fn uniform(prng: &mut Prng) -> f64 {
        ((prng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(prng: &mut Prng) -> f64 {
        (-2.0 * uniform(prng).ln()).sqrt() * (std::f64::consts::TAU * uniform(prng)).cos()
    }

    /// An autoregressive series: each value keeps `phi` of the one before.
    pub fn autoregressive(prng: &mut Prng, count: usize, phi: f64) -> Vec<f64> {
        let mut last = 0.0;
        let next = |_| {
            last = phi * last + (1.0 - phi * phi).sqrt() * normal(prng);
            last
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn independent_samples_need_no_thinning() {
        let mut prng = Prng::new(1);
        let samples: Vec<f64> = (0..10_000).map(|_| normal(&mut prng)).collect();
        assert_eq!(thinning_lag(&samples), Some(1));
    }

    #[test]
    fn an_autoregressive_series_is_thinned_by_its_memory() {
        let mut prng = Prng::new(2);
        let samples = autoregressive(&mut prng, 100_000, 0.9);
        // 0.9^k falls below 0.1 at k = 22; Spearman's rho of normal samples is a little less than r.
        let lag = thinning_lag(&samples).expect("a lag");
        assert!((18..=25).contains(&lag), "{lag}");
        let ramp: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(thinning_lag(&ramp), None);
    }

    #[test]
    fn spearman_sees_order_alone() {
        let grows: Vec<f64> = (0..50).map(|x| f64::from(x).exp()).collect();
        assert!((spearman(&grows, 1) - 1.0).abs() < 1e-9);
        let flips: Vec<f64> = (0..50).map(|x| f64::from(x % 2)).collect();
        assert!((spearman(&flips, 1) + 1.0).abs() < 1e-9);
        assert_eq!(spearman(&[1.0; 10], 1), 0.0);
        assert_eq!(spearman(&[1.0, 2.0], 5), 0.0);
    }

    #[test]
    fn blocks_grow_with_the_memory_of_the_series() {
        let mut prng = Prng::new(3);
        let independent: Vec<f64> = (0..60).map(|_| normal(&mut prng)).collect();
        assert!(block_length(&independent) <= 3);
        assert!(block_length(&autoregressive(&mut prng, 600, 0.9)) >= 8);
        assert_eq!(block_length(&[]), 1);
        assert_eq!(block_length(&[5.0; 30]), 1);
    }
}
