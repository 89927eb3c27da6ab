//! One turn of a core: deadlines, proposals, drains, their effects.

use base::limits::UNCOMMITTED_CORE_BYTES_MAX;
use base::mono::Span;
use base::{Mono, NodeId, SyncEpoch, mutate};
use meta::Store;
use raft::{Effects, Input, Outcome, Outgoing};
use seglog::{Disk, StateTaken};

use crate::group::{Group, Proposed};
use crate::group_log::GroupLog;
use crate::stages::{EntryTiming, closer};
use crate::{PeerOut, Shard, Status, StopReason};

/// Beyond this age of the oldest unsynced byte the node stops (docs/design/raft.md); long before, it leads no more.
const DISK_LAG_STOP: Span = Span::from_ms(20_000);
/// An election waits so long while another group waits for a state slot.
const SLOT_WAIT: Span = Span::from_ms(5);
/// Rounds of drain and apply in one turn; what is left waits for the next one.
const ROUNDS_MAX: usize = 4;

impl<D: Disk, S: Store> Shard<D, S> {
    /// The turn's time: called once per turn, before any other `handle_*` of that turn.
    pub fn begin_turn(&mut self, now: Mono, wall_ms: u64) {
        self.turn_now = now;
        self.turn_wall_ms = wall_ms;
        self.log.set_wall_ms(wall_ms);
    }

    /// Fires the deadlines that have passed.
    pub fn handle_tick(&mut self, now: Mono) {
        self.watch_silence(now);
        self.fire_deadlines(now);
        if self.next_heartbeat <= now {
            self.next_heartbeat = now + self.settings.raft.heartbeat;
            self.send_heartbeats(now);
        }
        self.watch_disk_lag(now);
        self.watch_disk_pace(now);
        self.watch_faults(now);
        self.expire_snapshots(now);
        self.watch_lost(now);
        self.drop_removed();
        self.keep_up(now);
        self.watch_balance(now);
    }

    fn send_heartbeats(&mut self, now: Mono) {
        mutate!(MUT_23A, (), self.begin_listening());
        let mut turn = std::mem::take(&mut self.heartbeat_turn);
        turn.extend(&self.heartbeating);
        for at in turn.drain(..) {
            let group = &mut self.groups[at as usize];
            let (me, id) = (self.settings.node, group.id);
            let peers: smallpeers::Peers = group.raft.config().members().filter(|peer| *peer != me).collect();
            for to in peers {
                self.pairs.note_listing(to);
                if let Some(body) = group.raft.heartbeat(to, now) {
                    self.peer_out.push_back(PeerOut::Raft { to, group: id, body });
                }
            }
            self.after_step(at);
        }
        self.heartbeat_turn = turn;
        self.send_resting(now);
    }

    /// Ticks the groups whose deadlines have passed. A group that would start an election waits for its turn in the core's
    /// budget, and while another one waits for a state slot.
    fn fire_deadlines(&mut self, now: Mono) {
        // Taken out first: a group that wants another tick at once has it in the next turn, and no turn lasts for ever.
        let mut due = std::mem::take(&mut self.due);
        while let Some(at) = self.deadlines.pop_due(now) {
            due.push(at);
        }
        for at in due.drain(..) {
            let slot = &mut self.groups[at as usize];
            if slot.deadline > now {
                base::mark::hit!("shard.deadlines.moved");
                slot.election = None;
                self.deadlines.set(at, slot.deadline);
                continue;
            }
            if slot.raft.role() != raft::Role::Leader {
                let start = if self.waits_for_slot {
                    base::mark::hit!("shard.elections.wait_for_slot");
                    now + SLOT_WAIT
                } else {
                    slot.election.unwrap_or_else(|| self.elections.reserve(now))
                };
                if start > now {
                    base::mark::hit!("shard.elections.spread");
                    slot.election = (!self.waits_for_slot).then_some(start);
                    self.deadlines.set(at, start);
                    continue;
                }
                slot.election = None;
            }
            self.step(at, Input::Tick { now });
            if mutate!(MUT_40A, false, true) {
                break;
            }
        }
        self.due = due;
    }

    fn watch_disk_lag(&mut self, now: Mono) {
        self.note_unsynced(now);
        let lag = self.disk_lag.age(now);
        if lag >= DISK_LAG_STOP {
            base::mark::hit!("shard.stop.disk_hangs");
            self.stop.get_or_insert(StopReason::DiskLag(DISK_LAG_STOP.as_ms()));
        }
        // Judged as the groups judge it: they are told once, when it changes.
        let is_beyond = lag.as_us() > self.settings.raft.disk_lag_max.as_us();
        if is_beyond != self.disk_lag.is_beyond {
            base::mark::hit!("shard.turn.disk_lag");
            self.disk_lag.is_beyond = is_beyond;
            for at in 0..self.groups.len() as u32 {
                self.step(at, Input::DiskLag { oldest_unsynced_us: lag.as_us(), now });
            }
        }
    }

