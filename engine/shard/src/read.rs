//! Linearizable reads: joined to a position, confirmed by a quorum, served once enough is applied (docs/design/raft.md).

use std::collections::BTreeMap;

use base::stages::Stage;
use base::{GroupId, Jid, LogIndex, Mono, NodeId, Nsid};
use meta::{Store, Want};
use raft::{Input, Outcome, ReadPath, ReadsConfirmed};
use seglog::Disk;

use crate::group::{ApplyWait, Read};
use crate::metadata_read;
use crate::stages::Timing;
use crate::{Shard, Status};

/// Reads that met rows which are not in memory, by the token under which these are fetched.
#[derive(Default)]
pub(crate) struct ColdReads {
    pub(crate) waiting: BTreeMap<u64, Waiting>,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are queries, and a box would be an allocation for each")]
pub(crate) enum Waiting {
    /// Run the query again; the tokens of earlier rounds are held until it is answered.
    Query { at: u32, read: Read, tokens: Vec<u64> },
    /// Look for the head again.
    Head { at: u32, nsid: Nsid },
    /// Look for subtrees to sweep again.
    Sweeps { at: u32 },
    /// Look at the group's feature level again.
    Level { at: u32 },
}

/// What a read came to.
pub(crate) enum Answered {
    Native(meta::Answer),
    Metadata(meta::Answer, Jid),
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// All reads of one turn join one position.
    pub(crate) fn join_reads(&mut self, at: u32, now: Mono) {
        self.answer_cached_reads(at, now);
        if self.groups[at as usize].turn_reads.is_empty() {
            return;
        }
        let outcome = self.step(at, Input::Read { now });
        let slot = &mut self.groups[at as usize];
        let status = match outcome {
            Outcome::ReadJoined { position } => {
                slot.turn_reads.iter_mut().for_each(|read| self.stages.admit(&mut read.slot));
                slot.joined.extend(slot.turn_reads.drain(..).map(|read| (position, read)));
                return;
            }
            Outcome::NotLeader { hint } => Status::NotLeader(hint.unwrap_or_default()),
            _ => Status::Overloaded,
        };
        base::mark::hit!("shard.read.refused");
        for read in slot.turn_reads.drain(..) {
            self.replies.bare(read.ticket, slot.id, status);
        }
    }

    pub(crate) fn confirm_reads(&mut self, at: u32, confirmed: ReadsConfirmed) {
        let slot = &mut self.groups[at as usize];
        while let Some((position, _)) = slot.joined.front() {
            if *position > confirmed.position {
                break;
            }
            let (_, mut read) = slot.joined.pop_front().expect("the front was just seen");
            read.path = Some(confirmed.path);
            read.slot.mark(Stage::Lease, self.stages.now);
            slot.confirmed.push_back((confirmed.read_index, read));
            self.read_counts.note(confirmed.path);
        }
        self.serve_confirmed(at);
    }

    /// Serves the confirmed reads whose index is applied. A group that lost its state turns them away at once.
    pub(crate) fn serve_confirmed(&mut self, at: u32) {
        while let Some((index, _)) = self.groups[at as usize].confirmed.front() {
            let slot = &self.groups[at as usize];
            if *index > slot.applied && slot.lost.is_none() {
                base::mark::hit!("shard.read.waits_for_apply");
                break;
            }
            let (_, mut read) = self.groups[at as usize].confirmed.pop_front().expect("the front was just seen");
            read.slot.mark(Stage::ApplyWait, self.stages.now);
            self.serve(at, read, Vec::new());
        }
    }

    pub(crate) fn serve(&mut self, at: u32, read: Read, mut tokens: Vec<u64>) {
        let slot = &self.groups[at as usize];
        let group = slot.id;
        if slot.lost.is_some() {
            base::mark::hit!("shard.lost.read_refused");
            tokens.drain(..).for_each(|token| self.store.release(token));
            let hint = slot.raft.leader().unwrap_or_default();
            return self.replies.bare(read.ticket, group, Status::NotLeader(hint));
        }
        if !self.may_serve(at, read.path) {
            base::mark::hit!("shard.read.of_a_stopped_group");
            tokens.drain(..).for_each(|token| self.store.release(token));
            return self.replies.bare(read.ticket, group, Status::NotLeader(NodeId(0)));
        }
        if self.is_null() {
            return self.serve_count(at, &read);
        }
        let mut wants = Vec::new();
        match self.answer(at, &read, &mut wants) {
            Ok(answer) => {
                let index = self.shown_index(at);
                let effect = crate::Effect { index, path: read.path, ..crate::Effect::default() };
                self.replies.done(read.ticket, group, effect, |out| match &answer {
                    Answered::Native(answer) => answer.encode(out),
                    Answered::Metadata(answer, as_of) => metadata_read::encode(answer, *as_of, out),
                });
                self.time_read(&read, group, index, !tokens.is_empty());
                tokens.drain(..).for_each(|token| self.store.release(token));
            }
            Err(meta::Cold) => {
                base::mark::hit!("shard.read.rows_cold");
                let token = self.next_token();
                tokens.push(token);
                self.cold_reads.waiting.insert(token, Waiting::Query { at, read, tokens });
                self.store.prefetch(token, group, &wants);
            }
        }
    }

