//! Several groups with their machines, and drivers of flows that stop anywhere, go on from old rows, and send again.

#![allow(dead_code)] // each test uses some of it

use std::collections::BTreeMap;

use base::record::EntryKind;
use base::{Acct, GroupId, LogIndex, Nsid, Prng, Term, group_of};
use meta::driver::{Ask, Drive};
use meta::*;

use crate::common::{self, put};

pub const GROUPS: u32 = 4;
pub const SYSTEM: Acct = Acct(0);
pub const ALLOCATED: u64 = 1000;
pub const ROOT_GRANT: u64 = 400;

pub struct Group {
    pub store: MemoryStore,
    pub applier: Applier,
}

/// Several groups, and drivers that know only rows.
pub struct Cluster {
    pub prng: Prng,
    pub groups: Vec<Group>,
    pub stamp_ms: u64,
    /// Commands of flows that were sent once: any of them may come again.
    pub sent: Vec<(Nsid, Command)>,
    /// Rows of flows as somebody read them.
    pub read: Vec<FlowInfo>,
    pub accounts: Vec<(Acct, Nsid)>,
    pub shared: Vec<Nsid>,
    /// Ended flows by plan and state.
    pub ends: BTreeMap<(u8, u8), u32>,
    pub repeats: u64,
}

pub fn plan_number(plan: &FlowPlan) -> u8 {
    match plan {
        FlowPlan::Account { .. } => 1,
        FlowPlan::Share { .. } => 2,
        FlowPlan::AddMember { .. } => 3,
        FlowPlan::Mount { .. } => 4,
        FlowPlan::Unmount { .. } => 5,
        FlowPlan::RemoveMember { .. } => 6,
        FlowPlan::Transfer { .. } => 7,
        FlowPlan::Grant { .. } => 8,
        FlowPlan::MoveAcross { .. } => 9,
        FlowPlan::AccountEnd { .. } => 10,
    }
}

impl Cluster {
    pub fn new(seed: u64) -> Cluster {
        let groups = (0..GROUPS).map(|_| Group { store: MemoryStore::new(), applier: Applier::new() }).collect();
        Cluster {
            prng: Prng::new(seed),
            groups,
            stamp_ms: common::STAMP,
            sent: Vec::new(),
            read: Vec::new(),
            accounts: Vec::new(),
            shared: Vec::new(),
            ends: BTreeMap::new(),
            repeats: 0,
        }
    }

    pub fn apply(&mut self, group: GroupId, acct: Acct, nsid: Nsid, command: &Command) -> Outcome {
        self.stamp_ms += self.prng.below(3);
        let mut bytes = Vec::new();
        encode_command(&CommandHeader { acct, nsid, ..CommandHeader::default() }, command, &mut bytes);
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(self.stamp_ms);
        let Group { store, applier } = &mut self.groups[group.0 as usize];
        let index = store.machine(group).map_or(LogIndex(1), |machine| machine.applied_index.next());
        let entry = EntryRef { index, term: Term(1), crc: 0, kind: EntryKind::Commands, payload };
        let mut applied = Applied::default();
        applier.apply(store, group, entry, &mut applied).expect("all of it is in memory");
        let outcome =
            Outcome::decode(applied.outcomes().next().expect("one command, one outcome")).expect("it decodes");
        self.check(group);
        outcome
    }

    /// As the system, to the group of a namespace.
    pub fn send(&mut self, nsid: Nsid, command: &Command) -> Outcome {
        self.apply(group_of(nsid, GROUPS), SYSTEM, nsid, command)
    }

    pub fn group0(&mut self, command: Group0Command) -> Outcome {
        self.apply(GroupId(0), SYSTEM, Nsid(0), &Command::Group0(Box::new(command)))
    }

