//! Flows between namespaces of several groups, driven by rows alone: whoever drives one stops before or after any step,
//! others go on from what they read earlier, and what was sent comes again at any time. What group 0 says and what the
//! namespaces say are compared whenever nothing is under way, I8 and I13 after every command.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use base::record::EntryKind;
use base::{Acct, GroupId, LogIndex, Nsid, Prng, Term, TreeNode, group_of};
use common::put;
use meta::driver::{Task, Verdict, judge, judge_listing, task};
use meta::*;

const GROUPS: u32 = 4;
const SYSTEM: Acct = Acct(0);
const ALLOCATED: u64 = 1000;
const ROOT_GRANT: u64 = 400;

struct Group {
    store: MemoryStore,
    applier: Applier,
}

/// Several groups, and drivers that know only rows.
struct Cluster {
    prng: Prng,
    groups: Vec<Group>,
    stamp_ms: u64,
    /// Commands of flows that were sent once: any of them may come again.
    sent: Vec<(Nsid, Command)>,
    /// Rows of flows as somebody read them.
    read: Vec<FlowInfo>,
    accounts: Vec<(Acct, Nsid)>,
    shared: Vec<Nsid>,
    /// Ended flows by plan and state.
    ends: BTreeMap<(u8, u8), u32>,
    repeats: u64,
}

