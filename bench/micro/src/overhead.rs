//! What the latency profile costs: the same work in a build with it and in one without.
//!
//! ```text
//! instructions   server/turn/* under callgrind, both builds of micro-callgrind       at most 1 % more an operation
//! throughput     `dropstone dev --exit`, both builds by turns: with, without, without, with, ...   at most 2 % less
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use load::stats::{Interval, geometric_mean};

use crate::callgrind::{Counter, valgrind};

/// The limit of instructions. Units: parts.
const INSTRUCTIONS_MAX: f64 = 0.01;
/// The limit of throughput. Units: parts.
const THROUGHPUT_MAX: f64 = 0.02;
/// What is counted.
const TURNS: &str = "server/turn/";

/// Two builds of one program.
#[derive(Clone, Debug)]
pub struct Arms {
    /// As it ships.
    pub with: PathBuf,
    /// With feature `profile-off`.
    pub without: PathBuf,
}

/// Counts the turns of both builds; true when none has too many more with the profile.
///
/// # Errors
/// A program does not run.
pub fn instructions(arms: &Arms) -> Result<bool> {
    if valgrind().is_none() {
        println!("SKIPPED: instructions of the profile: there is no valgrind here (Debian package valgrind)");
        return Ok(true);
    }
    let [with, without] = [&arms.with, &arms.without].map(|path| Counter::new(path));
    let mut is_good = true;
    println!("{:<28} {:>12} {:>12}", "instructions of an operation", "without", "with");
    for counted in with.list()?.iter().filter(|counted| counted.id.starts_with(TURNS)) {
        let (now, bare) = (with.count(counted)?, without.count(counted)?);
        let more = now / bare - 1.0;
        is_good &= more <= INSTRUCTIONS_MAX;
        println!("{:<28} {bare:>12.1} {now:>12.1} {:+6.2} %", counted.id, more * 100.0);
    }
    println!("the limit is {:+.1} %: {}", INSTRUCTIONS_MAX * 100.0, if is_good { "held" } else { "NOT held" });
    Ok(is_good)
}

/// Runs both builds by turns, so many pairs; true unless the whole interval of the ratio is beyond the limit.
///
/// # Errors
/// A run fails or tells no rate.
pub fn throughput(arms: &Arms, pairs: usize, dir: &Path) -> Result<bool> {
    ensure!(pairs >= 2, "an interval needs two pairs or more");
    let mut ratios = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        // ABBA: whatever drifts meets both arms alike.
        let (with, without) = if pair % 2 == 0 {
            let with = rate(&arms.with, dir)?;
            (with, rate(&arms.without, dir)?)
        } else {
            let without = rate(&arms.without, dir)?;
            (rate(&arms.with, dir)?, without)
        };
        println!("pair {:>2}: {with:>8.0} commits/s with, {without:>8.0} without, {:.3}", pair + 1, with / without);
        ratios.push(with / without);
    }
    let (centre, interval) = geometric_mean(&ratios, 1).context("a run told no rate")?;
    println!("with the profile over without: {centre:.3}, 95 % interval {:.3} to {:.3}", interval.low, interval.high);
    Ok(judge(&interval))
}

/// Says what the interval of the ratio means; false when it is beyond the limit as a whole.
fn judge(interval: &Interval) -> bool {
    let limit = 1.0 - THROUGHPUT_MAX;
    let word = match () {
        () if interval.low >= limit => "held",
        () if interval.high < limit => "NOT held",
        () => "undecided: more pairs, or a quieter machine",
    };
    println!("the limit is {limit:.2}: {word}");
    interval.high >= limit
}

/// Commits a second of `dev --exit` in a fresh directory.
fn rate(program: &Path, dir: &Path) -> Result<f64> {
    let data = dir.join("profile-overhead");
    let _ = std::fs::remove_dir_all(&data);
    let output = Command::new(program)
        .args(["dev", "--exit", "--port", "17300", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not run {}", program.display()))?;
    let _ = std::fs::remove_dir_all(&data);
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "dev --exit ended with {}:\n{told}", output.status);
    rate_of(&told).with_context(|| format!("dev --exit told no rate:\n{told}"))
}

/// Of `  15014 durable commits/s with 64 in flight`.
fn rate_of(told: &str) -> Option<f64> {
    told.lines().find_map(|line| line.split_once(" durable commits/s")?.0.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_a_text_without_one_has_none() {
        let told = "dev\n  15014 durable commits/s with 64 in flight (30028 in 2.0 s, all read back)\n";
        assert_eq!(rate_of(told), Some(15_014.0));
        assert_eq!(rate_of("ended"), None);
    }

    #[test]
    fn only_an_interval_beyond_the_limit_as_a_whole_fails() {
        assert!(judge(&Interval::new(0.985, 1.02)));
        assert!(judge(&Interval::new(0.95, 1.02)), "undecided is not failed");
        assert!(!judge(&Interval::new(0.93, 0.97)));
    }
}
