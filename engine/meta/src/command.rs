//! What clients, servers and the leader ask the machine to change (docs/design/metadata.md, "Commands").
//!
//! ```text
//!  0 u8 format=1  1 u8 kind  2 u16 flags=0  4 u32 body_bytes  8 u64 session  16 u64 sequence  24 u64 ack_below
//! 32 u64 acct    40 u64 nsid               48 body, zero-padded to 8
//! ```

use base::{Acct, BlockHash, Jid, NodeId, NodeUuid, Nsid, Sequence, SessionId, TreeNode};

use crate::across::{Import, ImportEnd};
use crate::group0::Group0Command;
use crate::links::LinkCommand;
use crate::metadata::{Metadata, NamespaceKind};

/// Bytes of a command before its body.
pub const COMMAND_HEADER_BYTES: usize = 48;
/// Parts of one [`CommitBatch`].
pub const BATCH_PARTS_MAX: usize = 1000;

/// What every command carries before its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandHeader {
    /// The exactly-once session; 0 is none, which only [`Command::Register`] and the system itself may use.
    pub session: SessionId,
    /// The command's place in its session, from 1.
    pub sequence: Sequence,
    /// Outcomes below this are not needed any more.
    pub ack_below: Sequence,
    /// Whose rights count; 0 is the system itself.
    pub acct: Acct,
    /// The namespace it changes; 0 in commands of group 0 and in Register.
    pub nsid: Nsid,
}

/// A place in the tree of the command's namespace: a path walked down from a node.
///
/// `node` 0 is the root. `path` is normalised, begins with `/` and has no trailing `/`; empty is the node itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct At {
    /// Where the path begins; 0 is the root.
    pub node: TreeNode,
    /// The path from there.
    pub path: String,
}

impl At {
    /// A path from the root.
    #[must_use]
    pub fn path(path: &str) -> At {
        At { node: TreeNode(0), path: path.to_owned() }
    }

    /// A node by its id.
    #[must_use]
    pub fn node(node: TreeNode) -> At {
        At { node, path: String::new() }
    }
}

/// What a put does when something is at its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PutMode {
    /// Only where nothing is.
    #[default]
    Add,
    /// Replace a file.
    Overwrite,
    /// Replace exactly this revision of a file. 0 is never current: for a rev of another namespace.
    Update(Jid),
}

/// Puts a file whose blocks are known in the namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommitFile {
    /// Where; missing parents are made.
    pub at: At,
    /// What to do when something is there.
    pub mode: PutMode,
    /// Take another name instead of a conflict.
    pub autorename: bool,
    /// The same content there is a conflict too.
    pub strict: bool,
    /// In the names of conflicted copies of an update, e.g. `Ada's conflicted copy`; may be empty.
    pub label: String,
    /// Bytes of the file.
    pub size: u64,
    /// As the client says, milliseconds since 1970.
    pub client_mtime_ms: Option<i64>,
    /// SHA-256 of the concatenated block names.
    pub content_hash: [u8; 32],
    /// The block names in order, at most `COMMAND_BLOCKS_MAX`; `ceil(size / 4 MiB)` of them.
    pub blocks: Vec<BlockHash>,
    /// In the name of an upload session of another namespace, or of a copy from there.
    pub attested: Option<Box<Attested>>,
}

/// On whose word a put brings what another namespace has; only servers may give it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attested {
    /// The put is done once under it, and told again for eight days.
    pub id: UploadId,
    /// The blocklist was staged under it; the command names no blocks.
    pub is_staged: bool,
}

/// A part of a blocklist that is too long for the put which takes it; only servers may bring it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListStage {
    /// Of the put to come; it lives as an upload session does.
    pub id: UploadId,
    /// Which part: 1024 blocks each, in order; a shorter one is the last.
    pub part: u32,
    /// The blocks, whole but for the last one of the file.
    pub blocks: Vec<PresentBlock>,
}

/// A block of the list of a [`StoreAndCommit`] that a block server has just put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PresentPart {
    /// Its position in the blocklist.
    pub position: u32,
    /// Its length, 1 to 4 MiB.
    pub bytes: u32,
    /// When it was put, by the block server's clock.
    pub put_at_ms: u64,
}

/// Makes blocks known and puts a file of them, in one command. What was present becomes known whatever the put comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreAndCommit {
    /// The put.
    pub commit: CommitFile,
    /// Which of its blocks were put just now.
    pub present: Vec<PresentPart>,
}

