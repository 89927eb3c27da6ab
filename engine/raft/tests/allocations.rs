//! In steady state nothing is allocated: not per command, not per read, not per heartbeat, on leader and follower
//! (docs/design/raft.md). Counted by a global allocator that keeps a count per thread; the log of this test is
//! preallocated, so what is counted is the group's own.

use base::mono::Span;
use base::record::{EntryKind, Record, RecordHeader, RecordKind, Records, record_space, write_record};
use base::{GroupId, LogIndex, Mono, NodeId, SyncEpoch, Term};
use raft::{Body, Boot, Config, Effects, HardState, Input, Log, Outcome, Raft, Settings};

const GROUP: GroupId = GroupId(1);
/// Entries that the log has room for.
const ROOM: usize = 100_000;

/// Where an entry lies, and what it is.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    term: Term,
    crc: u32,
}

/// A log in memory taken at the beginning; nothing is ever truncated here.
struct FlatLog {
    bytes: Vec<u8>,
    places: Vec<Place>,
    epoch: u64,
}

impl FlatLog {
    fn new() -> FlatLog {
        FlatLog { bytes: Vec::with_capacity(ROOM * 128), places: Vec::with_capacity(ROOM), epoch: 1 }
    }

    fn place(&self, index: LogIndex) -> Option<&Place> {
        self.places.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    fn records(&self, first: u64, count: u16) -> &[u8] {
        if count == 0 {
            return &[];
        }
        let (first, last) = (self.places[first as usize - 1], self.places[first as usize + usize::from(count) - 2]);
        &self.bytes[first.start..last.end]
    }
}

impl Log for FlatLog {
    fn first_index(&self) -> LogIndex {
        LogIndex(1)
    }

    fn last_index(&self) -> LogIndex {
        LogIndex(self.places.len() as u64)
    }

    fn term_before_first(&self) -> Term {
        Term(0)
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex(0) { Some(Term(0)) } else { self.place(index).map(|place| place.term) }
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        if index == LogIndex(0) { Some(0) } else { self.place(index).map(|place| place.crc) }
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let start = self.place(first).expect("held").start;
        let ends = (first.0..=last.0).map(|index| (index, self.place(LogIndex(index)).expect("held").end - start));
        let fitting = ends.take_while(|(index, bytes)| *index == first.0 || *bytes <= bytes_max as usize);
        let (index, bytes) = fitting.last().expect("the first always fits");
        (LogIndex(index), bytes as u32)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        let prev_crc = self.crc(index.prev()).expect("the entry before is held");
        let (kind, flags) = (RecordKind::Entry, kind as u8);
        let header = RecordHeader { kind, flags, life: 0, group: GROUP, prev_crc, index, term };
        let start = self.bytes.len();
        let end = start + record_space(payload.len());
        self.bytes.resize(end, 0);
        let (_, crc) = write_record(&mut self.bytes[start..], &header, payload);
        self.places.push(Place { start, end, term, crc });
        SyncEpoch(self.epoch)
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let start = self.bytes.len();
        let end = start + record_space(record.payload().len());
        self.bytes.extend_from_slice(record.raw());
        self.bytes.resize(end, 0);
        self.places.push(Place { start, end, term: record.header().term, crc: record.crc() });
        SyncEpoch(self.epoch)
    }

    fn truncate_from(&mut self, index: LogIndex) {
        unreachable!("nothing conflicts here, at {index}");
    }

    fn config_payload(&self, _: LogIndex) -> Option<Vec<u8>> {
        None
    }

    fn first_faulty_above(&self, _: LogIndex) -> Option<LogIndex> {
        None
    }

    fn is_faulty(&self, _: LogIndex) -> bool {
        false
    }

    fn rewrite(&mut self, _: Record<'_>) -> SyncEpoch {
        panic!("nothing is faulty here");
    }
}

struct Node {
    raft: Raft,
    log: FlatLog,
    effects: Effects,
    reads: u64,
}

impl Node {
    fn new(id: u64) -> Node {
        let log = FlatLog::new();
        let boot = Boot {
            id: NodeId(id),
            group: GROUP,
            seed: id,
            incarnation: 1,
            hard_state: HardState::default(),
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config: Config::single(&[1, 2, 3].map(NodeId)),
            config_index: LogIndex(0),
            health: raft::Health::Clean,
            now: Mono(1_000_000_000),
            settings: Settings::default(),
        };
        Node { raft: Raft::new(boot, &log), log, effects: Effects::default(), reads: 0 }
    }

