//! The highest rate that keeps a promise: doubling search, bisection, confirmation, and the curve below it.

use std::fmt;
use std::str::FromStr;

use base::Prng;

use crate::text::{ParseError, parse_span};

/// What is promised.
#[derive(Clone, PartialEq, Debug)]
pub struct Slo {
    terms: Vec<Term>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Term {
    name: Measure,
    /// Nanoseconds, or a part of 1.
    below: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measure {
    P50,
    P90,
    P99,
    P999,
    Max,
    Errors,
}

/// What one rate showed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Level {
    /// Offered, operations per second.
    pub rate: f64,
    /// Achieved.
    pub achieved: f64,
    /// Responses, in nanoseconds.
    pub p50_ns: u64,
    /// Responses.
    pub p90_ns: u64,
    /// Responses.
    pub p99_ns: u64,
    /// Responses.
    pub p999_ns: u64,
    /// Responses.
    pub max_ns: u64,
    /// Part of the operations that failed.
    pub errors: f64,
    /// All that was due was answered.
    pub is_drained: bool,
}

impl FromStr for Slo {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Slo, ParseError> {
        let terms = text.split(',').map(|term| term_of(text, term.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Slo { terms })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.terms.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let name = match term.name {
                Measure::P50 => "p50",
                Measure::P90 => "p90",
                Measure::P99 => "p99",
                Measure::P999 => "p99.9",
                Measure::Max => "max",
                Measure::Errors => "err",
            };
            match (term.name, term.below) {
                (Measure::Errors, share) => write!(f, "{comma}{name}<{}%", round(share * 100.0))?,
                (_, ns) if ns < 1e6 => write!(f, "{comma}{name}<{}us", round(ns / 1e3))?,
                (_, ns) if ns < 1e9 => write!(f, "{comma}{name}<{}ms", round(ns / 1e6))?,
                (_, ns) => write!(f, "{comma}{name}<{}s", round(ns / 1e9))?,
            }
        }
        Ok(())
    }
}

/// Without what a division by ten leaves in the last digits.
fn round(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

fn term_of(text: &str, term: &str) -> Result<Term, ParseError> {
    let form = "is no promise; write terms like p99<5ms,err<0.01% with p50 p90 p99 p99.9 max err";
    let (name, below) = term.split_once('<').ok_or_else(|| ParseError::new(text, form))?;
    let name = match name.trim() {
        "p50" => Measure::P50,
        "p90" => Measure::P90,
        "p99" => Measure::P99,
        "p99.9" => Measure::P999,
        "max" => Measure::Max,
        "err" => Measure::Errors,
        _ => return Err(ParseError::new(text, form)),
    };
    let below = below.trim();
    let below = match (name, below.strip_suffix('%')) {
        (Measure::Errors, Some(percent)) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        (Measure::Errors, None) | (_, Some(_)) => None,
        (_, None) if below.ends_with('s') => parse_span(below).ok().map(|span| span.0 as f64),
        (_, None) => None,
    };
    let below = below.filter(|below| below.is_finite() && *below > 0.0);
    Ok(Term { name, below: below.ok_or_else(|| ParseError::new(text, form))? })
}

impl Slo {
    /// Whether a level keeps it.
    #[must_use]
    pub fn holds(&self, level: &Level) -> bool {
        let is_below = |term: &Term| {
            let value = match term.name {
                Measure::P50 => level.p50_ns as f64,
                Measure::P90 => level.p90_ns as f64,
                Measure::P99 => level.p99_ns as f64,
                Measure::P999 => level.p999_ns as f64,
                Measure::Max => level.max_ns as f64,
                Measure::Errors => level.errors,
            };
            value < term.below
        };
        level.is_drained && self.terms.iter().all(is_below)
    }
}

/// What a sweep found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sweep {
    /// The highest rate that kept the promise, and was confirmed; `None` if no rate did.
    pub rate_slo: Option<f64>,
    /// The lowest rate seen to break it.
    pub broken_at: Option<f64>,
    /// All levels, in the order of their rates.
    pub levels: Vec<Level>,
    /// The levels of the curve, in the order of their rates.
    pub curve: Vec<Level>,
    /// Where the curve bends: the largest distance from the chord in (rate, log p99).
    pub knee: Option<f64>,
}

/// What a sweep wants measured next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A level of the search.
    Search,
    /// The best rate once more, for longer.
    Confirm,
    /// A point of the curve.
    Curve,
}

