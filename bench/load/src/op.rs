//! Operations: what is asked of a target, resolved down to paths and sizes.

use base::Mono;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum OpKind {
    /// A new file, or new content of one.
    Put,
    /// Several new files in one command.
    PutBatch,
    /// A new folder.
    Mkdir,
    /// A file gets another name and folder.
    Move,
    /// The folder that holds all others gets another name.
    MoveFolder,
    /// A file goes.
    Delete,
    /// Attributes of a file are set.
    Attr,
    /// What is known of a file.
    Stat,
    /// Of which blocks a file is made.
    Blocklist,
    /// One page of a folder.
    List,
    /// What has changed since the journal's head was last told.
    Delta,
    /// Where the journal stands.
    Head,
    /// Whether blocks are known.
    HasBlocks,
    /// A command of a null machine, which counts it. Its namespace is a group, its journal row the group's count.
    Null,
}

/// How many kinds there are.
pub const OP_KINDS: usize = 14;

impl OpKind {
    /// All, in the order of their numbers.
    pub const ALL: [OpKind; OP_KINDS] = {
        use OpKind::*;
        [Put, PutBatch, Mkdir, Move, MoveFolder, Delete, Attr, Stat, Blocklist, List, Delta, Head, HasBlocks, Null]
    };

    /// The name in mixes and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Put => "put",
            OpKind::PutBatch => "put_batch",
            OpKind::Mkdir => "mkdir",
            OpKind::Move => "move",
            OpKind::MoveFolder => "move_folder",
            OpKind::Delete => "delete",
            OpKind::Attr => "attr",
            OpKind::Stat => "stat",
            OpKind::Blocklist => "blocklist",
            OpKind::List => "list",
            OpKind::Delta => "delta",
            OpKind::Head => "head",
            OpKind::HasBlocks => "has_blocks",
            OpKind::Null => "null",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<OpKind> {
        OpKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// It changes something, so it is acknowledged with a place in the journal.
    #[must_use]
    pub const fn is_write(self) -> bool {
        (self as u8) <= OpKind::Attr as u8 || matches!(self, OpKind::Null)
    }
}

/// Names a file of one namespace, for the whole run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct FileId(pub u32);

impl FileId {
    /// No file.
    pub const NONE: FileId = FileId(u32::MAX);
}

/// Who wrote a version of a file: an operation, or the population. What is in the file follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Writer(pub u64);

impl Writer {
    const POPULATION: u64 = 1 << 62;

    /// Operation `index`.
    #[must_use]
    pub const fn op(index: u64) -> Writer {
        Writer(index)
    }

    /// File `file` of the population of `namespace`.
    #[must_use]
    pub const fn population(namespace: u32, file: u32) -> Writer {
        Writer(Writer::POPULATION | (namespace as u64 & 0x3fff_ffff) << 32 | file as u64)
    }
}

/// One operation. The texts are kept and overwritten, so that making the next one allocates nothing.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number in the whole run, over all generator cores.
    pub index: u64,
    /// When the schedule wants it.
    pub intended: Mono,
    /// What it does.
    pub kind: OpKind,
    /// Where, from 0.
    pub namespace: u32,
    /// On which file of the model; of a batch the first.
    pub file: FileId,
    /// The file or folder; of a batch the folder.
    pub path: String,
    /// Of a move: where to. Of a batch: the files' names, each behind a `/`.
    pub target: String,
    /// Of a put and of a null command: bytes. Of has_blocks and a move, filled in when it is sent: bytes of the file.
    pub size: u64,
    /// Itself. Of has_blocks and a move, filled in when it is sent: who wrote the file.
    pub writer: Writer,
    /// Of a delta, filled in when it is sent: the row up to which changes were told; 0 is the population's end.
    pub since: u64,
    /// Files of a batch, entries of a page, blocks asked for; else 1.
    pub count: u32,
    /// A put of new content for a file that is there.
    pub is_update: bool,
}

impl Default for Op {
    fn default() -> Op {
        Op {
            index: 0,
            intended: Mono(0),
            kind: OpKind::Put,
            namespace: 0,
            file: FileId::NONE,
            path: String::new(),
            target: String::new(),
            size: 0,
            writer: Writer(0),
            since: 0,
            count: 1,
            is_update: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_the_number_of_their_place() {
        for (at, kind) in OpKind::ALL.into_iter().enumerate() {
            assert_eq!((OpKind::of_name(kind.name()), kind as usize), (Some(kind), at));
        }
        assert_eq!(OpKind::of_name("longpoll"), None);
        assert!(OpKind::Attr.is_write() && !OpKind::Stat.is_write());
    }

    #[test]
    fn writers_are_told_apart() {
        assert_ne!(Writer::population(0, 9), Writer::op(9));
        assert_ne!(Writer::population(3, 9), Writer::population(4, 9));
    }
}
