//! Committed entries meet the machine; those who wait for them are answered.

use base::limits::TRAILING_ENTRIES;
use base::stages::Stamp;
use base::{GroupId, Jid, LogIndex, Nsid, Term, mutate};
use meta::{EntryKind, EntryRef, Store};
use raft::Input;
use seglog::{Disk, Slice};

use crate::group::{ApplyWait, Group, Watcher};
use crate::sweep::SWEEPER;
use crate::{Effect, Replies, Shard, Status, StopReason, Ticket};

/// Entries of one group applied before the next group has its turn.
const APPLY_ENTRIES_MAX: usize = 64;
/// Entries asked from a sealed segment ahead of the one that is missing.
const FAULT_AHEAD: u64 = 64;
const _: () = assert!(FAULT_AHEAD < TRAILING_ENTRIES);

/// What one try to apply came to.
enum Step {
    Applied,
    /// Rows or entries are being brought in.
    Waiting,
    /// Nothing is committed beyond what is applied.
    Idle,
}

/// An entry that was applied, for those who proposed it.
pub(crate) struct Answered {
    pub index: LogIndex,
    pub term: Term,
    /// Commands in it.
    pub commands: usize,
    /// Its rows had to be read from the disk.
    pub is_cold: bool,
    pub now: Stamp,
}