    /// Drains into the effects that are kept; the disk has everything at once, the machine too.
    fn turn(&mut self) {
        self.effects.clear();
        for _ in 0..4 {
            self.raft.drain(&self.log, &mut self.effects);
            if self.effects.hard_state.is_some() {
                self.raft.hard_state_epoch(SyncEpoch(self.log.epoch));
            }
            let epoch = SyncEpoch(self.log.epoch);
            self.log.epoch += 1;
            self.raft.step(&mut self.log, Input::Synced { epoch });
            if let Some(index) = self.effects.commit.take() {
                self.raft.step(&mut self.log, Input::Applied { index });
            }
            self.reads += u64::from(self.effects.reads_confirmed.take().is_some());
        }
    }
}

/// Three nodes; messages go over at once, the bytes of entries out of the sender's log.
struct Trio {
    nodes: [Node; 3],
    now: Mono,
}

impl Trio {
    fn exchange(&mut self) {
        for _ in 0..6 {
            for from in 0..3 {
                self.nodes[from].turn();
                self.deliver(from);
            }
        }
    }

    fn deliver(&mut self, from: usize) {
        let effects = std::mem::take(&mut self.nodes[from].effects);
        for message in effects.send_now.iter().chain(&effects.send_after_sync) {
            let released = self.nodes[from].raft.release(message);
            let is_now = effects.send_now.contains(message);
            let Some(message) = (if is_now { Some(*message) } else { released }) else { continue };
            self.hand_over(from, message.to.0 as usize - 1, message.body);
        }
        self.nodes[from].effects = effects;
    }

    fn hand_over(&mut self, from: usize, to: usize, body: Body) {
        let (sender, now) = (NodeId(from as u64 + 1), self.now);
        let Ok([one, other]) = self.nodes.get_disjoint_mut([from, to]) else { return };
        let entries = match body {
            Body::AppendEntries { prev_index, count, .. } if count > 0 => {
                let bytes = one.log.records(prev_index.0 + 1, count);
                Records::check_entries(bytes, count, GROUP, prev_index.next()).expect("written by raft")
            }
            _ => Records::EMPTY,
        };
        other.raft.step(&mut other.log, Input::Message { from: sender, body, entries, now });
    }

    /// What a busy turn is made of: a command, a read, and now and then the heartbeats.
    fn work(&mut self, round: u64) {
        self.now = self.now + Span::from_us(500);
        let now = self.now;
        let leader = &mut self.nodes[0];
        let outcome = leader.raft.step(&mut leader.log, Input::Propose { payload: &[7; 40], now });
        assert!(matches!(outcome, Outcome::Proposed { .. }), "{outcome:?}");
        let outcome = leader.raft.step(&mut leader.log, Input::Read { now });
        assert!(matches!(outcome, Outcome::ReadJoined { .. }));
        if round.is_multiple_of(100) {
            for peer in [1, 2] {
                if let Some(body) = self.nodes[0].raft.heartbeat(NodeId(peer as u64 + 1), now) {
                    self.hand_over(0, peer, body);
                }
            }
            let leader = &mut self.nodes[0];
            leader.raft.step(&mut leader.log, Input::Tick { now });
        }
        self.exchange();
    }
}

#[test]
fn nothing_is_allocated_per_command_read_or_heartbeat() {
    let mut trio = Trio { nodes: [1, 2, 3].map(Node::new), now: Mono(5_000_000_000) };
    let now = trio.now;
    let first = &mut trio.nodes[0];
    first.raft.step(&mut first.log, Input::Campaign { now });
    trio.exchange();
    assert!(trio.nodes[0].raft.is_leader());
    (0..1_000).for_each(|round| trio.work(round));
    let (commit, reads) = (trio.nodes[0].raft.commit_index(), trio.nodes[0].reads);
    let counted = allocation_counter::measure(|| (0..5_000).for_each(|round| trio.work(round)));
    assert_eq!(trio.nodes[0].raft.commit_index().0 - commit.0, 5_000, "every command was committed");
    // What is committed rides on the next message.
    assert!(
        trio.nodes[2].raft.applied_index().next() >= trio.nodes[0].raft.commit_index(),
        "and known to the followers"
    );
    assert!(trio.nodes[0].reads - reads >= 5_000, "and every read confirmed");
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted.count_total, 1);
}
