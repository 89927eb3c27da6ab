//! The checkers: each a file that states one claim in its first line and is fed by [`crate::observe::Event`]s alone.
//!
//! A checker remembers what it needs of the past itself and looks only at what moved since, so that a turn costs it a
//! few compares; what reads everything runs at [`Event::End`].

pub(crate) mod answers;
pub(crate) mod committed;
pub(crate) mod lives;
pub(crate) mod mirror;
pub(crate) mod quorum;
pub(crate) mod slots;
#[cfg(test)]
pub(crate) mod testing;

pub mod advertised;
pub mod amnesia;
pub mod bounds;
pub mod compat;
pub mod config;
pub mod converge;
pub mod durable;
pub mod election;
pub mod fail_slow;
pub mod freshness;
pub mod hard_state;
pub mod leader;
pub mod leader_completeness;
pub mod lease;
pub mod liar;
pub mod linear;
pub mod log_matching;
pub mod log_shape;
pub mod model;
pub mod notify;
pub mod once;
pub mod progress;
pub mod refinement;
pub mod register;
pub mod repair;
pub mod session;
pub mod state_equal;
pub mod tenant;
pub mod unrecoverable;
pub mod until;
pub mod wakeup;
pub mod watermarks;

use crate::observe::{Checker, Event, Time, Violation};

/// Every checker, fresh, for one run.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(election::Election::default()),
        Box::new(hard_state::HardState::default()),
        Box::new(log_matching::LogMatching::default()),
        Box::new(leader_completeness::LeaderCompleteness::default()),
        Box::new(watermarks::Watermarks::default()),
        Box::new(config::ConfigChanges::default()),
        Box::new(refinement::Refinement::default()),
        Box::new(durable::Durability::default()),
        Box::new(log_shape::LogShape::default()),
        Box::new(repair::Repair::default()),
        Box::new(state_equal::StateEqual::default()),
        Box::new(model::Model::default()),
        Box::new(once::Once::default()),
        Box::new(linear::Linear::default()),
        Box::new(register::Register::default()),
        Box::new(lease::Lease::default()),
        Box::new(freshness::Freshness::default()),
        Box::new(session::Session::default()),
        Box::new(notify::Notify::default()),
        Box::new(wakeup::Wakeup::default()),
        Box::new(leader::Leader::default()),
        Box::new(progress::Progress::default()),
        Box::new(converge::Converge::default()),
        Box::new(fail_slow::FailSlow::default()),
        Box::new(bounds::Bounds::default()),
        Box::new(advertised::Advertised::default()),
        Box::new(compat::Compat),
        Box::new(tenant::Tenant),
        Box::new(unrecoverable::Unrecoverable),
    ]
}

/// Shows an event to every checker, in order.
///
/// # Errors
/// The first claim that does not hold.
pub fn observe_all(checkers: &mut [Box<dyn Checker>], at: Time, event: &Event<'_>) -> Result<(), Violation> {
    checkers.iter_mut().try_for_each(|checker| checker.observe(at, event))
}

/// Returns a [`Violation`] from the enclosing function unless the condition holds.
macro_rules! ensure {
    ($checker:expr, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::observe::Violation { checker: $checker, what: format!($($what)+) });
        }
    };
}
pub(crate) use ensure;