fn plan_number(plan: &FlowPlan) -> u8 {
    match plan {
        FlowPlan::Account { .. } => 1,
        FlowPlan::Share { .. } => 2,
        FlowPlan::AddMember { .. } => 3,
        FlowPlan::Mount { .. } => 4,
        FlowPlan::Unmount { .. } => 5,
        FlowPlan::RemoveMember { .. } => 6,
        FlowPlan::Transfer { .. } => 7,
        FlowPlan::Grant { .. } => 8,
    }
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
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

    fn apply(&mut self, group: GroupId, acct: Acct, nsid: Nsid, command: &Command) -> Outcome {
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
    fn send(&mut self, nsid: Nsid, command: &Command) -> Outcome {
        self.apply(group_of(nsid, GROUPS), SYSTEM, nsid, command)
    }

    fn group0(&mut self, command: Group0Command) -> Outcome {
        self.apply(GroupId(0), SYSTEM, Nsid(0), &Command::Group0(Box::new(command)))
    }

    /// As a user: through a session of its own, which a put needs.
    fn put_as(&mut self, acct: Acct, nsid: Nsid, path: &str, content: &[u8]) -> Outcome {
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

    fn ask(&self, group: GroupId, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        let store = &self.groups[group.0 as usize].store;
        query(store, group, acct, nsid, question, &mut Vec::new()).expect("all of it is in memory")
    }

    fn ask_ns(&self, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        self.ask(group_of(nsid, GROUPS), acct, nsid, question)
    }

    fn ask0(&self, question: Group0Query) -> Group0Answer {
        match self.ask(GroupId(0), SYSTEM, Nsid(0), &Query::Group0(question)) {
            Answer::Group0(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn open(&self) -> Vec<FlowInfo> {
        match self.ask0(Group0Query::Flows { after: 0, limit: 0 }) {
            Group0Answer::Flows(flows) => flows,
            other => panic!("{other:?}"),
        }
    }

    fn reach(&self, acct: Acct, nsid: Nsid) -> Option<ReachInfo> {
        match self.ask0(Group0Query::Reach { acct, after: Nsid(0), limit: 0 }) {
            Group0Answer::Reach(all) => all.into_iter().find(|(one, _)| *one == nsid).map(|(_, reach)| reach),
            other => panic!("{other:?}"),
        }
    }

    fn granted(&self, acct: Acct, nsid: Nsid) -> u64 {
        match self.ask0(Group0Query::Grants { acct, after: Nsid(0), limit: 0 }) {
            Group0Answer::Grants(all) => all.into_iter().find(|(one, _)| *one == nsid).map_or(0, |(_, bytes)| bytes),
            other => panic!("{other:?}"),
        }
    }

    fn owner(&self, nsid: Nsid) -> Acct {
        match self.ask0(Group0Query::Directory(nsid)) {
            Group0Answer::Directory { owner, .. } => owner,
            other => panic!("{other:?}"),
        }
    }

    fn is_open_for(&self, acct: Acct, nsid: Nsid) -> bool {
        self.open().iter().any(|info| {
            let heir = matches!(info.plan, FlowPlan::Transfer { to, .. } if to == acct);
            info.nsid == nsid && (info.acct == acct || heir)
        })
    }

    /// After every command: the rows of its group; no namespace has more room than its owner has granted it (I8); and
    /// who is in neither by group 0 nor by an open flow gets nothing (I13).
    fn check(&self, group: GroupId) {
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

    /// Does what one driver does with a row it once read, as far as it comes. True when it got to group 0.
    fn drive(&mut self, info: &FlowInfo) -> bool {
        let Some(task) = task(info) else { return false };
        if self.prng.one_in(4) {
            return false; // It stops before the step.
        }
        let verdict = match task {
            Task::Send { nsid, command } => {
                self.sent.push((nsid, command.clone()));
                let outcome = self.send(nsid, &command);
                if self.prng.one_in(3) {
                    self.repeats += 1;
                    let again = self.send(nsid, &command);
                    let is_freeze = matches!(command, Command::Freeze(_));
                    let is_swap = matches!(command, Command::MountSwap(_));
                    assert!(is_freeze || is_swap || again == outcome, "{command:?}: {outcome:?}, then {again:?}");
                }
                judge(info, &outcome)
            }
            Task::List { nsid, node } => {
                let question = Query::ListPage { at: At::node(node), recursive: true, position: Vec::new(), limit: 1 };
                judge_listing(info, &self.ask_ns(SYSTEM, nsid, &question))
            }
        };
        if self.prng.one_in(4) {
            return false; // Or after it.
        }
        let Verdict::Tell(step) = verdict else { return false };
        self.tell(step);
        true
    }

    fn tell(&mut self, step: FlowStep) {
        self.sent.push((Nsid(0), Command::Group0(Box::new(Group0Command::FlowStep(step)))));
        let before = self.open().iter().any(|info| info.flow == step.flow);
        match self.group0(Group0Command::FlowStep(step)) {
            Outcome::Flow(info) => {
                if before && matches!(info.state, FlowState::Done | FlowState::Failed) {
                    *self.ends.entry((plan_number(&info.plan), info.state as u8)).or_default() += 1;
                    if info.state == FlowState::Done {
                        self.note(&info);
                    }
                }
                self.read.push(*info);
            }
            other => assert_eq!(other, Outcome::Malformed, "a step of a flow that waits"),
        }
    }

    fn note(&mut self, info: &FlowInfo) {
        match info.plan {
            FlowPlan::Account { .. } => self.accounts.push((info.acct, info.nsid)),
            FlowPlan::Share { .. } => self.shared.push(info.nsid),
            // I13: from the entry of the removal on; here group 0 knows it too.
            FlowPlan::RemoveMember { nsid, acct } => self.nothing_is_served(acct, nsid),
            _ => {}
        }
    }

    /// I13.
    fn nothing_is_served(&self, acct: Acct, nsid: Nsid) {
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

    fn start(&mut self, plan: FlowPlan) -> Outcome {
        let outcome = self.group0(Group0Command::FlowStart(plan));
        if let Outcome::Flow(info) = &outcome {
            self.read.push((**info).clone());
        }
        outcome
    }

    fn pick_account(&mut self) -> (Acct, Nsid) {
        self.accounts[self.prng.below(self.accounts.len() as u64) as usize]
    }

    fn start_something(&mut self, serial: u64) {
        let name = || format!("user {serial}");
        if self.accounts.len() < 3 {
            self.start(FlowPlan::Account { name: name(), allocated: ALLOCATED, grant_bytes: ROOT_GRANT });
            return;
        }
        let (owner, root) = self.pick_account();
        if self.shared.is_empty() || self.prng.one_in(12) {
            let path = format!("/share {serial}");
            assert!(self.send(root, &Command::Mkdir(Mkdir { at: At::path(&path), autorename: true })).is_ok());
            let Answer::Entry(entry) = self.ask_ns(owner, root, &Query::Lookup(What::At(At::path(&path)))) else {
                panic!("made just now")
            };
            if self.prng.one_in(4) {
                let full = Command::Mkdir(Mkdir { at: At::path(&format!("{path}/not empty")), autorename: false });
                assert!(self.send(root, &full).is_ok());
            }
            let grant_bytes = self.prng.below(300);
            self.start(FlowPlan::Share { owner, node: entry.meta.node, grant_bytes });
            return;
        }
        let nsid = self.shared[self.prng.below(self.shared.len() as u64) as usize];
        let (acct, _) = self.pick_account();
        let role = if self.prng.one_in(2) { MemberRole::Viewer } else { MemberRole::Editor };
        let at = At::path(if self.prng.one_in(2) { "/mounted" } else { "/deep/mounted" });
        let plan = match self.prng.below(12) {
            0..=2 => FlowPlan::AddMember { nsid, acct, role },
            3..=5 => FlowPlan::Mount { nsid, acct, at },
            6 => FlowPlan::Unmount { nsid, acct },
            7 | 8 => FlowPlan::RemoveMember { nsid, acct },
            9 => FlowPlan::Transfer { nsid, from: self.owner(nsid), to: acct },
            _ => {
                let (nsid, acct) = if self.prng.one_in(2) { (root, owner) } else { (nsid, self.owner(nsid)) };
                let bytes = self.prng.below(300);
                FlowPlan::Grant { nsid, acct, is_raise: self.prng.one_in(2), bytes }
            }
        };
        let is_removal = matches!(plan, FlowPlan::RemoveMember { .. });
        let outcome = self.start(plan);
        assert!(!is_removal || outcome.code() != 20, "a removal is never turned away");
    }

    fn repeat_something(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.prng.below(self.sent.len() as u64) as usize;
        let (nsid, command) = self.sent[at].clone();
        self.repeats += 1;
        match &command {
            Command::Group0(group0) => match **group0 {
                Group0Command::FlowStep(step) => self.tell(step),
                ref other => panic!("{other:?} is not sent by drivers"),
            },
            _ => drop(self.send(nsid, &command)),
        }
    }

    fn write_something(&mut self) {
        if self.accounts.is_empty() {
            return;
        }
        let (acct, root) = self.pick_account();
        let shared = self.shared.get(self.prng.below(4) as usize).copied();
        let nsid = shared.unwrap_or(root);
        let content = vec![7; self.prng.below(200) as usize];
        let outcome = self.put_as(acct, nsid, "/f", &content);
        assert!(matches!(outcome.code(), 1 | 2 | 5 | 10 | 20), "{outcome:?}");
        self.check(group_of(nsid, GROUPS));
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "flows do not come to their end: {:?}", self.open());
            let open = self.open();
            if open.is_empty() {
                break;
            }
            for info in open {
                self.drive(&info);
            }
        }
        self.compare();
    }

    /// What group 0 says is what the namespaces say, now that nothing is under way.
    fn compare(&self) {
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

    fn mounts(&self, root: Nsid, target: Nsid) -> usize {
        let question = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 };
        let Answer::Page { entries, .. } = self.ask_ns(SYSTEM, root, &question) else { panic!("page") };
        entries.iter().filter(|entry| entry.meta.kind == NodeKind::Mount && entry.meta.size == target.0).count()
    }
}

#[test]
fn flows_come_to_one_end_whoever_drives_them_and_whatever_is_repeated() {
    let mut ends: BTreeMap<(u8, u8), u32> = BTreeMap::new();
    let mut repeats = 0;
    for seed in 0..12 {
        let mut cluster = Cluster::new(seed);
        for serial in 0..400 {
            match cluster.prng.below(20) {
                0..=4 => cluster.start_something(serial),
                5 => cluster.repeat_something(),
                6 => cluster.write_something(),
                7 if cluster.prng.one_in(4) => cluster.settle(),
                8 => cluster.stamp_ms += cluster.prng.below(40_000),
                9 | 10 if !cluster.read.is_empty() => {
                    // Somebody who read the row long ago goes on.
                    let at = cluster.prng.below(cluster.read.len() as u64) as usize;
                    let info = cluster.read[at].clone();
                    cluster.drive(&info);
                }
                _ => {
                    let open = cluster.open();
                    if !open.is_empty() {
                        let at = cluster.prng.below(open.len() as u64) as usize;
                        cluster.drive(&open[at]);
                    }
                }
            }
        }
        cluster.settle();
        repeats += cluster.repeats;
        for (end, count) in cluster.ends {
            *ends.entry(end).or_default() += count;
        }
    }
    assert!(repeats > 100, "{repeats} repeats");
    let done: BTreeSet<u8> =
        ends.keys().filter(|(_, state)| *state == FlowState::Done as u8).map(|end| end.0).collect();
    assert!(done.into_iter().eq(1..=8), "every kind of flow was done: {ends:?}");
    assert!(ends.keys().any(|(_, state)| *state == FlowState::Failed as u8), "{ends:?}");
}

/// An account that is there, and a shared namespace of it with one member.
fn with_member() -> (Cluster, Acct, Acct, Nsid) {
    let mut cluster = Cluster::new(7);
    for name in ["ada", "bob"] {
        cluster.start(FlowPlan::Account { name: name.to_owned(), allocated: ALLOCATED, grant_bytes: ROOT_GRANT });
        cluster.settle();
    }
    let [(ada, root), (bob, _)] = cluster.accounts[..] else { panic!("two accounts") };
    assert!(cluster.send(root, &Command::Mkdir(Mkdir { at: At::path("/s"), autorename: false })).is_ok());
    cluster.start(FlowPlan::Share { owner: ada, node: TreeNode(2), grant_bytes: 100 });
    cluster.settle();
    let nsid = cluster.shared[0];
    cluster.start(FlowPlan::AddMember { nsid, acct: bob, role: MemberRole::Editor });
    cluster.settle();
    cluster.start(FlowPlan::Mount { nsid, acct: bob, at: At::path("/s") });
    cluster.settle();
    (cluster, ada, bob, nsid)
}

#[test]
fn from_the_entry_of_its_removal_on_a_member_gets_nothing_though_its_flow_is_still_open() {
    let (mut cluster, ada, bob, nsid) = with_member();
    assert!(cluster.put_as(bob, nsid, "/f", b"x").is_ok());
    let Outcome::Flow(info) = cluster.start(FlowPlan::RemoveMember { nsid, acct: bob }) else { panic!("flow") };
    let Some(Task::Send { nsid: to, command }) = task(&info) else { panic!("a task") };
    assert_eq!((to, cluster.send(to, &command)), (nsid, Outcome::Done));
    cluster.nothing_is_served(bob, nsid);
    assert!(cluster.is_open_for(bob, nsid), "group 0 does not know yet");
    assert_eq!(cluster.put_as(bob, nsid, "/f", b"y"), Outcome::NoAccess);
    assert!(cluster.put_as(ada, nsid, "/f", b"y").is_ok());
    cluster.settle();
    assert_eq!(cluster.reach(bob, nsid), None);
    // All that was ever sent comes once more, in any order.
    for _ in 0..200 {
        cluster.repeat_something();
    }
    cluster.nothing_is_served(bob, nsid);
    cluster.compare();
}

#[test]
fn what_an_earlier_flow_sent_does_nothing_when_it_comes_late() {
    let (mut cluster, _, bob, nsid) = with_member();
    // Unmounted by itself, so that the removal finds nothing to unmount; then in and mounted again.
    for plan in [
        FlowPlan::Unmount { nsid, acct: bob },
        FlowPlan::RemoveMember { nsid, acct: bob },
        FlowPlan::AddMember { nsid, acct: bob, role: MemberRole::Viewer },
        FlowPlan::Mount { nsid, acct: bob, at: At::path("/again") },
    ] {
        cluster.start(plan);
        cluster.settle();
    }
    assert_eq!(cluster.reach(bob, nsid).map(|reach| reach.state), Some(ReachState::Mounted));
    for (nsid, command) in cluster.sent.clone() {
        match &command {
            Command::Group0(group0) => drop(cluster.group0((**group0).clone())),
            _ => drop(cluster.send(nsid, &command)),
        }
        cluster.compare();
    }
}

#[test]
fn a_folder_that_thawed_and_was_written_is_not_shared_away() {
    let (mut cluster, ada, _, _) = with_member();
    let root = cluster.accounts[0].1;
    assert!(cluster.send(root, &Command::Mkdir(Mkdir { at: At::path("/t"), autorename: false })).is_ok());
    let Answer::Entry(entry) = cluster.ask_ns(ada, root, &Query::Lookup(What::At(At::path("/t")))) else {
        panic!("made just now")
    };
    let plan = FlowPlan::Share { owner: ada, node: entry.meta.node, grant_bytes: 10 };
    let Outcome::Flow(mut info) = cluster.start(plan) else { panic!("flow") };
    let step = |cluster: &mut Cluster, info: &FlowInfo| match task(info).expect("it is open") {
        Task::Send { nsid, command } => {
            let outcome = cluster.send(nsid, &command);
            (judge(info, &outcome), outcome)
        }
        Task::List { nsid, node } => {
            let page = Query::ListPage { at: At::node(node), recursive: true, position: Vec::new(), limit: 1 };
            (judge_listing(info, &cluster.ask_ns(SYSTEM, nsid, &page)), Outcome::Done)
        }
    };
    while info.step < 4 {
        if let (Verdict::Tell(told), _) = step(&mut cluster, &info) {
            let Outcome::Flow(next) = cluster.group0(Group0Command::FlowStep(told)) else { panic!("flow") };
            info = next;
        }
    }
    // Its driver sleeps; the folder thaws by itself, a file comes, and another driver freezes it again.
    cluster.stamp_ms += 61_000;
    assert!(cluster.put_as(ada, root, "/t/file", b"x").is_ok());
    let again = Command::Freeze(Freeze { flow: info.flow, node: entry.meta.node });
    assert_eq!(cluster.send(root, &again), Outcome::Done);
    let (Verdict::Tell(told), Outcome::RevMismatch) = step(&mut cluster, &info) else { panic!("it thawed") };
    let Outcome::Flow(back) = cluster.group0(Group0Command::FlowStep(told)) else { panic!("flow") };
    assert_eq!((back.state, back.step), (FlowState::Open, 2));
    cluster.settle();
    assert_eq!(cluster.ends.get(&(2, FlowState::Failed as u8)), Some(&1), "it is not empty");
    assert!(matches!(cluster.ask_ns(ada, root, &Query::Lookup(What::At(At::path("/t/file")))), Answer::Entry(_)));
}
