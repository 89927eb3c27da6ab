//! Three or more shards over the simulated disk and store, an instant network that loses nothing, and one clock that
//! jumps from deadline to deadline: a whole life of a cluster costs a few milliseconds.
//!
//! Two claims are looked at after every turn: equal positions hold equal states, whoever applied them in whatever life,
//! and no group stops by an alarm.

use std::collections::{BTreeMap, VecDeque};

use base::mono::Span;
use base::record::Records;
use base::{CoreId, GroupId, LogIndex, Mono, NodeId, NodeUuid, Prng};
use meta::Store as _;
use raft::Config;
use seglog::{DiskOp, FoundSegment, LogReader, OpToken, SegLog};
use shard::{PeerOut, Shard, Status};

use crate::disk::{Cut, SimDisk, SimLogReader};
use crate::store::SimStore;

/// Between two turns in which something happens.
const STEP: Span = Span::from_us(100);
/// Between two turns in which nothing does, at least.
const IDLE: Span = Span::from_ms(1);

/// The shard that all this is about.
pub(crate) type RigShard = Shard<SimDisk, SimStore>;

/// What a process leaves behind.
#[derive(Clone, Default)]
pub(crate) struct Remains {
    pub disk: SimDisk,
    pub store: SimStore,
}

/// A kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpKind {
    Write,
    Sync,
    FaultIn,
    Prepare,
    Activate,
    Retire,
    WriteMeta,
}

impl OpKind {
    pub fn of(op: &DiskOp) -> OpKind {
        match op {
            DiskOp::Write { .. } => OpKind::Write,
            DiskOp::Sync { .. } => OpKind::Sync,
            DiskOp::FaultIn { .. } => OpKind::FaultIn,
            DiskOp::Prepare => OpKind::Prepare,
            DiskOp::Activate { .. } => OpKind::Activate,
            DiskOp::Retire { .. } => OpKind::Retire,
            DiskOp::WriteMeta { .. } => OpKind::WriteMeta,
        }
    }
}

/// How an operation ends that does not end well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// EIO. Of a sync: what it covers is forgotten or not.
    Eio { drops_writes: bool },
    /// No space, where that is an answer; else ENOSPC.
    NoSpace,
    /// A write of half of its bytes.
    Short,
}

/// What is to happen to a node at one of its operations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doom {
    /// Power is cut right after its n-th operation from now (1 is the next), and `again` after the restart begins.
    Crash { after: u64, seed: u64, again: Option<u64> },
    /// Its n-th operation of a kind from now fails.
    Fail { kind: OpKind, after: u64, failure: Failure },
}

/// A node's place.
pub(crate) struct Seat {
    pub id: NodeId,
    pub incarnation: u64,
    pub shard: Option<RigShard>,
    pub remains: Option<Remains>,
    pub initial: Vec<NodeId>,
    /// Why it did not start.
    pub refused: Option<String>,
    /// Why it stopped by itself, the last time.
    pub stopped: Option<String>,
    /// Its files that are shorter than they should be.
    pub short: Vec<(u64, u64)>,
    pub doom: Option<Doom>,
    /// A short write of it wrote so many bytes.
    pub short_write: Option<u32>,
    /// Operations done in all its lives, store flushes included.
    pub ops: u64,
    start_at: Option<Mono>,
    /// It hears nobody and is not heard.
    pub is_isolated: bool,
    queue: VecDeque<OpToken>,
    flushes: u32,
    reads: u32,
    seen: Vec<LogIndex>,
}

struct Mail {
    from: (usize, u64),
    to: (usize, u64),
    message: PeerOut,
    records: Vec<u8>,
}

/// What all nodes of a rig share.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub groups: u32,
    /// Entries kept behind a checkpoint.
    pub trailing: u64,
    /// The doubt about a last frame ends after so long.
    pub doubt_wait: Option<Span>,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { groups: 1, trailing: 10_000, doubt_wait: raft::Settings::default().doubt_wait }
    }
}

