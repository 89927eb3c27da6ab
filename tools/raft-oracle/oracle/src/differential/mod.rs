//! The differential stepper: the same state and the same message into both, and the same must come out.
//!
//! A small cluster of our core under loss, duplication, any reorder, crashes and campaigns makes the states and the
//! messages. Before each step the raft crate is made anew in the state of the node; both step; state and words are
//! compared, after the known differences of `rules`.

mod member;
mod rules;
mod twins;
mod view;
mod world;

use std::collections::BTreeMap;

pub use rules::{RULES, Rule};

/// What a run did.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Steps compared, by the kind of input.
    pub compared: BTreeMap<&'static str, u64>,
    /// How often a known difference showed.
    pub rules: BTreeMap<Rule, u64>,
    /// Steps not compared: a timer that only waits on.
    pub skipped: u64,
    /// Entries committed, over all worlds.
    pub commits: u64,
    /// Worlds, each some thousand steps.
    pub worlds: u64,
}

impl Counts {
    /// All steps compared.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.compared.values().sum()
    }
}

/// Compares at least `steps` steps. Panics at the first difference that no rule explains.
#[must_use]
pub fn run(steps: u64, seed: u64) -> Counts {
    let mut counts = Counts::default();
    while counts.steps() < steps {
        let world_seed = base::mix64(seed ^ base::mix64(counts.worlds));
        world::World::new(world_seed).run(&mut counts);
        counts.worlds += 1;
    }
    counts
}
