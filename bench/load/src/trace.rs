//! Traces: the operations of a run as they were due, in a file, to be sent once more.
//!
//! A trace holds no name and no content: namespaces, folders and files have numbers, in the order in which they came to
//! be, and a replay makes names of them. So it has the same shape and the same sharing, and says nothing of whose.
//! docs/design/bench.md, "Traces", has the bytes (`form.rs`).

mod facts;
mod form;
mod record;

use base::limits::BLOCK_BYTES;

pub use facts::{Facts, KindFacts};
pub use form::{Damage, Found, TraceError, read, write};
pub use record::record;

use crate::op::{FileId, OpKind};
use crate::tree::TOP;

/// Bytes of a file that is put: its blocks travel in one command.
pub const FILE_BYTES_MAX: u64 = 256 * BLOCK_BYTES;
/// Files of a batch.
pub const BATCH_MAX: u32 = 1000;
/// Entries of a page, or blocks asked for at once.
pub const COUNT_MAX: u32 = 4096;
/// Folders below each other.
pub const DEPTH_MAX: u8 = 66;

/// What an operation was chosen to be, before that became paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// What it does.
    pub kind: OpKind,
    /// A put of new content for a file that is there.
    pub is_update: bool,
    /// The file it meets; [`FileId::NONE`] where it makes one, or needs none.
    pub file: FileId,
    /// Where what it makes goes, or what it lists; 0 where that does not matter.
    pub folder: u32,
    /// Of a put: bytes.
    pub size: u64,
    /// Files of a batch, entries of a page, blocks asked for; else 1.
    pub count: u32,
}

impl Choice {
    /// One of this kind that names nothing.
    #[must_use]
    pub fn of(kind: OpKind) -> Choice {
        Choice { kind, is_update: false, file: FileId::NONE, folder: 0, size: 0, count: 1 }
    }

    /// Whether it meets a file that is there already.
    #[must_use]
    pub fn meets_file(&self) -> bool {
        use OpKind::{Attr, Blocklist, Delete, HasBlocks, Move, Put, Stat};
        match self.kind {
            Put => self.is_update,
            kind => matches!(kind, Move | Delete | Attr | Stat | Blocklist | HasBlocks),
        }
    }

    /// Whether it names a folder.
    #[must_use]
    pub fn names_folder(&self) -> bool {
        use OpKind::{List, Mkdir, Move, Put, PutBatch};
        match self.kind {
            Put => !self.is_update,
            kind => matches!(kind, PutBatch | Mkdir | Move | List),
        }
    }
}

/// One operation of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TracedOp {
    /// When it was due, in microseconds since the start. Invariant: never falling from one to the next.
    pub at_us: u64,
    /// Where, from 0.
    pub namespace: u32,
    /// What.
    pub choice: Choice,
}

/// What a namespace held before the first operation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// The parent of each folder but the root, which is 0, and the folder that holds all others, which is 1.
    /// Invariant: each is at least 1 and less than the folder's own number, which is its place here and 2.
    pub folders: Vec<u32>,
    /// Folder and bytes of each file, by number. Invariant: the bytes are one block at most.
    pub files: Vec<(u32, u64)>,
}

/// Where a trace comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The mix that was sent. Invariant: 56 bytes at most.
    pub mix: String,
    /// Its version.
    pub version: u32,
    /// Its hash.
    pub hash: u64,
    /// Of contents, and of what was drawn.
    pub seed: u64,
    /// When the run began, in Unix milliseconds.
    pub start_unix_ms: u64,
    /// Answers decided when operations left, not a schedule.
    pub is_closed: bool,
    /// What was measured, in microseconds since the start.
    pub window_us: (u64, u64),
}

/// A trace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// Where it comes from.
    pub origin: Origin,
    /// What there was, by namespace.
    pub spaces: Vec<Space>,
    /// What was asked, in the order in which it was due.
    pub ops: Vec<TracedOp>,
}

impl Trace {
    /// Microseconds from its start to the end of what was measured, or to its last operation where that is earlier.
    #[must_use]
    pub fn end_us(&self) -> u64 {
        self.ops.last().map_or(0, |op| (op.at_us + 1).min(self.origin.window_us.1.max(1)))
    }
}

/// A namespace as far as a reader must know it, to tell what is possible.
#[derive(Clone, Default)]
struct Shape {
    /// How deep each folder lies; the root is 0.
    depths: Vec<u8>,
    /// Whether each file is there.
    files: Vec<bool>,
}

impl Shape {
    fn new() -> Shape {
        Shape { depths: vec![0, 1], files: Vec::new() }
    }

    /// A folder of the population.
    fn add_folder(&mut self, parent: u32) -> Result<(), &'static str> {
        match self.depths.get(parent as usize) {
            Some(depth) if parent >= TOP && *depth < DEPTH_MAX => {
                self.depths.push(depth + 1);
                Ok(())
            }
            _ => Err("a folder lies in no folder, or too deep"),
        }
    }

    /// A file of the population.
    fn add_file(&mut self, folder: u32, bytes: u64) -> Result<(), &'static str> {
        if folder as usize >= self.depths.len() || bytes > BLOCK_BYTES {
            return Err("a file lies in no folder, or has more than one block");
        }
        self.files.push(true);
        Ok(())
    }

    /// Does what an operation does, or tells why it cannot be one.
    fn apply(&mut self, choice: &Choice) -> Result<(), &'static str> {
        let file = choice.file.0 as usize;
        if choice.meets_file() && !self.files.get(file).copied().unwrap_or(false) {
            return Err("an operation meets a file that is not there");
        }
        if choice.names_folder() && choice.folder as usize >= self.depths.len() {
            return Err("an operation names a folder that is not there");
        }
        let count_max = if choice.kind == OpKind::PutBatch { BATCH_MAX } else { COUNT_MAX };
        if choice.size > FILE_BYTES_MAX || !(1..=count_max).contains(&choice.count) {
            return Err("an operation is larger than any may be");
        }
        match choice.kind {
            OpKind::Put if !choice.is_update => self.files.push(true),
            OpKind::PutBatch => self.files.resize(self.files.len() + choice.count as usize, true),
            OpKind::Mkdir => return self.add_folder(choice.folder),
            OpKind::Delete => self.files[file] = false,
            _ => {}
        }
        Ok(())
    }
}