    /// As a user: through a session of its own, which a put needs.
    pub fn put_as(&mut self, acct: Acct, nsid: Nsid, path: &str, content: &[u8]) -> Outcome {
        let group = group_of(nsid, GROUPS);
        let nonce = self.prng.next_u64();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nonce.to_le_bytes());
        let register = Command::Register { nonce: bytes };
        let Outcome::Registered { session } = self.apply(group, acct, Nsid(0), &register) else { panic!("registered") };
        let header = CommandHeader { session, sequence: base::Sequence(1), ack_below: base::Sequence(1), acct, nsid };
        let mut bytes = Vec::new();
        encode_command(&header, &put(path, content, PutMode::Overwrite), &mut bytes);
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(self.stamp_ms);
        let Group { store, applier } = &mut self.groups[group.0 as usize];
        let index = store.machine(group).expect("the group has a state").applied_index.next();
        let entry = EntryRef { index, term: Term(1), crc: 0, kind: EntryKind::Commands, payload };
        let mut applied = Applied::default();
        applier.apply(store, group, entry, &mut applied).expect("all of it is in memory");
        Outcome::decode(applied.outcomes().next().expect("one outcome")).expect("it decodes")
    }

    pub fn ask(&self, group: GroupId, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        let store = &self.groups[group.0 as usize].store;
        query(store, group, acct, nsid, question, &mut Vec::new()).expect("all of it is in memory")
    }

    pub fn ask_ns(&self, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        self.ask(group_of(nsid, GROUPS), acct, nsid, question)
    }

    pub fn ask0(&self, question: Group0Query) -> Group0Answer {
        match self.ask(GroupId(0), SYSTEM, Nsid(0), &Query::Group0(question)) {
            Answer::Group0(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn open(&self) -> Vec<FlowInfo> {
        match self.ask0(Group0Query::Flows { after: 0, limit: 0 }) {
            Group0Answer::Flows(flows) => flows,
            other => panic!("{other:?}"),
        }
    }

    pub fn reach(&self, acct: Acct, nsid: Nsid) -> Option<ReachInfo> {
        match self.ask0(Group0Query::Reach { acct, after: Nsid(0), limit: 0 }) {
            Group0Answer::Reach(all) => all.into_iter().find(|(one, _)| *one == nsid).map(|(_, reach)| reach),
            other => panic!("{other:?}"),
        }
    }

    pub fn granted(&self, acct: Acct, nsid: Nsid) -> u64 {
        match self.ask0(Group0Query::Grants { acct, after: Nsid(0), limit: 0 }) {
            Group0Answer::Grants(all) => all.into_iter().find(|(one, _)| *one == nsid).map_or(0, |(_, bytes)| bytes),
            other => panic!("{other:?}"),
        }
    }

    pub fn owner(&self, nsid: Nsid) -> Acct {
        match self.ask0(Group0Query::Directory(nsid)) {
            Group0Answer::Directory { owner, .. } => owner,
            other => panic!("{other:?}"),
        }
    }

    pub fn is_open_for(&self, acct: Acct, nsid: Nsid) -> bool {
        self.open().iter().any(|info| {
            let heir = matches!(info.plan, FlowPlan::Transfer { to, .. } if to == acct);
            info.nsid == nsid && (info.acct == acct || heir)
        })
    }

    /// After every command: the rows of its group; no namespace has more room than its owner has granted it (I8); and
    /// who is in neither by group 0 nor by an open flow gets nothing (I13).
    pub fn check(&self, group: GroupId) {
        invariants::check(&self.groups[group.0 as usize].store.rows(group)).expect("the invariants hold");
        let open = self.open();
        for nsid in self.shared.iter().copied().chain(self.accounts.iter().map(|(_, root)| *root)) {
            let owner = self.owner(nsid);
            let Answer::SpaceUsage { grant_bytes, .. } = self.ask_ns(SYSTEM, nsid, &Query::SpaceUsage) else {
                panic!("usage")
            };
            let granted = self.granted(owner, nsid);
            assert!(grant_bytes <= granted, "{nsid} has {grant_bytes} of the {granted} granted");
        }
        for (nsid, (acct, _)) in self.shared.iter().flat_map(|nsid| self.accounts.iter().map(move |who| (*nsid, *who)))
        {
            let is_open = open.iter().any(|info| info.nsid == nsid && info.acct == acct);
            if !is_open && self.reach(acct, nsid).is_none_or(|reach| reach.state == ReachState::Invited) {
                assert_eq!(self.ask_ns(acct, nsid, &Query::Head), Answer::NoAccess, "{acct} in {nsid}");
            }
        }
    }

    /// Does up to so many things that a driver wants, each once or, as a repeat, twice. True when the flow has ended, or
    /// waits.
    pub fn drive(&mut self, drive: &mut Drive, asks: u64) -> bool {
        for _ in 0..asks {
            match drive.ask(self.stamp_ms) {
                None => return true,
                Some(Ask::Pause { ms }) => self.stamp_ms += u64::from(ms),
                Some(Ask::Query { nsid, query }) => {
                    let answer = self.ask_ns(SYSTEM, nsid, &query);
                    drive.hear_answer(&answer);
                }
                Some(Ask::Command { nsid, command }) => {
                    let outcome = self.do_once(nsid, &command);
                    if self.prng.one_in(4) {
                        continue; // It stops before it hears of it, and asks again.
                    }
                    drive.hear_outcome(&outcome);
                }
            }
        }
        false
    }

    fn do_once(&mut self, nsid: Nsid, command: &Command) -> Outcome {
        self.sent.push((nsid, command.clone()));
        if let Command::Group0(group0) = command
            && let Group0Command::FlowStep(step) = **group0
        {
            return self.tell(step);
        }
        let outcome = self.send(nsid, command);
        if self.prng.one_in(3) {
            self.repeats += 1;
            let again = self.send(nsid, command);
            let may_differ = matches!(
                command,
                Command::Freeze(_)
                    | Command::Thaw(_)
                    | Command::MountSwap(_)
                    | Command::Import(_)
                    | Command::CommitBatch(_)
                    | Command::ListStage(_)
            );
            assert!(may_differ || again == outcome, "{command:?}: {outcome:?}, then {again:?}");
        }
        outcome
    }

    pub fn tell(&mut self, step: FlowStep) -> Outcome {
        let before = self.open().iter().any(|info| info.flow == step.flow);
        let outcome = self.group0(Group0Command::FlowStep(step));
        match &outcome {
            Outcome::Flow(info) => {
                if before && matches!(info.state, FlowState::Done | FlowState::Failed) {
                    *self.ends.entry((plan_number(&info.plan), info.state as u8)).or_default() += 1;
                    if info.state == FlowState::Done {
                        self.note(info);
                    }
                }
                self.read.push((**info).clone());
            }
            other => assert_eq!(*other, Outcome::Malformed, "a step of a flow that waits"),
        }
        outcome
    }

    pub fn note(&mut self, info: &FlowInfo) {
        match info.plan {
            FlowPlan::Account { .. } => self.accounts.push((info.acct, info.nsid)),
            FlowPlan::Share { .. } => self.shared.push(info.nsid),
            // I13: from the entry of the removal on; here group 0 knows it too.
            FlowPlan::RemoveMember { nsid, acct } => self.nothing_is_served(acct, nsid),
            _ => {}
        }
    }

    /// I13.
    pub fn nothing_is_served(&self, acct: Acct, nsid: Nsid) {
        let questions = [
            Query::Lookup(What::At(At::path("/f"))),
            Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 },
            Query::Delta { cursor: DeltaCursor::at(base::Jid(0)), limit: 0 },
            Query::Head,
            Query::Links { of: LinksOf::Account(acct), after: 0, limit: 0 },
        ];
        for question in questions {
            assert_eq!(self.ask_ns(acct, nsid, &question), Answer::NoAccess, "{acct} was removed from {nsid}");
        }
    }

    pub fn start(&mut self, plan: FlowPlan) -> Outcome {
        let outcome = self.group0(Group0Command::FlowStart(plan));
        if let Outcome::Flow(info) = &outcome {
            self.read.push((**info).clone());
        }
        outcome
    }

    pub fn pick_account(&mut self) -> (Acct, Nsid) {
        self.accounts[self.prng.below(self.accounts.len() as u64) as usize]
    }

    pub fn repeat_something(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.prng.below(self.sent.len() as u64) as usize;
        let (nsid, command) = self.sent[at].clone();
        self.repeats += 1;
        match &command {
            Command::Group0(group0) => match **group0 {
                Group0Command::FlowStep(step) => drop(self.tell(step)),
                ref other => panic!("{other:?} is not sent by drivers"),
            },
            _ => drop(self.send(nsid, &command)),
        }
    }

    /// Until nothing is under way.
    pub fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "flows do not come to their end: {:?}", self.open());
            let open = self.open();
            if open.is_empty() {
                break;
            }
            for info in open {
                self.drive(&mut Drive::new(info), 40);
            }
        }
        self.compare();
    }

    /// What group 0 says is what the namespaces say, now that nothing is under way.
    pub fn compare(&self) {
        for nsid in &self.shared {
            let owner = self.owner(*nsid);
            let Answer::SpaceUsage { grant_bytes, .. } = self.ask_ns(SYSTEM, *nsid, &Query::SpaceUsage) else {
                panic!("usage")
            };
            assert_eq!(grant_bytes, self.granted(owner, *nsid), "grant of {nsid}");
            for (acct, root) in &self.accounts {
                let reach = self.reach(*acct, *nsid);
                let is_in = reach.is_some_and(|reach| reach.state != ReachState::Invited);
                let serves = self.ask_ns(*acct, *nsid, &Query::Head) != Answer::NoAccess;
                assert_eq!(serves, is_in, "{acct} in {nsid}: {reach:?}");
                assert_eq!(reach.is_some_and(|reach| reach.role == MemberRole::Owner), owner == *acct);
                let is_mounted = reach.is_some_and(|reach| reach.state == ReachState::Mounted);
                // I5: in one place at most, and where group 0 says.
                assert_eq!(self.mounts(*root, *nsid), usize::from(is_mounted), "{nsid} in {root}: {reach:?}");
            }
        }
        for (acct, root) in &self.accounts {
            let Answer::SpaceUsage { grant_bytes, .. } = self.ask_ns(*acct, *root, &Query::SpaceUsage) else {
                panic!("usage")
            };
            assert_eq!(grant_bytes, self.granted(*acct, *root), "grant of {root}");
        }
    }

    pub fn mounts(&self, root: Nsid, target: Nsid) -> usize {
        let question = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 };
        let Answer::Page { entries, .. } = self.ask_ns(SYSTEM, root, &question) else { panic!("page") };
        entries.iter().filter(|entry| entry.meta.kind == NodeKind::Mount && entry.meta.size == target.0).count()
    }
}
