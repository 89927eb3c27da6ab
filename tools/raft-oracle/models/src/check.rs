//! Runs a plan to its end or to a bound, and says what was found.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::plan::Plan;
use crate::search::{Bounds, Search};
use crate::world::{Action, World};

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// States that were made.
    pub states: usize,
    /// Of these, those that differ.
    pub unique: usize,
    /// Of these, those that differ in more than the messages under way; 0 if they were not counted.
    pub shapes: usize,
    /// The longest of all shortest paths.
    pub depth: usize,
    /// The search met a bound: all states of fewer actions than this were looked at.
    pub cut: Option<usize>,
    /// The time it took.
    pub took: Duration,
    /// The first rule that broke, and how.
    pub broken: Option<(&'static str, Vec<String>)>,
    /// What should happen sometimes and never did.
    pub never: Vec<&'static str>,
}

impl Report {
    /// Is it as the plan says: the rule breaks in a broken twin, and otherwise all hold and nothing is idle?
    #[must_use]
    pub fn is_expected(&self, plan: &Plan) -> bool {
        self.broken.is_some() == plan.breaks.is_some() && self.never.is_empty()
    }
}

/// Looks at every state within the plan's bounds, breadth first, or at those up to the first broken rule.
#[must_use]
pub fn check(plan: &Plan, bounds: Bounds) -> Report {
    let began = Instant::now();
    let quiet = std::panic::take_hook();
    // An assert that fails is a finding with a path, not a page of text.
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("MODEL_PANICS").is_some() {
            eprintln!("{info}");
        }
    }));
    let search = Search::new(plan, bounds);
    let checker = search.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    checker.model().end();
    let cut = checker.model().cut();
    let shapes = checker.model().shapes();
    let mut broken = None;
    let mut never = Vec::new();
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        match (property.expectation.discovery_is_failure(), path) {
            (true, Some(path)) => broken = broken.or(Some((property.name, tell(checker.model(), path)))),
            // Nobody knows what a bounded search would still have met.
            (false, None) if cut.is_none() => never.push(property.name),
            _ => {}
        }
    }
    std::panic::set_hook(quiet);
    if broken.is_some() {
        never.clear();
    }
    Report { states, unique, shapes, depth, cut, took: began.elapsed(), broken, never }
}

fn tell(search: &Search, path: Path<World, Action>) -> Vec<String> {
    path.into_vec().into_iter().filter_map(|(_, action)| Some(search.tell(action?))).collect()
}
