//! The metadata state machine: what is stored about files, which commands change it, what they answer.
//!
//! Pure: [`Applier::apply`] executes the commands of committed entries over a [`Store`], [`query()`] reads from it. No
//! clock, no randomness, no order of hash maps: two machines that applied the same entries hold the same rows.
//! A row that is not in memory ends a try with [`Cold`]; nothing was written, the wants say what to prefetch.

#![expect(clippy::result_large_err, reason = "an outcome is the usual way out of a command, and is moved once")]

mod access;
pub mod across;
mod answers;
pub mod applied;
mod apply;
mod autorename;
mod batch;
pub mod block_scan;
mod codec;
pub mod command;
pub mod command_codec;
mod copy;
mod copy_steps;
pub mod delta;
pub mod driver;
mod due;
mod editor;
pub mod feature;
pub mod feed;
mod feed_codec;
mod files;
mod flows;
pub mod frees;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod goldens;
mod group0;
pub mod invariants;
mod kept;
mod keys;
mod links;
mod list_hash;
mod machine;
pub mod memory;
pub mod metadata;
pub mod outcome;
mod overlay;
pub mod password;
pub mod payload;
pub mod query;
pub mod query_codec;
mod read;
mod read_feed;
pub mod render;
mod rows;
pub mod scope;
mod sessions;
mod staged;
pub mod store;
mod system;
mod tree;
mod trim;
mod uploads;
mod walk;

pub use across::{
    Carried, CarriedFile, CarriedItem, CarryPlace, Export, ExportPage, Import, ImportEnd, ImportEndHow, ImportInfo,
    MemberInfo,
};
pub use answers::{Changed, Point, Rights, changed, has_joined, may_read, path_key, point, rights};
pub use applied::{Applied, EntryKind, EntryRef};
pub use apply::Applier;
pub use batch::RowBatch;
pub use block_scan::{BlockPage, BlockPlace, BlockScan};
pub use codec::DecodeError;
pub use command::{
    At, Attested, Command, CommandHeader, CommitBatch, CommitFile, Copy, CopyStep, Delete, Freeze, HASH_OF_SESSION,
    ListStage, MemberPut, MemberRole, MemberState, Mkdir, Mount, MountSwap, Move, NodePut, PresentBlock, PresentPart,
    PutMode, Restore, ServerPut, ServerRole, SessionAppend, SessionFinish, SetAttr, Step, StoreAndCommit, Transfer,
    UploadId,
};
pub use command_codec::{decode_command, encode_command};
pub use delta::{DeltaCursor, Expansion};
pub use due::{BlocksDue, blocks_due, namespaces, purge_due, trim_due};
pub use feature::{Release, feature_level};
pub use group0::{
    AccountSet, AlarmInfo, AppInfo, CodeInfo, CodePut, CodeTake, FlowInfo, FlowPlan, FlowState, FlowStep, GrantChange,
    Group0Answer, Group0Command, Group0Query, Profile, ReachInfo, ReachState, TicketInfo, TicketPut, TokenInfo,
    TokenPut, TokenRevoke,
};
pub use links::{LinkCommand, LinkInfo, LinkSettings, LinksOf};
pub use memory::MemoryStore;
pub use metadata::{Metadata, NamespaceKind, NodeKind, Rev};
pub use outcome::Outcome;
pub use password::PasswordHash;
pub use query::{
    AccountInfo, AccountKey, Answer, Change, DeltaIn, Entry, MountPlace, NodeInfo, Query, ROOT, ServerInfo,
    UploadState, What,
};
pub use read::{head, lookup_as_of, pending_sweep, query, trim_floor};
pub use scope::{Scope, path_hash};
pub use store::{Cold, Frozen, Machine, Pressure, Row, Rows, Store, StoreEvent, Want};
