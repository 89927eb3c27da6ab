//! The simulator: a whole cluster on one thread from one seed, with faults of every class and checkers that share
//! nothing with the code they check (docs/TESTING.md).
//!
//! Layer 5: it drives the rooms below exactly as the metaserver does, with a simulated network, disk, store and clock.

pub mod begun;
pub mod caught;
pub mod checker;
pub mod claims;
pub mod cli;
pub mod coverage;
pub mod disk;
pub mod draw;
pub mod failure;
pub mod fault;
pub mod inject;
pub mod json;
pub mod liar;
pub mod linear;
pub mod matrix;
#[cfg(mutations)]
pub mod mutants;
pub mod observe;
pub mod profile;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod swarm;
pub mod sweep;

mod buffers;
mod clock;
mod control;
mod heap;
mod hunting;
#[cfg(mutations)]
mod keeping;
mod mutating;
mod spec;
mod store;
mod trace;
mod world;

pub use fault::Class;
pub use profile::Profile;
pub use run::{Options, Report, run};
pub use schedule::Schedule;
