//! The hunt for seeded bugs: how many seeds it takes until a checker sees each (docs/TESTING.md, "Mutations").
//!
//! Compiled under `--cfg mutations` alone; `cargo xtask sim mutations` builds that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base::mutations::{self, Mutation};

use crate::caught::run_caught;
use crate::matrix;
use crate::run::Options;

/// What hunts a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    /// Seeds of a profile.
    Seeds,
    /// The cases of a set of the storage-fault matrix, [`crate::matrix`]: for what takes one order of many events.
    Matrix(&'static str),
}

/// Which tool hunts a bug.
#[must_use]
pub fn tool_of(id: &str) -> Tool {
    match id {
        "12c" | "12d" => Tool::Matrix("doubts"),
        _ => Tool::Seeds,
    }
}

/// Runs the cases of a set of the matrix with one bug switched on, until one does not end as it must.
#[must_use]
pub fn hunt_in_matrix(mutation: Mutation, name: &str) -> Hunt {
    let set = matrix::SETS.iter().find(|set| set.name == name).expect("the sets named here are there");
    mutations::switch(Some(mutation));
    let bad = std::panic::catch_unwind(|| matrix::first_bad(set));
    mutations::switch(None);
    let bad = match bad {
        Ok(bad) => bad.map(|(case, what)| (case, MATRIX.to_owned(), what)),
        Err(_) => Some((0, crate::caught::ASSERT.to_owned(), "a case ended in an assertion of the code".to_owned())),
    };
    let kill = |(case, checker, what)| Kill { seed: case, tried: case + 1, checker, what, at: 0, also: None };
    Hunt { mutation, kills: vec![bad.map(kill)], most: 0 }
}

/// Stands for a checker where a case of the matrix saw the bug.
const MATRIX: &str = "matrix";

/// How the hunts for one bug ended.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutation: Mutation,
    /// For each hunt the seed that showed it; `None` when none did.
    pub kills: Vec<Option<Kill>>,
    /// Seeds tried at most in one hunt.
    pub most: u64,
}

/// A seed under which a bug was seen.
#[derive(Clone, Debug)]
pub struct Kill {
    /// The seed.
    pub seed: u64,
    /// Seeds tried up to and including it.
    pub tried: u64,
    /// The checker that saw it; `assert` for an assertion of the code itself.
    pub checker: String,
    /// What it said.
    pub what: String,
    /// At which simulated ns.
    pub at: u64,
    /// A checker that should see the bug, and does under this seed when those that were quicker are not asked.
    pub also: Option<String>,
}

