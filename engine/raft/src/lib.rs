//! The consensus core: one [`Raft`] is one group on one node, pure and sans-I/O.
//!
//! Inputs go in by [`Raft::step`], effects come out by [`Raft::drain`]; nothing else happens. No clock, no randomness
//! of its own, no I/O. Entries reach the log through the [`Log`] trait as bytes that nobody here parses.
//! Source: Ongaro and Ousterhout 2014 ("Raft"), Ongaro's thesis 2014, docs/design/raft.md.

mod config;
mod drain;
mod effects;
mod election;
mod epochs;
mod follow;
mod follower_read;
mod health;
mod history;
mod input;
mod lead;
mod learners;
mod lease;
mod log;
mod membership;
mod message;
mod progress;
mod quiesce;
mod quorum;
mod raft;
mod read;
mod repair;
mod replicate;
mod settings;
mod snapshot;
#[doc(hidden)]
pub mod testing;

pub use config::{ChangeError, Config, DecodeConfigError};
pub use effects::{Alarm, Effects, HardState, Outgoing, ReadPath, ReadsConfirmed, RoleChange};
pub use health::Health;
pub use input::{ConfigChange, Input, Outcome};
pub use lease::{CLOCK_GRANULARITY, CLOCK_RATE_ERROR_ONE_IN};
pub use log::Log;
pub use membership::HANDOVER_LAG_MAX;
pub use message::{Body, NO_HINT};
pub use progress::{Peer, Progress};
pub use raft::{Boot, Raft, Role};
pub use settings::Settings;
