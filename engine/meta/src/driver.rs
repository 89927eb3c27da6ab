//! What drives a flow: from its row alone, what is to be done next, and what its outcome means (docs/design/metadata.md,
//! "Flows"). Whoever holds the row may go on; two who do both are harmless.
//!
//! A driver reads the row, does the [`Task`], gives the outcome to [`judge`], and sends the `FlowStep` that it says to
//! group 0, whose answer is the row again. Every command goes as the system's, without a session: steps are kept by flow
//! and step where they are done.

use base::{Nsid, TreeNode};

use crate::command::{Command, Freeze, MemberPut, MemberRole, MemberState, Mount, MountSwap, Step, Transfer};
use crate::group0::{FlowInfo, FlowPlan, FlowState, FlowStep};
use crate::metadata::NamespaceKind;
use crate::outcome::Outcome;
use crate::query::Answer;

/// What a flow wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Send this command to the group of the namespace; then [`judge`].
    Send {
        /// Which namespace.
        nsid: Nsid,
        /// What.
        command: Command,
    },
    /// List the folder, which is frozen, one entry at most; then [`judge_listing`]. Only an empty folder is shared: its
    /// content would have to be copied.
    List {
        /// In which namespace.
        nsid: Nsid,
        /// Which folder.
        node: TreeNode,
    },
}

/// What the outcome of a task means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send this to group 0: the step was done, or refused for good.
    Tell(FlowStep),
    /// The same again, a little later.
    Again,
}

/// The task of a flow; `None` for one that waits or has ended.
#[must_use]
pub fn task(info: &FlowInfo) -> Option<Task> {
    if info.state != FlowState::Open {
        return None;
    }
    let step = Step { flow: info.flow, step: info.step };
    let init = |kind| Command::NamespaceInit { kind, owner: info.acct, grant_bytes: info.bytes };
    let member = |state| Command::MemberPut(MemberPut { step, acct: info.acct, role: info.role, state });
    let (nsid, command) = match (&info.plan, info.step) {
        (FlowPlan::Account { .. }, _) => (info.nsid, init(NamespaceKind::Root)),
        (FlowPlan::Share { .. }, 1) => (info.nsid, init(NamespaceKind::Shared)),
        (FlowPlan::Share { node, .. }, 2) => (info.root, Command::Freeze(Freeze { flow: info.flow, node: *node })),
        (FlowPlan::Share { node, .. }, 3) => return Some(Task::List { nsid: info.root, node: *node }),
        (FlowPlan::Share { node, .. }, _) => {
            let (target, flow, since_ms) = (info.nsid, info.flow, info.since_ms);
            (info.root, Command::MountSwap(MountSwap { step, node: *node, target, flow, since_ms }))
        }
        (FlowPlan::AddMember { .. }, _) => (info.nsid, member(MemberState::Invited)),
        (FlowPlan::Mount { .. }, 1) => (info.nsid, member(MemberState::Joined)),
        (FlowPlan::Mount { at, .. }, _) => {
            let mount = Mount { step, target: info.nsid, at: at.clone(), autorename: true };
            (info.root, Command::Mount(mount))
        }
        (FlowPlan::RemoveMember { .. }, 1) => (info.nsid, Command::MemberRemove { step, acct: info.acct }),
        (FlowPlan::RemoveMember { .. } | FlowPlan::Unmount { .. }, _) => {
            (info.root, Command::Unmount { step, target: info.nsid })
        }
        (FlowPlan::Transfer { from, to, .. }, _) => {
            let transfer = Transfer { step, from: *from, to: *to, grant_bytes: info.bytes };
            (info.nsid, Command::Transfer(transfer))
        }
        (FlowPlan::Grant { is_raise: true, .. }, _) => {
            (info.nsid, Command::GrantRaise { step, owner: info.acct, bytes: info.bytes })
        }
        (FlowPlan::Grant { .. }, _) => (info.nsid, Command::GrantLower { step, bytes: info.bytes }),
    };
    Some(Task::Send { nsid, command })
}

/// What the outcome of a sent command means for the flow.
#[must_use]
pub fn judge(info: &FlowInfo, outcome: &Outcome) -> Verdict {
    let tell = |code, value| Verdict::Tell(FlowStep { flow: info.flow, step: info.step, code, value });
    match (&info.plan, info.step, outcome) {
        (_, _, Outcome::Busy { .. }) => Verdict::Again,
        // Since when it is frozen is told to who asks again.
        (FlowPlan::Share { .. }, 2, Outcome::Done) => Verdict::Again,
        (FlowPlan::Share { .. }, 2, Outcome::Exists { id: since_ms }) => tell(0, *since_ms),
        // An owner is in anyhow.
        (FlowPlan::Mount { .. }, 1, Outcome::Exists { .. }) if info.role == MemberRole::Owner => tell(0, 0),
        // Gone already.
        (FlowPlan::RemoveMember { .. } | FlowPlan::Unmount { .. }, _, Outcome::NotFound) => tell(0, 0),
        (_, _, outcome) if outcome.is_ok() => tell(0, 0),
        (_, _, refused) => tell(refused.code(), 0),
    }
}

/// What the listing of a folder that is to be shared means: empty goes on, anything in it is
/// `TooLarge`, since nothing is copied yet.
#[must_use]
pub fn judge_listing(info: &FlowInfo, answer: &Answer) -> Verdict {
    let tell = |code| Verdict::Tell(FlowStep { flow: info.flow, step: info.step, code, value: 0 });
    match answer {
        Answer::Page { entries, .. } if entries.is_empty() => tell(0),
        Answer::Page { .. } => tell(Outcome::TooLarge.code()),
        Answer::NotFolder => tell(Outcome::NotFolder.code()),
        _ => tell(Outcome::NotFound.code()),
    }
}
