//! Gates: how far a figure may move. `p99:+5%` may grow by 5 %, `rate:-3%` may shrink by 3 %.

use std::fmt;

use super::{Decision, Metric};
use crate::stats::Interval;

/// Terms of one `--gate`.
const GATES_MAX: usize = 32;

/// How far one figure may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// The figure.
    pub metric: Metric,
    /// The ratio at which the gate closes: 1.05 for `+5%`, 0.97 for `-3%`.
    pub limit: f64,
    /// True for `+`: what grows beyond the limit fails. Else what shrinks below it does.
    pub is_ceiling: bool,
}

impl Gate {
    /// Passes when all of `interval`, a ratio's, lies inside; fails when none of it does.
    #[must_use]
    pub fn judge(self, interval: Interval) -> Decision {
        // A hair of slack, so that 1.02 is not beyond `+2%` by rounding.
        let slack = self.limit * 1e-9;
        let (best, worst) = if self.is_ceiling {
            (interval.low <= self.limit + slack, interval.high <= self.limit + slack)
        } else {
            (interval.high >= self.limit - slack, interval.low >= self.limit - slack)
        };
        match (best, worst) {
            (_, true) => Decision::Pass,
            (true, false) => Decision::Undecided,
            (false, false) => Decision::Fail,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.limit - 1.0).abs() * 100.0;
        let text = format!("{percent:.4}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{}:{}{text}%", self.metric.name(), if self.is_ceiling { '+' } else { '-' })
    }
}

/// Why a gate was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Not of the form.
    #[error("gate {0:?} is not of the form NAME:+N% or NAME:-N%, as p99:+5%")]
    Form(String),
    /// An unknown figure.
    #[error("gate {0:?} names no figure; there are {names}", names = names())]
    Name(String),
    /// One figure twice.
    #[error("the figure {0} has two gates; give one")]
    Twice(&'static str),
    /// Too many terms.
    #[error("more than {GATES_MAX} gates; give each figure one")]
    Many,
}

fn names() -> String {
    Metric::ALL.map(Metric::name).join(" ")
}

/// Terms with commas between them; none for an empty text.
///
/// Errors: a term that is not understood, an unknown figure, one figure twice.
pub fn parse_gates(text: &str) -> Result<Vec<Gate>, GateError> {
    let mut gates: Vec<Gate> = Vec::new();
    for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let gate = parse(term)?;
        if gates.iter().any(|other| other.metric == gate.metric) {
            return Err(GateError::Twice(gate.metric.name()));
        }
        if gates.len() == GATES_MAX {
            return Err(GateError::Many);
        }
        gates.push(gate);
    }
    Ok(gates)
}

fn parse(term: &str) -> Result<Gate, GateError> {
    let form = || GateError::Form(term.to_owned());
    let (name, limit) = term.split_once(':').ok_or_else(form)?;
    let percent = limit.strip_suffix('%').ok_or_else(form)?;
    let is_ceiling = match percent.as_bytes().first() {
        Some(b'+') => true,
        Some(b'-') => false,
        _ => return Err(form()),
    };
    let digits = &percent[1..];
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = digits.parse().ok().filter(|_| is_plain).ok_or_else(form)?;
    // Below zero nothing is left to compare.
    if !is_ceiling && percent > 100.0 {
        return Err(form());
    }
    let metric = Metric::of_name(name.trim()).ok_or_else(|| GateError::Name(name.trim().to_owned()))?;
    let limit = if is_ceiling { 1.0 + percent / 100.0 } else { 1.0 - percent / 100.0 };
    Ok(Gate { metric, limit, is_ceiling })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_they_are_written() {
        let gates = parse_gates("p99:+5%, rate:-3%,allocs:+0%,p99.9:+12.5%").expect("gates");
        let shown: Vec<String> = gates.iter().map(Gate::to_string).collect();
        assert_eq!(shown, ["p99:+5%", "rate:-3%", "allocs:+0%", "p99.9:+12.5%"]);
        assert!(parse_gates("").expect("no gates").is_empty());
    }

    #[test]
    fn what_is_no_gate_is_refused_with_its_text() {
        for bad in ["p99", "p99:5%", "p99:+5", "p99:+%", "p99:+-5%", "p99:+1e3%", "p99:+inf%", "rate:-101%", ":+5%x"] {
            assert_eq!(parse_gates(bad), Err(GateError::Form(bad.to_owned())), "{bad}");
        }
        assert!(parse_gates("speed:+5%").expect_err("unknown").to_string().contains("rate_slo"));
        assert_eq!(parse_gates("p99:+5%,p99:+6%"), Err(GateError::Twice("p99")));
    }

    #[test]
    fn an_interval_passes_inside_fails_outside_and_is_open_between() {
        let ceiling = parse_gates("p99:+5%").expect("a gate")[0];
        let floor = parse_gates("rate:-3%").expect("a gate")[0];
        let judge = |gate: Gate, low, high| gate.judge(Interval { low, high });
        assert_eq!(judge(ceiling, 0.9, 1.05), Decision::Pass);
        assert_eq!(judge(ceiling, 1.04, 1.06), Decision::Undecided);
        assert_eq!(judge(ceiling, 1.06, 1.07), Decision::Fail);
        assert_eq!(judge(floor, 0.97, 1.2), Decision::Pass);
        assert_eq!(judge(floor, 0.96, 0.98), Decision::Undecided);
        assert_eq!(judge(floor, 0.9, 0.96), Decision::Fail);
        assert_eq!(judge(ceiling, f64::INFINITY, f64::INFINITY), Decision::Fail);
    }
}