/// The cluster.
pub(crate) struct Rig {
    pub shape: Shape,
    pub now: Mono,
    pub seats: Vec<Seat>,
    mail: VecDeque<Mail>,
    /// Pairs of seats that do not hear each other.
    cuts: Vec<(usize, usize)>,
    pub answers: BTreeMap<u64, (Status, Vec<u8>)>,
    states: BTreeMap<(GroupId, LogIndex), u64>,
    /// The first claim that was broken.
    pub broken: Option<String>,
    pub turns: u64,
}

fn log_settings(id: NodeId, salt_seed: u64) -> seglog::Settings {
    seglog::Settings {
        cluster_id: base::ClusterId([3; 16]),
        node_uuid: NodeUuid([id.0 as u8; 16]),
        core: CoreId(0),
        cores: 1,
        segment_bytes: seglog::SEGMENT_BYTES_LEAST,
        log_bytes_max: 16 << 20,
        salt_seed,
        batches_in_flight: 1,
    }
}

/// A directory with a file that is too short.
struct ShortReader<'a> {
    inner: SimLogReader<'a>,
    short: &'a [(u64, u64)],
}

impl LogReader for ShortReader<'_> {
    fn meta(&mut self) -> std::io::Result<[Option<Vec<u8>>; 4]> {
        self.inner.meta()
    }

    fn free(&mut self) -> std::io::Result<u32> {
        self.inner.free()
    }

    fn segments(&mut self) -> std::io::Result<Vec<FoundSegment>> {
        let mut found = self.inner.segments()?;
        for segment in &mut found {
            let short = self.short.iter().find(|(seq, _)| *seq == segment.segment_seq);
            segment.bytes = short.map_or(segment.bytes, |(_, bytes)| *bytes);
        }
        Ok(found)
    }

    fn written_end(&mut self, segment_seq: u64) -> std::io::Result<u64> {
        self.inner.written_end(segment_seq)
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(segment_seq, offset, out)
    }
}

impl Seat {
    pub fn new(id: NodeId, initial: Vec<NodeId>) -> Seat {
        let disk = SimDisk::new(&log_settings(id, 0));
        Seat {
            id,
            incarnation: 0,
            shard: None,
            remains: Some(Remains { disk, store: SimStore::new(false) }),
            initial,
            refused: None,
            stopped: None,
            short: Vec::new(),
            doom: None,
            short_write: None,
            ops: 0,
            start_at: None,
            is_isolated: false,
            queue: VecDeque::new(),
            flushes: 0,
            reads: 0,
            seen: Vec::new(),
        }
    }
}

impl Rig {
    /// Nodes 1 to `nodes` that have never run; the first `voters` begin as members, the others as nothing.
    pub fn new(shape: Shape, nodes: u64, voters: u64) -> Rig {
        let members: Vec<NodeId> = (1..=voters).map(NodeId).collect();
        let seat = |id| Seat::new(NodeId(id), if id <= voters { members.clone() } else { Vec::new() });
        Rig {
            shape,
            now: Mono(1_000_000_000),
            seats: (1..=nodes).map(seat).collect(),
            mail: VecDeque::new(),
            cuts: Vec::new(),
            answers: BTreeMap::new(),
            states: BTreeMap::new(),
            broken: None,
            turns: 0,
        }
    }

    /// A rig that stands where another one did: the same time, disks as given, nobody up.
    pub fn again(&self, remains: Vec<Remains>) -> Rig {
        let mut rig = Rig::new(self.shape.clone(), 0, 0);
        rig.now = self.now;
        rig.states.clone_from(&self.states);
        for (seat, remains) in self.seats.iter().zip(remains) {
            let mut next = Seat::new(seat.id, seat.initial.clone());
            (next.incarnation, next.remains) = (seat.incarnation, Some(remains));
            rig.seats.push(next);
        }
        rig
    }

