//! An executable specification of Raft, for the `refinement` checker: what a node may do, in terms of its state and of
//! the messages that were ever sent. It shares nothing with `raft` but the shape of messages and of configurations.
//!
//! ```text
//!  observed step            must be explained by
//!  term, vote, role         Timeout  PreVote  RequestVote  Grant  Refuse  BecomeLeader  Transfer
//!  log, persisted           Append  AcceptAppend  RejectAppend  Truncate  Persist  Repair  InstallSnapshot
//!  commit, applied, config  AdvanceCommit  Apply  DropState  ChangeConfig  LeaveJoint
//!  message                  SendAppend  Confirm  Tell, and those above that speak
//!  life                     Crash  Restart
//! ```
//! A message that was sent may arrive late, twice or never: Drop and Duplicate are no steps here, because what was sent is
//! kept as facts that are never taken back (`terms`). What a turn did is derived from the difference it made, and the
//! guard of each action that this takes is checked; nothing is searched.

mod commit;
mod elect;
mod group;
mod log;
mod members;
mod replicate;
mod speak;
mod terms;

pub(crate) use group::{Group, describe};

/// What a node may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// It asks for the next term, after a quorum's pre-votes.
    Timeout,
    /// It asks whether it could win.
    PreVote,
    /// It asks for votes.
    RequestVote,
    /// It votes.
    Grant,
    /// It answers with its own term.
    Refuse,
    /// A quorum voted for it.
    BecomeLeader,
    /// A leader makes an entry.
    Append,
    /// A leader sends entries, or none.
    SendAppend,
    /// A follower takes entries, and says so.
    AcceptAppend,
    /// A follower does not hold the entry before.
    RejectAppend,
    /// Entries that conflict with a leader's go.
    Truncate,
    /// Entries reach the disk.
    Persist,
    /// Entries lost by a disk come back from another node.
    Repair,
    /// More is known to be committed.
    AdvanceCommit,
    /// The machine takes what is committed.
    Apply,
    /// A leader begins a change of members.
    ChangeConfig,
    /// A leader ends one.
    LeaveJoint,
    /// The log restarts behind a leader's state.
    InstallSnapshot,
    /// A node that is out drops what it applied.
    DropState,
    /// A leader asks a voter to campaign at once.
    Transfer,
    /// A leader confirms what it leads: heartbeats, read indexes, who is out.
    Confirm,
    /// A node learns a term or a leader from a message.
    Learn,
    /// A process begins from what is on its disk.
    Restart,
}

/// A step that no action explains: the nearest action, and its guard that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    pub action: Action,
    pub guard: String,
}

pub(crate) type Step = Result<(), Refused>;

/// Refuses the step by `action` unless the guard holds; the text says what was seen.
macro_rules! guard {
    ($action:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::spec::Refused { action: $crate::spec::Action::$action, guard: format!($($what)+) });
        }
    };
}
pub(crate) use guard;
