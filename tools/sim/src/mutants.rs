//! The hunt for seeded bugs: how many seeds it takes until a checker sees each (docs/TESTING.md, "Mutations").
//!
//! Compiled under `--cfg mutations` alone; `cargo xtask sim mutations` builds that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base::mutations::{self, Mutation};

use crate::caught::run_caught;
use crate::matrix;
use crate::run::Options;

/// Seeds after which a seeded bug counts as not seen.
pub const SEEDS_MAX: u64 = 240;

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
    let kill = match bad {
        Ok(bad) => bad.map(|(case, what)| (case, MATRIX.to_owned(), what)),
        Err(_) => Some((0, crate::caught::ASSERT.to_owned(), "a case ended in an assertion of the code".to_owned())),
    };
    let kill = kill.map(|(case, checker, what)| Kill { seed: case, tried: case + 1, checker, what });
    Hunt { mutation, kill }
}

/// Stands for a checker where a case of the matrix saw the bug.
const MATRIX: &str = "matrix";

/// Bugs that only damage to what is durable shows: they are hunted with it.
#[must_use]
pub fn wants_damage(id: &str) -> bool {
    ["12", "13", "28"].contains(&id.trim_end_matches(|c: char| c.is_ascii_alphabetic()))
}

/// How a hunt ended.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutation: Mutation,
    /// The seed that showed it, and how many were run until then; `None` when none did.
    pub kill: Option<Kill>,
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
}

impl Hunt {
    /// Seen, and by one of the checkers that should have.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.kill.as_ref().is_some_and(|kill| self.mutation.checkers.contains(&kill.checker.as_str()))
    }
}

/// Runs seeds from `first` on, at most `most` of them, on `threads` threads, with one bug switched on, until a checker
/// sees it.
#[must_use]
pub fn hunt(mutation: Mutation, options: &Options, first: u64, most: u64, threads: u64) -> Hunt {
    mutations::switch(Some(mutation));
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
                    let Some((checker, what)) = run_one(first + tried, options) else { continue };
                    is_over.store(true, Ordering::Relaxed);
                    let kill = Kill { seed: first + tried, tried: tried + 1, checker, what };
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if found.as_ref().is_none_or(|other| kill.seed < other.seed) {
                        *found = Some(kill);
                    }
                }
            });
        }
    });
    mutations::switch(None);
    Hunt { mutation, kill: found.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

/// The checker that failed and what it said.
fn run_one(seed: u64, options: &Options) -> Option<(String, String)> {
    run_caught(seed, options).violation.map(|violation| (violation.checker.to_owned(), violation.what))
}

/// The table of docs/TESTING.md, one line for each bug.
#[must_use]
pub fn table(hunts: &[Hunt]) -> String {
    let mut out = String::from("| MUT | mutation | seeds | seen by | expected |\n| --- | --- | --- | --- | --- |\n");
    for hunt in hunts {
        let Mutation { id, what, checkers, .. } = hunt.mutation;
        let (seeds, seen) = match &hunt.kill {
            Some(kill) => (kill.tried.to_string(), kill.checker.as_str()),
            None => ("none".to_owned(), "**nobody**"),
        };
        let lines = format!("| {id} | {what} | {seeds} | {seen} | {} |\n", checkers.join(", "));
        out.push_str(&lines);
    }
    out
}