    pub fn break_claim(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    // Processes.

    /// Starts a node from its disk; it may refuse.
    pub fn start(&mut self, at: usize) {
        let (now, shape) = (self.now, self.shape.clone());
        let seat = &mut self.seats[at];
        let Some(Remains { mut disk, mut store }) = seat.remains.take() else { return };
        seat.start_at = None;
        seat.incarnation += 1;
        store.crash();
        let settings = log_settings(seat.id, seat.id.0 << 32 | seat.incarnation);
        let is_new = seat.incarnation == 1;
        let mut reader = ShortReader { inner: SimLogReader::new(&disk), short: &seat.short };
        let recovered = if is_new { Ok(seglog::create(&settings)) } else { seglog::recover(&mut reader, &settings) };
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                seat.refused = Some(error.to_string());
                seat.remains = Some(Remains { disk, store });
                return;
            }
        };
        disk.handle_recovered(&recovered.groups());
        for segment in recovered.segments() {
            disk.open_existing(segment.slot, segment.segment_seq);
        }
        let settings_of_shard = shard::Settings {
            node: seat.id,
            core: CoreId(0),
            cores: 1,
            groups: shape.groups,
            incarnation: seat.incarnation,
            seed: base::mix64(seat.id.0 << 20 | seat.incarnation),
            raft: raft::Settings { doubt_wait: shape.doubt_wait, ..raft::Settings::default() },
            initial: Config::single(&seat.initial),
            trailing_entries: shape.trailing,
            keep: shard::Keep::default(),
            // Its nodes may have applied what was lost since.
            state_hash_every: 0,
            balance: shard::Balancing { is_on: false, ..Default::default() },
            release: meta::Release::THIS,
            machine: shard::MachineKind::Files,
        };
        let log = SegLog::start(recovered, settings, disk);
        seat.shard = Some(Shard::new(settings_of_shard, log, store, now));
        seat.seen = vec![LogIndex(0); shape.groups as usize];
        seat.queue.clear();
        (seat.flushes, seat.reads) = (0, 0);
        self.link(at);
    }

    /// Its links come up, as far as they can.
    fn link(&mut self, at: usize) {
        if self.seats[at].is_isolated {
            return;
        }
        let (id, incarnation) = (self.seats[at].id, self.seats[at].incarnation);
        for other in (0..self.seats.len()).filter(|other| *other != at) {
            let is_cut = self.is_cut(at, other);
            let peer = &mut self.seats[other];
            if peer.is_isolated || is_cut {
                continue;
            }
            let (peer_id, peer_incarnation) = (peer.id, peer.incarnation);
            let Some(shard) = &mut peer.shard else { continue };
            shard.handle_peer_up(id, incarnation);
            if let Some(own) = &mut self.seats[at].shard {
                own.handle_peer_up(peer_id, peer_incarnation);
            }
        }
    }

    fn unlink(&mut self, at: usize) {
        let id = self.seats[at].id;
        for other in (0..self.seats.len()).filter(|other| *other != at) {
            let peer = self.seats[other].id;
            if let Some(shard) = &mut self.seats[other].shard {
                shard.handle_peer_down(id);
            }
            if let Some(shard) = &mut self.seats[at].shard {
                shard.handle_peer_down(peer);
            }
        }
    }

    /// Cuts a node off from all others, or lets it back.
    pub fn isolate(&mut self, at: usize, is_isolated: bool) {
        self.seats[at].is_isolated = is_isolated;
        if is_isolated { self.unlink(at) } else { self.link(at) }
    }

    /// Cuts two nodes off from each other, or lets them hear each other again.
    pub fn cut(&mut self, one: usize, other: usize, is_cut: bool) {
        if is_cut == self.is_cut(one, other) {
            return;
        }
        if is_cut {
            self.cuts.push((one, other));
        } else {
            self.cuts.retain(|pair| *pair != (one, other) && *pair != (other, one));
        }
        let ends = [one, other].map(|at| (self.seats[at].id, self.seats[at].incarnation, self.is_up(at)));
        for (at, (peer, incarnation, is_up)) in [(one, ends[1]), (other, ends[0])] {
            let Some(shard) = &mut self.seats[at].shard else { continue };
            if is_cut {
                shard.handle_peer_down(peer);
            } else if is_up {
                shard.handle_peer_up(peer, incarnation);
            }
        }
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one, other)) || self.cuts.contains(&(other, one))
    }

    pub fn start_all(&mut self) {
        (0..self.seats.len()).for_each(|at| self.start(at));
    }

    fn take_remains(&mut self, at: usize) -> Option<Remains> {
        let mut shard = self.seats[at].shard.take()?;
        let disk = std::mem::take(shard.log_mut().disk_mut());
        let store = std::mem::take(shard.store_mut());
        self.seats[at].queue.clear();
        self.unlink(at);
        Some(Remains { disk, store })
    }

    /// The process dies, the machine lives.
    pub fn kill(&mut self, at: usize, seed: u64) {
        if let Some(mut remains) = self.take_remains(at) {
            remains.disk.kill(&mut Prng::new(seed));
            self.seats[at].remains = Some(remains);
        }
    }

    /// Power is cut: of what is not durable any sector may be there.
    pub fn cut_power(&mut self, at: usize, seed: u64) {
        if let Some(mut remains) = self.take_remains(at) {
            let mut dice = Prng::new(seed);
            let keep_per_1024 = [0, 1024, 512, 128, 896][dice.below(5) as usize];
            let cut = Cut { keep_per_1024, tears_writes: dice.one_in(2), torn_per_1024: 0 };
            remains.disk.power_cut(cut, &mut dice);
            self.seats[at].remains = Some(remains);
        }
    }

    /// Kills all; what they leave.
    pub fn kill_all(&mut self) -> Vec<Remains> {
        (0..self.seats.len()).for_each(|at| self.kill(at, 1));
        self.seats.iter().map(|seat| seat.remains.clone().unwrap_or_default()).collect()
    }

    // Time.

    /// Runs for so long.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.turn(end);
        }
    }

    /// One turn of all nodes; time moves on, and at most to `end` if nothing is to do.
    pub fn turn(&mut self, end: Mono) {
        self.turns += 1;
        self.now = self.next_time(end);
        let now = self.now;
        let wall_ms = 1_700_000_000_000 + now.0 / 1_000_000;
        for at in 0..self.seats.len() {
            if self.seats[at].start_at.is_some_and(|due| due <= now) {
                self.start(at);
            }
            if let Some(shard) = &mut self.seats[at].shard {
                shard.begin_turn(now, wall_ms);
            }
        }
        for mail in std::mem::take(&mut self.mail) {
            self.deliver(&mail);
        }
        for at in 0..self.seats.len() {
            self.turn_of(at, wall_ms);
        }
    }

    fn next_time(&self, end: Mono) -> Mono {
        let is_busy = |seat: &Seat| {
            !seat.queue.is_empty()
                || seat.flushes + seat.reads > 0
                || seat.shard.as_ref().is_some_and(RigShard::has_work)
        };
        if !self.mail.is_empty() || self.seats.iter().any(is_busy) {
            return self.now + STEP;
        }
        let deadline = |seat: &Seat| {
            let shard = seat.shard.as_ref().map_or(Mono::MAX, RigShard::next_deadline);
            shard.min(seat.start_at.unwrap_or(Mono::MAX))
        };
        let next = self.seats.iter().map(deadline).min().unwrap_or(Mono::MAX);
        next.min(end).max(self.now + IDLE)
    }

    fn deliver(&mut self, mail: &Mail) {
        let now = self.now;
        let (from, to) = (&self.seats[mail.from.0], &self.seats[mail.to.0]);
        let is_linked =
            from.incarnation == mail.from.1 && to.incarnation == mail.to.1 && !self.is_cut(mail.from.0, mail.to.0);
        if !is_linked || from.is_isolated || to.is_isolated || from.shard.is_none() {
            return;
        }
        let from = from.id;
        let Some(shard) = &mut self.seats[mail.to.0].shard else { return };
        match &mail.message {
            PeerOut::Raft { group, body, .. } => {
                let (first, count) = body.entries().unwrap_or_default();
                match Records::check_entries(&mail.records, count, *group, first) {
                    Ok(entries) => shard.handle_peer(from, *group, *body, entries, now),
                    Err(error) => {
                        let what = format!("node {from} sends damaged entries of group {group}: {error}");
                        self.break_claim(what);
                    }
                }
            }
            PeerOut::SnapshotPart { group, index, term, snapshot, part, last, body, .. } => {
                shard.handle_snapshot_part(from, *group, *index, *term, *snapshot, *part, *last, body);
            }
            PeerOut::Resting { resting, now: list, .. } => shard.handle_resting(from, *resting, *list, now),
            PeerOut::RestingAck { resting, list, is_slow, .. } => {
                shard.handle_resting_ack(from, *resting, *list, *is_slow, now);
            }
            PeerOut::SnapshotAck { group, snapshot, next_part, refused, .. } => {
                shard.handle_snapshot_ack(from, *group, *snapshot, *next_part, *refused);
            }
            PeerOut::StateHash { group, index, hash, .. } => shard.handle_state_hash(from, *group, *index, *hash),
        }
    }

    fn turn_of(&mut self, at: usize, wall_ms: u64) {
        let (now, id) = (self.now, self.seats[at].id);
        self.finish_operations(at);
        let Some(shard) = &mut self.seats[at].shard else { return };
        shard.handle_store_events();
        shard.handle_tick(now);
        shard.advance(now, wall_ms);
        let mut asked = Vec::new();
        while let Some((token, op)) = shard.poll_op() {
            shard.log_mut().disk_mut().submit(token, op);
            asked.push(token);
        }
        let (flushes, reads) = (shard.store_mut().take_asked(), shard.store_mut().take_unseen());
        while let Some((group, alarm)) = shard.poll_alarm() {
            if !matches!(alarm, raft::Alarm::Amnesia(_)) {
                let what = format!("node {id}: group {group} stops by an alarm: {alarm:?}");
                self.broken.get_or_insert(what);
            }
        }
        for reply in shard.replies().iter() {
            self.answers.insert(reply.ticket.request, (reply.status, reply.body.to_vec()));
        }
        shard.replies().clear();
        let seat = &mut self.seats[at];
        seat.queue.extend(asked);
        seat.flushes += flushes;
        seat.reads += reads;
        self.send(at);
        self.look(at);
        let stop = self.seats[at].shard.as_ref().and_then(RigShard::stop_reason).map(ToString::to_string);
        if let Some(reason) = stop {
            self.seats[at].stopped = Some(reason);
            self.cut_power(at, now.0);
            self.seats[at].start_at = Some(now + Span::from_ms(50));
        }
    }

    fn send(&mut self, at: usize) {
        let places: Vec<(NodeId, u64)> = self.seats.iter().map(|seat| (seat.id, seat.incarnation)).collect();
        let Some(shard) = &mut self.seats[at].shard else { return };
        while let Some(message) = shard.poll_peer() {
            let target = match &message {
                PeerOut::Raft { to, .. }
                | PeerOut::SnapshotPart { to, .. }
                | PeerOut::SnapshotAck { to, .. }
                | PeerOut::Resting { to, .. }
                | PeerOut::RestingAck { to, .. }
                | PeerOut::StateHash { to, .. } => *to,
            };
            let mut records = Vec::new();
            if let PeerOut::Raft { group, body, .. } = &message
                && let Some((first, count)) = body.entries()
                && count > 0
                && !shard.records(*group, first, LogIndex(first.0 + u64::from(count) - 1), &mut records)
            {
                continue;
            }
            let Some(to) = places.iter().position(|(id, _)| *id == target) else { continue };
            self.mail.push_back(Mail { from: (at, places[at].1), to: (to, places[to].1), message, records });
        }
    }

    // Disks.

    fn finish_operations(&mut self, at: usize) {
        let due = self.seats[at].queue.len();
        for _ in 0..due {
            let Some(token) = self.seats[at].queue.pop_front() else { return };
            self.finish_operation(at, token);
            if self.count_operation(at) {
                return;
            }
        }
        for _ in 0..std::mem::take(&mut self.seats[at].reads) {
            if let Some(shard) = &mut self.seats[at].shard {
                shard.store_mut().tell();
            }
        }
        for _ in 0..std::mem::take(&mut self.seats[at].flushes) {
            if let Some(shard) = &mut self.seats[at].shard {
                shard.store_mut().finish_flush();
            }
            if self.count_operation(at) {
                return;
            }
        }
    }

    fn finish_operation(&mut self, at: usize, token: OpToken) {
        let seat = &mut self.seats[at];
        let Some(shard) = &mut seat.shard else { return };
        let disk = shard.log_mut().disk_mut();
        let kind = disk.pending_op(token).map(OpKind::of).expect("it was submitted and not done");
        let mut failure = None;
        if let Some(Doom::Fail { kind: doomed, after, failure: how }) = &mut seat.doom
            && *doomed == kind
        {
            *after -= 1;
            if *after == 0 {
                failure = Some(*how);
                seat.doom = None;
            }
        }
        let result = match failure {
            None => disk.complete(token, u32::MAX),
            Some(Failure::Eio { drops_writes }) => disk.fail(token, 5, drops_writes),
            Some(Failure::NoSpace) if matches!(kind, OpKind::Prepare | OpKind::Activate) => {
                let _ = disk.fail(token, 28, false);
                Err(seglog::OpError::NoSpace)
            }
            Some(Failure::NoSpace) => disk.fail(token, 28, false),
            Some(Failure::Short) => {
                let half = match disk.pending_op(token) {
                    Some(DiskOp::Write { bytes, .. }) => (bytes / 2) & !511,
                    _ => u32::MAX,
                };
                seat.short_write = Some(half);
                disk.complete(token, half)
            }
        };
        shard.handle_op_done(token, result);
    }

    /// One more operation is done. True if that was the node's last.
    fn count_operation(&mut self, at: usize) -> bool {
        let now = self.now;
        let seat = &mut self.seats[at];
        seat.ops += 1;
        let Some(Doom::Crash { after, seed, again }) = &mut seat.doom else { return false };
        *after -= 1;
        if *after > 0 {
            return false;
        }
        let (seed, again) = (*seed, *again);
        seat.doom = again.map(|after| Doom::Crash { after, seed: seed ^ 0x5bd1, again: None });
        seat.start_at = Some(now + Span::from_ms(30));
        self.cut_power(at, seed);
        true
    }

    // Claims.

    fn look(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let Some(shard) = &seat.shard else { return };
        for group in (0..self.shape.groups).map(GroupId) {
            let applied = shard.applied_index(group);
            if std::mem::replace(&mut seat.seen[group.0 as usize], applied) == applied {
                continue;
            }
            let Some(machine) = shard.store().machine(group).filter(|machine| machine.applied_index == applied) else {
                continue;
            };
            let known = *self.states.entry((group, applied)).or_insert(machine.state_hash);
            if known != machine.state_hash {
                let id = seat.id;
                let what =
                    format!("group {group}, entry {applied}: node {id} has another state than was applied before");
                self.broken.get_or_insert(what);
            }
        }
    }

    /// What was applied above is not held against anybody: for a log that is cut where nobody else has seen it.
    pub fn forget_states_above(&mut self, index: LogIndex) {
        self.states.retain(|(_, applied), _| *applied <= index);
    }

    /// Who leads a group, by the highest term.
    pub fn leader(&self, group: GroupId) -> Option<usize> {
        let led = self.seats.iter().enumerate().filter_map(|(at, seat)| {
            let raft = seat.shard.as_ref().filter(|_| !seat.is_isolated)?.raft(group)?;
            raft.is_leader().then(|| (raft.term(), at))
        });
        led.max().map(|(_, at)| at)
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.seats[at].shard.is_some()
    }
}
