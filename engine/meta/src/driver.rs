//! What drives a flow: from its row alone, what is to be done next, and what its outcome means (docs/design/metadata.md,
//! "Flows"). Whoever holds the row may go on; two who do both are harmless.
//!
//! A [`Drive`] is pure: it says what to send or ask, and is told what that came to. Every command goes as the system's:
//! steps are kept by flow and step where they are done, parts of a copy are counted there, and group 0 takes each step
//! once. Its answer is the row again.

use base::{Nsid, TreeNode};

use crate::across::{Copier, CopyTask, ImportEnd, ImportEndHow, Next};
use crate::command::{
    At, Command, CommitBatch, Delete, Freeze, MemberPut, MemberRole, MemberState, Mount, MountSwap, Step, Transfer,
};
use crate::group0::{FlowInfo, FlowPlan, FlowState, FlowStep, Group0Command};
use crate::metadata::NamespaceKind;
use crate::outcome::Outcome;
use crate::query::{Answer, Query};

/// When to try again what was busy and did not say how long.
const AGAIN_MS: u32 = 1000;
/// Names taken away at once where a namespace is emptied.
const EMPTIED_MAX: u32 = 256;

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
    /// Copy a folder until little is left, or to its very end.
    Copy(CopyTask),
    /// Take away all that is in the namespace.
    Empty {
        /// Which one.
        nsid: Nsid,
    },
}

/// What the outcome of a task means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send this to group 0: the step was done, or refused for good.
    Tell(FlowStep),
    /// The same again, a little later.
    Again {
        /// So much later; 0 is at once.
        after_ms: u32,
    },
}

