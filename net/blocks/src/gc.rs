//! Garbage collection of the object store: mark and sweep with a grace period (docs/design/blocks.md, "Garbage").
//!
//! ```text
//!   task (clock, store, metaservers)            collector (pure)
//!        ──────── next(now) ────────────────▶  what to do: list, mark, trash, delete, restore, check, ...
//!        ◀─────── job ──────────────────────
//!        ──────── objects, pages, results ──▶
//! ```
//! An object goes in two moves: unmarked and old it goes to `trash/`, still unmarked in a mark that began a week later
//! it goes for good. Whatever is wrong on the way, a group that does not answer, clocks that disagree, a stop, ends the
//! pass early and nothing else: the next one begins with a listing of its own.

mod collector;
mod found;
pub mod run;
mod state;
mod task;

pub use collector::{Abandoned, Area, Collector, Job, Listed, Rules};
pub use found::Trashed;
pub use state::{Counts, GcState};
pub(crate) use task::collect_forever;
