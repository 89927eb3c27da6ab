//! An oracle for our consensus core: tikv's `raft` crate, step by step beside it and in one cluster with it.
//!
//! What is compared, what is not and why: README.md of this workspace.

pub mod adapter;
pub mod differential;
pub mod mixed;
pub mod twin;

/// A logger that says nothing: the raft crate wants one.
pub fn silent() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// The times of our core, without leases and rest: the raft crate's followers echo no clock and never rest.
#[must_use]
pub fn settings() -> ours::Settings {
    ours::Settings { lease: None, quiesce_after: None, ..ours::Settings::default() }
}
