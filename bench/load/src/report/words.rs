//! Figures and causes in words, the same in every view.

use super::result::{BenchResult, Durability, LoopKind, Reason, Span};

/// A time with three significant digits and a unit that suits it: `612 us`, `1.86 ms`, `12.0 s`.
#[must_use]
pub fn time(us: f64) -> String {
    let (value, unit) = match us.abs() {
        // Just below a border, rounding would carry over: 999.6 us is 1.00 ms.
        small if small < 999.5 => (us, "us"),
        medium if medium < 999_500.0 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    format!("{} {unit}", three(value))
}

/// As [`time`]; `-` where there is none.
#[must_use]
pub fn time_or_dash(us: Option<f64>) -> String {
    us.map_or_else(|| "-".to_owned(), time)
}

/// A rate with three significant digits: `950/s`, `20.0 k/s`, `1.52 M/s`.
#[must_use]
pub fn rate(per_s: f64) -> String {
    format!("{}/s", count(per_s))
}

/// A large figure with three significant digits: `950`, `20.0 k`, `1.52 M`.
#[must_use]
pub fn count(value: f64) -> String {
    match value.abs() {
        small if small < 999.5 => three(value),
        medium if medium < 999_500.0 => format!("{} k", three(value / 1e3)),
        large if large < 999_500_000.0 => format!("{} M", three(value / 1e6)),
        _ => format!("{} G", three(value / 1e9)),
    }
}

/// A whole number with thin groups of three: `300,104`.
#[must_use]
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in powers of 1024: `812 B`, `1.50 MiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 1023.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{} {}", three(value), UNITS[unit])
}

/// A share of 1 as percent: `0.0 %`, `0.013 %`, `38 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value.abs() {
        0.0 => "0 %".to_owned(),
        tiny if tiny < 0.001 => "<0.001 %".to_owned(),
        small if small < 0.1 => format!("{value:.3} %"),
        medium if medium < 9.95 => format!("{value:.1} %"),
        _ => format!("{value:.0} %"),
    }
}

/// Three significant digits, at most three behind the point: `0.021`, `4.02`, `12.0`, `612`.
#[must_use]
pub fn three(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        tiny if tiny < 0.0995 => format!("{value:.3}"),
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// An interval of times, as `[1.81 ms, 1.93 ms]`.
#[must_use]
pub fn span(span: Span, word: impl Fn(f64) -> String) -> String {
    format!("[{}, {}]", word(span[0]), word(span[1]))
}

/// A ratio as a change: `+5.2 %`, `-31 %`, `x 3.1` from twice on.
#[must_use]
pub fn change(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    match percent {
        much if much >= 99.5 => format!("x {ratio:.2}"),
        wide if wide.abs() >= 9.95 => format!("{wide:+.0} %"),
        // No sign for what rounds to nothing.
        none if none.abs() < 0.05 => "0.0 %".to_owned(),
        small => format!("{small:+.1} %"),
    }
}

/// How load was made, in one line: `open loop, poisson, 20.0 k/s`.
#[must_use]
pub fn load(result: &BenchResult) -> String {
    let load = &result.load;
    match load.kind {
        LoopKind::Open => format!("open loop, {}, {} offered", load.arrival, rate(load.rate_offered)),
        LoopKind::Closed => format!("closed loop, {} clients", whole(load.clients)),
    }
}

/// What stands above a closed loop's figures.
pub const CLOSED_LOOP: &str =
    "closed loop: a stall delays the load itself, so this latency is not what independent users see";

/// What an acknowledgement of the target means: `ack on quorum, synced before ack, 3 replicas, linearizable reads`.
#[must_use]
pub fn durability(durability: &Durability) -> String {
    let mut parts = Vec::new();
    if !durability.ack.is_empty() {
        parts.push(format!("ack: {}", durability.ack));
    }
    if !durability.sync.is_empty() {
        parts.push(format!("sync: {}", durability.sync));
    }
    if durability.replicas > 0 {
        parts.push(format!("{} replica{}", durability.replicas, if durability.replicas == 1 { "" } else { "s" }));
    }
    if !durability.reads.is_empty() {
        parts.push(format!("reads: {}", durability.reads));
    }
    match durability.flushes_seen {
        Some(flushes) => parts.push(format!("{} device flushes seen", whole(flushes))),
        None => parts.push("device flushes not counted".to_owned()),
    }
    parts.join(", ")
}

/// What was checked, in one line.
#[must_use]
pub fn checks(result: &BenchResult) -> String {
    let checks = &result.checks;
    if checks.mode.is_empty() || checks.mode == "off" {
        return "UNCHECKED: the answers were not verified".to_owned();
    }
    let (acks, lost, doubled) = (whole(checks.acks), whole(checks.lost), whole(checks.doubled));
    let histories = match checks.histories {
        0 => String::new(),
        histories => format!(", {} histories linearizable", whole(histories)),
    };
    let violations = match checks.violations.len() {
        0 => String::new(),
        wrong => format!(", {wrong} WRONG ANSWERS"),
    };
    let mode = if checks.mode == "full" { String::new() } else { format!(" ({})", checks.mode) };
    format!("{acks} acks{mode}, {lost} lost, {doubled} doubled{histories}{violations}")
}

/// How a reason's value reads.
#[derive(Clone, Copy)]
enum Unit {
    Share,
    Time,
    Count,
    Ratio,
}

/// A cause of a verdict: what was seen and what was allowed.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    let (what, unit) = match reason.code.replace('-', "_").as_str() {
        "generator_busy" => ("the generator was short of processor time: its busiest core was busy", Unit::Share),
        "sched_lag" => ("the generator sent late by itself: sched_lag p99", Unit::Time),
        "achieved" => ("the offered rate was not reached while permits were free: achieved of offered", Unit::Share),
        "skipped" => ("operations were skipped because they were late", Unit::Count),
        "psi_cpu" => ("threads waited for a processor on cores shared with the target: PSI cpu", Unit::Share),
        "scheduler_tick" => ("samples sit at 4 ms, the scheduler's tick and not the disk", Unit::Share),
        "wrong_answers" => ("answers were wrong", Unit::Count),
        "steal" => ("the hypervisor took processor time: steal", Unit::Share),
        "foreign_cpu" => ("another process used a core", Unit::Share),
        "clock_stepped" => ("the clock was set during the run, by", Unit::Time),
        "target_restarted" => ("the target restarted unasked, times", Unit::Count),
        "errors" => ("too many errors outside the faults' windows", Unit::Share),
        "not_steady" => ("the run never became steady: slope over the window", Unit::Share),
        "not_drained" => ("operations that were due were never answered", Unit::Count),
        "littles_law" => ("mean in flight is not rate x latency (Little's law): off by", Unit::Share),
        "cq_overflow" => ("a completion queue overflowed, times", Unit::Count),
        "too_few_operations" => ("too few operations", Unit::Count),
        "unattributed" => ("server stages do not explain the latency: unattributed", Unit::Share),
        _ => (reason.code.as_str(), Unit::Ratio),
    };
    let word = |value: f64| match unit {
        Unit::Share => percent(value),
        Unit::Time => time(value),
        Unit::Count => whole(value.max(0.0) as u64),
        Unit::Ratio => three(value),
    };
    format!("{what} {} (limit {})", word(reason.value), word(reason.limit))
}

