//! What goes from one namespace to another (docs/design/metadata.md, "Across namespaces"): the content of a folder is
//! read part by part where it is ([`Export`]), and brought part by part where it will be ([`Import`]).
//!
//! A reader of the source follows its journal as any client does: a listing, then what has changed since. Where it stands
//! is kept in the target, in the row that says how many parts have come, and changes with each part. So whoever goes on
//! reads from there, and a part that was read by somebody who fell asleep is refused.

pub(crate) mod codec;
mod copier;
mod export;
#[cfg(test)]
mod goldens;
mod import;

use base::{Acct, BlockHash, Jid, TreeNode};

use crate::command::{At, Step};
use crate::delta::DeltaCursor;

pub use self::copier::{Copier, CopyTask, Next};
pub(crate) use self::export::{export, members};
pub(crate) use self::import::{ImportRow, end, import, is_over, state, sweep};

/// Names of one part at most.
pub const PART_ITEMS_MAX: usize = 256;
/// Blocks that the files of one part name at most, but for a part of one file.
pub const PART_BLOCKS_MAX: usize = 2048;
/// Bytes of the paths of one part at most, but for a part of one name.
pub const PART_PATH_BYTES_MAX: usize = 128 << 10;

/// Where a reader of the source stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CarryPlace {
    /// In the listing.
    Listing {
        /// The journal's head when the listing began; 0 before the first page.
        head: Jid,
        /// The name keys of the last name told, joined by `/`; empty before the first.
        position: String,
    },
    /// In the changes since.
    Changes(DeltaCursor),
}

impl Default for CarryPlace {
    fn default() -> CarryPlace {
        CarryPlace::Listing { head: Jid(0), position: String::new() }
    }
}

/// One name below the folder. Applied in order: a file replaces all that is there, a folder keeps what is in it, deleted
/// removes what may not be there, missing parents are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarriedItem {
    /// From the folder, case preserved, `/a/b`.
    pub path: String,
    /// What is there.
    pub what: Carried,
}

/// What is at a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    /// Nothing any more.
    Deleted,
    /// A folder.
    Folder,
    /// A file.
    File(CarriedFile),
}

/// A file as it was when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CarriedFile {
    /// The revision in the source.
    pub rev: Jid,
    /// Bytes.
    pub size: u64,
    /// As a client said, milliseconds since 1970; the least number is none.
    pub client_mtime_ms: i64,
    /// SHA-256 of the concatenated block names.
    pub content_hash: [u8; 32],
    /// The block names in order; none of a file of more than `COMMAND_BLOCKS_MAX`, whose list is staged.
    pub blocks: Vec<BlockHash>,
}

impl CarriedFile {
    /// Its list is too long for a command and comes by `ListStage`.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.size > 0 && self.blocks.is_empty()
    }
}

/// The question of `Query::Export`; the system only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// Which folder.
    pub node: TreeNode,
    /// From where.
    pub place: CarryPlace,
    /// Names at most; 0 or above [`PART_ITEMS_MAX`] is that.
    pub limit: u32,
}

/// The answer of `Query::Export`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportPage {
    /// In order.
    pub items: Vec<CarriedItem>,
    /// Go on from here.
    pub next: CarryPlace,
    /// There was more when this was read.
    pub has_more: bool,
    /// Rows of the journal after `next`, whatever they concern.
    pub behind: u64,
}

/// Brings the next part of a folder of another namespace; the system only. `Done`, or `RevMismatch` when another part is
/// next, or what was read is too old to be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// Of which flow.
    pub flow: u64,
    /// Parts that came before.
    pub part: u64,
    /// All of it grows below a hidden folder; else it is what the namespace is made of.
    pub is_hidden: bool,
    /// In whose name.
    pub acct: Acct,
    /// When it was read, milliseconds since 1970, by the clock of whoever read it.
    pub read_ms: u64,
    /// Where the reader stands after it.
    pub place: CarryPlace,
    /// In order.
    pub items: Vec<CarriedItem>,
}

/// Ends an import, for good; the system only. Told again it is not done again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportEnd {
    /// Of which flow.
    pub step: Step,
    /// How.
    pub how: ImportEndHow,
}

/// How an import ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImportEndHow {
    /// It is where it belongs. `Done`.
    Stay,
    /// The hidden folder is hung in a place, seen by no reader apart. `Applied`.
    Attach {
        /// Where; missing parents are made.
        at: At,
        /// Take another name instead of a conflict.
        autorename: bool,
        /// Whose rights count.
        acct: Acct,
    },
    /// It goes, and no part comes any more. `Done`.
    GiveUp,
}

/// How far an import has come; of `Query::Import`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportInfo {
    /// Parts that have come.
    pub parts: u64,
    /// No more come.
    pub is_ended: bool,
    /// Where the reader of the source stands.
    pub place: CarryPlace,
}

/// A member of a shared namespace; of `Query::Members`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberInfo {
    /// Who.
    pub acct: Acct,
    /// May do what; the owner is none of the members told.
    pub role: crate::command::MemberRole,
    /// In, or invited.
    pub state: crate::command::MemberState,
    /// When it was invited, milliseconds since 1970.
    pub invited_ms: u64,
}

/// The upload row under which the list of a large file is staged.
#[must_use]
pub fn stage_nonce(flow: u64, rev: Jid) -> u64 {
    base::mix64(base::mix64(flow) ^ rev.0).max(1)
}