const STEP: f64 = 1.5;
/// Rates in a row that must break the promise before it is believed.
const BREAKS: usize = 2;
const PRECISION: f64 = 0.03;
/// How much less is tried when a rate is not confirmed.
const BACK_OFF: f64 = 0.97;
const CONFIRMS_MAX: usize = 10;
const CURVE_POINTS: u32 = 10;
/// Steps of the search: beyond 1000 * 1.5^40 no target answers.
const STEPS_MAX: usize = 40;

/// Why a sweep ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

/// How thoroughly a sweep searches.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Search {
    /// A rate that keeps the promise is followed by so many times it.
    pub step: f64,
    /// Rates in a row that must break the promise before it is believed.
    pub breaks: usize,
    /// How far the kept rate and the broken one are apart at the end, as a part of the latter.
    pub precision: f64,
    /// Points of the curve.
    pub points: u32,
}

impl Default for Search {
    fn default() -> Search {
        Search { step: STEP, breaks: BREAKS, precision: PRECISION, points: CURVE_POINTS }
    }
}

impl Search {
    /// A look in two minutes.
    pub const BRIEF: Search = Search { step: 2.0, breaks: 1, precision: 0.10, points: 7 };
}

/// Searches from the rate `from`. `measure` measures one rate; `seed` shuffles the curve, so that no drift of the machine
/// looks like its shape.
///
/// Errors: the first of `measure`.
pub fn sweep<E>(
    slo: &Slo,
    from: f64,
    seed: u64,
    measure: impl FnMut(f64, Probe) -> Result<Level, E>,
) -> Result<Sweep, E> {
    sweep_with(Search::default(), slo, from, seed, measure)
}

/// As [`sweep`], as thoroughly as `search` says.
///
/// Errors: the first of `measure`.
pub fn sweep_with<E>(
    search: Search,
    slo: &Slo,
    from: f64,
    seed: u64,
    mut measure: impl FnMut(f64, Probe) -> Result<Level, E>,
) -> Result<Sweep, E> {
    let mut found = Sweep::default();
    let (mut low, mut high) = (None, None);
    let mut rate = from;
    let mut breaks = 0;
    for _ in 0..STEPS_MAX {
        let level = measure(rate, Probe::Search)?;
        found.levels.push(level);
        if slo.holds(&level) {
            (low, high, breaks) = (Some(rate), None, 0);
        } else {
            high = high.or(Some(rate));
            breaks += 1;
        }
        if breaks == search.breaks {
            break;
        }
        rate *= search.step;
    }
    let Some(mut best) = low else {
        found.broken_at = high;
        return Ok(found);
    };
    if let Some(mut high) = high {
        while (high - best) / high > search.precision {
            let middle = f64::midpoint(best, high);
            let level = measure(middle, Probe::Search)?;
            found.levels.push(level);
            if slo.holds(&level) { best = middle } else { high = middle }
        }
        found.broken_at = Some(high);
    }
    for _ in 0..CONFIRMS_MAX {
        let level = measure(best, Probe::Confirm)?;
        found.levels.push(level);
        if slo.holds(&level) {
            found.rate_slo = Some(best);
            break;
        }
        best *= BACK_OFF;
    }
    found.levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    if let Some(best) = found.rate_slo {
        found.curve = curve(best, search.points, seed, measure)?;
        found.knee = knee(&found.curve);
    }
    Ok(found)
}

fn curve<E>(
    best: f64,
    points: u32,
    seed: u64,
    mut measure: impl FnMut(f64, Probe) -> Result<Level, E>,
) -> Result<Vec<Level>, E> {
    let mut parts: Vec<u32> = (1..=points).collect();
    let mut prng = Prng::new(seed);
    for at in (1..parts.len()).rev() {
        parts.swap(at, prng.below(at as u64 + 1) as usize);
    }
    let rate = |part: u32| best * f64::from(part) / f64::from(points);
    let mut levels = parts.into_iter().map(|part| measure(rate(part), Probe::Curve)).collect::<Result<Vec<_>, E>>()?;
    levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    Ok(levels)
}