impl Answered {
    /// Answers what was proposed up to this entry: of its own commands `done` answers one after the other, and says whether
    /// it did; those of entries whose place this one took are sent to the leader.
    pub fn answer(
        &self,
        slot: &mut Group,
        replies: &mut Replies,
        mut done: impl FnMut(&mut Replies, GroupId, Ticket, Effect) -> bool,
    ) {
        let Answered { index, term, commands, is_cold, now } = *self;
        while slot.proposed.front().is_some_and(|front| front.index <= index) {
            let entry = slot.proposed.pop_front().expect("the front was just seen");
            if entry.index == index && entry.term == term {
                let proposed = entry.tickets.len();
                assert!(proposed == commands, "group {}: entry {index} has {commands} of {proposed} commands", slot.id);
                let timed = replies.add_timing(entry.timing(slot.id, is_cold, now));
                for (place, (ticket, class)) in (0..).zip(entry.tickets.iter().zip(&entry.classes)) {
                    if done(replies, slot.id, *ticket, Effect { index, term, place, path: None }) {
                        replies.time_last(timed, *class);
                    }
                }
            } else {
                // Another leader's entry took the place: the commands are not in the log here; repeat them there.
                base::mark::hit!("shard.apply.proposal_replaced");
                let status = Status::NotLeader(slot.leader_hint());
                entry.tickets.iter().for_each(|ticket| replies.bare(*ticket, slot.id, status));
            }
            slot.keep_lists(entry);
        }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Notes that a group may apply up to `commit`.
    pub(crate) fn note_commit(&mut self, at: u32, commit: LogIndex) {
        let slot = &mut self.groups[at as usize];
        slot.commit = slot.commit.max(commit);
        self.queue_apply(at);
    }

    pub(crate) fn queue_apply(&mut self, at: u32) {
        let slot = &self.groups[at as usize];
        if slot.applied < slot.commit && slot.wait == ApplyWait::None && !self.to_apply.contains(&at) {
            self.to_apply.push_back(at);
        }
    }

    /// Applies what is ready, groups taking turns; true if anything was.
    pub(crate) fn apply_ready(&mut self) -> bool {
        let mut has_applied = false;
        for _ in 0..self.to_apply.len() {
            let Some(at) = self.to_apply.pop_front() else { break };
            let before = self.groups[at as usize].applied;
            let is_ready = (0..APPLY_ENTRIES_MAX).all(|_| matches!(self.apply_next(at), Step::Applied));
            let index = self.groups[at as usize].applied;
            if index > before {
                has_applied = true;
                self.step(at, Input::Applied { index });
                self.note_rebuilt(at);
                self.serve_confirmed(at);
            }
            // Who waits for an install, a row or an entry is queued again when that has come.
            if is_ready {
                self.queue_apply(at);
            }
        }
        has_applied
    }

    fn apply_next(&mut self, at: u32) -> Step {
        let slot = &mut self.groups[at as usize];
        let index = slot.applied.next();
        base::mark::hit!("shard.apply.held_by_install", slot.installing.is_some());
        // Who takes this node in again begins with a state.
        if slot.dropped.is_some() {
            return Step::Idle;
        }
        if index > slot.commit || mutate!(MUT_21B, slot.installing.is_some(), false) {
            return Step::Idle;
        }
        let group = slot.id;
        if index < self.log.first_index(group) || index > self.log.last_index(group) {
            base::mark::hit!("shard.apply.entry_not_held");
            // A snapshot is about to take its place.
            return Step::Idle;
        }
        if self.log.is_faulty(group, index) {
            base::mark::hit!("shard.apply.entry_faulty");
            // Its bytes are being brought from a peer; their sync wakes who waits for the log.
            slot.wait = ApplyWait::Log;
            return Step::Waiting;
        }
        if slot.level.is_none() {
            slot.wait = ApplyWait::Level;
            return Step::Waiting;
        }
        let record = match self.log.entry(group, index) {
            Slice::InMemory(record) => record,
            // Its bytes are lost: the group goes on when they are written again.
            Slice::Faulty => return Step::Idle,
            Slice::Cold => {
                base::mark::hit!("shard.apply.entry_cold");
                slot.wait = ApplyWait::Log;
                let last = LogIndex(index.0 + FAULT_AHEAD).min(slot.commit);
                self.log.fault_in(group, index, last);
                return Step::Waiting;
            }
        };
        let term = record.header().term;
        let entry = EntryRef {
            index,
            term,
            crc: record.crc(),
            kind: record.entry_kind().expect("the log holds entries of known kinds"),
            payload: record.payload(),
        };
        if self.settings.machine.is_null() {
            self.counter.apply(&mut self.store, group, entry);
            let slot = &mut self.groups[at as usize];
            slot.applied = index;
            self.balance.note_applied(at, self.counter.commands(), slot.commit.0 - index.0, self.turn_now);
            self.note_state(at, index);
            self.answer_counted(at, index, term);
            return Step::Applied;
        }
        if entry.kind == EntryKind::Commands
            && let Some(format) = mutate!(MUT_34B, meta::payload::unknown_format(entry.payload), None)
        {
            self.stop.get_or_insert(StopReason::Newer { group, index, format });
            return Step::Idle;
        }
        let raised = if entry.kind == EntryKind::Commands { meta::feature::raises_to(entry.payload) } else { None };
        let known = self.settings.release.level_known;
        if let Some(level) = mutate!(MUT_34C, raised.filter(|level| *level > known), None) {
            base::mark::hit!("shard.level.entry_is_newer");
            self.stop.get_or_insert(StopReason::NewerLevel { group, level, known });
            return Step::Idle;
        }
        self.applied.clear();
        if self.applier.apply(&mut self.store, group, entry, &mut self.applied).is_err() {
            base::mark::hit!("shard.apply.rows_cold");
            let token = self.next_token();
            let slot = &mut self.groups[at as usize];
            slot.wait = ApplyWait::Store(token);
            slot.apply_tokens.push(token);
            self.store.prefetch(token, group, self.applier.wants());
            return Step::Waiting;
        }
        slot.applied = index;
        self.forget_changed(at, index);
        let slot = &mut self.groups[at as usize];
        let behind = slot.commit.0 - index.0;
        self.balance.note_applied(at, self.applied.outcomes().len(), behind, self.turn_now);
        let was_cold = !slot.apply_tokens.is_empty();
        slot.apply_tokens.drain(..).for_each(|token| self.store.release(token));
        if raised.is_some() {
            self.forget_level(at);
        }
        self.note_state(at, index);
        self.answer_proposed(at, index, term, was_cold);
        self.advance_watchers(at);
        self.note_for_feeds(at);
        self.turn_watchers_away(at);
        for which in 0..self.applied.sweeps().len() {
            let nsid = self.applied.sweeps()[which];
            self.note_sweep(at, nsid);
        }
        Step::Applied
    }

    /// Answers those who proposed the entry just applied.
    fn answer_proposed(&mut self, at: u32, index: LogIndex, term: Term, is_cold: bool) {
        let mut swept = Vec::new();
        let applied = &self.applied;
        let commands = applied.outcomes().len();
        let slot = &mut self.groups[at as usize];
        let entry = Answered { index, term, commands, is_cold, now: self.stages.now };
        entry.answer(slot, &mut self.replies, |replies, group, ticket, effect| {
            let outcome = applied.outcome(effect.place);
            if ticket.connection == SWEEPER {
                base::mark::hit!("shard.sweep.applied", ticket.kind == 0);
                swept.push((Nsid(ticket.request), ticket.kind, outcome.to_vec()));
                return false;
            }
            replies.done(ticket, group, effect, |out| out.extend_from_slice(outcome));
            true
        });
        for (nsid, kind, outcome) in swept {
            match kind {
                0 => self.handle_swept(at, nsid, &outcome),
                _ => self.handle_kept_up(at, nsid, kind, &outcome),
            }
        }
    }

    /// Wakes those who watch a namespace whose journal moved.
    fn advance_watchers(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        if slot.watchers.is_empty() {
            return;
        }
        for &(nsid, head) in self.applied.advances() {
            let Some(list) = slot.watchers.get_mut(&nsid) else { continue };
            tell(list, slot.id, head, &mut self.replies);
        }
    }

    pub(crate) fn wake_watchers(&mut self, at: u32, nsid: Nsid, head: Jid) {
        let slot = &mut self.groups[at as usize];
        if let Some(list) = slot.watchers.get_mut(&nsid) {
            tell(list, slot.id, head, &mut self.replies);
        }
    }

    /// Entries that were asked from sealed segments may be here now.
    pub(crate) fn wake_log_waiters(&mut self) {
        for at in 0..self.groups.len() as u32 {
            if self.groups[at as usize].wait == ApplyWait::Log {
                base::mark::hit!("shard.apply.entry_fetched");
                self.groups[at as usize].wait = ApplyWait::None;
                self.queue_apply(at);
            }
        }
    }
}

/// Tells a head to those who have not heard of it.
fn tell(list: &mut [Watcher], group: base::GroupId, head: Jid, replies: &mut Replies) {
    for watcher in list.iter_mut().filter(|watcher| watcher.told.is_none_or(|told| told < head)) {
        base::mark::hit!("shard.watch.told");
        watcher.told = Some(head);
        replies.push(watcher.ticket, group, Status::Ok, |out| out.extend_from_slice(&head.0.to_le_bytes()));
    }
}
