//! Snapshots of groups, to a follower that is too far behind and from a leader that sends one.
//!
//! ```text
//! sender                                   receiver
//!  part 0: the machine row        ────▶     a fresh area of the store
//!  part 1 ..: rows in key order   ────▶     rows, invisible
//!            ◀──── next_part ─────          ...
//!  last part: count and hash      ────▶     verified, durable, the group's state; then the log restarts behind it
//! ```
//! At most [`OUTGOING_MAX`] leave a core at a time; the parts of one are pipelined by `SNAPSHOT_WINDOW`.

use std::collections::{HashMap, VecDeque};

use base::limits::SNAPSHOT_WINDOW;
use base::mono::Span;
use base::{GroupId, LogIndex, Mono, NodeId, Term};
use meta::{Machine, Store};
use raft::Input;
use seglog::Disk;

use crate::group::Installed;
use crate::{PeerOut, Shard};

/// Snapshots that leave a core at a time.
const OUTGOING_MAX: usize = 2;
/// A stream without progress for this long is given up; the follower is probed again.
const STALLED: Span = Span::from_ms(10_000);

#[derive(Default)]
pub(crate) struct Snapshots {
    outgoing: Vec<Outgoing>,
    waiting: VecDeque<(GroupId, NodeId)>,
    incoming: HashMap<GroupId, Incoming>,
    next_id: u64,
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
}

struct Incoming {
    id: u64,
    from: NodeId,
    next_part: u32,
}

