//! A flow: work that changes several namespaces, one command at a time (docs/design/metadata.md, "Flows").

use base::{Acct, Nsid, TreeNode};

use crate::command::{At, MemberRole};

/// What a flow is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlowPlan {
    /// Makes an account with its root namespace (1).
    Account {
        /// Its name, compared in lower case.
        name: String,
        /// Bytes of all its grants; 0 while nothing limits them.
        allocated: u64,
        /// Bytes of those for its root.
        grant_bytes: u64,
    },
    /// Makes a folder a shared namespace (2).
    Share {
        /// Whose folder.
        owner: Acct,
        /// Which one, in its root.
        node: TreeNode,
        /// Bytes for the new namespace.
        grant_bytes: u64,
    },
    /// Invites an account, or gives it another role (3).
    AddMember {
        /// Where.
        nsid: Nsid,
        /// Whom.
        acct: Acct,
        /// As what.
        role: MemberRole,
    },
    /// Hangs the namespace into the member's root (4).
    Mount {
        /// Which.
        nsid: Nsid,
        /// Whose root.
        acct: Acct,
        /// Where; another name is taken if something is there.
        at: At,
    },
    /// Takes it out; the member stays one (5).
    Unmount {
        /// Which.
        nsid: Nsid,
        /// Whose root.
        acct: Acct,
    },
    /// Takes an account out of a namespace (6).
    RemoveMember {
        /// Which.
        nsid: Nsid,
        /// Whom.
        acct: Acct,
    },
    /// Gives a namespace to a member (7).
    Transfer {
        /// Which.
        nsid: Nsid,
        /// Whose it is.
        from: Acct,
        /// Whose it will be.
        to: Acct,
    },
    /// Moves a folder with all in it to another namespace (9).
    MoveAcross {
        /// In whose name; it may write in both.
        acct: Acct,
        /// Where the folder is.
        from: Nsid,
        /// Which one.
        node: TreeNode,
        /// Where it goes.
        to: Nsid,
        /// To which place there.
        at: At,
        /// Take another name instead of a conflict.
        autorename: bool,
    },
    /// Ends an account that reaches no shared namespace any more, with all in its root (10).
    AccountEnd {
        /// Which.
        acct: Acct,
    },
    /// Gives a namespace more room, or less (8).
    Grant {
        /// Which.
        nsid: Nsid,
        /// Whose.
        acct: Acct,
        /// More.
        is_raise: bool,
        /// So much.
        bytes: u64,
    },
}

impl FlowPlan {
    /// Steps above this take back what a refused flow has made.
    pub const UNDO: u32 = 100;

    /// Steps outside group 0 that it takes.
    ///
    /// ```text
    /// share        1 init  2 copy  3 freeze  4 copy the rest  5 swap for a mount  6 end the import
    /// move across          1 copy  2 freeze  3 copy the rest  4 attach            5 delete
    /// undo         101 give the import up  102 thaw  103 empty what was made, of a share
    /// ```
    #[must_use]
    pub fn steps(&self) -> u32 {
        match self {
            FlowPlan::Share { .. } => 6,
            FlowPlan::MoveAcross { .. } => 5,
            FlowPlan::Mount { .. } | FlowPlan::RemoveMember { .. } => 2,
            FlowPlan::Account { .. }
            | FlowPlan::AddMember { .. }
            | FlowPlan::Unmount { .. }
            | FlowPlan::Transfer { .. }
            | FlowPlan::AccountEnd { .. }
            | FlowPlan::Grant { .. } => 1,
        }
    }

    /// The step that freezes what is copied. The two after it are taken again from here when it thawed meanwhile.
    #[must_use]
    pub fn freeze_step(&self) -> Option<u32> {
        match self {
            FlowPlan::Share { .. } => Some(3),
            FlowPlan::MoveAcross { .. } => Some(2),
            _ => None,
        }
    }

    /// The first and the last step that take back what the flow had made when this one was refused.
    pub(crate) fn undo_steps(&self, refused: u32) -> Option<(u32, u32)> {
        let undo = |first, last| Some((FlowPlan::UNDO + first, FlowPlan::UNDO + last));
        match (self, refused) {
            (FlowPlan::Share { .. }, 2..) => undo(1, 3),
            // It is in its new place: the folder that could not be deleted stays beside it.
            (FlowPlan::MoveAcross { .. }, 5..) => undo(2, 2),
            (FlowPlan::MoveAcross { .. }, _) => undo(1, 2),
            _ => None,
        }
    }
}

/// How far a flow has come; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlowState {
    /// It is under way.
    Open = 1,
    /// It begins when the one before it ends.
    Waiting = 2,
    /// All of it was done.
    Done = 3,
    /// It was refused; what it had reserved was given back.
    Failed = 4,
}

impl FlowState {
    pub(crate) fn from_u8(number: u8) -> Option<FlowState> {
        use FlowState::*;
        [Open, Waiting, Done, Failed].into_iter().find(|state| *state as u8 == number)
    }
}

/// A flow as group 0 has it: table 28 while it is open or waits, table 2e for eight days after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowInfo {
    /// Its number; steps carry it.
    pub flow: u64,
    /// How far it has come.
    pub state: FlowState,
    /// The step to be done, from 1.
    pub step: u32,
    /// The code of the outcome that refused it: what it made is being taken back, or was.
    pub code: u8,
    /// When it last came on, milliseconds since 1970.
    pub touched_ms: u64,
    /// The account that it makes or works for.
    pub acct: Acct,
    /// The namespace that it makes or changes.
    pub nsid: Nsid,
    /// The root of that account; of a share or a move, where the folder is.
    pub root: Nsid,
    /// Of a share: since when its folder is frozen, milliseconds since 1970.
    pub since_ms: u64,
    /// Bytes that it has reserved, if any.
    pub bytes: u64,
    /// The role that the member has when it joins.
    pub role: MemberRole,
    /// What it is to do.
    pub plan: FlowPlan,
}

impl FlowInfo {
    /// The pairs of account and namespace on which no other flow may be open.
    pub(crate) fn holds(&self) -> Vec<(Acct, Nsid)> {
        match self.plan {
            FlowPlan::Transfer { nsid, from, to } => vec![(from, nsid), (to, nsid)],
            // A removal does not wait for it: the rights are looked at when the folder gets its place.
            FlowPlan::MoveAcross { .. } => Vec::new(),
            _ => vec![(self.acct, self.nsid)],
        }
    }
}
