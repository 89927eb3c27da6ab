//! Faults that are made during a run: which and when, and what they did to it.
//!
//! ```text
//! --fault '30s:kill-leader,60s:pause=n2:5s'      seconds count from the begin of the window
//! ```

use std::fmt;
use std::str::FromStr;

use base::{Mono, Prng, Span};

use crate::phases::Second;
use crate::recorder::Window;
use crate::report::result::Fault;
use crate::run::INTERVAL;
use crate::text::{ParseError, parse_span};

/// p99 may be so many times what it was before a fault, and it counts as over.
const RECOVERED_TIMES: f64 = 1.5;
/// For so many seconds in a row.
const RECOVERED_SECONDS: usize = 5;
/// Errors count as a fault's for so long when p99 does not come back. Units: milliseconds.
const EXCUSE_MAX_MS: f64 = 30_000.0;
/// An error is known when its operation's time is up, so late after its cause. Units: seconds.
const KNOWN_LATE_S: f64 = 10.0;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The node that leads most groups ends with SIGKILL, and is started again.
    KillLeader,
    /// A node ends so.
    Kill(u64),
    /// All nodes end so.
    KillAll,
    /// A node stands still.
    Pause(u64, Span),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::KillLeader => f.write_str("kill-leader"),
            FaultKind::Kill(node) => write!(f, "kill=n{node}"),
            FaultKind::KillAll => f.write_str("kill-all"),
            FaultKind::Pause(node, span) => write!(f, "pause=n{node}:{}ms", span.0 / 1_000_000),
        }
    }
}

/// One fault of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultSpec {
    /// Since the begin of the window.
    pub at: Span,
    /// What.
    pub kind: FaultKind,
}

/// Faults in the order of their times.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FaultPlan(pub Vec<FaultSpec>);

impl FromStr for FaultPlan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<FaultPlan, ParseError> {
        let mut plan = text.split(',').map(|one| spec(text, one.trim())).collect::<Result<Vec<_>, _>>()?;
        plan.sort_by_key(|spec| spec.at);
        Ok(FaultPlan(plan))
    }
}

const FORM: &str = "is no fault; write TIME:KIND as 10s:kill-leader,20s:pause=n2:5s; kinds are kill-leader kill=N \
                    kill-all pause=N:T";

fn spec(text: &str, one: &str) -> Result<FaultSpec, ParseError> {
    let wrong = || ParseError::new(text, FORM);
    let (at, kind) = one.split_once(':').ok_or_else(wrong)?;
    let node = |name: &str| name.strip_prefix('n').unwrap_or(name).parse::<u64>().ok().filter(|node| *node > 0);
    let kind = match kind.split_once('=') {
        None if kind == "kill-leader" => FaultKind::KillLeader,
        None if kind == "kill-all" => FaultKind::KillAll,
        Some(("kill", name)) => FaultKind::Kill(node(name).ok_or_else(wrong)?),
        Some(("pause", rest)) => {
            let (name, span) = rest.split_once(':').ok_or_else(wrong)?;
            FaultKind::Pause(node(name).ok_or_else(wrong)?, parse_span(span).map_err(|_| wrong())?)
        }
        _ => return Err(wrong()),
    };
    Ok(FaultSpec { at: parse_span(at).map_err(|_| wrong())?, kind })
}

impl FaultPlan {
    /// One fault at a time that `seed` draws, in the middle half of the window.
    #[must_use]
    pub fn crash(kind: FaultKind, window: Span, seed: u64) -> FaultPlan {
        let quarter = window.0 / 4;
        let at = Span(quarter + Prng::new(seed).below((2 * quarter).max(1)));
        FaultPlan(vec![FaultSpec { at, kind }])
    }

    /// The plan with those of another.
    #[must_use]
    pub fn with(mut self, other: &FaultPlan) -> FaultPlan {
        self.0.extend(&other.0);
        self.0.sort_by_key(|spec| spec.at);
        self
    }
}

/// A fault that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeFault {
    /// When.
    pub at: Mono,
    /// What, with the node where one was chosen, as `kill-leader n2`.
    pub kind: String,
}

