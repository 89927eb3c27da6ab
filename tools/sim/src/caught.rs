//! A run whose assertions count as checkers: a panic of the code under test is a violation by `assert`.
//!
//! The world outlives the panic, so that what struck and what was asked until then is still in the report.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::observe::{Checker, Violation};
use crate::run::{Options, Report};
use crate::world::World;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The checker that an assertion of the code counts as.
pub const ASSERT: &str = "assert";

/// As [`crate::run::run`] with the checkers of `options`; a panic ends the run as a violation by [`ASSERT`] and is not
/// printed.
#[must_use]
pub fn run_caught(seed: u64, options: &Options) -> Report {
    run_caught_with(seed, options, &mut options.checkers())
}

/// As [`run_caught`], with these checkers.
#[must_use]
pub fn run_caught_with(seed: u64, options: &Options, checkers: &mut [Box<dyn Checker>]) -> Report {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if IS_QUIET.get() {
                let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
                PLACE.set(place.unwrap_or_default());
            } else {
                usual(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let mut world = None;
    let slot = &mut world;
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        // Moved, not lent: the world that holds them outlives this closure.
        let checkers = checkers;
        slot.insert(World::new(seed, options, checkers)).run();
    }));
    IS_QUIET.set(false);
    let mut report = world.map_or_else(|| Report::empty(seed), Report::of);
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let what = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        let what = what + &PLACE.take();
        report.violation.get_or_insert(Violation { checker: ASSERT, what });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Event, Time};
    use crate::profile::Profile;
    use crate::schedule::Schedule;

    /// Panics when the cluster has run for a while.
    struct Bomb;

    impl Checker for Bomb {
        fn name(&self) -> &'static str {
            "bomb"
        }

        fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
            let is_late = at.0 > 4_000_000_000 && matches!(event, Event::Turn(_));
            assert!(!is_late, "boom");
            Ok(())
        }
    }

    #[test]
    fn what_was_recorded_survives_a_panic() {
        let mut options = Options { is_recording: true, ..Options::new(Profile::Dense) };
        options.size.length_ms = Some(8000);
        let report = run_caught_with(3, &options, &mut [Box::new(Bomb)]);
        let violation = report.violation.expect("it panicked");
        assert_eq!(violation.checker, ASSERT);
        assert!(violation.what.starts_with("boom (") && violation.what.contains("caught.rs:"), "{violation}");
        let schedule = report.schedule.expect("it was recorded");
        assert!(!schedule.faults.is_empty() && schedule.operations.is_some_and(|begun| begun.len() > 5));
        let again = run_caught_with(3, &Options::replaying(&Schedule { operations: None, ..schedule }), &mut []);
        assert_eq!(again.violation, None);
        assert!(again.simulated_ns > report.simulated_ns);
    }
}
