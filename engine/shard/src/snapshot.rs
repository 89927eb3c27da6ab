//! Snapshots of groups, to a follower that is too far behind and from a leader that sends one.
//!
//! ```text
//! sender                                   receiver
//!  part 0: the machine row        ────▶     a fresh area of the store
//!  part 1 ..: rows in key order   ────▶     rows, invisible
//!            ◀──── next_part ─────          ...
//!  last part: count and hash      ────▶     verified, durable, the group's state; then the log restarts behind it
//! ```
//! At most [`OUTGOING_MAX`] leave a core at a time; the parts of one are pipelined by `SNAPSHOT_WINDOW`, and all together
//! keep to a rate. A stream whose link breaks is parked: offered again under its id, it goes on at the part that the
//! receiver wants next, which kept its half.

use std::collections::{BTreeMap, VecDeque};

use base::limits::{
    SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_PART_BYTES_MAX, SNAPSHOT_PARTS_WAITING_MAX, SNAPSHOT_WINDOW,
    SNAPSHOTS_INCOMING_MAX,
};
use base::mono::Span;
use base::{GroupId, LogIndex, Mono, NodeId, Term, mutate};
use meta::{Machine, Store};
use raft::Input;
use seglog::Disk;

use crate::group::Installed;
use crate::rate::Rate;
use crate::{PeerOut, Shard};

/// Snapshots that leave a core at a time.
const OUTGOING_MAX: usize = 2;
/// A stream without progress for this long is given up; the follower is probed again.
const STALLED: Span = Span::from_ms(10_000);
/// A stream that nobody answers is offered again this often: a part or its ack may have been dropped at a full queue.
const ASKS_AGAIN: Span = Span::from_ms(2_000);
/// A stream whose link broke waits so long for another one; it pins its state in the store.
const PARKED: Span = Span::from_ms(60_000);
/// A half snapshot is kept so long for its sender to come back.
const HALF_KEPT: Span = Span::from_ms(600_000);
/// What a quiet core may send at once.
const BURST_BYTES: u64 = SNAPSHOT_WINDOW as u64 * SNAPSHOT_PART_BYTES_MAX as u64;

pub(crate) struct Snapshots {
    outgoing: Vec<Outgoing>,
    waiting: VecDeque<(GroupId, NodeId)>,
    incoming: BTreeMap<GroupId, Incoming>,
    next_id: u64,
    rate: Rate,
    /// A stream waits for the rate.
    is_held: bool,
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots {
            outgoing: Vec::new(),
            waiting: VecDeque::new(),
            incoming: BTreeMap::new(),
            next_id: 0,
            rate: Rate::new(SNAPSHOT_BYTES_PER_SECOND, BURST_BYTES),
            is_held: false,
        }
    }
}

/// A part that was sent and not acked.
struct Sent {
    part: u32,
    last: bool,
    body: Vec<u8>,
}

struct Outgoing {
    id: u64,
    group: GroupId,
    to: NodeId,
    index: LogIndex,
    index_term: Term,
    /// The part to read next from the store; part 0 is the machine row, store part n travels as n + 1.
    next_read: u32,
    is_reading: bool,
    /// The receiver wants this part next.
    acked: u32,
    /// Number of parts once known.
    parts: Option<u32>,
    progress: Mono,
    /// When the receiver was asked anew for what it wants.
    asked: Mono,
    /// Part 0: the offer.
    offer: Vec<u8>,
    /// At most a window of them.
    unacked: VecDeque<Sent>,
    /// The link is down.
    is_parked: bool,
    /// Offered again: the receiver says where to go on.
    is_resuming: bool,
}

impl Outgoing {
    fn message(&self, term: Term, part: u32, last: bool, body: Vec<u8>) -> PeerOut {
        PeerOut::SnapshotPart {
            to: self.to,
            group: self.group,
            index: self.index,
            index_term: self.index_term,
            term,
            snapshot: self.id,
            part,
            last,
            body,
        }
    }
}

struct Incoming {
    id: u64,
    from: NodeId,
    next_part: u32,
    index: LogIndex,
    heard: Mono,
    /// The last part is with the store: it is installed or fails, never half.
    is_whole: bool,
    /// Its sender waits for an ack that is kept back while the store has too many parts to write.
    owes_ack: bool,
}

impl Incoming {
    /// Its sender is at work on it.
    fn is_active(&self, now: Mono) -> bool {
        self.is_whole || now.since(self.heard) < STALLED
    }
}

impl Snapshots {
    /// The log must keep what follows the oldest snapshot being sent.
    pub fn pinned(&self, group: GroupId) -> Option<LogIndex> {
        self.outgoing.iter().filter(|out| out.group == group).map(|out| out.index.next()).min()
    }

