//! The simulator: a whole cluster on one thread from one seed, with faults of every class and checkers that share
//! nothing with the code they check (docs/TESTING.md).
//!
//! Layer 5: it drives the rooms below exactly as the metaserver does, with a simulated network, disk, store and clock.

pub mod checker;
pub mod observe;
