//! What readers ask and what they are told (docs/design/metadata.md, "Queries"). Account and namespace of a query
//! travel beside it.
//!
//! ```text
//! query   0 u8 format=1  1 u8 kind  2 u16 zero   4 u32 body_bytes  8 body, zero-padded to 8
//! answer  0 u8 format=1  1 u8 kind  2 u16 zero   4 u32 body_bytes  8 body, zero-padded to 8
//! ```

use base::{Acct, BlockHash, Jid, NodeId, NodeUuid, Nsid, TreeNode};

use crate::across::{Export, ExportPage, ImportInfo, MemberInfo};
use crate::block_scan::{BlockPage, BlockScan};
use crate::command::{At, ServerRole, UploadId};
use crate::delta::DeltaCursor;
use crate::group0::{Group0Answer, Group0Query};
use crate::links::{LinkInfo, LinksOf};
use crate::metadata::Metadata;
use crate::scope::Scope;

/// A file or folder, named by place or by revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// What is there now.
    At(At),
    /// A revision of a file, current or not.
    Rev(Jid),
}

/// A question to one namespace, or to group 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// What is there (1)? [`Answer::Entry`].
    Lookup(What),
    /// What is in a folder (2)? [`Answer::Page`], depth first in order of the name keys.
    ListPage {
        /// The folder.
        at: At,
        /// With all below it.
        recursive: bool,
        /// `next` of the page before; empty for the first page.
        position: Vec<u8>,
        /// Entries at most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
        limit: u32,
    },
    /// What has changed since (3)? [`Answer::Delta`] or [`Answer::Reset`].
    Delta {
        /// From where; `DeltaCursor::at(jid)` for a known head.
        cursor: DeltaCursor,
        /// Entries at most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
        limit: u32,
    },
    /// Which revisions did this file have (4)? [`Answer::Revisions`], newest first.
    Revisions {
        /// The file: by path, the history of the name; by node alone, that of the node.
        at: At,
        /// Only older ones; 0 is all.
        before: Jid,
        /// At most; 0 or above 100 is 100.
        limit: u32,
    },
    /// Of which blocks is it made (5)? [`Answer::Blocklist`].
    Blocklist {
        /// The file.
        what: What,
        /// The first position wanted.
        first: u32,
    },
    /// Which of these blocks are known here (6)? At most `HAS_BLOCKS_MAX`. [`Answer::HasBlocks`].
    HasBlocks(Vec<BlockHash>),
    /// Where does the journal stand (7)? [`Answer::Head`].
    Head,
    /// How much is in it (8)? [`Answer::SpaceUsage`].
    SpaceUsage,
    /// Who is it (9)? Group 0. [`Answer::Account`].
    Account(AccountKey),
    /// Which servers announced themselves (10)? Group 0. [`Answer::Servers`].
    Servers,
    /// Which nodes are bound (11)? Group 0. [`Answer::Nodes`].
    Nodes,
    /// A question to group 0 (32..43). [`Answer::Group0`].
    Group0(Group0Query),
    /// What does a link show (24)? [`Answer::Link`].
    Link(u64),
    /// Which links are there (25)? [`Answer::Links`].
    Links {
        /// Whose, or of what.
        of: LinksOf,
        /// `next` of the page before; 0 for the first page.
        after: u64,
        /// At most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
        limit: u32,
    },
    /// What has changed in a folder since (26)? [`Answer::Delta`], [`Answer::Reset`], or [`Answer::NotFound`] for a folder
    /// that is not where it was.
    DeltaIn(Box<DeltaIn>),
    /// What is in a folder, and what was (27)? [`Answer::All`], in the order of a [`Query::ListPage`].
    ListAll {
        /// The folder.
        at: At,
        /// With all below it, and all that was below a folder when that was deleted.
        recursive: bool,
        /// `next` of the page before; empty for the first page.
        position: Vec<u8>,
        /// Entries at most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
        limit: u32,
    },
    /// What hangs in this namespace (28)? [`Answer::Mounts`].
    Mounts {
        /// Only targets above this one; 0 is all.
        after: Nsid,
    },
    /// How far has an upload session come (29)? [`Answer::Upload`], or [`Answer::NotFound`] before its first append.
    Upload {
        /// Which.
        id: UploadId,
        /// The first position of its blocklist wanted.
        first: u32,
    },
    /// Which blocks does a group know (30)? For the system. [`Answer::Blocks`].
    BlockScan(BlockScan),
    /// What is in a folder that goes to another namespace (31)? For the system. [`Answer::Export`], or
    /// [`Answer::Elsewhere`] when something is mounted in it.
    Export(Box<Export>),
    /// How far has what comes from another namespace come (44)? By its flow; for the system. [`Answer::Import`].
    Import(u64),
    /// Who are the members of a shared namespace (45)? [`Answer::Members`].
    Members {
        /// Only accounts above this one; 0 is all.
        after: Acct,
    },
}

/// The question of [`Query::DeltaIn`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeltaIn {
    /// Which folder.
    pub scope: Scope,
    /// From where.
    pub cursor: DeltaCursor,
    /// Entries at most; 0 or above `LIST_PAGE_MAX` is `LIST_PAGE_MAX`.
    pub limit: u32,
    /// The page ends with the first mount told, so that whoever asks can tell what hangs there next.
    pub stops_at_mounts: bool,
}

/// How an account is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountKey {
    /// By number.
    Acct(Acct),
    /// By name, compared in lower case.
    Name(String),
}

/// Metadata with the path it is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// From the root of the namespace, case preserved, `/a/b`; empty for the root.
    pub path_display: String,
    /// What is there.
    pub meta: Metadata,
}

