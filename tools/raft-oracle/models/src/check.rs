//! Runs a plan to its end and says what was found.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::plan::Plan;
use crate::world::{Action, World};

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// States that differ.
    pub states: usize,
    /// The longest of all shortest paths.
    pub depth: usize,
    /// The time it took.
    pub took: Duration,
    /// The first rule that broke, and how.
    pub broken: Option<(&'static str, Vec<String>)>,
    /// What should happen sometimes and never did.
    pub never: Vec<&'static str>,
}

impl Report {
    /// Is it as the plan says: a rule breaks in a broken twin, and otherwise all hold and nothing is idle?
    #[must_use]
    pub fn is_expected(&self, plan: &Plan) -> bool {
        self.broken.is_some() == plan.breaks && self.never.is_empty()
    }
}

/// Looks at every state within the plan's bounds, or at those up to the first broken rule.
#[must_use]
pub fn check(plan: &Plan, threads: usize) -> Report {
    let began = Instant::now();
    let quiet = std::panic::take_hook();
    // An assert that fails is a finding with a path, not a page of text.
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("MODEL_PANICS").is_some() {
            eprintln!("{info}");
        }
    }));
    let checker = plan.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut broken = None;
    let mut never = Vec::new();
    for property in plan.properties() {
        let path = checker.discovery(property.name);
        match (property.expectation.discovery_is_failure(), path) {
            (true, Some(path)) => broken = broken.or(Some((property.name, tell(plan, path)))),
            (false, None) => never.push(property.name),
            _ => {}
        }
    }
    std::panic::set_hook(quiet);
    if broken.is_some() {
        never.clear();
    }
    Report { states: checker.unique_state_count(), depth: checker.max_depth(), took: began.elapsed(), broken, never }
}

fn tell(plan: &Plan, path: Path<World, Action>) -> Vec<String> {
    path.into_vec().into_iter().filter_map(|(world, action)| plan.format_step(&world, action?)).collect()
}