    fn running(&self) -> usize {
        self.outgoing.iter().filter(|out| !out.is_parked).count()
    }

    /// When the rate lets the next part go, if one waits for it.
    pub fn next_deadline(&self) -> Mono {
        if self.is_held { self.rate.opens_at() } else { Mono::MAX }
    }
}

/// A snapshot of what is committed and can be applied here already would take the group back. `floor` is
/// [`Shard::appliable`].
fn is_behind(index: LogIndex, floor: LogIndex) -> bool {
    mutate!(MUT_20A, index <= floor, false)
}

impl<D: Disk, S: Store> Shard<D, S> {
    // Sending.

    pub(crate) fn want_snapshot(&mut self, group: GroupId, to: NodeId) {
        if !self.pairs.is_up(to) {
            base::mark::hit!("shard.snapshot.peer_is_down");
            // Raft asks again when the link is back.
            return;
        }
        if let Some(which) = self.snapshots.outgoing.iter().position(|out| (out.group, out.to) == (group, to)) {
            if self.snapshots.outgoing[which].is_parked {
                self.resume_snapshot(which);
            }
        } else if !self.snapshots.waiting.contains(&(group, to)) {
            base::mark::hit!("shard.snapshot.waits_its_turn", self.snapshots.running() >= OUTGOING_MAX);
            self.snapshots.waiting.push_back((group, to));
            self.begin_snapshots();
        }
    }

    /// The link is back: the same stream is offered again.
    fn resume_snapshot(&mut self, which: usize) {
        base::mark::hit!("shard.snapshot.resumed");
        self.snapshots.outgoing[which].progress = self.turn_now;
        self.offer_again(which);
    }

    /// The receiver answers with the part that it wants next.
    fn offer_again(&mut self, which: usize) {
        let now = self.turn_now;
        let term = self.term_of(self.snapshots.outgoing[which].group);
        let out = &mut self.snapshots.outgoing[which];
        (out.is_parked, out.is_resuming, out.asked) = (false, true, now);
        let offer = out.message(term, 0, false, out.offer.clone());
        self.peer_out.push_back(offer);
    }

    fn term_of(&self, group: GroupId) -> Term {
        let at = self.local(group).expect("groups of snapshots are local");
        self.groups[at as usize].raft.term()
    }

    fn begin_snapshots(&mut self) {
        while self.snapshots.running() < OUTGOING_MAX {
            let Some((group, to)) = self.snapshots.waiting.pop_front() else { return };
            // The id tells this stream from one of an earlier process, too.
            self.snapshots.next_id += 1;
            let id = self.settings.incarnation << 32 | self.snapshots.next_id;
            let Some(mut machine) = self.store.snapshot_begin(id, group) else {
                base::mark::hit!("shard.snapshot.nothing_to_send");
                self.report_snapshot(group, to, None);
                continue;
            };
            machine.config = self.config_at_machine(group);
            let at = self.local(group).expect("groups of snapshots are local");
            let slot = &self.groups[at as usize];
            let (term, index, index_term) = (slot.raft.term(), machine.applied_index, machine.applied_term);
            let mut body = Vec::new();
            machine.encode(&mut body);
            let out = Outgoing {
                id,
                group,
                to,
                index,
                index_term,
                next_read: 0,
                is_reading: false,
                acked: 0,
                parts: None,
                progress: self.turn_now,
                asked: self.turn_now,
                offer: body.clone(),
                unacked: VecDeque::new(),
                is_parked: false,
                is_resuming: false,
            };
            self.peer_out.push_back(out.message(term, 0, false, body));
            base::mark::hit!("shard.snapshot.offered");
            self.snapshots.outgoing.push(out);
        }
    }

    fn read_ahead(&mut self, which: usize) {
        let out = &mut self.snapshots.outgoing[which];
        let window_end = out.acked + SNAPSHOT_WINDOW;
        let is_halted = out.is_reading || out.is_parked || out.is_resuming || out.parts.is_some();
        if is_halted || out.acked == 0 || out.next_read + 1 >= window_end {
            return;
        }
        if !self.snapshots.rate.is_open(self.turn_now) {
            base::mark::hit!("shard.snapshot.held_by_rate");
            self.snapshots.is_held = true;
            return;
        }
        out.is_reading = true;
        self.store.snapshot_read(out.id, out.next_read);
    }