/// A block that a block server has put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PresentBlock {
    /// Its name.
    pub hash: BlockHash,
    /// Its length, 1 to 4 MiB.
    pub bytes: u32,
    /// When it was put, by the block server's clock.
    pub put_at_ms: u64,
}

/// Makes a folder and its missing parents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mkdir {
    /// Where.
    pub at: At,
    /// Take another name instead of a conflict.
    pub autorename: bool,
}

/// Deletes a file, or a folder with all in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delete {
    /// What.
    pub at: At,
    /// Only if this is the file's revision.
    pub parent_rev: Option<Jid>,
}

/// Moves or renames within the namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Move {
    /// What.
    pub source: At,
    /// Where to; missing parents are made.
    pub target: At,
    /// Take another name instead of a conflict.
    pub autorename: bool,
}

/// Puts the content of an earlier revision, in mode overwrite.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restore {
    /// Where; missing parents are made.
    pub at: At,
    /// The revision.
    pub rev: Jid,
}

/// Copies within the namespace; contents are shared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copy {
    /// What: a file, or a folder with at most 1024 nodes in all.
    pub source: At,
    /// Where to; missing parents are made.
    pub target: At,
    /// Take another name instead of a conflict.
    pub autorename: bool,
}

/// The next step of a copy of a folder of any size; sent until its outcome is not `Swept`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyStep {
    /// Drawn for the copy, which is done once under it; never 0. It ends a day after its last step.
    pub id: u64,
    /// What: a folder.
    pub source: At,
    /// Where to; missing parents are made when the whole is there.
    pub target: At,
    /// Take another name instead of a conflict.
    pub autorename: bool,
    /// No more steps: what was copied goes.
    pub gives_up: bool,
    /// Nodes at most; 0 is as many as one command may.
    pub limit: u32,
}

/// Sets attributes of a file or folder; its revision stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// What.
    pub at: At,
    /// As the client says, milliseconds since 1970; `None` leaves it.
    pub client_mtime_ms: Option<i64>,
}

/// An upload session of the header's acct, as its id for clients says, which proves itself elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UploadId {
    /// Drawn when the session started; never 0.
    pub nonce: u64,
    /// When it started; it lives seven days.
    pub issued_ms: u64,
    /// Calls come in any order.
    pub is_concurrent: bool,
}

/// Adds to an upload session; the first one makes its row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionAppend {
    /// Which.
    pub id: UploadId,
    /// Where the call's bytes begin; another place than the session's end is `IncorrectOffset`. Concurrent: a multiple
    /// of 4 MiB.
    pub offset: u64,
    /// Whole blocks that are now complete, at most `COMMAND_BLOCKS_MAX`, all of them put by a block server. Of the call
    /// that closes, the last one may be short, if no tail follows.
    pub blocks: Vec<PresentBlock>,
    /// Bytes after the last whole block, less than 4 MiB.
    pub tail_bytes: u32,
    /// The object that has them.
    pub tail: u64,
    /// Nothing comes after it.
    pub close: bool,
}

/// In a finish: the hash of what the session and the last blocks are. No SHA-256 is known to be zero.
pub const HASH_OF_SESSION: [u8; 32] = [0; 32];

/// Puts the file of an upload session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionFinish {
    /// Which.
    pub id: UploadId,
    /// Bytes appended before.
    pub offset: u64,
    /// Blocks after those: what the tail has become. None of a concurrent session.
    pub rest: Vec<PresentBlock>,
    /// Where and how; size and hash are of the whole, and it names no blocks. The hash may be [`HASH_OF_SESSION`].
    pub commit: CommitFile,
    /// The file was put in another namespace, as this; the session ends. Only servers may say so.
    pub result: Option<Metadata>,
}

/// Several commands in one, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommitBatch {
    /// All or nothing.
    pub atomic: bool,
    /// CommitFile, Mkdir, Delete, Move and SessionFinish only; 1 to [`BATCH_PARTS_MAX`].
    pub parts: Vec<Command>,
}

/// A step of a flow: done once, however often it is sent. Flow 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// Which flow.
    pub flow: u64,
    /// Its place in it.
    pub step: u32,
}

/// What a member may do; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MemberRole {
    /// Reads.
    Viewer = 1,
    /// Writes too.
    Editor = 2,
    /// As an editor; whose namespace it is says the namespace itself.
    Owner = 3,
}