impl Snapshots {
    /// The log must keep what follows the oldest snapshot being sent.
    pub fn pinned(&self, group: GroupId) -> Option<LogIndex> {
        self.outgoing.iter().filter(|out| out.group == group).map(|out| out.index.next()).min()
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    // Sending.

    pub(crate) fn want_snapshot(&mut self, group: GroupId, to: NodeId) {
        let is_known = self.snapshots.outgoing.iter().any(|out| (out.group, out.to) == (group, to))
            || self.snapshots.waiting.contains(&(group, to));
        if !is_known {
            self.snapshots.waiting.push_back((group, to));
            self.begin_snapshots();
        }
    }

    fn begin_snapshots(&mut self) {
        while self.snapshots.outgoing.len() < OUTGOING_MAX {
            let Some((group, to)) = self.snapshots.waiting.pop_front() else { return };
            // The id tells this stream from one of an earlier process, too.
            self.snapshots.next_id += 1;
            let id = self.settings.incarnation << 32 | self.snapshots.next_id;
            let Some(mut machine) = self.store.snapshot_begin(id, group) else {
                self.report_snapshot(group, to, None);
                continue;
            };
            machine.config = self.config_at_machine(group);
            let at = self.local(group).expect("groups of snapshots are local");
            let slot = &self.groups[at as usize];
            let (term, index, index_term) = (slot.raft.term(), machine.applied_index, machine.applied_term);
            let mut body = Vec::new();
            machine.encode(&mut body);
            self.snapshots.outgoing.push(Outgoing {
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
            });
            self.peer_out.push_back(PeerOut::SnapshotPart {
                to,
                group,
                index,
                index_term,
                term,
                snapshot: id,
                part: 0,
                last: false,
                body,
            });
        }
    }

    fn read_ahead(&mut self, which: usize) {
        let out = &mut self.snapshots.outgoing[which];
        let window_end = out.acked + SNAPSHOT_WINDOW;
        if !out.is_reading && out.parts.is_none() && out.acked > 0 && out.next_read + 1 < window_end {
            out.is_reading = true;
            self.store.snapshot_read(out.id, out.next_read);
        }
    }

    pub(crate) fn handle_snapshot_read(&mut self, snapshot: u64, part: u32, body: Vec<u8>, last: bool) {
        let Some(which) = self.snapshots.outgoing.iter().position(|out| out.id == snapshot) else { return };
        let out = &mut self.snapshots.outgoing[which];
        out.is_reading = false;
        out.next_read = part + 1;
        if last {
            out.parts = Some(part + 2);
        }
        let (to, group, index, index_term) = (out.to, out.group, out.index, out.index_term);
        let at = self.local(group).expect("groups of snapshots are local");
        let term = self.groups[at as usize].raft.term();
        let part = part + 1;
        self.peer_out.push_back(PeerOut::SnapshotPart {
            to,
            group,
            index,
            index_term,
            term,
            snapshot,
            part,
            last,
            body,
        });
        self.read_ahead(which);
    }

    /// The receiver's answer to a part.
    pub fn handle_snapshot_ack(&mut self, from: NodeId, group: GroupId, snapshot: u64, next_part: u32, refused: bool) {
        let now = self.turn_now;
        let found =
            self.snapshots.outgoing.iter().position(|out| (out.id, out.to, out.group) == (snapshot, from, group));
        let Some(which) = found else { return };
        let out = &mut self.snapshots.outgoing[which];
        if refused {
            return self.finish_snapshot(which, None);
        }
        if next_part > out.acked {
            out.acked = next_part;
            out.progress = now;
            let at = self.local(group).expect("groups of snapshots are local");
            self.groups[at as usize].raft.snapshot_sent(from, now);
        }
        let out = &mut self.snapshots.outgoing[which];
        if out.parts.is_some_and(|parts| out.acked >= parts) {
            let index = out.index;
            return self.finish_snapshot(which, Some(index));
        }
        self.read_ahead(which);
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
        ended.iter().for_each(|out| self.store.snapshot_end(out.id));
    }

    /// The link to a node is down: what was on its way there starts again when raft asks.
    pub(crate) fn drop_snapshots_to(&mut self, peer: NodeId) {
        self.snapshots.waiting.retain(|(_, to)| *to != peer);
        while let Some(which) = self.snapshots.outgoing.iter().position(|out| out.to == peer) {
            self.finish_snapshot(which, None);
        }
    }

    pub(crate) fn expire_snapshots(&mut self, now: Mono) {
        let stalled = |out: &Outgoing| now.since(out.progress) >= STALLED;
        while let Some(which) = self.snapshots.outgoing.iter().position(stalled) {
            self.finish_snapshot(which, None);
        }
        for at in 0..self.groups.len() {
            let slot = &mut self.groups[at];
            let Some(since) = slot.installing else { continue };
            if now.since(since) >= STALLED && self.snapshots.incoming.remove(&slot.id).is_some() {
                slot.installing = None;
                self.queue_apply(at as u32);
            }
        }
    }

    // Receiving.

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
        let slot = &self.groups[at as usize];
        let ack = |next_part, refused| PeerOut::SnapshotAck { to: from, group, snapshot, next_part, refused };
        if term < slot.raft.term() || slot.installed.is_some() {
            return self.peer_out.push_back(ack(0, true));
        }
        if part == 0 {
            let Ok(mut machine) = Machine::decode(body) else { return self.peer_out.push_back(ack(0, true)) };
            if machine.applied_index != index || index <= slot.commit {
                return self.peer_out.push_back(ack(0, true));
            }
            if raft::Config::decode(&machine.config).is_err() {
                return self.peer_out.push_back(ack(0, true));
            }
            machine.config.shrink_to_fit();
            self.store.install_begin(group, machine);
            self.groups[at as usize].installing = Some(self.turn_now);
            self.snapshots.incoming.insert(group, Incoming { id: snapshot, from, next_part: 1 });
            return self.peer_out.push_back(ack(1, false));
        }
        match self.snapshots.incoming.get_mut(&group) {
            Some(incoming) if (incoming.id, incoming.from) == (snapshot, from) => {
                if part == incoming.next_part {
                    incoming.next_part += 1;
                    self.groups[at as usize].installing = Some(self.turn_now);
                    self.store.install_part(group, body, last);
                }
                let next_part = incoming.next_part;
                if last && part + 1 == next_part {
                    // From here on the store decides: installed or failed, never half.
                    self.snapshots.incoming.remove(&group);
                }
                self.peer_out.push_back(ack(next_part, false));
            }
            _ => self.peer_out.push_back(ack(0, true)),
        }
    }

    /// The store has it, durably: the log restarts behind it, and raft hears when that is on disk.
    pub(crate) fn handle_installed(&mut self, group: GroupId, machine: &Machine) {
        let Some(at) = self.local(group) else { return };
        let (index, term) = (machine.applied_index, machine.applied_term);
        let keeps = self.log.term(group, index) == Some(term);
        let epoch = self.log.install(group, index, term, machine.applied_crc, &machine.config, keeps);
        self.note_written(at, epoch);
        let slot = &mut self.groups[at as usize];
        slot.installed = Some(Installed { epoch, index, term, config: machine.config.clone() });
    }

    pub(crate) fn handle_install_failed(&mut self, group: GroupId, _reason: &str) {
        let Some(at) = self.local(group) else { return };
        self.groups[at as usize].installing = None;
        self.queue_apply(at);
    }
}
