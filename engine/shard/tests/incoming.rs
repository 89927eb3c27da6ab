//! The receiving side of snapshots, by hand: how many at a time, and what a half is good for.

use base::limits::SNAPSHOT_PARTS_WAITING_MAX;
use base::mono::Span;
use base::{CoreId, GroupId, LogIndex, Mono, NodeId, Nsid, Term};
use meta::memory::MemoryStore;
use meta::{Machine, Query, RowBatch, Store as _, StoreEvent};
use raft::Config;
use seglog::SegLog;
use seglog::testing::{MemDisk, test_settings};
use shard::{Keep, PeerOut, Settings, Shard, Ticket};

type TestShard = Shard<MemDisk, MemoryStore>;

fn at(ms: u64) -> Mono {
    Mono(Span::from_ms(ms).0)
}

/// A node that joins, with four groups.
fn shard() -> TestShard {
    let log_settings = test_settings();
    let log = SegLog::start(seglog::create(&log_settings), log_settings.clone(), MemDisk::new(&log_settings));
    let settings = Settings {
        node: NodeId(9),
        core: CoreId(0),
        cores: 1,
        groups: 4,
        incarnation: 1,
        seed: 1,
        raft: raft::Settings::default(),
        initial: Config::default(),
        trailing_entries: 10,
        keep: Keep::default(),
        state_hash_every: 4,
        balance: shard::Balancing::default(),
        release: meta::Release::THIS,
        machine: shard::MachineKind::Files,
    };
    let mut shard = Shard::new(settings, log, MemoryStore::new(), at(1_000));
    shard.begin_turn(at(1_000), 0);
    shard
}

fn part(shard: &mut TestShard, group: u32, index: u64, snapshot: u64, part: u32) -> (u32, bool) {
    let machine = Machine {
        applied_index: LogIndex(index),
        config: Config::single(&[NodeId(1), NodeId(9)]).encode(),
        ..Machine::default()
    };
    let mut body = Vec::new();
    if part == 0 {
        machine.encode(&mut body);
    }
    shard.handle_snapshot_part(NodeId(1), GroupId(group), LogIndex(index), Term(1), snapshot, part, false, &body);
    let mut answer = None;
    while let Some(message) = shard.poll_peer() {
        if let PeerOut::SnapshotAck { next_part, refused, .. } = message {
            answer = Some((next_part, refused));
        }
    }
    answer.expect("every part is answered")
}

fn pass(shard: &mut TestShard, now: Mono) {
    shard.begin_turn(now, 0);
    shard.handle_tick(now);
}

#[test]
fn two_come_in_at_a_time_and_a_third_is_refused_until_one_is_silent() {
    let mut shard = shard();
    assert_eq!(part(&mut shard, 0, 50, 1, 0), (1, false));
    assert_eq!(part(&mut shard, 1, 50, 2, 0), (1, false));
    assert_eq!(part(&mut shard, 2, 50, 3, 0), (0, true));
    assert_eq!(part(&mut shard, 1, 60, 4, 0), (1, false), "a newer one of the same group takes its place");
    assert_eq!(part(&mut shard, 1, 55, 5, 0), (0, true), "an older one does not");
    pass(&mut shard, at(12_000));
    assert_eq!(part(&mut shard, 2, 50, 6, 0), (1, false));
}

#[test]
fn a_half_is_kept_ten_minutes_and_goes_on_where_it_stood() {
    let mut shard = shard();
    part(&mut shard, 0, 50, 7, 0);
    // A part of the memory store's making: an empty one of the right form is not needed, its number is.
    assert_eq!(part(&mut shard, 0, 50, 8, 1), (0, true), "of a stream that nobody knows here");
    pass(&mut shard, at(60_000));
    assert_eq!(part(&mut shard, 0, 50, 7, 0), (1, false), "the half is known after a minute of silence");
    pass(&mut shard, at(60_000 + 599_000));
    assert_eq!(part(&mut shard, 0, 50, 7, 0), (1, false));
    pass(&mut shard, at(60_000 + 599_000 + 601_000));
    assert_eq!(part(&mut shard, 0, 50, 7, 1), (0, true), "it was dropped");
}

