//! The segmented log of one core, shared by all its groups, over a [`Disk`] that gives memory and takes operations.
//!
//! ```text
//!  append ─▶ open frame ─▶ closed ─▶ Write ─▶ Sync ─▶ persisted_epoch        (log.rs, frames.rs, commit.rs)
//!  truncate_prefix ─▶ copies of live state ─▶ meta ─▶ Retire                  (gc.rs)
//!  files ─▶ scan ─▶ verdict ─▶ replay ─▶ Recovered ─▶ SegLog::start           (recover.rs, replay.rs)
//! ```
//! Pure: no I/O, no clock, no threads. It decides; an executor acts. Formats and rules: docs/design/log.md.

pub mod disk;
pub mod format;
pub mod inspect;
pub mod testing;

mod ahead;
mod chunks;
mod commit;
mod frames;
mod gc;
mod group;
mod log;
mod recover;
mod replay;
mod salvage;
mod scan;
mod scrub;
mod segment;
mod settings;
mod sparse;
mod start;
mod stretch;
mod verdict;

pub use commit::LogFailure;
pub use disk::{Disk, DiskOp, FoundSegment, LogReader, OpError, OpResult, OpToken, Slot};
pub use group::Health;
pub use log::{SegLog, Slice, StateTaken, Unreadable};
pub use recover::{
    RecoverError, Recovered, RecoveredGroup, RecoveredSegment, RecoveryReport, create, recover, recover_and_look,
};
pub use replay::ReplayError;
pub use settings::{SEGMENT_BYTES_LEAST, Settings, SettingsError, format_meta};
