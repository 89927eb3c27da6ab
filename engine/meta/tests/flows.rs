//! Flows between namespaces of several groups, driven by rows alone: whoever drives one stops before or after any step,
//! others go on from what they read earlier, and what was sent comes again at any time. What group 0 says and what the
//! namespaces say are compared whenever nothing is under way, I8 and I13 after every command.

mod common;
mod flow_cluster;

use std::collections::{BTreeMap, BTreeSet};

use base::{Acct, Nsid, TreeNode, group_of};
use flow_cluster::{ALLOCATED, Cluster, GROUPS, ROOT_GRANT};
use meta::driver::{Ask, Drive, Task, task};
use meta::*;

/// What somebody may want of a cluster at any time.
trait Random {
    fn start_something(&mut self, serial: u64);
    fn write_something(&mut self);
}

impl Random for Cluster {
    fn start_something(&mut self, serial: u64) {
        let name = || format!("user {serial}");
        if self.accounts.len() < 3 {
            self.start(FlowPlan::Account { name: name(), allocated: ALLOCATED, grant_bytes: ROOT_GRANT });
            return;
        }
        let (owner, root) = self.pick_account();
        let is_sharing = self.open().iter().any(|info| matches!(info.plan, FlowPlan::Share { .. }));
        if self.shared.is_empty() && is_sharing {
            return;
        }
        if self.shared.is_empty() || (self.shared.len() < 3 && self.prng.one_in(12)) {
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
                    let asks = 1 + cluster.prng.below(6);
                    cluster.drive(&mut Drive::new(info), asks);
                }
                _ => {
                    let open = cluster.open();
                    if !open.is_empty() {
                        let at = cluster.prng.below(open.len() as u64) as usize;
                        let asks = 1 + cluster.prng.below(6);
                        cluster.drive(&mut Drive::new(open[at].clone()), asks);
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
    let Outcome::Flow(info) = cluster.start(plan) else { panic!("flow") };
    let (flow, shared) = (info.flow, info.nsid);
    let mut drive = Drive::new(*info);
    while drive.info().step < 5 {
        assert!(!cluster.drive(&mut drive, 1), "it is open");
    }
    // Its driver sleeps; the folder thaws by itself, a file comes, and another driver freezes it again.
    cluster.stamp_ms += 61_000;
    assert!(cluster.put_as(ada, root, "/t/file", b"x").is_ok());
    let again = Command::Freeze(Freeze { flow, node: entry.meta.node });
    assert_eq!(cluster.send(root, &again), Outcome::Done);
    let Some(Ask::Command { nsid, command }) = drive.ask(cluster.stamp_ms) else { panic!("it swaps") };
    let outcome = cluster.send(nsid, &command);
    assert_eq!(outcome, Outcome::RevMismatch, "it thawed");
    drive.hear_outcome(&outcome);
    while drive.info().step == 5 {
        cluster.drive(&mut drive, 1);
    }
    assert_eq!((drive.info().state, drive.info().step), (FlowState::Open, 3));
    cluster.settle();
    assert_eq!(cluster.ends.get(&(2, FlowState::Done as u8)), Some(&2), "the first one and this one");
    let Answer::Entry(file) = cluster.ask_ns(ada, shared, &Query::Lookup(What::At(At::path("/file")))) else {
        panic!("what came between is there")
    };
    assert_eq!((file.meta.size, file.meta.modified_by), (1, ada));
    let there = cluster.ask_ns(ada, root, &Query::Lookup(What::At(At::path("/t/file"))));
    assert_eq!(there, Answer::Elsewhere { nsid: shared, rest: "/file".to_owned() });
}