#[test]
fn a_read_of_an_installed_snapshot_is_told_its_index_before_the_log_has_restarted() {
    let machine = Machine {
        applied_index: LogIndex(50),
        config: Config::single(&[NodeId(1), NodeId(9)]).encode(),
        ..Machine::default()
    };
    let mut sender = MemoryStore::new();
    sender.write(GroupId(0), &RowBatch::default(), &machine);
    let mut bodies = vec![Vec::new()];
    sender.snapshot_begin(1, GroupId(0)).expect("it has the group").encode(&mut bodies[0]);
    for part in 0..2 {
        sender.snapshot_read(1, part);
        let Some(StoreEvent::SnapshotPart { body, last, .. }) = sender.poll_event() else { panic!("it has that part") };
        assert_eq!(last, part == 1);
        bodies.push(body);
    }
    let mut shard = shard();
    for (part, body) in (0..).zip(&bodies) {
        shard.handle_snapshot_part(NodeId(1), GroupId(0), LogIndex(50), Term(1), 7, part, part == 2, body);
    }
    // The store has it, and the shard was not told yet.
    assert_eq!(shard.applied_index(GroupId(0)), LogIndex(0));
    let ticket = Ticket { connection: 1, request: 1, kind: 2 };
    shard.handle_stale_query(ticket, GroupId(0), Nsid(10_000_000_000), Query::Head);
    let index = shard.replies().iter().next().and_then(|reply| reply.effect).map(|effect| effect.index);
    assert_eq!(index, Some(LogIndex(50)));
}

#[test]
fn a_store_that_is_behind_owes_its_senders_their_acks_until_it_has_caught_up() {
    let mut shard = shard();
    let acks = |shard: &mut TestShard| {
        let mut acks = Vec::new();
        while let Some(message) = shard.poll_peer() {
            if let PeerOut::SnapshotAck { next_part, refused, .. } = message {
                acks.push((next_part, refused));
            }
        }
        acks
    };
    let offer = |shard: &mut TestShard, part: u32| {
        let machine = Machine {
            applied_index: LogIndex(50),
            config: Config::single(&[NodeId(1), NodeId(9)]).encode(),
            ..Machine::default()
        };
        let mut body = Vec::new();
        match part {
            0 => machine.encode(&mut body),
            // No rows.
            _ => body.extend([0; 8]),
        }
        shard.handle_snapshot_part(NodeId(1), GroupId(0), LogIndex(50), Term(1), 7, part, false, &body);
    };
    offer(&mut shard, 0);
    assert_eq!(acks(&mut shard), [(1, false)]);
    shard.store_mut().set_parts_waiting(SNAPSHOT_PARTS_WAITING_MAX);
    offer(&mut shard, 1);
    offer(&mut shard, 2);
    // Its sender asks what became of it.
    offer(&mut shard, 0);
    pass(&mut shard, at(1_100));
    assert_eq!(acks(&mut shard), []);
    shard.store_mut().set_parts_waiting(SNAPSHOT_PARTS_WAITING_MAX - 1);
    pass(&mut shard, at(1_200));
    assert_eq!(acks(&mut shard), [(3, false)], "once, for all that was taken");
    pass(&mut shard, at(1_300));
    assert_eq!(acks(&mut shard), []);
}

#[test]
fn a_disk_without_room_takes_no_snapshot_in() {
    let mut shard = shard();
    assert_eq!(part(&mut shard, 0, 50, 1, 0), (1, false));
    shard.store_mut().set_room(false);
    pass(&mut shard, at(1_100));
    assert_eq!(part(&mut shard, 1, 50, 2, 0), (0, true));
    assert_eq!(part(&mut shard, 0, 50, 1, 0), (1, false), "one that is coming in goes on");
    shard.store_mut().set_room(true);
    pass(&mut shard, at(1_200));
    assert_eq!(part(&mut shard, 1, 50, 3, 0), (1, false));
}