    pub(crate) fn handle_snapshot_read(&mut self, snapshot: u64, part: u32, body: Vec<u8>, last: bool) {
        let Some(which) = self.snapshots.outgoing.iter().position(|out| out.id == snapshot) else { return };
        let out = &mut self.snapshots.outgoing[which];
        out.is_reading = false;
        out.next_read = part + 1;
        if last {
            out.parts = Some(part + 2);
        }
        let part = part + 1;
        let (group, is_waiting) = (out.group, out.is_parked || out.is_resuming);
        out.unacked.push_back(Sent { part, last, body: body.clone() });
        self.snapshots.rate.take(body.len());
        if !is_waiting {
            let term = self.term_of(group);
            let message = self.snapshots.outgoing[which].message(term, part, last, body);
            self.peer_out.push_back(message);
        }
        self.read_ahead(which);
    }

    /// Sends again what the receiver lacks of a stream whose link broke.
    fn send_unacked(&mut self, which: usize) {
        let term = self.term_of(self.snapshots.outgoing[which].group);
        let out = &self.snapshots.outgoing[which];
        for sent in &out.unacked {
            self.snapshots.rate.take(sent.body.len());
            self.peer_out.push_back(out.message(term, sent.part, sent.last, sent.body.clone()));
        }
    }

    /// The receiver's answer to a part.
    pub fn handle_snapshot_ack(&mut self, from: NodeId, group: GroupId, snapshot: u64, next_part: u32, refused: bool) {
        let now = self.turn_now;
        let found =
            self.snapshots.outgoing.iter().position(|out| (out.id, out.to, out.group) == (snapshot, from, group));
        let Some(which) = found else { return };
        let out = &mut self.snapshots.outgoing[which];
        if refused {
            base::mark::hit!("shard.snapshot.refused");
            return self.finish_snapshot(which, None);
        }
        if next_part < out.acked && out.is_resuming {
            return self.replace_snapshot(which);
        }
        let was_resuming = std::mem::take(&mut out.is_resuming);
        if next_part > out.acked || was_resuming {
            out.acked = next_part;
            out.progress = now;
            while out.unacked.pop_front_if(|sent| sent.part < next_part).is_some() {}
            let at = self.local(group).expect("groups of snapshots are local");
            self.groups[at as usize].raft.snapshot_sent(from, now);
        }
        if was_resuming {
            self.send_unacked(which);
        }
        let out = &mut self.snapshots.outgoing[which];
        if out.parts.is_some_and(|parts| out.acked >= parts) {
            base::mark::hit!("shard.snapshot.all_acked");
            let index = out.index;
            return self.finish_snapshot(which, Some(index));
        }
        self.read_ahead(which);
    }

    /// The receiver has lost its half, and the store's stream cannot go back: another one takes its place at once. Raft
    /// need not hear of it: a probe would wait until the receiver, which expects parts, takes appends again.
    fn replace_snapshot(&mut self, which: usize) {
        base::mark::hit!("shard.snapshot.replaced");
        let out = self.snapshots.outgoing.swap_remove(which);
        self.store.snapshot_end(out.id);
        self.snapshots.waiting.push_front((out.group, out.to));
        self.begin_snapshots();
    }

    fn finish_snapshot(&mut self, which: usize, installed: Option<LogIndex>) {
        let out = self.snapshots.outgoing.swap_remove(which);
        self.store.snapshot_end(out.id);
        self.report_snapshot(out.group, out.to, installed);
        self.begin_snapshots();
    }

    fn report_snapshot(&mut self, group: GroupId, peer: NodeId, installed: Option<LogIndex>) {
        if let Some(at) = self.local(group) {
            self.step(at, Input::SnapshotReport { peer, installed });
        }
    }

    /// This node leads the group no more: its streams end.
    pub(crate) fn end_snapshots(&mut self, group: GroupId) {
        self.snapshots.waiting.retain(|(waiting, _)| *waiting != group);
        let (ended, kept) = std::mem::take(&mut self.snapshots.outgoing).into_iter().partition(|o| o.group == group);
        self.snapshots.outgoing = kept;
        let ended: Vec<Outgoing> = ended;
        base::mark::hit!("shard.snapshot.ended_with_the_lead", !ended.is_empty());
        ended.iter().for_each(|out| self.store.snapshot_end(out.id));
    }

    /// The link to a node is down: what was on its way there goes on when raft asks for it over another one.
    pub(crate) fn park_snapshots_to(&mut self, peer: NodeId) {
        self.snapshots.waiting.retain(|(_, to)| *to != peer);
        let now = self.turn_now;
        for out in self.snapshots.outgoing.iter_mut().filter(|out| out.to == peer) {
            base::mark::hit!("shard.snapshot.parked");
            (out.is_parked, out.is_resuming, out.progress) = (true, false, now);
        }
        self.begin_snapshots();
    }

