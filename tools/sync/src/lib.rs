//! A two-way sync client: keeps a local folder and a remote one equal, over the native protocol.
//!
//! Three trees: what is here, what the cluster has, and the *base*, what both were when they were last equal.
//! [`plan`] compares them and says what is to be done; [`engine`] does it, step by step, and looks again. A step checks
//! what it is about to replace just before, so a plan that is out of date loses nothing. Design: docs/design/sync.md.
//!
//! ```text
//! inotify ─▶ rescan of folders ─▶ local tree ─┐                 ┌─▶ files and folders here
//!                                     base ───┼─▶ plan ─▶ engine┤
//! watch ─▶ delta since the cursor ─▶ remote ──┘                 └─▶ commands, blocks
//! ```

pub mod base_tree;
mod cloud;
mod disk;
pub mod engine;
mod events;
mod feed;
mod ignore;
pub mod local_tree;
mod name;
pub mod plan;
pub mod remote_tree;
pub mod run;
mod state;
mod tell;
mod transfer;

pub use cloud::{Cloud, CloudError, Line, Native};
pub use engine::{Engine, Options, SyncError};
pub use run::run;
pub use state::{Pair, StateError};
pub use tell::{Event, Tell};

/// What a node of a tree is to this client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// What changes when a local file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// The inode.
    pub inode: u64,
    /// Bytes; 0 for a folder.
    pub bytes: u64,
    /// When it was written, nanoseconds since 1970; 0 for a folder.
    pub mtime_ns: i64,
}

impl Stamp {
    /// Of what the system says.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        if metadata.is_dir() {
            return Stamp { inode: metadata.ino(), bytes: 0, mtime_ns: 0 };
        }
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Stamp { inode: metadata.ino(), bytes: metadata.len(), mtime_ns }
    }

    /// The same content, as far as one can tell without reading it.
    #[must_use]
    pub fn is_same_content(&self, other: &Stamp) -> bool {
        (self.bytes, self.mtime_ns) == (other.bytes, other.mtime_ns)
    }
}

/// SHA-256 of the concatenated block names.
pub type ContentHash = [u8; 32];
