//! Instructions of an operation by id: the committed file, and what makes a new count worse than it.
//!
//! ```text
//! # rustc 1.95.0 (59807616e 2026-04-14), valgrind-3.19.0, AMD EPYC family 25 model 17
//! base/crc32c/n=64B                                    85.0
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// More than this is a failure: the same code, built in another directory, counted up to 2.1 % more. Units: parts of the
/// count before.
pub const GROWTH_MAX: f64 = 0.05;
/// A difference of less than this many instructions an operation is none: operations of a few are rounded.
const ALWAYS_ALLOWED: f64 = 1.0;

/// Counts, and the tools that they were made with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Compiler, valgrind and processor: counts of other ones are not compared.
    pub tools: String,
    /// Instructions of an operation, by id.
    pub of: BTreeMap<String, f64>,
}

/// The file of counts is not one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "line {} is not `ID INSTRUCTIONS`; write the file anew with `cargo xtask long bench --update`",
            self.line
        )
    }
}

impl std::error::Error for BadLine {}

/// What became of an id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Within the bound.
    Same(f64),
    /// Fewer than the bound below: the file should be written anew, or the next growth goes unseen.
    Fewer(f64),
    /// More than is allowed.
    More(f64),
    /// There was no count.
    New,
}

impl Counts {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn parse(text: &str) -> Result<Counts, BadLine> {
        let mut counts = Counts::default();
        for (at, line) in text.lines().enumerate() {
            if let Some(tools) = line.strip_prefix("# ") {
                tools.clone_into(&mut counts.tools);
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, count] = words[..] else { return Err(BadLine { line: at + 1 }) };
            let count: f64 = count.parse().map_err(|_| BadLine { line: at + 1 })?;
            counts.of.insert(id.to_owned(), count);
        }
        Ok(counts)
    }

    /// The file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("# {}\n", self.tools);
        for (id, count) in &self.of {
            writeln!(text, "{id:<44} {count:>12.1}").expect("a string takes everything");
        }
        text
    }

    /// What became of an id whose count is `now`.
    #[must_use]
    pub fn judge(&self, id: &str, now: f64) -> Change {
        let Some(before) = self.of.get(id) else { return Change::New };
        let change = now / before.max(f64::MIN_POSITIVE) - 1.0;
        match () {
            () if (now - before).abs() < ALWAYS_ALLOWED => Change::Same(change),
            () if change > GROWTH_MAX => Change::More(change),
            () if change < -GROWTH_MAX => Change::Fewer(change),
            () => Change::Same(change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let mut counts = Counts { tools: "rustc 1, valgrind 2".to_owned(), ..Counts::default() };
        counts.of.insert("base/crc32c/n=64B".to_owned(), 85.5);
        counts.of.insert("raft/propose/b=1".to_owned(), 12345.0);
        assert_eq!(Counts::parse(&counts.to_text()), Ok(counts));
        assert_eq!(Counts::parse("# x\nbase/a/b many\n"), Err(BadLine { line: 2 }));
        assert_eq!(Counts::parse("base/a/b\n"), Err(BadLine { line: 1 }));
    }

    #[test]
    fn more_than_a_twentieth_more_is_too_many_and_a_new_id_is_none() {
        let counts = Counts::parse("a/b/c 1000\nd/e/f 3\n").unwrap();
        assert!(matches!(counts.judge("a/b/c", 1049.0), Change::Same(_)));
        assert!(matches!(counts.judge("a/b/c", 1051.0), Change::More(more) if more > 0.05));
        assert!(matches!(counts.judge("a/b/c", 949.0), Change::Fewer(_)));
        assert!(matches!(counts.judge("d/e/f", 3.9), Change::Same(_)), "less than one instruction is rounding");
        assert_eq!(counts.judge("g/h/i", 1.0), Change::New);
    }
}