/// The rate of the point farthest below the chord from the first to the last, in (rate, log p99), each scaled to 1.
fn knee(curve: &[Level]) -> Option<f64> {
    let (first, last) = (curve.first()?, curve.last()?);
    let log = |level: &Level| (level.p99_ns.max(1) as f64).ln();
    let (width, height) = (last.rate - first.rate, log(last) - log(first));
    if width <= 0.0 || height <= 0.0 {
        return None;
    }
    let below = |level: &Level| (level.rate - first.rate) / width - (log(level) - log(first)) / height;
    let farthest = curve.iter().max_by(|a, b| below(a).total_cmp(&below(b)))?;
    (below(farthest) > 0.05).then_some(farthest.rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that keeps its promise below a capacity.
    fn target(capacity: f64) -> impl FnMut(f64, Probe) -> Result<Level, Interrupted> {
        move |rate, _| {
            let p99_ns = if rate < capacity { 1e6 / (1.0 - rate / capacity).max(0.01) } else { 1e12 } as u64;
            Ok(Level { rate, achieved: rate.min(capacity), p99_ns, is_drained: rate < capacity, ..Level::default() })
        }
    }

    #[test]
    fn promises_are_read_and_judged() {
        let slo: Slo = "p99<5ms, err<0.01%".parse().unwrap();
        let level = Level { p99_ns: 4_999_999, is_drained: true, ..Level::default() };
        assert!(slo.holds(&level));
        assert_eq!(slo.to_string(), "p99<5ms,err<0.01%");
        assert_eq!("max<1.5s,p50<20us".parse::<Slo>().unwrap().to_string(), "max<1.5s,p50<20us");
        assert!(!slo.holds(&Level { p99_ns: 5_000_000, ..level }));
        assert!(!slo.holds(&Level { errors: 0.0001, ..level }));
        assert!(!slo.holds(&Level { is_drained: false, ..level }));
        for bad in ["", "p99", "p98<1ms", "p99<5", "p99<5%", "err<5ms", "err<1", "p99<0ms", "p99>1ms"] {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_capacity_is_found_within_three_percent_from_anywhere() {
        let slo = "p99<20ms".parse().unwrap();
        for capacity in [1500.0, 33_333.0, 1e6] {
            for from in [100.0, 1000.0] {
                let found = sweep(&slo, from, 1, target(capacity)).unwrap();
                // The promise holds up to 95 % of the capacity.
                let rate = found.rate_slo.unwrap();
                assert!((rate / (0.95 * capacity) - 1.0).abs() < 0.03, "{capacity} from {from}: {rate}");
                assert!(rate < found.broken_at.unwrap());
                assert_eq!(found.curve.len(), 10);
            }
        }
    }

    #[test]
    fn a_brief_search_takes_few_levels_and_is_near() {
        for capacity in [900.0, 5_000.0, 70_000.0] {
            let mut calls = 0;
            let mut good = target(capacity);
            let slo = "p99<20ms".parse().unwrap();
            let found = sweep_with(Search::BRIEF, &slo, 500.0, 1, |rate, probe| {
                calls += 1;
                good(rate, probe)
            });
            let found = found.unwrap();
            let rate = found.rate_slo.unwrap();
            assert!((0.85..=1.0).contains(&(rate / (0.95 * capacity))), "{capacity}: {rate}");
            assert!(calls <= 22 && found.curve.len() == 7, "{calls} levels");
        }
    }

    #[test]
    fn one_bad_level_is_not_the_end() {
        let mut calls = 0;
        let mut good = target(50_000.0);
        let found = sweep(&"p99<20ms".parse().unwrap(), 1000.0, 1, |rate, probe| {
            calls += 1;
            let level = good(rate, probe)?;
            Ok::<_, Interrupted>(if calls == 3 { Level { is_drained: false, ..level } } else { level })
        });
        assert!(found.unwrap().rate_slo.unwrap() > 45_000.0);
    }

    #[test]
    fn a_target_that_never_keeps_it_has_no_rate_and_an_interrupt_ends_it() {
        let found = sweep(&"p99<1us".parse().unwrap(), 1000.0, 1, target(5000.0)).unwrap();
        assert_eq!((found.rate_slo, found.broken_at, found.curve.len()), (None, Some(1000.0), 0));
        let ended = sweep(&"p99<1s".parse().unwrap(), 1000.0, 1, |_, _| Err(Interrupted));
        assert_eq!(ended, Err(Interrupted));
    }

    #[test]
    fn the_knee_is_where_latency_begins_to_climb() {
        let level = |rate: f64, p99_ns| Level { rate, p99_ns, ..Level::default() };
        let curve: Vec<Level> = [(1.0, 100), (2.0, 101), (3.0, 103), (4.0, 110), (5.0, 400), (6.0, 1600)]
            .map(|(rate, p99)| level(rate, p99))
            .to_vec();
        assert_eq!(knee(&curve), Some(4.0));
        assert_eq!(knee(&curve[..1]), None);
    }
}