    pub(crate) fn expire_snapshots(&mut self, now: Mono) {
        if self.snapshots.is_held && self.snapshots.rate.is_open(now) {
            self.snapshots.is_held = false;
            (0..self.snapshots.outgoing.len()).for_each(|which| self.read_ahead(which));
        }
        let stalled = |out: &Outgoing| now.since(out.progress) >= if out.is_parked { PARKED } else { STALLED };
        while let Some(which) = self.snapshots.outgoing.iter().position(stalled) {
            base::mark::hit!("shard.snapshot.stalled");
            self.finish_snapshot(which, None);
        }
        for which in 0..self.snapshots.outgoing.len() {
            let out = &self.snapshots.outgoing[which];
            let is_unanswered = out.acked == 0 || out.is_resuming || !out.unacked.is_empty();
            let is_silent = now.since(out.progress.max(out.asked)) >= ASKS_AGAIN;
            if is_unanswered && is_silent && !out.is_parked {
                base::mark::hit!("shard.snapshot.asks_again");
                self.offer_again(which);
            }
        }
        if self.snapshots.incoming.is_empty() {
            return;
        }
        self.give_owed_acks();
        let mut incoming = std::mem::take(&mut self.snapshots.incoming);
        incoming.retain(|group, half| {
            let at = self.local(*group).expect("only local groups are installed");
            let floor = self.appliable(at);
            let slot = &mut self.groups[at as usize];
            let is_kept = half.is_whole || now.since(half.heard) < HALF_KEPT && !is_behind(half.index, floor);
            if (!half.is_active(now) || !is_kept) && slot.installing.take().is_some() {
                base::mark::hit!("shard.snapshot.half_gives_way");
                // Its sender is silent and the half waits, or entries made it needless: the group goes on without it.
                self.queue_apply(at);
            }
            is_kept
        });
        self.snapshots.incoming = incoming;
    }

    // Receiving.

    /// The last entry that this node can apply without help: what is committed, up to an entry whose bytes are lost.
    fn appliable(&self, at: u32) -> LogIndex {
        let slot = &self.groups[at as usize];
        if slot.lost.is_some() && slot.applied.next() < self.log.first_index(slot.id) {
            // Nothing can be applied; any state helps that the log goes on behind.
            return self.log.first_index(slot.id).prev().prev();
        }
        let lost = self.log.first_faulty_above(slot.id, slot.applied);
        lost.map_or(slot.commit, |index| index.prev().min(slot.commit))
    }

    /// A part of a snapshot that a leader sends.
    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub fn handle_snapshot_part(
        &mut self,
        from: NodeId,
        group: GroupId,
        index: LogIndex,
        term: Term,
        snapshot: u64,
        part: u32,
        last: bool,
        body: &[u8],
    ) {
        let Some(at) = self.local(group) else { return };
        let now = self.turn_now;
        self.pairs.note_heard(from, now);
        let floor = self.appliable(at);
        let slot = &self.groups[at as usize];
        let ack = |next_part, refused| PeerOut::SnapshotAck { to: from, group, snapshot, next_part, refused };
        // Who leads still has not heard of the sender's term, and must not take its state while it answers as a leader.
        if term < slot.raft.term() || slot.installed.is_some() || slot.raft.is_leader() {
            base::mark::hit!("shard.snapshot.refuses_old_term", term < slot.raft.term());
            base::mark::hit!("shard.snapshot.refuses_while_leading", slot.raft.is_leader());
            base::mark::hit!("shard.snapshot.refuses_while_synced", slot.installed.is_some());
            return self.peer_out.push_back(ack(0, true));
        }
        if part == 0 {
            let is_half =
                self.snapshots.incoming.get(&group).is_some_and(|half| (half.id, half.from) == (snapshot, from));
            if self.is_out_of_room && !is_half {
                base::mark::hit!("shard.snapshot.refuses_without_room");
                return self.peer_out.push_back(ack(0, true));
            }
            let Ok(mut machine) = Machine::decode(body) else { return self.peer_out.push_back(ack(0, true)) };
            if machine.applied_index != index || is_behind(index, floor) {
                base::mark::hit!("shard.snapshot.refuses_old_state");
                return self.peer_out.push_back(ack(0, true));
            }
            if raft::Config::decode(&machine.config).is_err() {
                return self.peer_out.push_back(ack(0, true));
            }
            if let Some(half) = self.snapshots.incoming.get_mut(&group) {
                if (half.id, half.from) == (snapshot, from) && !half.is_whole {
                    base::mark::hit!("shard.snapshot.half_kept");
                    half.heard = now;
                    self.groups[at as usize].installing = Some(now);
                    return self.ack_part(group);
                }
                // A newer one replaces it, but never while the store makes it the group's state.
                if half.is_whole || half.is_active(now) && index < half.index {
                    base::mark::hit!("shard.snapshot.refuses_another");
                    return self.peer_out.push_back(ack(0, true));
                }
            }
            let others = self.snapshots.incoming.iter().filter(|(of, half)| **of != group && half.is_active(now));
            if others.count() >= SNAPSHOTS_INCOMING_MAX {
                base::mark::hit!("shard.snapshot.too_many");
                return self.peer_out.push_back(ack(0, true));
            }
            base::mark::hit!("shard.snapshot.begins_install");
            machine.config.shrink_to_fit();
            self.store.install_begin(group, machine);
            self.groups[at as usize].installing = Some(now);
            self.forget_answers(at);
            let half =
                Incoming { id: snapshot, from, next_part: 1, index, heard: now, is_whole: false, owes_ack: false };
            self.snapshots.incoming.insert(group, half);
            return self.peer_out.push_back(ack(1, false));
        }
        match self.snapshots.incoming.get_mut(&group) {
            Some(half)
                if (half.id, half.from) == (snapshot, from) && (half.is_whole || !is_behind(half.index, floor)) =>
            {
                half.heard = now;
                base::mark::hit!("shard.snapshot.part_out_of_order", part != half.next_part);
                if part == half.next_part && !half.is_whole {
                    half.next_part += 1;
                    half.is_whole = last;
                    self.groups[at as usize].installing = Some(now);
                    self.store.install_part(group, body, last);
                }
                self.ack_part(group);
            }
            _ => self.peer_out.push_back(ack(0, true)),
        }
    }

