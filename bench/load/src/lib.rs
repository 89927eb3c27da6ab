//! The load generator: open loop, judged, every answer checked. `dropstone bench` is its face.
//!
//! Everything but `drivers::native`, `session`, `observe` and `host` is pure: `now` is an argument, so that tests run in
//! virtual time.
//! docs/design/bench.md has the rules, the clocks and the mixes.
//!
//! ```text
//! stream arrivals keys sizes ─▶ source ─▶ generator ─▶ driver      what to send, when, to whom
//!    mix tree trace ───────────────┘          │
//!                              judge recorder ◀┘ ─▶ phases ─▶ verdict sweep verify
//! session: a whole run on threads, with what `observe` sees of target and machine meanwhile
//! report stats: what a run found, how sure it is, and how it is shown and compared
//! ```

pub mod arrivals;
pub mod content;
pub mod driver;
pub mod drivers;
pub mod faults;
pub mod generator;
pub mod host;
pub mod judge;
pub mod keep;
pub mod keys;
pub mod mix;
pub mod observe;
pub mod op;
pub mod phases;
mod pieces;
pub mod recorder;
pub mod report;
pub mod run;
pub mod session;
pub mod sizes;
pub mod source;
pub mod stats;
pub mod steady;
pub mod stream;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod text;
pub mod trace;
pub mod tree;
pub mod verdict;
pub mod verify;

pub use base::{Mono, Span};
