//! What a call of a feed comes to.

use base::Nsid;
use base::limits::ANSWER_BYTES_SOFT;

use super::FeedCursor;
use crate::query::Change;
use crate::read::{ENTRY_BYTES, entry_bytes};

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With a page.
    Page(FeedPage),
    /// The cursor is too old, or its folder was moved and named by id: list again.
    Reset,
    /// The folder is not there, or not at its path any more.
    NotFound,
    /// It is no folder.
    NotFolder,
    /// No such right.
    NoAccess,
    /// The folder is in another namespace: begin there.
    Elsewhere {
        /// Which.
        nsid: Nsid,
        /// The path there.
        rest: String,
    },
    /// A path or position that makes no sense.
    Malformed,
    /// The walk needs more rows than one answer may read.
    TooLarge,
}

/// Entries, and where to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedPage {
    /// In order; clients apply them as those of a Delta. Paths begin in the folder's namespace, after the feed's prefix.
    pub changes: Vec<Change>,
    /// Goes on here; after the last page, whatever changes later.
    pub cursor: FeedCursor,
    /// There is more now.
    pub has_more: bool,
}

/// Entries of a page so far.
#[derive(Default)]
pub(super) struct Entries {
    pub changes: Vec<Change>,
    pub limit: usize,
    bytes: usize,
}

impl Entries {
    pub fn new(limit: u16) -> Entries {
        Entries { changes: Vec::new(), limit: usize::from(limit), bytes: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.changes.len() >= self.limit || self.bytes >= ANSWER_BYTES_SOFT
    }

    /// How many more.
    pub fn left(&self) -> u32 {
        (self.limit - self.changes.len()) as u32
    }

    /// Adds an entry whose path begins at `prefix`.
    pub fn push(&mut self, prefix: &str, mut change: Change) {
        let path = match &mut change {
            Change::Present(entry) => &mut entry.path_display,
            Change::Deleted { path_display } => path_display,
        };
        path.insert_str(0, prefix);
        self.bytes += match &change {
            Change::Present(entry) => entry_bytes(&entry.path_display, &entry.meta),
            Change::Deleted { path_display } => ENTRY_BYTES + path_display.len(),
        };
        self.changes.push(change);
    }
}