    fn note_unsynced(&mut self, now: Mono) {
        self.disk_lag.note_written(self.log.covering_epoch(), self.log.persisted_epoch(), now);
    }

    /// When the oldest unsynced byte will be too old for this core to lead, or for the node to run.
    pub(crate) fn disk_lag_deadline(&self) -> Mono {
        let Some(since) = self.disk_lag.oldest() else { return Mono::MAX };
        match self.disk_lag.is_beyond {
            false => since + self.settings.raft.disk_lag_max + Span::from_us(1),
            true => since + DISK_LAG_STOP,
        }
    }

    /// Acts on all that was handed over: proposes, drains, applies, answers. Called once a turn, before the log's
    /// operations and the replies are collected.
    pub fn advance(&mut self, now: Mono, wall_ms: u64) {
        self.advance_proposals(now, wall_ms);
        self.advance_groups(now);
    }

    /// The first half of [`Shard::advance`]: this turn's commands become entries, its reads join.
    pub fn advance_proposals(&mut self, now: Mono, wall_ms: u64) {
        self.propose_sweeps();
        self.end_transfers();
        let mut turn = std::mem::take(&mut self.turn_groups);
        for at in turn.drain(..) {
            self.propose(at, now, wall_ms);
            self.join_reads(at, now);
            self.join_follower_reads(at, now);
            self.stages.proposing.push(at);
        }
        self.turn_groups = turn;
    }

    /// The second half of [`Shard::advance`]: effects of consensus, committed entries, the log's frame.
    pub fn advance_groups(&mut self, now: Mono) {
        // Whoever takes no stamps has not emptied it.
        self.stages.proposing.clear();
        for _ in 0..ROUNDS_MAX {
            self.drain_dirty();
            if !self.apply_ready() && self.dirty.is_empty() {
                break;
            }
        }
        self.send_state_hashes();
        self.tell_feeds(now);
        self.advance_checkpoint(now);
        self.note_unsynced(now);
        self.log.handle_turn_end(now);
    }

    pub(crate) fn propose(&mut self, at: u32, now: Mono, wall_ms: u64) {
        let slot = &mut self.groups[at as usize];
        if slot.batch.count() == 0 {
            return;
        }
        if slot.raft.is_transferring() {
            base::mark::hit!("shard.propose.waits_for_transfer");
            return;
        }
        let mut batch = std::mem::take(&mut slot.batch);
        let tickets = std::mem::take(&mut slot.batch_tickets);
        let mut classes = std::mem::take(&mut slot.batch_classes);
        let bytes = batch.bytes() as u32;
        // One proposal always fits a group that has none.
        let total = self.uncommitted_bytes + batch.bytes() as u64;
        let outcome = if total > UNCOMMITTED_CORE_BYTES_MAX && slot.raft.uncommitted_bytes() > 0 {
            base::mark::hit!("shard.bounds.uncommitted");
            Outcome::Overloaded
        } else {
            self.step(at, Input::Propose { payload: batch.finish(wall_ms), now })
        };
        batch.clear();
        let slot = &mut self.groups[at as usize];
        slot.batch = batch;
        let group = slot.id;
        base::mark::hit!("shard.propose.overloaded", outcome == Outcome::Overloaded);
        match outcome {
            Outcome::Proposed { index, term } => {
                let (slot_of_turn, epoch) = (self.stages.begin_slot(), slot.last_epoch);
                let timing = EntryTiming { slot: slot_of_turn, epoch, bytes, closed_by: NodeId(0) };
                slot.proposed.push_back(Proposed { index, term, tickets, classes, timing });
                return;
            }
            Outcome::NotLeader { hint } => {
                base::mark::hit!("shard.propose.not_leader");
                let status = Status::NotLeader(hint.unwrap_or(self.groups[at as usize].heir));
                tickets.iter().for_each(|ticket| self.replies.bare(*ticket, group, status));
            }
            _ => tickets.iter().for_each(|ticket| self.replies.bare(*ticket, group, Status::Overloaded)),
        }
        let mut tickets = tickets;
        tickets.clear();
        classes.clear();
        let slot = &mut self.groups[at as usize];
        (slot.batch_tickets, slot.batch_classes) = (tickets, classes);
    }