impl MemberRole {
    /// The role of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<MemberRole> {
        use MemberRole::*;
        [Viewer, Editor, Owner].into_iter().find(|role| *role as u8 == number)
    }
}

/// How far a membership has come; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MemberState {
    /// Sees nothing yet.
    Invited = 1,
    /// Is in.
    Joined = 2,
}

impl MemberState {
    /// The state of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<MemberState> {
        use MemberState::*;
        [Invited, Joined].into_iter().find(|state| *state as u8 == number)
    }
}

/// Invites to a shared namespace, or lets in who was invited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberPut {
    /// Of which flow.
    pub step: Step,
    /// Whom.
    pub acct: Acct,
    /// As what.
    pub role: MemberRole,
    /// Joined needs an invitation before.
    pub state: MemberState,
}

/// Gives a shared namespace to one of its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Of which flow.
    pub step: Step,
    /// The owner now; another one is `RevMismatch`.
    pub from: Acct,
    /// The owner to be.
    pub to: Acct,
    /// The grant now; another one is `RevMismatch`.
    pub grant_bytes: u64,
}

/// Hangs another namespace into the header's root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Of which flow.
    pub step: Step,
    /// Which namespace.
    pub target: Nsid,
    /// Where; missing parents are made.
    pub at: At,
    /// Take another name instead of a conflict.
    pub autorename: bool,
}

/// Replaces a folder by the namespace that was made of it, or takes away one that was moved to another namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountSwap {
    /// Of which flow.
    pub step: Step,
    /// The folder.
    pub node: TreeNode,
    /// Which namespace; 0: none comes in its place, the folder just goes.
    pub target: Nsid,
    /// Who froze the folder; thawed is `RevMismatch`.
    pub flow: u64,
    /// Since when, as `Freeze` told: one that thawed meanwhile and froze anew is another, and `RevMismatch`.
    pub since_ms: u64,
}

/// Holds off writes below a folder, or lets them go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freeze {
    /// Whose freeze it is.
    pub flow: u64,
    /// The folder.
    pub node: TreeNode,
}

/// What a server of the cluster does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum ServerRole {
    /// Content.
    Block = 1,
    /// Notifications.
    Notify = 2,
    /// The HTTP API.
    Gateway = 3,
}

impl ServerRole {
    /// The role of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<ServerRole> {
        use ServerRole::*;
        [Block, Notify, Gateway].into_iter().find(|role| *role as u8 == number)
    }
}

/// A block server, notifier or gateway announces itself; group 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerPut {
    /// Which one.
    pub server: u64,
    /// What it does.
    pub role: ServerRole,
    /// Where it listens, `host:port`.
    pub address: String,
}

/// Binds a node id to the data directory that owns it, with its addresses; group 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePut {
    /// The node.
    pub node: NodeId,
    /// Of its data directory; another one already bound is `Exists`.
    pub uuid: NodeUuid,
    /// Where its peers reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// It has left for ever.
    pub is_removed: bool,
}