    /// Tells the sender of a group's snapshot what is wanted next, or owes it that while the store is behind: a window of
    /// parts is all that comes meanwhile.
    fn ack_part(&mut self, group: GroupId) {
        let is_behind = self.store.parts_waiting() >= SNAPSHOT_PARTS_WAITING_MAX;
        let Some(half) = self.snapshots.incoming.get_mut(&group) else { return };
        base::mark::hit!("shard.snapshot.ack_owed", is_behind && !half.owes_ack);
        half.owes_ack = is_behind;
        if !is_behind {
            let (to, snapshot, next_part) = (half.from, half.id, half.next_part);
            self.peer_out.push_back(PeerOut::SnapshotAck { to, group, snapshot, next_part, refused: false });
        }
    }

    /// Gives the acks that are owed, once the store has caught up.
    fn give_owed_acks(&mut self) {
        if self.store.parts_waiting() < SNAPSHOT_PARTS_WAITING_MAX {
            let owed: Vec<GroupId> =
                self.snapshots.incoming.iter().filter(|(_, half)| half.owes_ack).map(|(group, _)| *group).collect();
            owed.into_iter().for_each(|group| self.ack_part(group));
        }
    }

    /// The store has it, durably: the log restarts behind it, and raft hears when that is on disk.
    pub(crate) fn handle_installed(&mut self, group: GroupId, machine: &Machine) {
        let Some(at) = self.local(group) else { return };
        self.snapshots.incoming.remove(&group);
        let (index, term) = (machine.applied_index, machine.applied_term);
        let keeps = mutate!(MUT_20B, self.log.term(group, index) == Some(term), self.log.last_index(group) > index);
        base::mark::hit!("shard.snapshot.log_goes_on_behind", keeps);
        base::mark::hit!("shard.snapshot.ends_in_a_foreign_tail", !keeps && self.log.last_index(group) > index);
        let epoch = self.log.install(group, index, term, machine.applied_crc, &machine.config, keeps);
        self.note_written(at, epoch);
        let slot = &mut self.groups[at as usize];
        slot.installed = Some(Installed { epoch, index, term, config: machine.config.clone() });
    }

    /// A half snapshot of the group ends: its state was dropped under it.
    pub(crate) fn forget_half(&mut self, group: GroupId, at: u32) {
        self.snapshots.incoming.remove(&group);
        self.groups[at as usize].installing = None;
    }

    /// Is a snapshot of the group coming in?
    pub(crate) fn has_half(&self, group: GroupId) -> bool {
        self.snapshots.incoming.get(&group).is_some_and(|half| half.is_active(self.turn_now))
    }

    pub(crate) fn handle_install_failed(&mut self, group: GroupId, _reason: &str) {
        base::mark::hit!("shard.snapshot.install_failed");
        let Some(at) = self.local(group) else { return };
        self.snapshots.incoming.remove(&group);
        self.groups[at as usize].installing = None;
        self.queue_apply(at);
    }
}
