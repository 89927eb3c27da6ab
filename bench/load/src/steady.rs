//! When is the warm-up over: when neither rate nor latency has a trend that can be told from noise.

/// Seconds that are looked at.
pub const WINDOW: usize = 10;
/// Seconds that must have passed.
pub const SECONDS_MIN: usize = 5;
/// Trend of the rate over the window, as a part of its mean.
const RATE_TREND_MAX: f64 = 0.02;
/// The same for p99.
const P99_TREND_MAX: f64 = 0.10;
/// A slope within so many of its own standard errors is none.
const ERRORS_MAX: f64 = 2.0;

/// A line through equally spaced points, by least squares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trend {
    /// Per point.
    pub slope: f64,
    /// Of the slope.
    pub error: f64,
    /// Of the points.
    pub mean: f64,
}

impl Trend {
    /// Through at least three points.
    #[must_use]
    pub fn of(points: &[f64]) -> Option<Trend> {
        let n = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let mean = points.iter().sum::<f64>() / n;
        let middle = (n - 1.0) / 2.0;
        let xx: f64 = (0..points.len()).map(|x| (x as f64 - middle).powi(2)).sum();
        let xy: f64 = points.iter().enumerate().map(|(x, y)| (x as f64 - middle) * (y - mean)).sum();
        let slope = xy / xx;
        let residuals: f64 =
            points.iter().enumerate().map(|(x, y)| (y - mean - slope * (x as f64 - middle)).powi(2)).sum();
        Some(Trend { slope, error: (residuals / (n - 2.0) / xx).sqrt(), mean })
    }

    /// The change over so many points is below a part of the mean, or not to be told from noise.
    #[must_use]
    pub fn is_flat(&self, points: usize, part: f64) -> bool {
        let change = self.slope.abs() * points as f64;
        change <= part * self.mean.abs() || self.slope.abs() <= ERRORS_MAX * self.error
    }
}

/// Whether the seconds so far have become steady. `rates` and `p99s` have one number each a second, of any unit.
#[must_use]
pub fn is_steady(rates: &[f64], p99s: &[f64]) -> bool {
    if rates.len() < SECONDS_MIN || p99s.len() < SECONDS_MIN {
        return false;
    }
    let flat = |points: &[f64], part: f64| {
        let points = &points[points.len() - points.len().min(WINDOW)..];
        Trend::of(points).is_some_and(|trend| trend.is_flat(points.len(), part))
    };
    flat(rates, RATE_TREND_MAX) && flat(p99s, P99_TREND_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(count: usize, of: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut prng = base::Prng::new(4);
        (0..count).map(|at| of(at as f64) * (1.0 + (prng.below(2001) as f64 - 1000.0) / 1e5)).collect()
    }

    #[test]
    fn what_only_trembles_is_steady_and_what_climbs_is_not() {
        let flat = noisy(12, |_| 1000.0);
        assert!(is_steady(&flat, &flat));
        let climbing = noisy(12, |at| 1000.0 + 20.0 * at);
        assert!(!is_steady(&climbing, &flat) && !is_steady(&flat, &climbing));
    }

    #[test]
    fn what_climbed_long_ago_does_not_count() {
        let settled = noisy(25, |at| if at < 14.0 { 100.0 * at } else { 1400.0 });
        assert!(is_steady(&settled, &settled) && !is_steady(&settled[..14], &settled[..14]));
    }

    #[test]
    fn five_seconds_are_the_least() {
        assert!(!is_steady(&[1.0; 4], &[1.0; 4]) && is_steady(&[1.0; 5], &[1.0; 5]));
    }

    #[test]
    fn a_line_is_found_exactly() {
        let trend = Trend::of(&[1.0, 3.0, 5.0, 7.0]).unwrap();
        assert!((trend.slope - 2.0).abs() < 1e-12 && trend.error < 1e-9 && trend.mean == 4.0);
        assert_eq!(Trend::of(&[1.0, 2.0]), None);
    }
}