/// A moment as `2026-11-22 08:00 UTC`; empty for 0, which no run has.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let minutes = unix_ms / 60_000;
    // Days to a date by eras of 400 years that begin in March, so that the leap day comes last (Hinnant, "chrono-
    // compatible low-level date algorithms").
    let days = minutes / 1_440 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// A percentile's name in every view: `p50`, `p99.9`.
#[must_use]
pub fn percentile(quantile: f64) -> String {
    let percent = quantile * 100.0;
    let text = format!("{percent:.6}");
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0 us"),
            (0.4, "0.40 us"),
            (611.4, "611 us"),
            (999.6, "1.00 ms"),
            (1_863.0, "1.86 ms"),
            (12e6, "12.0 s"),
        ];
        cases.map(|(us, word)| assert_eq!(time(us), word)).to_vec();
        assert_eq!(time_or_dash(None), "-");
    }

    #[test]
    fn counts_shares_and_changes_read_well() {
        assert_eq!((rate(20_004.0), whole(300_104), whole(7)), ("20.0 k/s".into(), "300,104".into(), "7".into()));
        assert_eq!((percent(0.38), percent(0.00013), percent(0.0)), ("38 %".into(), "0.013 %".into(), "0 %".into()));
        assert_eq!((change(1.052), change(0.69), change(3.1)), ("+5.2 %".into(), "-31 %".into(), "x 3.10".into()));
        assert_eq!((change(1.0), change(0.9999)), ("0.0 %".into(), "0.0 %".into()));
        assert_eq!((bytes(812.0), bytes(1_572_864.0)), ("812 B".into(), "1.50 MiB".into()));
        assert_eq!(
            (percentile(0.5), percentile(0.999), percentile(0.9999)),
            ("p50".into(), "p99.9".into(), "p99.99".into())
        );
    }

    #[test]
    fn a_reason_says_what_was_seen_and_what_was_allowed() {
        let not_steady = Reason { code: "not-steady".to_owned(), value: 0.031, limit: 0.02 };
        assert_eq!(reason(&not_steady), "the run never became steady: slope over the window 3.1 % (limit 2.0 %)");
        let unknown = Reason { code: "moon_phase".to_owned(), value: 0.5, limit: 0.25 };
        assert_eq!(reason(&unknown), "moon_phase 0.50 (limit 0.25)");
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(utc(1_800_000_000_000), "2027-01-15 08:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!((utc(0), utc(86_399_999)), (String::new(), "1970-01-01 23:59 UTC".to_owned()));
        assert!(!utc(u64::MAX).is_empty());
    }

    #[test]
    fn a_run_without_checks_says_so() {
        assert!(checks(&BenchResult::default()).starts_with("UNCHECKED"));
    }
}
