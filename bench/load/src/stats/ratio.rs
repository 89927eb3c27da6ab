//! Intervals of ratios, new over base: of paired blocks, of repeats, and of two single runs.
//!
//! Ratios live on the logarithmic scale, so that twice as fast and half as fast are equally far from 1.

use base::Prng;

use super::{Interval, RESAMPLES, mean, median, middle};

/// 97.5 % points of Student's t for 1 to 30 degrees of freedom.
const T975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The geometric mean of `ratios` and its interval; each is the ratio of one neighbouring pair. The wider of bootstrap
/// and t interval: a handful of pairs alone makes the bootstrap too sure. `None` for fewer than two, or one that is not
/// positive.
#[must_use]
pub fn geometric_mean(ratios: &[f64], seed: u64) -> Option<(f64, Interval)> {
    let logs = logs(ratios).filter(|logs| logs.len() >= 2)?;
    let mut prng = Prng::new(seed);
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| mean(&resample(&logs, &mut prng))).collect();
    let centre = mean(&logs);
    let reach = t975((logs.len() - 1) as f64) * (variance(&logs) / logs.len() as f64).sqrt();
    let interval = middle(&mut drawn)?.hull(Interval::new(centre - reach, centre + reach));
    Some((centre.exp(), exp(interval)))
}

/// The ratio of the medians of two sets of repeats, and its interval: the wider of bootstrap and Welch's t interval.
/// `None` for fewer than two repeats on a side, or a figure that is not positive.
#[must_use]
pub fn of_medians(base: &[f64], new: &[f64], seed: u64) -> Option<(f64, Interval)> {
    let base_logs = logs(base).filter(|logs| logs.len() >= 2)?;
    let new_logs = logs(new).filter(|logs| logs.len() >= 2)?;
    let mut prng = Prng::new(seed);
    let mut drawn = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.push(median(&resample(&new_logs, &mut prng))? - median(&resample(&base_logs, &mut prng))?);
    }
    let interval = middle(&mut drawn)?.hull(welch(&base_logs, &new_logs));
    Some((median(new)? / median(base)?, exp(interval)))
}

/// The interval of the ratio of two figures that have one run each, from the interval of each within its run.
///
/// Each end is as far from the ratio as the root of the squares of the two ends that push it there ("MOVER": Zou and
/// Donner, "Construction of confidence limits about effect measures", 2008). What differs from run to run is not in it.
/// `None` for a figure that is not positive.
#[must_use]
pub fn within_runs(base: f64, base_ci: Interval, new: f64, new_ci: Interval) -> Option<(f64, Interval)> {
    let all = [base, base_ci.low, base_ci.high, new, new_ci.low, new_ci.high];
    if !all.iter().all(|x| *x > 0.0 && x.is_finite()) {
        return None;
    }
    let centre = (new / base).ln();
    let low = (new / new_ci.low).ln().hypot((base_ci.high / base).ln());
    let high = (new_ci.high / new).ln().hypot((base / base_ci.low).ln());
    Some((new / base, exp(Interval::new(centre - low, centre + high))))
}

/// The interval of a figure between runs, on the logarithmic scale: by Student's t around the geometric mean. `None` for
/// fewer than three runs, or a figure that is not positive.
#[must_use]
pub fn between_runs(figures: &[f64]) -> Option<Interval> {
    let logs = logs(figures).filter(|logs| logs.len() >= 3)?;
    let reach = t975((logs.len() - 1) as f64) * (variance(&logs) / logs.len() as f64).sqrt();
    Some(exp(Interval::new(mean(&logs) - reach, mean(&logs) + reach)))
}

fn welch(base: &[f64], new: &[f64]) -> Interval {
    let (base_part, new_part) = (variance(base) / base.len() as f64, variance(new) / new.len() as f64);
    let sum = base_part + new_part;
    let centre = mean(new) - mean(base);
    if sum <= 0.0 {
        return Interval::new(centre, centre);
    }
    let spread = base_part * base_part / (base.len() - 1) as f64 + new_part * new_part / (new.len() - 1) as f64;
    let reach = t975(sum * sum / spread) * sum.sqrt();
    Interval::new(centre - reach, centre + reach)
}