    /// Steps a group and remembers what it wrote.
    pub(crate) fn step(&mut self, at: u32, input: Input<'_>) -> Outcome {
        let slot = &mut self.groups[at as usize];
        if slot.alarm.is_some() {
            return Outcome::NotLeader { hint: None };
        }
        self.wake_for(at, &input);
        let slot = &mut self.groups[at as usize];
        let (before, committed) = (slot.raft.uncommitted_bytes(), slot.raft.commit_index());
        let closer = closer(&input, self.settings.node);
        let mut wrote = None;
        let mut log = GroupLog { log: &mut self.log, group: slot.id, wrote: &mut wrote };
        let outcome = slot.raft.step(&mut log, input);
        self.uncommitted_bytes = self.uncommitted_bytes - before + slot.raft.uncommitted_bytes();
        let is_closed = slot.raft.commit_index() > committed;
        if let Some(epoch) = wrote {
            self.note_written(at, epoch);
        }
        if is_closed {
            self.time_quorum(at, closer);
        }
        self.after_step(at);
        outcome
    }

    /// A group's state may have changed: its deadline, whether it wants a drain, whether it rests.
    pub(crate) fn after_step(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        slot.deadline = slot.raft.next_deadline();
        self.deadlines.set(at, slot.deadline);
        if slot.raft.is_removed() && slot.dropped.is_none() {
            self.leaving.insert(at);
        }
        if slot.raft.is_dirty() {
            self.mark_dirty(at);
        }
        self.note_rest(at);
        self.publish_lease(at);
    }

