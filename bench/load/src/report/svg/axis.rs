//! Scales: linear, logarithmic, and that of percentiles, where each nine is as wide as the one before.

use crate::report::words;

/// Ticks that one axis has at the most.
const TICKS_MAX: usize = 12;

/// How the labels of an axis read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Microseconds.
    Time,
    /// A figure with k and M.
    Count,
    /// Operations per second.
    Rate,
    /// A share of 1.
    Percent,
    /// Seconds.
    Seconds,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Time => trimmed(&words::time(value)),
            Unit::Count => trimmed(&words::count(value)),
            Unit::Rate => trimmed(&words::rate(value)),
            Unit::Percent => trimmed(&words::percent(value)),
            Unit::Seconds => format!("{} s", trimmed(&format!("{value:.3}"))),
        }
    }
}

/// `1.00 ms` as `1 ms`: ticks are round.
fn trimmed(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if !number.contains('.') {
        return text.to_owned();
    }
    format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// From values to places between 0 and 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// Even.
    Linear { low: f64, high: f64, unit: Unit },
    /// Even in the logarithm; `low` is positive.
    Log { low: f64, high: f64, unit: Unit },
    /// Quantiles up to `nines` nines.
    Nines { nines: f64 },
}

impl Scale {
    /// A linear scale from 0 to a round figure that holds `values`.
    pub fn linear(values: impl IntoIterator<Item = f64>, unit: Unit) -> Scale {
        let high = values.into_iter().filter(|value| value.is_finite()).fold(0.0, f64::max);
        let step = step(high.max(f64::MIN_POSITIVE), 4.0);
        let high = if high > 0.0 { (high / step - 1e-9).ceil() * step } else { 1.0 };
        Scale::Linear { low: 0.0, high, unit }
    }

    /// A logarithmic scale around the positive ones of `values`, between steps of 1, 2 and 5.
    pub fn log(values: impl IntoIterator<Item = f64>, unit: Unit) -> Scale {
        let positive = values.into_iter().filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = positive.fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Scale::Log { low: 1.0, high: 10.0, unit };
        }
        let (low, high) = (round(low, false), round(high, true));
        Scale::Log { low, high: if high > low { high } else { low * 10.0 }, unit }
    }

    /// Where `value` lies, 0 to 1; what is outside lies on the edge.
    pub fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Scale::Linear { low, high, .. } => (value - low) / (high - low),
            Scale::Log { low, high, .. } => (value.max(low) / low).ln() / (high / low).ln(),
            Scale::Nines { nines } => -(1.0 - value).max(1e-12).log10() / nines,
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Values with their labels, ascending.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match *self {
            Scale::Linear { low, high, unit } => linear_ticks(low, high, unit),
            Scale::Log { low, high, unit } => log_ticks(low, high, unit),
            Scale::Nines { nines } => {
                let quantiles: [f64; 9] = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999, 0.999_999_9];
                let shown = quantiles.into_iter().filter(|quantile| -(1.0 - quantile).log10() <= nines + 1e-9);
                shown.map(|quantile| (quantile, words::percentile(quantile))).collect()
            }
        }
    }
}

fn linear_ticks(low: f64, high: f64, unit: Unit) -> Vec<(f64, String)> {
    // Both sides of zero have as many ticks as one side alone.
    let step = step(high - low, if low < 0.0 { 8.0 } else { 4.0 });
    let first = (low / step - 1e-9).ceil() as i64;
    let values = (first..).map(|at| at as f64 * step).take_while(|value| *value <= high + step * 1e-6);
    values.take(TICKS_MAX).map(|value| (value, unit.show(value))).collect()
}

fn log_ticks(low: f64, high: f64, unit: Unit) -> Vec<(f64, String)> {
    let decades = (high / low).log10();
    let digits: &[f64] = match decades {
        short if short <= 2.2 => &[1.0, 2.0, 5.0],
        medium if medium <= 3.6 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let first = low.log10().floor() as i32 - 1;
    let powers = (first..first + 30).flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
    let inside = powers.filter(|value| low * 0.999 <= *value && *value <= high * 1.001);
    inside.take(TICKS_MAX).map(|value| (value, unit.show(value))).collect()
}

/// A step of 1, 2 or 5 times a power of ten that makes about `wanted` of them.
fn step(span: f64, wanted: f64) -> f64 {
    let raw = span / wanted;
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| raw / power <= digit * 1.001).unwrap_or(10.0);
    digit * power
}

/// The next 1, 2 or 5 times a power of ten, up or down.
fn round(value: f64, is_up: bool) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0];
    let digit = if is_up {
        digits.into_iter().find(|digit| value / power <= digit * 1.000_001)
    } else {
        digits.into_iter().rev().find(|digit| *digit <= value / power * 1.000_001)
    };
    digit.unwrap_or(1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round_and_read_well() {
        assert_eq!(labels(Scale::linear([0.0, 4_100.0], Unit::Count)), ["0", "2 k", "4 k", "6 k"]);
        assert_eq!(labels(Scale::log([330.0, 4_700.0], Unit::Time)), ["200 us", "500 us", "1 ms", "2 ms", "5 ms"]);
        assert_eq!(labels(Scale::Nines { nines: 3.2 }), ["p0", "p50", "p90", "p99", "p99.9"]);
        assert_eq!(labels(Scale::linear([30.0], Unit::Seconds)), ["0 s", "10 s", "20 s", "30 s"]);
    }

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let scale = Scale::Nines { nines: 4.0 };
        let places = [0.0, 0.9, 0.99, 0.999, 0.9999].map(|quantile| scale.place(quantile));
        for (place, expected) in places.iter().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
    }

    #[test]
    fn odd_values_stay_on_the_plot() {
        for scale in [
            Scale::linear([f64::NAN, f64::INFINITY], Unit::Count),
            Scale::log([0.0, -1.0, f64::INFINITY], Unit::Time),
            Scale::log([5.0, 5.0], Unit::Time),
            Scale::log([1e-12, 1e12], Unit::Time),
            Scale::linear([1e300], Unit::Rate),
        ] {
            for value in [f64::NAN, f64::INFINITY, -1e300, 0.0, 1.0] {
                assert!((0.0..=1.0).contains(&scale.place(value)), "{scale:?} {value}");
            }
            assert!(scale.ticks().len() <= TICKS_MAX, "{scale:?}");
        }
    }
}
