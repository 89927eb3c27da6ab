//! Three members of one group in one thread over logs of a fixed size: what consensus itself costs per message.
//!
//! Every entry's record is really written, sent as bytes, checked and copied, as between nodes; what is left out is the
//! disk (an epoch is synced at the end of each turn), the network and the machine. Nothing allocates after the start.

use base::record::{EntryKind, Record, RecordHeader, RecordKind, Records, record_space, write_record};
use base::{GroupId, LogIndex, Mono, NodeId, SyncEpoch, Term};
use raft::{Body, Boot, Config, Effects, HardState, Health, Input, Log, Outcome, Outgoing, Raft, Settings};

/// Entries that a rig's log remembers; more than ever wait for a follower.
const SLOTS: u64 = 1024;
/// The group of every rig.
pub const GROUP: GroupId = GroupId(1);
/// Members of a [`Trio`].
const MEMBERS: u64 = 3;
/// The largest payload that a rig may have.
static PADDING: [u8; 16 << 10] = [0; 16 << 10];

/// The newest [`SLOTS`] entries of a group, each of one size.
pub struct RingLog {
    payload_bytes: usize,
    space: usize,
    first: u64,
    last: u64,
    heads: Vec<(Term, u32)>,
    bytes: Vec<u8>,
    epoch: u64,
    is_written: bool,
}

impl RingLog {
    /// An empty one for payloads of this size.
    #[must_use]
    pub fn new(payload_bytes: usize) -> RingLog {
        let space = record_space(payload_bytes);
        let slots = SLOTS as usize;
        let heads = vec![(Term(0), 0); slots];
        RingLog {
            payload_bytes,
            space,
            first: 1,
            last: 0,
            heads,
            bytes: vec![0; slots * space],
            epoch: 1,
            is_written: false,
        }
    }

    /// Ends the open epoch if anything was written in it: it is synced now.
    pub fn sync(&mut self) -> Option<SyncEpoch> {
        std::mem::take(&mut self.is_written).then(|| {
            self.epoch += 1;
            SyncEpoch(self.epoch - 1)
        })
    }

    /// A term and a vote were written.
    pub fn write_state(&mut self) -> SyncEpoch {
        self.is_written = true;
        SyncEpoch(self.epoch)
    }

    /// The record of an entry that is held.
    #[must_use]
    pub fn record(&self, index: LogIndex) -> &[u8] {
        self.raw(index)
    }

    fn slot(&self, index: LogIndex) -> usize {
        (index.0 % SLOTS) as usize
    }

    fn raw(&self, index: LogIndex) -> &[u8] {
        &self.bytes[self.slot(index) * self.space..][..self.space]
    }

    fn advance(&mut self, index: LogIndex, term: Term, crc: u32) -> SyncEpoch {
        assert!(index.0 == self.last + 1, "entry {index} behind {}", self.last);
        let slot = self.slot(index);
        self.heads[slot] = (term, crc);
        (self.last, self.is_written) = (index.0, true);
        self.first = self.first.max((self.last + 2).saturating_sub(SLOTS));
        SyncEpoch(self.epoch)
    }
}

impl Log for RingLog {
    fn first_index(&self) -> LogIndex {
        LogIndex(self.first)
    }

    fn last_index(&self) -> LogIndex {
        LogIndex(self.last)
    }

    fn term_before_first(&self) -> Term {
        self.term(LogIndex(self.first - 1)).unwrap_or_default()
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        (index.0 + 1 >= self.first && index.0 <= self.last).then(|| self.heads[self.slot(index)].0)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        (index.0 + 1 >= self.first && index.0 <= self.last).then(|| self.heads[self.slot(index)].1)
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        let fits = (u64::from(bytes_max) / self.space as u64).max(1);
        let last = last.0.min(first.0 + fits - 1);
        (LogIndex(last), ((last + 1 - first.0) * self.space as u64) as u32)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        let prev_crc = self.crc(index.prev()).unwrap_or(0);
        let header =
            RecordHeader { kind: RecordKind::Entry, flags: kind as u8, life: 0, group: GROUP, prev_crc, index, term };
        // A no-op has no payload; here it takes a slot of the common size, so that a slot's place is a multiplication.
        let payload = if payload.is_empty() { &PADDING[..self.payload_bytes] } else { payload };
        let at = self.slot(index) * self.space;
        let (_, crc) = write_record(&mut self.bytes[at..at + self.space], &header, payload);
        self.advance(index, term, crc)
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let header = record.header();
        let (at, raw) = (self.slot(header.index) * self.space, record.raw());
        self.bytes[at..at + raw.len()].copy_from_slice(raw);
        self.advance(header.index, header.term, record.crc())
    }

    fn truncate_from(&mut self, index: LogIndex) {
        self.last = index.0 - 1;
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

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        self.append_record(record)
    }
}

/// Member `id` of a group of so many, all of them voters, as it starts at `now` with nothing in `log`.
#[must_use]
pub fn member(id: u64, members: u64, log: &RingLog, now: Mono) -> Raft {
    let voters: Vec<NodeId> = (1..=members).map(NodeId).collect();
    let boot = Boot {
        id: NodeId(id),
        group: GROUP,
        seed: 7,
        incarnation: 1,
        hard_state: HardState::default(),
        applied_index: LogIndex(0),
        commit_floor: LogIndex(0),
        config: Config::single(&voters),
        config_index: LogIndex(0),
        health: Health::Clean,
        now,
        settings: Settings::default(),
    };
    Raft::new(boot, log)
}