/// The task of a flow; `None` for one that waits or has ended.
#[must_use]
pub fn task(info: &FlowInfo) -> Option<Task> {
    if info.state != FlowState::Open {
        return None;
    }
    if info.code != 0 {
        return Some(undo_task(info));
    }
    let step = Step { flow: info.flow, step: info.step };
    let init = |kind| Command::NamespaceInit { kind, owner: info.acct, grant_bytes: info.bytes };
    let member = |state| Command::MemberPut(MemberPut { step, acct: info.acct, role: info.role, state });
    let (nsid, command) = match (&info.plan, info.step) {
        (FlowPlan::Account { .. }, _) => (info.nsid, init(NamespaceKind::Root)),
        (FlowPlan::Share { .. } | FlowPlan::MoveAcross { .. }, _) => return Some(copy_task(info, step)),
        (FlowPlan::AccountEnd { .. }, _) => return Some(Task::Empty { nsid: info.nsid }),
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

/// The folder that a flow copies, in its root or where it is moved from.
fn copied_node(info: &FlowInfo) -> TreeNode {
    match info.plan {
        FlowPlan::Share { node, .. } | FlowPlan::MoveAcross { node, .. } => node,
        _ => unreachable!("the others copy nothing"),
    }
}

/// The steps of a share or a move to another namespace, which but for their ends are the same.
fn copy_task(info: &FlowInfo, step: Step) -> Task {
    let (flow, node, since_ms) = (info.flow, copied_node(info), info.since_ms);
    let is_share = matches!(info.plan, FlowPlan::Share { .. });
    let copy = |frozen_ms| {
        let (acct, from, to) = (info.acct, info.root, info.nsid);
        Task::Copy(CopyTask { flow, acct, from, node, to, is_hidden: !is_share, frozen_ms })
    };
    let freeze = info.plan.freeze_step().expect("both freeze what they copy");
    if info.step + 1 == freeze {
        return copy(None);
    }
    if info.step == freeze {
        return Task::Send { nsid: info.root, command: Command::Freeze(Freeze { flow, node }) };
    }
    if info.step == freeze + 1 {
        return copy(Some(since_ms));
    }
    let end = |how| Command::ImportEnd(Box::new(ImportEnd { step, how }));
    let (nsid, command) = match (&info.plan, info.step) {
        (FlowPlan::Share { .. }, 1) => {
            let kind = NamespaceKind::Shared;
            (info.nsid, Command::NamespaceInit { kind, owner: info.acct, grant_bytes: info.bytes })
        }
        (FlowPlan::Share { .. }, 5) => {
            let swap = MountSwap { step, node, target: info.nsid, flow, since_ms };
            (info.root, Command::MountSwap(swap))
        }
        (FlowPlan::MoveAcross { at, autorename, .. }, 4) => {
            let how = ImportEndHow::Attach { at: at.clone(), autorename: *autorename, acct: info.acct };
            (info.nsid, end(how))
        }
        (FlowPlan::MoveAcross { .. }, _) => {
            let swap = MountSwap { step, node, target: Nsid(0), flow, since_ms };
            (info.root, Command::MountSwap(swap))
        }
        _ => (info.nsid, end(ImportEndHow::Stay)),
    };
    Task::Send { nsid, command }
}

/// The steps that take back what a refused flow has made, after it was refused for good.
fn undo_task(info: &FlowInfo) -> Task {
    let step = Step { flow: info.flow, step: info.step };
    match info.step - FlowPlan::UNDO {
        1 => {
            let end = ImportEnd { step, how: ImportEndHow::GiveUp };
            Task::Send { nsid: info.nsid, command: Command::ImportEnd(Box::new(end)) }
        }
        2 => {
            let freeze = Freeze { flow: info.flow, node: copied_node(info) };
            Task::Send { nsid: info.root, command: Command::Thaw(freeze) }
        }
        // No part comes any more.
        _ => Task::Empty { nsid: info.nsid },
    }
}

/// The freeze that must hold while this step is taken: what is attached is what is in the folder now.
fn guard(info: &FlowInfo) -> Option<(Nsid, Freeze)> {
    let is_guarded = info.code == 0 && matches!((&info.plan, info.step), (FlowPlan::MoveAcross { .. }, 4));
    is_guarded.then(|| (info.root, Freeze { flow: info.flow, node: copied_node(info) }))
}

/// What the outcome of a sent command means for the flow.
#[must_use]
pub fn judge(info: &FlowInfo, outcome: &Outcome) -> Verdict {
    let tell = |code, value| Verdict::Tell(FlowStep { flow: info.flow, step: info.step, code, value });
    let is_freeze = info.code == 0 && info.plan.freeze_step() == Some(info.step);
    match (&info.plan, info.step, outcome) {
        (_, _, Outcome::Busy { retry_ms }) => Verdict::Again { after_ms: (*retry_ms).max(1) },
        // Since when it is frozen is told to who asks again.
        (_, _, Outcome::Done) if is_freeze => Verdict::Again { after_ms: 0 },
        (_, _, Outcome::Exists { id: since_ms }) if is_freeze => tell(0, *since_ms),
        // What cannot be taken back is not there, and after the swap nothing is refused any more.
        (..) if info.code != 0 => tell(0, 0),
        (FlowPlan::Share { .. }, 6, _) => tell(0, 0),
        // An owner is in anyhow.
        (FlowPlan::Mount { .. }, 1, Outcome::Exists { .. }) if info.role == MemberRole::Owner => tell(0, 0),
        // Gone already.
        (FlowPlan::RemoveMember { .. } | FlowPlan::Unmount { .. }, _, Outcome::NotFound) => tell(0, 0),
        (_, _, outcome) if outcome.is_ok() => tell(0, 0),
        (_, _, refused) => tell(refused.code(), 0),
    }
}

/// What a driver does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Send this as the system; then [`Drive::hear_outcome`].
    Command {
        /// To the group of which namespace; 0 is group 0.
        nsid: Nsid,
        /// What.
        command: Command,
    },
    /// Ask this as the system; then [`Drive::hear_answer`].
    Query {
        /// The group of which namespace.
        nsid: Nsid,
        /// What.
        query: Query,
    },
    /// Wait, then go on.
    Pause {
        /// So long.
        ms: u32,
    },
}

enum State {
    /// The row is new: see what it wants.
    Begin,
    /// See that the folder is still frozen, before this is sent.
    Guard {
        nsid: Nsid,
        command: Command,
    },
    Send {
        nsid: Nsid,
        command: Command,
    },
    Copy(Box<Copier>),
    /// See what is in the namespace, or take that away.
    Empty {
        nsid: Nsid,
        names: Option<Command>,
    },
    Tell(FlowStep),
    /// It has ended, or waits for another.
    Over,
}

/// One flow being driven.
pub struct Drive {
    info: FlowInfo,
    state: State,
    pause_ms: u32,
}

impl Drive {
    /// Goes on with a flow from its row, however old that is.
    #[must_use]
    pub fn new(info: FlowInfo) -> Drive {
        Drive { info, state: State::Begin, pause_ms: 0 }
    }

    /// The row as it was told last.
    #[must_use]
    pub fn info(&self) -> &FlowInfo {
        &self.info
    }

    /// What to do next; `None` when the flow has ended, or waits for another. Asked again before the answer was heard, it
    /// says the same.
    ///
    /// Units: `now_ms` in milliseconds since 1970, by the caller's clock.
    pub fn ask(&mut self, now_ms: u64) -> Option<Ask> {
        if self.pause_ms > 0 {
            return Some(Ask::Pause { ms: std::mem::take(&mut self.pause_ms) });
        }
        if matches!(self.state, State::Begin) {
            self.begin();
        }
        if let State::Copy(copier) = &mut self.state {
            match copier.next(now_ms) {
                Next::Command { nsid, command } => return Some(Ask::Command { nsid, command }),
                Next::Query { nsid, query } => return Some(Ask::Query { nsid, query }),
                Next::Pause { ms } => return Some(Ask::Pause { ms }),
                Next::End { code } => self.tell(code),
            }
        }
        match &self.state {
            State::Guard { .. } => {
                let (nsid, freeze) = guard(&self.info).expect("only a guarded step comes here");
                Some(Ask::Command { nsid, command: Command::Freeze(freeze) })
            }
            State::Send { nsid, command } | State::Empty { nsid, names: Some(command) } => {
                Some(Ask::Command { nsid: *nsid, command: command.clone() })
            }
            State::Empty { nsid, names: None } => {
                let (at, position) = (At::path(""), Vec::new());
                let query = Query::ListPage { at, recursive: false, position, limit: EMPTIED_MAX };
                Some(Ask::Query { nsid: *nsid, query })
            }
            State::Tell(step) => {
                let command = Command::Group0(Box::new(Group0Command::FlowStep(*step)));
                Some(Ask::Command { nsid: Nsid(0), command })
            }
            State::Over => None,
            State::Begin | State::Copy(_) => unreachable!("they have gone on above"),
        }
    }

    fn begin(&mut self) {
        self.state = match task(&self.info) {
            None => State::Over,
            Some(Task::Send { nsid, command }) if guard(&self.info).is_some() => State::Guard { nsid, command },
            Some(Task::Send { nsid, command }) => State::Send { nsid, command },
            Some(Task::Copy(task)) => State::Copy(Box::new(Copier::new(task))),
            Some(Task::Empty { nsid }) => State::Empty { nsid, names: None },
        };
    }

    fn tell(&mut self, code: u8) {
        self.state = State::Tell(FlowStep { flow: self.info.flow, step: self.info.step, code, value: 0 });
    }

    /// What the command came to that [`Drive::ask`] said.
    pub fn hear_outcome(&mut self, outcome: &Outcome) {
        match (&mut self.state, outcome) {
            (State::Copy(copier), outcome) => copier.hear_outcome(outcome),
            (State::Tell(_), Outcome::Flow(info)) => {
                self.info = (**info).clone();
                self.state = State::Begin;
            }
            (_, Outcome::Busy { retry_ms }) => self.pause_ms = (*retry_ms).max(1),
            // It ended so long ago that nobody knows it, or it waits.
            (State::Tell(_), _) => self.state = State::Over,
            (State::Guard { .. }, Outcome::Exists { id }) if *id == self.info.since_ms => {
                let State::Guard { nsid, command } = std::mem::replace(&mut self.state, State::Over) else {
                    unreachable!("it is what was just looked at")
                };
                self.state = State::Send { nsid, command };
            }
            (State::Guard { .. }, Outcome::Done | Outcome::Exists { .. }) => self.tell(Outcome::RevMismatch.code()),
            (State::Guard { .. }, refused) => self.tell(refused.code()),
            (State::Empty { nsid, .. }, Outcome::Batch { outcomes, .. }) => {
                // What is busy goes a little later.
                let is_stuck = outcomes.iter().all(|outcome| !outcome.is_ok());
                self.pause_ms = if is_stuck { AGAIN_MS } else { 0 };
                self.state = State::Empty { nsid: *nsid, names: None };
            }
            (State::Empty { .. }, refused) => self.tell(refused.code()),
            (State::Send { .. }, outcome) => match judge(&self.info, outcome) {
                Verdict::Tell(step) => self.state = State::Tell(step),
                Verdict::Again { after_ms } => self.pause_ms = after_ms,
            },
            (State::Begin | State::Over, _) => {}
        }
    }

    /// What the question was answered that [`Drive::ask`] said.
    pub fn hear_answer(&mut self, answer: &Answer) {
        match (&mut self.state, answer) {
            (State::Copy(copier), answer) => copier.hear_answer(answer),
            (State::Empty { nsid, .. }, Answer::Page { entries, .. }) if !entries.is_empty() => {
                let delete = |entry: &crate::query::Entry| {
                    Command::Delete(Delete { at: At::node(entry.meta.node), parent_rev: None })
                };
                let batch = CommitBatch { atomic: false, parts: entries.iter().map(delete).collect() };
                self.state = State::Empty { nsid: *nsid, names: Some(Command::CommitBatch(batch)) };
            }
            // Nothing is left, or the namespace never came to be.
            (State::Empty { .. }, _) => self.tell(0),
            _ => {}
        }
    }
}