impl Entry {
    /// The path in the form in which paths are compared.
    #[must_use]
    pub fn path_lower(&self) -> String {
        base::names::path_key(&self.path_display)
    }
}

/// One entry of a Delta. Clients apply them in order: a file replaces all that is there, with children; a folder replaces
/// a file and keeps children; deleted removes, with children, what may not be there; missing parents are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is there now.
    Present(Entry),
    /// Nothing is there now.
    Deleted {
        /// The path, as it was written.
        path_display: String,
    },
}

/// An account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountInfo {
    /// Its number.
    pub acct: Acct,
    /// Its root namespace.
    pub root: Nsid,
    /// Its name as first given.
    pub name: String,
}

/// A server that announced itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// Which one.
    pub server: u64,
    /// What it does.
    pub role: ServerRole,
    /// When it last announced itself, by the group's stamp.
    pub last_seen_ms: u64,
    /// Where it listens.
    pub address: String,
}

/// A node and the data directory that owns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// Of its data directory.
    pub uuid: NodeUuid,
    /// It has left for ever.
    pub is_removed: bool,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
}

/// What a reader is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing there (1).
    NotFound,
    /// It is no file (2).
    NotFile,
    /// It is no folder (3).
    NotFolder,
    /// The path continues in another namespace (4).
    Elsewhere {
        /// Which.
        nsid: Nsid,
        /// The path there.
        rest: String,
    },
    /// No such right (5).
    NoAccess,
    /// The cursor is older than the journal, or of another one: list again (6).
    Reset,
    /// A query that makes no sense (7).
    Malformed,
    /// The walk needs more rows than one answer may read (8).
    TooLarge,
    /// Of Lookup (16).
    Entry(Entry),
    /// Of ListPage (17).
    Page {
        /// In order.
        entries: Vec<Entry>,
        /// Position of the next page; `None` after the last.
        next: Option<Vec<u8>>,
        /// The journal's head as of this page. Delta from the *first* page's head makes a listing whole.
        head: Jid,
    },
    /// Of Delta (18).
    Delta {
        /// In order.
        changes: Vec<Change>,
        /// Go on from here.
        cursor: DeltaCursor,
        /// There is more now.
        has_more: bool,
    },
    /// Of Revisions (19).
    Revisions {
        /// The file is not there any more: deleted at this time (milliseconds since 1970).
        deleted_ms: Option<u64>,
        /// Newest first.
        revisions: Vec<Metadata>,
        /// There are older ones.
        has_more: bool,
    },
    /// Of Blocklist (20).
    Blocklist {
        /// The file.
        entry: Entry,
        /// Position of the first block told.
        first: u32,
        /// Blocks of the file in all.
        total: u32,
        /// Names and lengths from `first` on.
        blocks: Vec<(BlockHash, u32)>,
    },
    /// Of HasBlocks (21): one per hash asked.
    HasBlocks(Vec<bool>),
    /// Of Head (22).
    Head(Jid),
    /// Of SpaceUsage (23). The live counters still hold what is below folders deleted a moment ago while `is_sweeping`.
    SpaceUsage {
        /// Files.
        live_files: u64,
        /// Their bytes.
        live_bytes: u64,
        /// What they may be at most.
        grant_bytes: u64,
        /// A sweep is pending.
        is_sweeping: bool,
    },
    /// Of Account (24).
    Account(AccountInfo),
    /// Of Servers (25), by number.
    Servers(Vec<ServerInfo>),
    /// Of Nodes (26), by number.
    Nodes(Vec<NodeInfo>),
    /// Of a question to group 0 (40..51).
    Group0(Group0Answer),
    /// Of Link (32).
    Link(Box<LinkInfo>),
    /// Of Links (33).
    Links {
        /// Those that show something.
        links: Vec<LinkInfo>,
        /// Position of the next page; `None` after the last.
        next: Option<u64>,
    },
    /// Of ListAll (56).
    All {
        /// In order; what is deleted is not there now.
        changes: Vec<Change>,
        /// Position of the next page; `None` after the last.
        next: Option<Vec<u8>>,
        /// The journal's head as of this page.
        head: Jid,
    },
    /// Of Mounts (57): what is live, by target.
    Mounts {
        /// Where they hang.
        mounts: Vec<MountPlace>,
        /// There may be more after this one.
        next: Option<Nsid>,
    },
    /// Of Upload (58).
    Upload(UploadState),
    /// Of BlockScan (59).
    Blocks(BlockPage),
    /// Of Export (60).
    Export(ExportPage),
    /// Of Import (61).
    Import(ImportInfo),
    /// Of Members (62), by number; the owner is none of them. There may be more after `LIST_PAGE_MAX`.
    Members(Vec<MemberInfo>),
}

/// Where a namespace hangs in a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountPlace {
    /// Which namespace.
    pub target: Nsid,
    /// The mount's node in the root.
    pub node: TreeNode,
    /// From the root, case preserved.
    pub path_display: String,
}

/// How far an upload session has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadState {
    /// Nothing comes after what it has.
    pub is_closed: bool,
    /// Bytes so far; of a concurrent session, the end of what came furthest.
    pub offset: u64,
    /// Bytes after the last whole block.
    pub tail_bytes: u32,
    /// The object that has them.
    pub tail: u64,
    /// Positions of its blocklist.
    pub total: u32,
    /// Position of the first block told.
    pub first: u32,
    /// Names and lengths from `first` on; a position that nothing was put at has the name of no bytes.
    pub blocks: Vec<(BlockHash, u32)>,
}

/// The node 1 of every namespace.
pub const ROOT: TreeNode = TreeNode(1);
