//! One node whose groups have no other member, on a disk that syncs when the test says so.

use std::collections::VecDeque;

use base::mono::Span;
use base::{Acct, CoreId, GroupId, Mono, NodeId, Nsid, Sequence, SessionId, Term};
use meta::memory::MemoryStore;
use raft::{Config, Role};
use seglog::testing::{MemDisk, test_settings};
use seglog::{DiskOp, OpToken, SegLog};

use super::*;
use crate::{Keep, Settings, Ticket};

const NODE: NodeId = NodeId(1);

struct Rig {
    shard: Shard<MemDisk, MemoryStore>,
    now: Mono,
    ops: VecDeque<(OpToken, DiskOp)>,
    /// Syncs wait until [`Rig::sync_one`].
    is_stuck: bool,
    stuck: VecDeque<(OpToken, DiskOp)>,
    answers: Vec<(u64, Status)>,
    wall_ms: u64,
}

impl Rig {
    fn new(groups: u32) -> Rig {
        let now = Mono(1_000_000_000);
        let log_settings = test_settings();
        let log = SegLog::start(seglog::create(&log_settings), log_settings.clone(), MemDisk::new(&log_settings));
        let settings = Settings {
            node: NODE,
            core: CoreId(0),
            cores: 1,
            groups,
            incarnation: 1,
            seed: 5,
            raft: raft::Settings { quiesce_after: None, ..raft::Settings::default() },
            initial: Config::single(&[NODE]),
            trailing_entries: 10,
            keep: Keep::default(),
            state_hash_every: 4,
            balance: crate::Balancing::default(),
            release: meta::Release::THIS,
            machine: crate::MachineKind::Files,
        };
        let shard = Shard::new(settings, log, MemoryStore::new(), now);
        Rig {
            shard,
            now,
            ops: VecDeque::new(),
            is_stuck: false,
            stuck: VecDeque::new(),
            answers: Vec::new(),
            wall_ms: 0,
        }
    }

    /// All groups lead.
    fn leading(groups: u32) -> Rig {
        let mut rig = Rig::new(groups);
        rig.run(3_000);
        assert_eq!(rig.led(), groups as usize);
        rig
    }