    /// The entry that answers are of now.
    pub(crate) fn shown_index(&self, at: u32) -> LogIndex {
        let slot = &self.groups[at as usize];
        // A snapshot is the state from when the store has it, before the log has restarted behind it.
        let shown = self.store.machine(slot.id).map_or(LogIndex(0), |machine| machine.applied_index);
        slot.applied.max(shown)
    }

    /// The answer just added is that of this read.
    pub(crate) fn time_read(&mut self, read: &Read, group: GroupId, index: LogIndex, is_cold: bool) {
        let (slot, closed_by) = (read.slot, NodeId(0));
        let timing = Timing { slot, group, index, commands: 1, bytes: 0, closed_by, is_cold };
        let timed = self.replies.add_timing(timing);
        self.replies.time_last(timed, read.class);
    }

    /// A group that an alarm stopped may be in a wrong state, and so may one that is quarantined: perhaps it was stopped
    /// before the last start. Only what this node reads for itself, which nothing confirms, is then as good as ever.
    pub(crate) fn may_serve(&self, at: u32, path: Option<ReadPath>) -> bool {
        let slot = &self.groups[at as usize];
        slot.alarm.is_none() && (path.is_none() || slot.raft.health() != raft::Health::Quarantined)
    }

    pub(crate) fn fetch_head(&mut self, at: u32, nsid: Nsid, wants: &[Want]) {
        let token = self.next_token();
        self.cold_reads.waiting.insert(token, Waiting::Head { at, nsid });
        self.store.prefetch(token, self.groups[at as usize].id, wants);
    }

    pub(crate) fn fetch_sweeps(&mut self, at: u32, wants: &[Want]) {
        let token = self.next_token();
        self.cold_reads.waiting.insert(token, Waiting::Sweeps { at });
        self.store.prefetch(token, self.groups[at as usize].id, wants);
    }

    pub(crate) fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token - 1
    }

    /// Rows are in memory: whoever wanted them goes on.
    pub(crate) fn handle_prefetched(&mut self, token: u64) {
        match self.cold_reads.waiting.remove(&token) {
            Some(Waiting::Query { at, mut read, tokens }) => {
                read.slot.mark(Stage::Prefetch, self.stages.now);
                self.serve(at, read, tokens);
            }
            Some(Waiting::Head { at, nsid }) => {
                base::mark::hit!("shard.watch.head_fetched");
                self.look_for_watchers(at, nsid);
                self.store.release(token);
            }
            Some(Waiting::Sweeps { at }) => {
                base::mark::hit!("shard.sweep.rows_fetched");
                self.find_sweeps(at);
                self.store.release(token);
            }
            Some(Waiting::Level { at }) => self.handle_level_fetched(at, token),
            None if self.note_upkeep_fetched(token) => {}
            None => {
                let waiting = self.groups.iter().position(|group| group.wait == ApplyWait::Store(token));
                if let Some(at) = waiting {
                    base::mark::hit!("shard.apply.rows_fetched");
                    self.groups[at].wait = ApplyWait::None;
                    self.queue_apply(at as u32);
                }
            }
        }
    }

    /// The group has stopped: its state is served to nobody, whatever was confirmed.
    pub(crate) fn drop_confirmed(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        let follower = slot.follower_joined.drain(..).map(|(_, read)| read).chain(slot.turn_follower_reads.drain(..));
        for read in slot.confirmed.drain(..).map(|(_, read)| read).chain(follower) {
            base::mark::hit!("shard.read.dropped_by_alarm");
            self.replies.bare(read.ticket, slot.id, Status::NotLeader(NodeId(0)));
        }
    }

    /// Reads of this node will not be confirmed any more: it leads no longer.
    pub(crate) fn drop_reads(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        let status = Status::NotLeader(slot.raft.leader().unwrap_or_default());
        let waiting = slot.turn_reads.drain(..).chain(slot.joined.drain(..).map(|(_, read)| read));
        for read in waiting {
            base::mark::hit!("shard.read.dropped");
            self.replies.bare(read.ticket, slot.id, status);
        }
    }
}
