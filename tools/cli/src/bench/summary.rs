//! Lines on stderr while something is measured.

use load::phases::Second;
use load::report::words;
use load::sweep::{Level, Probe};

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// One second.
pub fn print_second(second: &Second) {
    if second.offered == 0 && second.in_flight == 0 && !second.is_measured && second.second > 0 {
        // Only late answers come after the window.
        return;
    }
    if second.second.is_multiple_of(20) {
        eprintln!("   s    offered  achieved      p50      p99    p99.9      max  inflight  lag99    err  (ms)");
    }
    let Second { second: at, offered, achieved, errors, in_flight, .. } = second;
    let mark = if second.is_measured { ' ' } else { 'w' };
    let (p50, p99, p999) = (ms(second.p50_ns), ms(second.p99_ns), ms(second.p999_ns));
    let (max, lag) = (ms(second.max_ns), ms(second.lag99_ns));
    eprintln!(
        "{at:>4}{mark} {offered:>9} {achieved:>9} {p50:>8.2} {p99:>8.2} {p999:>8.2} {max:>8.2} {in_flight:>9} {lag:>6.2} {errors:>6}"
    );
}

/// One level of a sweep, `elapsed_s` after its begin.
pub fn print_level(level: &Level, holds: bool, probe: Probe, elapsed_s: f64) {
    let what = match probe {
        Probe::Search => "search",
        Probe::Confirm => "confirm",
        Probe::Curve => "curve",
    };
    let [p50, p99] = [level.p50_ns, level.p99_ns].map(|ns| words::time(ns as f64 / 1e3));
    let (rate, achieved) = (words::rate(level.rate), words::rate(level.achieved));
    let kept = if holds { "kept" } else { "broken" };
    let errors = if level.errors > 0.0 { format!(", errors {}", words::percent(level.errors)) } else { String::new() };
    eprintln!(
        "{elapsed_s:>5.0} s  {what:<7} {rate:>8}  answered {achieved:>8}  p50 {p50:>7}  p99 {p99:>7}  {kept}{errors}"
    );
}