/// Rounded down to whole degrees of freedom, so rather too wide than too narrow.
fn t975(freedom: f64) -> f64 {
    let whole = freedom.max(1.0) as usize;
    // Beyond the table, the first terms of the expansion around the normal law.
    T975.get(whole - 1).copied().unwrap_or_else(|| 1.96 + 2.4 / whole as f64)
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|x| (*x > 0.0 && x.is_finite()).then(|| x.ln())).collect()
}

fn exp(interval: Interval) -> Interval {
    Interval { low: interval.low.exp(), high: interval.high.exp() }
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (values.len() - 1).max(1) as f64
}

fn resample(values: &[f64], prng: &mut Prng) -> Vec<f64> {
    (0..values.len()).map(|_| values[prng.below(values.len() as u64) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::thin::tests::normal;

    fn noisy(prng: &mut Prng, count: usize, centre: f64) -> Vec<f64> {
        (0..count).map(|_| centre * (0.05 * normal(prng)).exp()).collect()
    }

    /// A12 row 6, for sets of repeats and for pairs.
    #[test]
    fn a_against_a_contains_one_in_at_least_95_of_100_seeds() {
        const SEEDS: u64 = 300;
        for repeats in [3, 5, 10] {
            let (mut sets, mut pairs) = (0, 0);
            for seed in 0..SEEDS {
                let mut prng = Prng::new(seed * 7_919 + repeats);
                let (a, b) = (noisy(&mut prng, repeats as usize, 4.0), noisy(&mut prng, repeats as usize, 4.0));
                sets += u32::from(of_medians(&a, &b, seed).expect("an interval").1.contains(1.0));
                let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
                pairs += u32::from(geometric_mean(&ratios, seed).expect("an interval").1.contains(1.0));
            }
            // The hull covers more than 95 %, and so every time; the t interval of pairs covers 95 %, here within the
            // noise of 300 draws.
            assert!(sets * 100 >= 95 * SEEDS as u32, "{repeats} repeats: {sets} of {SEEDS}");
            assert!(pairs * 100 >= 93 * SEEDS as u32, "{repeats} pairs: {pairs} of {SEEDS}");
        }
    }

    #[test]
    fn a_true_difference_is_found() {
        let mut prng = Prng::new(3);
        let (a, b) = (noisy(&mut prng, 10, 4.0), noisy(&mut prng, 10, 5.0));
        let (ratio, interval) = of_medians(&a, &b, 1).expect("an interval");
        assert!((1.15..1.35).contains(&ratio) && interval.contains(1.25) && interval.low > 1.1, "{interval:?}");
    }

    #[test]
    fn two_single_runs_combine_their_intervals() {
        let flat = Interval::new(100.0, 100.0);
        let (ratio, interval) = within_runs(100.0, flat, 110.0, Interval::new(105.0, 120.0)).expect("positive");
        assert!((ratio - 1.1).abs() < 1e-12);
        assert!((interval.low - 1.05).abs() < 1e-9 && (interval.high - 1.2).abs() < 1e-9, "{interval:?}");
        let wide = within_runs(100.0, Interval::new(95.0, 105.0), 110.0, Interval::new(105.0, 120.0));
        let wide = wide.expect("positive").1;
        assert!(wide.low < 1.05 && wide.high > 1.2, "{wide:?}");
        assert_eq!(within_runs(0.0, flat, 1.0, flat), None);
    }

    #[test]
    fn what_has_no_logarithm_or_no_spread_has_no_interval() {
        assert_eq!(of_medians(&[1.0], &[1.0, 2.0], 0), None);
        assert_eq!(of_medians(&[1.0, 0.0], &[1.0, 2.0], 0), None);
        assert_eq!(geometric_mean(&[1.0, f64::NAN], 0), None);
        let (ratio, interval) = of_medians(&[2.0, 2.0, 2.0], &[3.0, 3.0, 3.0], 0).expect("an interval");
        assert!((ratio - 1.5).abs() < 1e-12 && (interval.high - interval.low).abs() < 1e-12);
    }
}