/// A change to the machine's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Puts a file (1).
    CommitFile(CommitFile),
    /// Several in one (2).
    CommitBatch(CommitBatch),
    /// Makes a folder (3).
    Mkdir(Mkdir),
    /// Deletes (4).
    Delete(Delete),
    /// Moves or renames (5).
    Move(Move),
    /// Copies (6).
    Copy(Copy),
    /// Puts an earlier revision again (7).
    Restore(Restore),
    /// Sets attributes (8).
    SetAttr(SetAttr),
    /// Makes blocks known (9), at most `COMMAND_BLOCKS_MAX`.
    BlocksPresent(Vec<PresentBlock>),
    /// Both in one (10).
    StoreAndCommit(StoreAndCommit),
    /// Adds to an upload session (11).
    SessionAppend(SessionAppend),
    /// Takes the next 1024 blocks of a closed concurrent session into its hash (12).
    SessionSeal(UploadId),
    /// Puts the file of an upload session (13).
    SessionFinish(Box<SessionFinish>),
    /// Brings a part of a long blocklist (14).
    ListStage(ListStage),
    /// Makes the header's namespace (15); the system only.
    NamespaceInit {
        /// What it is.
        kind: NamespaceKind,
        /// Whose.
        owner: Acct,
        /// Bytes that its live files may take.
        grant_bytes: u64,
    },
    /// Invites or lets in (16); the system only.
    MemberPut(MemberPut),
    /// From here on the account gets nothing of the namespace (17); the system only.
    MemberRemove {
        /// Of which flow.
        step: Step,
        /// Whom.
        acct: Acct,
    },
    /// Another owner (18); the system only.
    Transfer(Transfer),
    /// Hangs a namespace into a root (19); the system only.
    Mount(Mount),
    /// A folder becomes a mount, or goes (20); the system only.
    MountSwap(MountSwap),
    /// Takes a mounted namespace out of a root (21); the system only.
    Unmount {
        /// Of which flow.
        step: Step,
        /// Which namespace.
        target: Nsid,
    },
    /// Writes below the folder are `Busy` for 60 s (22); the system only.
    Freeze(Freeze),
    /// And go on (23); the system only.
    Thaw(Freeze),
    /// More room (27); the system only.
    GrantRaise {
        /// Of which flow.
        step: Step,
        /// Whose room it is; another owner is `RevMismatch`.
        owner: Acct,
        /// So much more.
        bytes: u64,
    },
    /// Less room, never below what is taken (28); the system only.
    GrantLower {
        /// Of which flow.
        step: Step,
        /// So much less.
        bytes: u64,
    },
    /// Marks nodes below deleted folders and lowers the live counters (30); the system only.
    Sweep {
        /// Nodes at most.
        limit: u32,
    },
    /// Sets the oldest usable cursor and drops what only older ones need (29); the system only.
    JournalTrim {
        /// The oldest usable cursor; beyond the head is the head, and it never goes back.
        floor: Jid,
    },
    /// Removes deleted folders below the floor with all in them (31); the system only.
    Purge {
        /// Nodes at most; 0 is as many as one command may.
        limit: u32,
    },
    /// Forgets blocks that no held revision has named for eight days (32); the system only.
    BlockSweep {
        /// Rows looked at, at most; 0 is as many as one command may.
        limit: u32,
    },
    /// Opens an exactly-once session for the header's acct (33).
    Register {
        /// Drawn by the client; the same one again gets the same session.
        nonce: [u8; 16],
    },
    /// Copies the next nodes of a large folder (40).
    CopyStep(CopyStep),
    /// Brings a part of a folder of another namespace (41); the system only.
    Import(Box<Import>),
    /// Ends that (42); the system only.
    ImportEnd(Box<ImportEnd>),
    /// Allocates an account and its root namespace (64); the same name again gives the same; group 0.
    AccountPut {
        /// The name, compared in lower case; at most 255 code points.
        name: String,
    },
    /// Makes, changes or takes away a link (24..26).
    Link(Box<LinkCommand>),
    /// Changes what group 0 keeps (65..78, 81, 82); the system only.
    Group0(Box<Group0Command>),
    /// Announces a server (79); group 0.
    ServerPut(ServerPut),
    /// Binds a node to its directory (80); group 0.
    NodePut(NodePut),
}

impl Command {
    /// The number in byte 1 of the encoding.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Command::CommitFile(_) => 1,
            Command::CommitBatch(_) => 2,
            Command::Mkdir(_) => 3,
            Command::Delete(_) => 4,
            Command::Move(_) => 5,
            Command::Copy(_) => 6,
            Command::Restore(_) => 7,
            Command::SetAttr(_) => 8,
            Command::BlocksPresent(_) => 9,
            Command::StoreAndCommit(_) => 10,
            Command::SessionAppend(_) => 11,
            Command::SessionSeal(_) => 12,
            Command::SessionFinish(_) => 13,
            Command::ListStage(_) => 14,
            Command::NamespaceInit { .. } => 15,
            Command::MemberPut(_) => 16,
            Command::MemberRemove { .. } => 17,
            Command::Transfer(_) => 18,
            Command::Mount(_) => 19,
            Command::MountSwap(_) => 20,
            Command::Unmount { .. } => 21,
            Command::Freeze(_) => 22,
            Command::Thaw(_) => 23,
            Command::GrantRaise { .. } => 27,
            Command::GrantLower { .. } => 28,
            Command::JournalTrim { .. } => 29,
            Command::Sweep { .. } => 30,
            Command::Purge { .. } => 31,
            Command::BlockSweep { .. } => 32,
            Command::Register { .. } => 33,
            Command::CopyStep(_) => 40,
            Command::Import(_) => 41,
            Command::ImportEnd(_) => 42,
            Command::AccountPut { .. } => 64,
            Command::Link(link) => link.kind(),
            Command::Group0(command) => command.kind(),
            Command::ServerPut(_) => 79,
            Command::NodePut(_) => 80,
        }
    }
}