struct Member {
    raft: Raft,
    log: RingLog,
    effects: Effects,
    waiting: Vec<Outgoing>,
}

/// A message on its way: its sender, itself, and how many of the batch's bytes are its entries.
struct Mail {
    from: usize,
    message: Outgoing,
    bytes: std::ops::Range<usize>,
}

/// Three members, the first of which leads.
pub struct Trio {
    members: Vec<Member>,
    now: Mono,
    mail: Vec<Mail>,
    spare: Vec<Mail>,
    bytes: Vec<u8>,
    payload: Vec<u8>,
    /// Messages stepped so far.
    pub messages: u64,
    /// Entries applied by the leader so far.
    pub applied: u64,
}

impl Trio {
    /// A group whose first member has been elected and has committed.
    ///
    /// # Panics
    /// If no leader comes out of the election: the rig is broken.
    #[must_use]
    pub fn new(payload_bytes: usize) -> Trio {
        let member = |id: u64| {
            let log = RingLog::new(payload_bytes);
            let raft = member(id, MEMBERS, &log, Mono(0));
            Member { raft, log, effects: Effects::default(), waiting: Vec::new() }
        };
        let mut trio = Trio {
            members: (1..=MEMBERS).map(member).collect(),
            now: Mono(2_000_000_000),
            mail: Vec::new(),
            spare: Vec::new(),
            bytes: Vec::new(),
            payload: vec![7; payload_bytes],
            messages: 0,
            applied: 0,
        };
        let now = trio.now;
        trio.step(0, Input::Campaign { now });
        while !trio.settle() {}
        assert!(trio.members[0].raft.is_leader(), "the first member lost its election");
        trio
    }

    fn step(&mut self, at: usize, input: Input<'_>) -> Outcome {
        let Member { raft, log, .. } = &mut self.members[at];
        raft.step(log, input)
    }

    /// The leader proposes so many entries in one turn, and everything runs until all have applied them.
    ///
    /// # Panics
    /// If a proposal is refused: `entries` is beyond a window.
    pub fn propose(&mut self, entries: usize) {
        self.now = Mono(self.now.0 + 100_000);
        let (now, payload) = (self.now, std::mem::take(&mut self.payload));
        for _ in 0..entries {
            let outcome = self.step(0, Input::Propose { payload: &payload, now });
            assert!(matches!(outcome, Outcome::Proposed { .. }), "{outcome:?}");
        }
        self.payload = payload;
        while !self.settle() {}
    }

    /// A read of the leader, confirmed by a round.
    pub fn read(&mut self) {
        self.now = Mono(self.now.0 + 100_000);
        let now = self.now;
        self.step(0, Input::Read { now });
        while !self.settle() {}
    }

    /// One turn of every member: drain, sync, deliver. True when nothing is left to do.
    fn settle(&mut self) -> bool {
        for at in 0..self.members.len() {
            self.turn(at);
        }
        let mail = std::mem::replace(&mut self.mail, std::mem::take(&mut self.spare));
        let is_idle = mail.is_empty();
        for Mail { from, message, bytes } in &mail {
            let target = message.to.0 as usize - 1;
            let (from, body, now) = (NodeId(*from as u64 + 1), message.body, self.now);
            let entries = match body {
                Body::AppendEntries { prev_index, count, .. } => {
                    Records::check_entries(&self.bytes[bytes.clone()], count, GROUP, prev_index.next())
                        .expect("records are sent whole")
                }
                _ => Records::EMPTY,
            };
            let Member { raft, log, .. } = &mut self.members[target];
            raft.step(log, Input::Message { from, body, entries, now });
            self.messages += 1;
        }
        self.bytes.clear();
        self.spare = mail;
        self.spare.clear();
        is_idle
    }

    fn turn(&mut self, at: usize) {
        let Member { raft, log, effects, waiting } = &mut self.members[at];
        while raft.is_dirty() {
            effects.clear();
            raft.drain(log, effects);
            if effects.hard_state.is_some() {
                raft.hard_state_epoch(log.write_state());
            }
            for message in effects.send_now.drain(..) {
                post(at, message, log, &mut self.bytes, &mut self.mail);
            }
            waiting.append(&mut effects.send_after_sync);
            if let Some(epoch) = log.sync() {
                raft.step(log, Input::Synced { epoch });
            }
            for message in waiting.drain(..) {
                if let Some(message) = raft.release(&message) {
                    post(at, message, log, &mut self.bytes, &mut self.mail);
                }
            }
            if let Some(index) = effects.commit {
                raft.step(log, Input::Applied { index });
                if at == 0 {
                    self.applied = index.0;
                }
            }
        }
    }
}

fn post(from: usize, message: Outgoing, log: &RingLog, bytes: &mut Vec<u8>, mail: &mut Vec<Mail>) {
    let start = bytes.len();
    if let Body::AppendEntries { prev_index, count, .. } = message.body {
        for index in prev_index.0 + 1..=prev_index.0 + u64::from(count) {
            bytes.extend_from_slice(log.raw(LogIndex(index)));
        }
    }
    mail.push(Mail { from, message, bytes: start..bytes.len() });
}
