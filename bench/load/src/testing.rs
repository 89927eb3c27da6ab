//! What tests of this crate share: the chi-squared test.

/// The statistic of `counts` against `weights`, and its degrees of freedom. Neighbouring bins are joined until each is
/// expected at least ten times.
pub(crate) fn chi_squared(counts: &[u64], weights: &[f64]) -> (f64, f64) {
    let draws = counts.iter().sum::<u64>() as f64;
    let total: f64 = weights.iter().sum();
    let (mut chi, mut bins, mut seen, mut expected) = (0.0, 0, 0.0, 0.0);
    for (count, weight) in counts.iter().zip(weights) {
        seen += *count as f64;
        expected += draws * weight / total;
        if expected >= 10.0 {
            chi += (seen - expected).powi(2) / expected;
            (bins, seen, expected) = (bins + 1, 0.0, 0.0);
        }
    }
    (chi, f64::from(bins - 1))
}

/// The point that a right statistic passes once in a thousand tests (Wilson and Hilferty, 1931).
pub(crate) fn chi_squared_limit(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 3.09 * part.sqrt()).powi(3)
}