    pub(crate) fn mark_dirty(&mut self, at: u32) {
        let slot = &mut self.groups[at as usize];
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push_back(at);
        }
    }

    pub(crate) fn note_written(&mut self, at: u32, epoch: SyncEpoch) {
        let slot = &mut self.groups[at as usize];
        if epoch > slot.last_epoch {
            slot.last_epoch = epoch;
            self.written.push_back((epoch, at));
        }
    }

    fn drain_dirty(&mut self) {
        self.waits_for_slot = false;
        for _ in 0..self.dirty.len() {
            let Some(at) = self.dirty.pop_front() else { break };
            let slot = &self.groups[at as usize];
            let saved =
                match slot.raft.wants_hard_state().then(|| self.log.set_state(slot.id, slot.raft.term(), vote(slot))) {
                    None => None,
                    Some(StateTaken::Taken(epoch)) => Some(epoch),
                    Some(StateTaken::Full) => {
                        // Eight terms and votes a frame: the group waits, still dirty, for the next epoch.
                        self.dirty.push_back(at);
                        base::mark::hit!("shard.turn.state_slots_full");
                        self.waits_for_slot = true;
                        continue;
                    }
                };
            self.groups[at as usize].is_dirty = false;
            self.drain_group(at, saved);
        }
    }

    /// Drains a group whose hard state, if it wants one, was saved in the epoch `saved`.
    pub(crate) fn drain_group(&mut self, at: u32, saved: Option<SyncEpoch>) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.clear();
        let mut wrote = None;
        let slot = &mut self.groups[at as usize];
        let log = GroupLog { log: &mut self.log, group: slot.id, wrote: &mut wrote };
        slot.raft.drain(&log, &mut effects);
        if let Some(epoch) = saved {
            slot.raft.hard_state_epoch(epoch);
            self.note_written(at, epoch);
        }
        self.perform(at, &effects);
        self.effects = effects;
        self.after_step(at);
    }

    /// Acts on the effects of one drain, in their order. The hard state among them was saved before.
    fn perform(&mut self, at: u32, effects: &Effects) {
        let group = self.groups[at as usize].id;
        for message in &effects.send_now {
            if !self.is_false_ack(at, &message.body) {
                self.peer_out.push_back(PeerOut::Raft { to: message.to, group, body: message.body });
            }
        }
        for message in &effects.send_after_sync {
            let epoch = self.groups[at as usize].last_epoch;
            if epoch <= self.log.persisted_epoch() {
                self.release(at, message);
            } else {
                self.after_sync.push_back((epoch, at, *message));
            }
        }
        if let Some(commit) = effects.commit {
            self.note_commit(at, commit);
        }
        if let Some(role) = effects.role {
            self.handle_role(at, &role);
        }
        if effects.reads_dropped {
            self.drop_reads(at);
        }
        if let Some(confirmed) = effects.reads_confirmed {
            self.confirm_reads(at, confirmed);
        }
        self.settle_follower_reads(at, effects);
        self.members_changed |= effects.config_changed;
        if effects.config_changed || effects.commit.is_some() || effects.role.is_some() {
            self.note_members(at);
        }
        if effects.config_changed {
            self.ask_again(at);
        }
        for peer in &effects.need_snapshot {
            self.want_snapshot(group, *peer);
        }
        if let Some(health) = effects.health {
            self.note_health(at, health);
            self.queue_apply(at);
        }
        if let Some(alarm) = effects.alarm {
            self.alarms.push_back((group, alarm));
            if alarm.stops() {
                self.stop_group(at, alarm);
            }
        }
    }

    /// Nothing goes into the group any more, and nobody is answered by it.
    pub(crate) fn stop_group(&mut self, at: u32, alarm: raft::Alarm) {
        self.groups[at as usize].alarm = Some(alarm);
        self.balance.note_leader(at, NodeId(0), self.turn_now);
        self.fail_waiting(at, NodeId(0));
        self.drop_confirmed(at);
    }

    fn handle_role(&mut self, at: u32, role: &raft::RoleChange) {
        self.leaders_changed = true;
        let was_leader = self.groups[at as usize].is_leader;
        self.groups[at as usize].is_leader = role.is_leader;
        if was_leader || role.is_leader {
            self.feeds.note_lead(at);
        }
        self.balance.note_leader(at, role.leader.unwrap_or_default(), self.turn_now);
        if was_leader && !role.is_leader {
            self.fail_waiting(at, self.groups[at as usize].leader_hint());
        }
        if role.leader.is_some() {
            self.groups[at as usize].heir = NodeId(0);
        }
        if role.is_leader {
            self.next_heartbeat = Mono(0);
        }
        self.note_led(at);
        if role.is_leader && !was_leader {
            self.find_sweeps(at);
            self.find_old_rows(at);
        }
    }

    /// Answers NotLeader to everybody who waits for this group: a command in doubt is repeated under its own sequence.
    fn fail_waiting(&mut self, at: u32, hint: NodeId) {
        if std::mem::take(&mut self.groups[at as usize].is_leader) {
            self.feeds.note_lead(at);
        }
        self.heartbeating.remove(&at);
        self.answer_waiting(at, hint);
    }

    pub(crate) fn answer_waiting(&mut self, at: u32, hint: NodeId) {
        let slot = &mut self.groups[at as usize];
        let (group, status) = (slot.id, Status::NotLeader(hint));
        for entry in slot.proposed.drain(..) {
            base::mark::hit!("shard.lead.proposals_in_doubt");
            entry.tickets.iter().for_each(|ticket| self.replies.bare(*ticket, group, Status::Unavailable));
        }
        slot.batch.clear();
        slot.batch_classes.clear();
        for ticket in slot.batch_tickets.drain(..) {
            base::mark::hit!("shard.lead.batch_given_back");
            self.replies.bare(ticket, group, status);
        }
        for (_, list) in std::mem::take(&mut slot.watchers) {
            base::mark::hit!("shard.lead.watchers_sent_away");
            list.iter().for_each(|watcher| self.replies.bare(watcher.ticket, group, status));
        }
        self.drop_reads(at);
        self.end_snapshots(group);
    }

    pub(crate) fn release(&mut self, at: u32, message: &Outgoing) {
        let slot = &self.groups[at as usize];
        let message = slot.raft.release(message).filter(|message| !self.is_false_ack(at, &message.body));
        if let Some(message) = message {
            self.peer_out.push_back(PeerOut::Raft { to: message.to, group: slot.id, body: message.body });
        }
    }

    /// It was due before the rows went.
    fn is_false_ack(&self, at: u32, body: &raft::Body) -> bool {
        let is_ack = matches!(body, raft::Body::AppendResp { rejected: false, busy: false, .. });
        let is_false = is_ack && !self.may_ack(at);
        base::mark::hit!("shard.lost.ack_taken_back", is_false);
        is_false
    }

    pub(crate) fn note_turn(&mut self, at: u32) {
        if !self.turn_groups.contains(&at) {
            self.turn_groups.push(at);
        }
    }
}

fn vote(group: &Group) -> NodeId {
    group.raft.vote().unwrap_or_default()
}

mod smallpeers {
    //! A handful of node ids without the heap.
    use base::NodeId;
    use base::limits::MEMBERS_MAX;

    #[derive(Clone, Copy)]
    pub(super) struct Peers {
        ids: [NodeId; MEMBERS_MAX * 2],
        count: usize,
        next: usize,
    }

    impl FromIterator<NodeId> for Peers {
        fn from_iter<I: IntoIterator<Item = NodeId>>(ids: I) -> Peers {
            let mut peers = Peers { ids: [NodeId(0); MEMBERS_MAX * 2], count: 0, next: 0 };
            for id in ids {
                peers.ids[peers.count] = id;
                peers.count += 1;
            }
            peers
        }
    }

    impl Iterator for Peers {
        type Item = NodeId;
        fn next(&mut self) -> Option<NodeId> {
            let id = self.ids[..self.count].get(self.next)?;
            self.next += 1;
            Some(*id)
        }
    }
}

#[cfg(test)]
mod tests;
