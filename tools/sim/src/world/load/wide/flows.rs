//! Flows between namespaces, driven as a server would: the row says what is to be done, its outcome what to tell group 0.
//! Old rows are driven on too, and steps told again.

use base::{Acct, Nsid, Prng};
use client::Operation;
use meta::driver::{Task, Verdict, judge, task};
use meta::{
    At, Command, FlowInfo, FlowPlan, FlowState, FlowStep, Group0Command, Group0Query, MemberRole, Mkdir, Outcome, Query,
};

use super::super::GRANT_BYTES;
use super::{Wide, Wish, command, keep, pick, query};

impl Wide {
    /// The next thing that some flow wants, or a new flow.
    pub(super) fn flow(&mut self, dice: &mut Prng) -> (Operation, Wish) {
        let group0 = |one: Group0Command| command(Acct(0), Nsid(0), Command::Group0(Box::new(one)));
        if !self.tells.is_empty() && dice.below(4) > 0 {
            let at = dice.below(self.tells.len() as u64) as usize;
            // Some are told again later.
            let told = if dice.below(4) == 0 { self.tells[at] } else { self.tells.remove(at) };
            return (group0(Group0Command::FlowStep(told)), Wish::Flow);
        }
        let known = pick(&self.flows, dice).filter(|_| dice.below(3) > 0);
        let Some(info) = known else {
            if let Some((acct, root)) = pick(&self.accounts, dice)
                && dice.below(3) == 0
            {
                // A folder that may be shared.
                let at = At::path(&format!("/folder {}", dice.below(4)));
                let mkdir = Command::Mkdir(Mkdir { at, autorename: true });
                return (command(acct, root, mkdir), Wish::Folder(root, acct));
            }
            return (group0(Group0Command::FlowStart(self.plan(dice))), Wish::Flow);
        };
        match task(&info) {
            Some(Task::Send { nsid, command: sent }) => (command(Acct(0), nsid, sent), Wish::Step(Box::new(info))),
            // This driver copies nothing, so what is shared begins empty; engine/meta/tests/across.rs copies.
            Some(Task::Copy(_) | Task::Empty { .. }) => {
                let told = FlowStep { flow: info.flow, step: info.step, code: 0, value: 0 };
                (group0(Group0Command::FlowStep(told)), Wish::Flow)
            }
            None => (query(Acct(0), Nsid(0), Query::Group0(Group0Query::Flow(info.flow))), Wish::Flow),
        }
    }

    fn plan(&mut self, dice: &mut Prng) -> FlowPlan {
        let account = |wide: &Wide, dice: &mut Prng| pick(&wide.accounts, dice).map_or(Acct(3), |(acct, _)| acct);
        let known = pick(&self.made, dice).filter(|_| dice.below(4) > 0);
        let is_of_roots = known.is_none() && dice.below(2) == 0;
        let folder = pick(&self.folders, dice).filter(|_| is_of_roots || known.is_none());
        match (known, folder) {
            (Some((nsid, owner)), _) => {
                let acct = account(self, dice);
                let roles = [MemberRole::Viewer, MemberRole::Editor];
                match dice.below(8) {
                    0..2 => FlowPlan::AddMember { nsid, acct, role: roles[dice.below(2) as usize] },
                    2..4 => FlowPlan::Mount { nsid, acct, at: At::path("/hung") },
                    4 => FlowPlan::Unmount { nsid, acct },
                    5 => FlowPlan::RemoveMember { nsid, acct },
                    6 => FlowPlan::Transfer { nsid, from: owner, to: acct },
                    _ => FlowPlan::Grant { nsid, acct: owner, is_raise: dice.below(2) == 0, bytes: 1 << 20 },
                }
            }
            (None, Some((_, owner, node))) => FlowPlan::Share { owner, node, grant_bytes: GRANT_BYTES >> 4 },
            (None, None) => {
                let name = format!("account {}", self.number() % 7);
                let allocated = if dice.below(2) == 0 { 0 } else { GRANT_BYTES << 1 };
                FlowPlan::Account { name, allocated, grant_bytes: GRANT_BYTES }
            }
        }
    }

    /// A flow as group 0 has it now.
    pub(super) fn note_flow(&mut self, info: &FlowInfo) {
        let is_done = info.state == FlowState::Done;
        // Whoever has an old row goes on with it now and then.
        self.flows.retain(|known| known.flow != info.flow || known.flow % 3 == 0 && !is_done);
        match &info.plan {
            FlowPlan::Account { .. } if is_done => keep(&mut self.accounts, (info.acct, info.root)),
            FlowPlan::Share { .. } if is_done => keep(&mut self.made, (info.nsid, info.acct)),
            FlowPlan::Transfer { nsid, to, .. } if is_done => {
                self.made.iter_mut().filter(|(made, _)| made == nsid).for_each(|(_, owner)| *owner = *to);
            }
            _ => {}
        }
        if matches!(info.state, FlowState::Open | FlowState::Waiting) {
            keep(&mut self.flows, info.clone());
        }
    }

    /// A command that a flow wanted was answered.
    pub(super) fn note_step(&mut self, info: &FlowInfo, outcome: &Outcome) {
        if let Verdict::Tell(step) = judge(info, outcome) {
            keep(&mut self.tells, step);
        }
    }
}