    fn turn(&mut self, ms: u64) {
        self.now = self.now + Span::from_ms(ms);
        self.shard.begin_turn(self.now, self.wall_ms);
        for (token, op) in std::mem::take(&mut self.ops) {
            if self.is_stuck && matches!(op, DiskOp::Sync { .. }) {
                self.stuck.push_back((token, op));
            } else {
                self.finish(token, &op);
            }
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        self.shard.handle_store_events();
        self.shard.handle_tick(self.now);
        self.shard.advance(self.now, self.wall_ms);
        self.ops.extend(std::iter::from_fn(|| self.shard.poll_op()));
        while self.shard.poll_peer().is_some() {}
        self.answers.extend(self.shard.replies().iter().map(|reply| (reply.ticket.request, reply.status)));
        self.shard.replies().clear();
    }

    fn finish(&mut self, token: OpToken, op: &DiskOp) {
        let result = self.shard.log_mut().disk_mut().perform(op);
        self.shard.handle_op_done(token, result);
    }

    fn run(&mut self, ms: u64) {
        (0..ms / 5).for_each(|_| self.turn(5));
    }

    /// The oldest sync that waits ends.
    fn sync_one(&mut self) {
        let (token, op) = self.stuck.pop_front().expect("a sync waits");
        self.shard.begin_turn(self.now, self.wall_ms);
        self.finish(token, &op);
        self.go_on();
    }

    fn command(&mut self, request: u64, group: u32) {
        self.offer(request, group);
        self.turn(1);
    }

    /// Without a turn.
    fn offer(&mut self, request: u64, group: u32) {
        let mkdir = meta::Mkdir { at: meta::At::path("/folder"), autorename: false };
        self.send(request, group, &meta::Command::Mkdir(mkdir));
    }

    fn send(&mut self, request: u64, group: u32, command: &meta::Command) {
        let header = meta::CommandHeader {
            session: SessionId(0),
            sequence: Sequence(0),
            ack_below: Sequence(1),
            acct: Acct(1),
            nsid: Nsid(10_000_000_000),
        };
        let mut bytes = Vec::new();
        meta::encode_command(&header, command, &mut bytes);
        self.shard.handle_command(Ticket { connection: 1, request, kind: 1 }, GroupId(group), &bytes);
    }

    fn answer(&self, request: u64) -> Option<Status> {
        self.answers.iter().find(|(of, _)| *of == request).map(|(_, status)| *status)
    }

    fn led(&self) -> usize {
        self.shard.groups.iter().filter(|group| group.raft.is_leader()).count()
    }

    fn of_role(&self, role: Role) -> usize {
        self.shard.groups.iter().filter(|group| group.raft.role() == role).count()
    }

    /// Groups whose term is in the log.
    fn saved(&self) -> usize {
        let is_saved = |group: &&Group| {
            group.raft.term() > Term(0) && self.shard.log.state(group.id) == (group.raft.term(), vote(group))
        };
        self.shard.groups.iter().filter(is_saved).count()
    }
}

#[test]
fn a_leader_steps_down_when_its_oldest_byte_is_old_though_syncs_end() {
    let mut rig = Rig::leading(1);
    rig.is_stuck = true;
    rig.command(1, 0);
    rig.run(100);
    rig.command(2, 0);
    let written = rig.now;
    rig.run(1_500);
    rig.sync_one();
    assert_eq!((rig.answer(1).is_some(), rig.answer(2)), (true, None), "the first sync covers the first epoch alone");
    let bound = written + Span::from_ms(2_000);
    assert_eq!(rig.shard.disk_lag_deadline(), bound + Span::from_us(1));
    assert!(rig.shard.next_deadline() <= bound + Span::from_us(1));
    rig.run(bound.since(rig.now).as_ms());
    assert_eq!(rig.led(), 1);
    rig.turn(1);
    assert_eq!(rig.led(), 0, "its oldest byte is 2,001 ms old, and the last sync ended 0.6 s ago");
    rig.run(1_000);
    assert_eq!(rig.led(), 0, "nor does it campaign");

    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(2_000);
    assert_eq!(rig.led(), 1);
    assert!(rig.shard.stop_reason().is_none());
}

#[test]
fn a_disk_that_never_answers_ends_the_node() {
    let mut rig = Rig::leading(1);
    rig.is_stuck = true;
    rig.command(1, 0);
    rig.run(19_900);
    assert!(rig.shard.stop_reason().is_none());
    assert!(rig.shard.disk_lag_deadline().since(rig.now) <= Span::from_ms(100));
    rig.run(200);
    assert!(matches!(rig.shard.stop_reason(), Some(StopReason::DiskLag(20_000))));
}

#[test]
fn an_entry_of_a_newer_release_ends_the_node_and_is_not_passed_over() {
    // The version of the payload, and the format of its only command.
    for at in [0, meta::payload::PAYLOAD_HEADER_BYTES + meta::payload::COMMAND_PREFIX_BYTES] {
        let mut rig = Rig::leading(1);
        let mut builder = meta::payload::Builder::default();
        builder.push(&[1; 64]);
        let mut payload = builder.finish(7).to_vec();
        payload[at] = 2;
        let now = rig.now;
        let outcome = rig.shard.step(0, Input::Propose { payload: &payload, now });
        let Outcome::Proposed { index, .. } = outcome else { panic!("{outcome:?}") };
        rig.run(100);
        let wanted = StopReason::Newer { group: GroupId(0), index, format: 2 };
        assert_eq!(rig.shard.stop_reason(), Some(&wanted), "byte {at}");
        assert_eq!(rig.shard.applied_index(GroupId(0)), index.prev());
    }
}

#[test]
fn an_entry_that_raises_its_group_to_a_level_of_a_newer_release_ends_the_node() {
    let mut rig = Rig::leading(1);
    let raise = |level| meta::Command::Group0(Box::new(meta::Group0Command::FeatureRaise { level }));
    let mut builder = meta::payload::Builder::default();
    for level in [1, 7] {
        let mut command = Vec::new();
        meta::encode_command(&meta::CommandHeader::default(), &raise(level), &mut command);
        builder.push(&command);
    }
    // By the leader's own admission it would not have come so far.
    let (payload, now) = (builder.finish(7).to_vec(), rig.now);
    let outcome = rig.shard.step(0, Input::Propose { payload: &payload, now });
    let Outcome::Proposed { index, .. } = outcome else { panic!("{outcome:?}") };
    rig.run(100);
    let wanted = StopReason::NewerLevel { group: GroupId(0), level: 7, known: meta::feature::LEVEL_KNOWN };
    assert_eq!(rig.shard.stop_reason(), Some(&wanted));
    assert_eq!(rig.shard.applied_index(GroupId(0)), index.prev());
    assert!(wanted.to_string().contains("start a release that knows it"), "{wanted}");
}

#[test]
fn beyond_the_core_s_bound_only_a_group_without_proposals_takes_one() {
    let mut rig = Rig::leading(3);
    assert_eq!(rig.shard.uncommitted_bytes, 0);
    rig.is_stuck = true;
    rig.command(1, 0);
    let one = rig.shard.uncommitted_bytes;
    assert_eq!(one, rig.shard.groups[0].raft.uncommitted_bytes());
    assert!(one > 0);
    // As if a hundred other groups had the rest.
    let others = UNCOMMITTED_CORE_BYTES_MAX - one;
    rig.shard.uncommitted_bytes += others;
    rig.command(2, 0);
    assert_eq!(rig.answer(2), Some(Status::Overloaded));
    rig.command(3, 1);
    assert_eq!(rig.answer(3), None, "one proposal always fits a group that has none");
    rig.command(4, 1);
    assert_eq!(rig.answer(4), Some(Status::Overloaded));
    let sum: u64 = rig.shard.groups.iter().map(|group| group.raft.uncommitted_bytes()).sum();
    assert_eq!(rig.shard.uncommitted_bytes, others + sum, "what was refused is not counted");

    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(100);
    assert!(rig.answer(1).is_some() && rig.answer(3).is_some());
    assert_eq!(rig.shard.uncommitted_bytes, others, "what is committed is not counted");
    rig.is_stuck = true;
    rig.shard.uncommitted_bytes -= others;
    rig.command(5, 0);
    rig.command(6, 0);
    assert_eq!((rig.answer(5), rig.answer(6)), (None, None));
}

#[test]
fn terms_wait_for_a_slot_and_elections_for_those_who_wait() {
    let mut rig = Rig::new(64);
    rig.run(100);
    rig.is_stuck = true;
    // About half of the deadlines pass in one turn; eight terms fit into a frame, and one frame is on its way.
    rig.turn(650);
    rig.turn(1);
    rig.turn(1);
    let (begun, saved) = (rig.of_role(Role::Candidate), rig.saved());
    assert!(begun > 16 && begun < 64, "{begun}");
    assert_eq!(saved, 16, "of {begun}");
    assert!(rig.shard.waits_for_slot);
    rig.run(200);
    assert_eq!((rig.of_role(Role::Candidate), rig.saved()), (begun, 16), "nobody else began, nobody wrote");
    assert_eq!(rig.led(), 0);

    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(3_000);
    assert_eq!((rig.led(), rig.saved()), (64, 64), "each had its turn");
    assert!(!rig.shard.waits_for_slot);
}

/// A row of the journal that is old from now on, with a look that is due soon and then every 100 ms.
fn with_an_old_row() -> Rig {
    let mut rig = Rig::leading(1);
    let nsid = Nsid(10_000_000_000);
    let init = meta::NamespaceKind::Root;
    let init = meta::Command::NamespaceInit { kind: init, owner: Acct(1), grant_bytes: 1 << 40 };
    let mkdir = meta::Mkdir { at: meta::At::path("/old"), autorename: false };
    for command in [init, meta::Command::Mkdir(mkdir)] {
        rig.shard.propose_own(0, nsid, 0, &command);
        rig.run(50);
    }
    assert_eq!(journal_rows(&rig), 1);
    rig.wall_ms = 10_000;
    rig.shard.settings.keep = Keep { journal_ms: 1_000, look_every: Span::from_ms(100), ..Keep::default() };
    rig.shard.upkeep = crate::upkeep::Upkeep::new(1, rig.now + Span::from_ms(100));
    rig
}

fn journal_rows(rig: &Rig) -> usize {
    rig.shard.store.rows(GroupId(0)).iter().filter(|(key, _)| key[0] == 0x04).count()
}

#[test]
fn what_a_command_on_its_way_will_take_is_not_asked_for_again() {
    let mut rig = with_an_old_row();
    rig.is_stuck = true;
    let last = |rig: &Rig| rig.shard.log.last_index(GroupId(0)).0;
    let before = last(&rig);
    rig.run(1_000);
    assert_eq!((last(&rig), journal_rows(&rig)), (before + 1, 1), "ten looks found the same row");
    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(400);
    assert_eq!((last(&rig), journal_rows(&rig)), (before + 1, 0));
}

#[test]
fn old_rows_wait_while_their_group_has_much_on_its_way() {
    let mut rig = with_an_old_row();
    rig.is_stuck = true;
    (0..64).for_each(|request| rig.command(request, 0));
    let last = |rig: &Rig| rig.shard.log.last_index(GroupId(0));
    let before = last(&rig);
    assert!(rig.shard.groups[0].proposed.len() >= 64);
    rig.run(400);
    assert_eq!((last(&rig), journal_rows(&rig)), (before, 1), "it waits for what clients asked for");
    assert!(rig.shard.next_deadline() > rig.now, "and does not spin");
    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(400);
    assert_eq!(journal_rows(&rig), 0);
}

#[test]
fn a_group_that_stays_busy_holds_no_other_one_up_and_is_come_back_to() {
    let mut rig = Rig::leading(2);
    let nsid = Nsid(10_000_000_000);
    let init = meta::NamespaceKind::Root;
    let init = meta::Command::NamespaceInit { kind: init, owner: Acct(1), grant_bytes: 1 << 40 };
    let mkdir = meta::Mkdir { at: meta::At::path("/old"), autorename: false };
    for command in [init, meta::Command::Mkdir(mkdir)] {
        (0..2).for_each(|at| rig.shard.propose_own(at, nsid, 0, &command));
        rig.run(50);
    }
    let rows = |rig: &Rig, group: u32| {
        let rows = rig.shard.store.rows(GroupId(group));
        rows.iter().filter(|(key, _)| key[0] == 0x04).count()
    };
    let last = |rig: &Rig, group: u32| rig.shard.log.last_index(GroupId(group));
    rig.wall_ms = 10_000;
    // One pass, and none after it.
    rig.shard.settings.keep = Keep { journal_ms: 1_000, ..Keep::default() };
    rig.shard.upkeep = crate::upkeep::Upkeep::new(2, rig.now + Span::from_ms(100));
    rig.is_stuck = true;
    (0..64).for_each(|request| rig.command(request, 0));
    let before = [last(&rig, 0), last(&rig, 1)];
    rig.run(300);
    assert_eq!(last(&rig, 0), before[0], "it gives way to what clients asked for");
    assert!(last(&rig, 1) > before[1], "the one behind it had its turn");
    let once = last(&rig, 1);
    rig.run(1_000);
    assert_eq!((last(&rig, 0), last(&rig, 1)), (before[0], once), "nothing is proposed twice");
    assert!(rig.shard.next_deadline() > rig.now, "and it does not spin");
    rig.is_stuck = false;
    while !rig.stuck.is_empty() {
        rig.sync_one();
    }
    rig.run(500);
    assert_eq!((rows(&rig, 0), rows(&rig, 1)), (0, 0));
}

#[test]
fn a_disk_without_room_takes_only_what_removes_and_goes_on_with_room() {
    let mut rig = Rig::leading(1);
    rig.shard.store_mut().set_room(false);
    rig.run(10);
    rig.command(1, 0);
    assert_eq!(rig.answer(1), Some(Status::Overloaded));
    let delete = meta::Delete { at: meta::At::path("/folder"), parent_rev: None };
    rig.send(2, 0, &meta::Command::Delete(delete));
    rig.run(50);
    assert_eq!(rig.answer(2), Some(Status::Ok));
    assert!(rig.shard.should_not_lead(), "it tells the others, and hands over where it can");
    rig.shard.store_mut().set_room(true);
    rig.run(10);
    rig.command(3, 0);
    rig.run(50);
    assert_eq!(rig.answer(3), Some(Status::Ok));
    assert!(!rig.shard.should_not_lead());
}

#[test]
fn compaction_that_is_behind_lets_fewer_and_fewer_commands_in() {
    let mut rig = Rig::leading(1);
    let window = |rig: &mut Rig, first: u64| {
        rig.run(100);
        // Their turns must not take longer than the window.
        (first..first + 60).for_each(|request| rig.offer(request, 0));
        rig.turn(0);
        rig.run(30);
        (first..first + 60).filter(|request| rig.answer(*request) == Some(Status::Ok)).count()
    };
    let free = window(&mut rig, 0);
    rig.shard.store_mut().set_pressure(meta::Pressure::Slow);
    let slow: Vec<usize> = (1..4).map(|round| window(&mut rig, round * 100)).collect();
    rig.shard.store_mut().set_pressure(meta::Pressure::None);
    let after: Vec<usize> = (4..7).map(|round| window(&mut rig, round * 100)).collect();
    assert_eq!((free, slow), (60, vec![30, 16, 16]));
    assert_eq!(after, [32, 60, 60], "it doubles back");
    assert!(rig.shard.store().machine(GroupId(0)).is_some(), "memtables are not frozen for that");
    assert!(rig.shard.frozen.is_none());
}

#[test]
fn a_group_whose_rows_are_damaged_is_not_served() {
    let mut rig = Rig::leading(1);
    rig.shard.store_mut().damage(GroupId(0));
    rig.run(5);
    assert!(rig.shard.stop_reason().is_none(), "{:?}", rig.shard.stop_reason());
    assert!(rig.shard.status()[0].is_state_lost || rig.shard.applied_index(GroupId(0)) > base::LogIndex(0));
    assert!(matches!(rig.shard.poll_notice(), Some((GroupId(0), crate::Notice::StateLost { .. }))));
}

/// It was confirmed while this node led, and nothing may be applied for long once the state is here.
#[test]
fn a_snapshot_serves_the_confirmed_reads_that_wait_for_its_index() {
    use meta::{Machine, RowBatch, Store as _, StoreEvent};
    let config = Config::single(&[NODE]).encode();
    let machine = Machine { applied_index: base::LogIndex(50), config, ..Machine::default() };
    let mut sender = MemoryStore::new();
    sender.write(GroupId(0), &RowBatch::default(), &machine);
    let mut bodies = vec![Vec::new()];
    sender.snapshot_begin(1, GroupId(0)).expect("it has the group").encode(&mut bodies[0]);
    for part in 0..2 {
        sender.snapshot_read(1, part);
        let Some(StoreEvent::SnapshotPart { body, .. }) = sender.poll_event() else { panic!("it has that part") };
        bodies.push(body);
    }
    let mut rig = Rig::new(1);
    rig.run(50);
    for (request, index) in [(1, 50), (2, 51)] {
        let read = crate::group::Read {
            ticket: Ticket { connection: 1, request, kind: 2 },
            acct: Acct(1),
            nsid: Nsid(10_000_000_000),
            query: meta::Query::Head,
            form: crate::group::Form::Native,
            path: Some(raft::ReadPath::Round),
            slot: rig.shard.stages.begin_slot(),
            class: crate::stages::class_of_query(&meta::Query::Head),
        };
        rig.shard.groups[0].confirmed.push_back((base::LogIndex(index), read));
    }
    for (part, body) in (0..).zip(&bodies) {
        let (index, term) = (base::LogIndex(50), Term(1));
        rig.shard.handle_snapshot_part(NodeId(2), GroupId(0), index, term, 7, part, part == 2, body);
    }
    rig.run(100);
    assert_eq!(rig.shard.applied_index(GroupId(0)), base::LogIndex(50));
    assert_eq!((rig.answer(1), rig.answer(2)), (Some(Status::Ok), None));
}
