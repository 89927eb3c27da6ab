//! What every room shares: ids and positions as newtypes, limits, checksums, the log record, a seeded generator,
//! time as a value, and what the latency profile counts in.
//!
//! Nothing here does I/O, reads a clock or keeps state. Layer 0: it imports no other room.

pub mod bytes;
pub mod checksum;
pub mod histogram;
pub mod id_map;
pub mod ids;
pub mod limits;
pub mod mark;
pub mod mono;
pub mod mutations;
pub mod names;
pub mod prng;
pub mod record;
pub mod stages;

pub use id_map::IdMap;
pub use ids::*;
pub use mono::{Mono, Span};
pub use prng::{Prng, mix64};