/// What each fault did. `seconds` are all of the run, `start` is when the first began; `gaps` are the times without a
/// good answer.
#[must_use]
pub fn judge(made: &[MadeFault], window: Window, start: Mono, seconds: &[Second], gaps: &[Window]) -> Vec<Fault> {
    let measured: Vec<&Second> = seconds.iter().filter(|second| second.is_measured).collect();
    let begin = |second: &Second| start + Span(second.second * INTERVAL.0);
    let one = |(place, fault): (usize, &MadeFault)| {
        let next = made.get(place + 1).map_or(window.until, |next| next.at);
        // A gap belongs to the last fault before its end.
        let own = gaps.iter().filter(|gap| gap.until > fault.at && gap.from < next);
        let longest = own.map(|gap| gap.until.since(gap.from.max(fault.at))).max().unwrap_or(Span(0));
        let before = measured.iter().filter(|second| begin(second) + INTERVAL <= fault.at);
        let before: Vec<f64> = before.map(|second| second.p99_ns as f64).collect();
        let limit = crate::stats::median(&before).unwrap_or(f64::INFINITY) * RECOVERED_TIMES;
        let after: Vec<&&Second> = measured.iter().filter(|second| begin(second) + INTERVAL > fault.at).collect();
        let is_back =
            |five: &[&&Second]| five.iter().all(|second| second.achieved > 0 && second.p99_ns as f64 <= limit);
        let back = after.windows(RECOVERED_SECONDS).find(|five| is_back(five)).map(|five| begin(five[0]));
        Fault {
            at_s: fault.at.since(window.from).0 as f64 / 1e9,
            kind: fault.kind.clone(),
            unavailable_ms: longest.0 as f64 / 1e6,
            recovered_ms: back.map(|back| (back.since(fault.at).0 as f64 / 1e6).max(longest.0 as f64 / 1e6)),
        }
    };
    made.iter().enumerate().map(one).collect()
}

/// How many of the errors are the faults': those of seconds between a fault and its recovery.
#[must_use]
pub fn excused(faults: &[Fault], window: Window, start: Mono, seconds: &[Second]) -> u64 {
    let is_excused = |second: &&Second| {
        let begin = (start + Span(second.second * INTERVAL.0)).since(window.from).0 as f64 / 1e9;
        second.is_measured
            && faults.iter().any(|fault| {
                let long = fault.recovered_ms.unwrap_or(EXCUSE_MAX_MS) / 1e3;
                fault.at_s < begin + 1.0 && begin <= fault.at_s + long + KNOWN_LATE_S
            })
    };
    seconds.iter().filter(is_excused).map(|second| second.errors).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_and_sorted() {
        let plan: FaultPlan = "60s:pause=n2:5s, 30s:kill-leader,1s:kill=3,2s:kill-all".parse().expect("a plan");
        let told: Vec<String> =
            plan.0.iter().map(|spec| format!("{}:{}", spec.at.0 / 1_000_000_000, spec.kind)).collect();
        assert_eq!(told, ["1:kill=n3", "2:kill-all", "30:kill-leader", "60:pause=n2:5000ms"]);
        for bad in ["", "30s", "kill-leader", "3s:kill", "3s:kill=n0", "3s:pause=n1", "x:kill-all", "3s:cut=n1,n2"] {
            let error = bad.parse::<FaultPlan>().expect_err(bad).to_string();
            assert!(error.contains("kinds are kill-leader"), "{error}");
        }
    }

    #[test]
    fn a_crash_comes_in_the_middle_half_and_follows_from_the_seed() {
        for seed in 0..100 {
            let plan = FaultPlan::crash(FaultKind::KillAll, Span::from_ms(20_000), seed);
            assert!((5.0..15.0).contains(&(plan.0[0].at.0 as f64 / 1e9)));
            assert_eq!(plan, FaultPlan::crash(FaultKind::KillAll, Span::from_ms(20_000), seed));
        }
    }

    fn seconds(p99_ms: &[u64]) -> Vec<Second> {
        let second = |(at, p99): (usize, &u64)| Second {
            second: at as u64,
            is_measured: true,
            achieved: u64::from(*p99 > 0) * 100,
            errors: u64::from(*p99 == 0) * 3,
            p99_ns: p99 * 1_000_000,
            ..Second::default()
        };
        p99_ms.iter().enumerate().map(second).collect()
    }

    #[test]
    fn a_fault_is_over_with_the_first_of_five_good_seconds() {
        let start = Mono(1_000_000_000);
        let at = |s: f64| start + Span((s * 1e9) as u64);
        let window = Window { from: start, until: at(14.0) };
        let seconds = seconds(&[10, 10, 11, 0, 900, 14, 40, 15, 14, 10, 12, 11, 10, 10]);
        let gaps = [Window { from: at(3.2), until: at(4.7) }, Window { from: at(1.0), until: at(1.1) }];
        let made = [MadeFault { at: at(3.25), kind: "kill-leader n2".to_owned() }];
        let faults = judge(&made, window, start, &seconds, &gaps);
        assert_eq!((faults[0].at_s, faults[0].unavailable_ms, faults[0].recovered_ms), (3.25, 1450.0, Some(3750.0)));
        assert_eq!(excused(&faults, window, start, &seconds), 3);
        assert_eq!(excused(&[], window, start, &seconds), 0);
        let never = judge(&made, window, start, &seconds[..10], &gaps);
        assert_eq!(never[0].recovered_ms, None);
    }
}