impl Hunt {
    /// Seen in one hunt at least.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.kills.iter().any(Option::is_some)
    }

    /// One of the checkers that should see the bug is among those that do.
    #[must_use]
    pub fn is_by_expected(&self, kill: &Kill) -> bool {
        self.mutation.checkers.contains(&kill.checker.as_str()) || kill.also.is_some()
    }

    /// Seen, and in one hunt at least by one of the checkers that should have.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.kills.iter().flatten().any(|kill| self.is_by_expected(kill))
    }

    /// Seeds of each hunt; one that found nothing counts with all that it tried.
    fn tried(&self) -> impl Iterator<Item = u64> {
        self.kills.iter().map(|kill| kill.as_ref().map_or(self.most, |kill| kill.tried))
    }

    /// Seeds per hunt, on average.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.tried().sum::<u64>() as f64 / self.kills.len().max(1) as f64
    }

    /// Seeds of the longest hunt; above all that it may try when that found nothing.
    #[must_use]
    pub fn longest(&self) -> u64 {
        let tried = self.kills.iter().map(|kill| kill.as_ref().map_or(self.most + 1, |kill| kill.tried));
        tried.max().unwrap_or_default()
    }

    /// Who saw it: each checker once, those that were not expected marked.
    #[must_use]
    pub fn seen_by(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for kill in self.kills.iter().flatten() {
            let name = match &kill.also {
                Some(also) => format!("{} before {also}", kill.checker),
                None if self.is_by_expected(kill) => kill.checker.clone(),
                None => format!("{} (accidental)", kill.checker),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    /// One line of it.
    #[must_use]
    pub fn line(&self) -> String {
        if !self.is_killed() {
            return format!("NOBODY in {} x {} seeds", self.kills.len(), self.most);
        }
        let each = self.kills.iter().map(|kill| match kill {
            Some(kill) => format!("{} (seed {})", kill.tried, kill.seed),
            None => "none".to_owned(),
        });
        format!("{} after {} seeds", self.seen_by(), each.collect::<Vec<_>>().join(", "))
    }
}

/// Hunts once from each of `firsts`, through at most `most` seeds on `threads` threads, with one bug switched on, until a
/// checker sees it.
#[must_use]
pub fn hunt(mutation: Mutation, options: &Options, firsts: impl Iterator<Item = u64>, most: u64, threads: u64) -> Hunt {
    mutations::switch(Some(mutation));
    let mut kills: Vec<Option<Kill>> = firsts.map(|first| hunt_from(options, first, most, threads)).collect();
    for kill in kills.iter_mut().flatten().filter(|kill| !mutation.checkers.contains(&kill.checker.as_str())) {
        kill.also = seen_by_expected(mutation, options, kill.seed);
    }
    mutations::switch(None);
    Hunt { mutation, kills, most }
}

fn hunt_from(options: &Options, first: u64, most: u64, threads: u64) -> Option<Kill> {
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let found: Mutex<Option<Kill>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let tried = next.fetch_add(1, Ordering::Relaxed);
                    if tried >= most {
                        return;
                    }
                    let Some((checker, what, at)) = run_one(first + tried, options) else { continue };
                    is_over.store(true, Ordering::Relaxed);
                    let kill = Kill { seed: first + tried, tried: tried + 1, checker, what, at, also: None };
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if found.as_ref().is_none_or(|other| kill.seed < other.seed) {
                        *found = Some(kill);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The seed again, with none but the checkers that should see the bug: which of them does.
fn seen_by_expected(mutation: Mutation, options: &Options, seed: u64) -> Option<String> {
    let others = crate::checker::all().into_iter().map(|checker| checker.name().to_owned());
    let skips = others.filter(|name| !mutation.checkers.contains(&name.as_str())).collect();
    let (checker, ..) = run_one(seed, &Options { skips, ..options.clone() })?;
    mutation.checkers.contains(&checker.as_str()).then_some(checker)
}

/// The checker that failed, what it said, and when.
fn run_one(seed: u64, options: &Options) -> Option<(String, String, u64)> {
    let report = run_caught(seed, options);
    report.violation.map(|violation| (violation.checker.to_owned(), violation.what, report.simulated_ns))
}

/// The table of docs/TESTING.md, one line for each bug: seeds of each hunt, and their mean.
#[must_use]
pub fn table(hunts: &[Hunt]) -> String {
    let mut out =
        String::from("| MUT | mutation | seeds | mean | seen by | expected |\n| --- | --- | --- | --- | --- | --- |\n");
    for hunt in hunts {
        let Mutation { id, what, checkers, .. } = hunt.mutation;
        let each = hunt.kills.iter().map(|kill| kill.as_ref().map_or("-".to_owned(), |kill| kill.tried.to_string()));
        let each = each.collect::<Vec<_>>().join(", ");
        let (mean, seen) = if hunt.is_killed() {
            let is_bound = hunt.kills.iter().any(Option::is_none);
            (format!("{}{:.1}", if is_bound { "above " } else { "" }, hunt.mean()), hunt.seen_by())
        } else {
            ("-".to_owned(), "**nobody**".to_owned())
        };
        let line = format!("| {id} | {what} | {each} | {mean} | {seen} | {} |\n", checkers.join(", "));
        out.push_str(&line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(tried: u64, checker: &str) -> Option<Kill> {
        Some(Kill { seed: tried, tried, checker: checker.to_owned(), what: String::new(), at: 0, also: None })
    }

    #[test]
    fn a_hunt_in_vain_counts_with_all_that_it_tried() {
        let mutation = base::mutations::MUT_2A;
        let hunt = Hunt { mutation, kills: vec![kill(4, "refinement"), None, kill(2, "watermarks")], most: 60 };
        assert!(hunt.is_killed() && hunt.is_expected());
        assert_eq!((hunt.mean(), hunt.longest()), (22.0, 61));
        assert_eq!(hunt.seen_by(), "refinement, watermarks (accidental)");
        let mut quick = kill(1, "watermarks");
        quick.as_mut().expect("it was just made").also = Some("refinement".to_owned());
        let quick = Hunt { mutation, kills: vec![quick], most: 60 };
        assert!(quick.is_expected() && quick.seen_by() == "watermarks before refinement");
        let nobody = Hunt { mutation, kills: vec![None], most: 60 };
        assert!(!nobody.is_killed() && nobody.line().starts_with("NOBODY in 1 x 60"));
        let lines = table(&[hunt, nobody]);
        assert!(lines.contains("| 4, -, 2 | above 22.0 |") && lines.contains("| - | - | **nobody** |"), "{lines}");
    }
}
