//! A run whose assertions count as checkers: a panic of the code under test is a violation by `assert`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::observe::Violation;
use crate::run::{Options, Report, run};

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The checker that an assertion of the code counts as.
pub const ASSERT: &str = "assert";

/// As [`run`] with the checkers of `options`; a panic ends the run as a violation by [`ASSERT`] and is not printed.
#[must_use]
pub fn run_caught(seed: u64, options: &Options) -> Report {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                usual(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, options, &mut options.checkers())));
    IS_QUIET.set(false);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let what = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        Report { violation: Some(Violation { checker: ASSERT, what }), ..Report::empty(seed) }
    })
}
