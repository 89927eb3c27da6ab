//! Why a node must stop.

use base::{GroupId, LogIndex};

/// Why the node must stop. Nothing is retried; the log is the truth at the next start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StopReason {
    /// A write or sync of the log failed.
    #[error("log: {0}")]
    Log(String),
    /// The store failed.
    #[error("store: {0}")]
    Store(String),
    /// The disk did not answer for too long.
    #[error("the log's oldest unsynced byte is older than {0} ms: the disk does not answer")]
    DiskLag(u64),
    /// A committed entry is of a version that this release does not know. Passing over it would be a wrong state.
    #[error(
        "group {group}: entry {index} has format {format}, which this release does not know; start the release that wrote it"
    )]
    Newer {
        /// Whose entry.
        group: GroupId,
        /// Which.
        index: LogIndex,
        /// Of its payload or of a command in it.
        format: u16,
    },
    /// A group has, or an entry raises it to, a feature level that this release does not know: what its commands do from
    /// there on is not known here.
    #[error(
        "group {group} has feature level {level} and this release knows {known}; start a release that knows it, nothing is lost"
    )]
    NewerLevel {
        /// Which group.
        group: GroupId,
        /// Its level.
        level: u32,
        /// The highest level of this release.
        known: u32,
    },
}
