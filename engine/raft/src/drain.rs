//! From state to effects: what leaves at once, what waits for the disk, what the shard must know.

use base::{LogIndex, NodeId, Term, mutate};

use crate::raft::{Raft, Role};
use crate::{Alarm, Body, Effects, HardState, Log, Outgoing, RoleChange};

/// What has been decided and not drained, and what was last told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Outbox {
    now: Vec<Outgoing>,
    after_sync: Vec<Outgoing>,
    pub(crate) need_snapshot: Vec<NodeId>,
    pub(crate) reads_dropped: bool,
    pub(crate) config_changed: bool,
    /// An alarm that does not stop the group.
    pub(crate) warning: Option<Alarm>,
    told_commit: LogIndex,
    told_role: RoleChange,
}

impl Outbox {
    pub(crate) fn new(applied_index: LogIndex, term: Term) -> Outbox {
        Outbox {
            now: Vec::new(),
            after_sync: Vec::new(),
            need_snapshot: Vec::new(),
            reads_dropped: false,
            config_changed: false,
            warning: None,
            told_commit: applied_index,
            told_role: RoleChange { is_leader: false, term, leader: None },
        }
    }

    pub(crate) fn push_now(&mut self, to: NodeId, body: Body) {
        self.now.push(Outgoing { to, body });
    }

    pub(crate) fn push_after_sync(&mut self, to: NodeId, body: Body) {
        // Of the acks to one leader only the newest leaves: it says all that the others said.
        let is_ack = |body: &Body| matches!(body, Body::AppendResp { rejected: false, busy: false, .. });
        let last = self.after_sync.last_mut().filter(|last| last.to == to && last.body.term() == body.term());
        if let Some(Outgoing { body: last, .. }) = last.filter(|last| is_ack(&last.body) && is_ack(&body)) {
            base::mark::hit!("raft.drain.acks_merged");
            *last = merge_acks(*last, body);
            return;
        }
        self.after_sync.push(Outgoing { to, body });
    }

    /// The state at `index` came by snapshot: it needs no commit any more.
    pub(crate) fn note_installed(&mut self, index: LogIndex) {
        self.told_commit = self.told_commit.max(index);
    }
}

fn merge_acks(older: Body, newer: Body) -> Body {
    let (Body::AppendResp { index: a, .. }, Body::AppendResp { term, index: b, faulty, read_position, echo_mono, .. }) =
        (older, newer)
    else {
        return newer;
    };
    Body::AppendResp {
        term,
        index: a.max(b),
        rejected: false,
        busy: false,
        faulty,
        hint_index: crate::NO_HINT,
        hint_term: Term(0),
        read_position,
        echo_mono,
    }
}

impl Raft {
    /// Hands out the effects of the steps since the last drain; `effects` was cleared by the caller. Called once per
    /// turn for a dirty group, after everything that arrived in the turn was stepped.
    ///
    /// Reads that are confirmed and, by the same turn, dropped belong together: `reads_dropped` speaks of positions
    /// before the newest change of role, and none is confirmed in the drain that drops.
    pub fn drain(&mut self, log: &impl Log, effects: &mut Effects) {
        self.dirty = false;
        effects.alarm = self.alarm.or(self.outbox.warning.take());
        if self.alarm.is_none() {
            // Before the sends: what a lease confirms needs no round.
            effects.reads_confirmed = self.confirm_reads();
            self.answer_asks(log);
            self.send_appends(log);
            self.send_read_ask();
            effects.hard_state = self.hard.emit();
            self.drain_messages(effects);
            effects.need_snapshot.append(&mut self.outbox.need_snapshot);
        }
        // An entry whose bytes are lost is not applied before they are back.
        let ready_index = self.commit_index.min(self.faults.readable_index());
        base::mark::hit!("raft.drain.commit_held_by_fault", ready_index < self.commit_index);
        if ready_index > self.outbox.told_commit && self.alarm.is_none() {
            self.outbox.told_commit = ready_index;
            effects.commit = Some(ready_index);
        }
        if self.faults.told != self.health() {
            base::mark::hit!("raft.health.becomes_clean", self.health() == crate::Health::Clean);
            base::mark::hit!("raft.health.becomes_faulty", self.health() == crate::Health::Faulty);
            base::mark::hit!("raft.health.becomes_quarantined", self.health() == crate::Health::Quarantined);
            self.faults.told = self.health();
            effects.health = Some(self.health());
        }
        (effects.follower_reads, effects.follower_reads_dropped) = self.drain_follower_reads();
        effects.reads_dropped = std::mem::take(&mut self.outbox.reads_dropped);
        effects.config_changed = std::mem::take(&mut self.outbox.config_changed);
        let role = RoleChange { is_leader: self.is_leader(), term: self.term(), leader: self.leader() };
        if role != self.outbox.told_role {
            self.outbox.told_role = role;
            effects.role = Some(role);
        }
    }

    fn drain_messages(&mut self, effects: &mut Effects) {
        effects.send_now.append(&mut self.outbox.now);
        let mut waiting = std::mem::take(&mut self.outbox.after_sync);
        for message in waiting.drain(..).filter(|message| self.is_true_still(&message.body)) {
            let target = if self.is_covered(&message) { &mut effects.send_now } else { &mut effects.send_after_sync };
            target.push(message);
        }
        self.outbox.after_sync = waiting;
    }

    /// Was it said in the term that still is? A granted pre-vote names a later one.
    fn is_true_still(&self, body: &Body) -> bool {
        match *body {
            Body::PreVoteResp { rejected: false, term, .. } => term >= self.term(),
            Body::RequestVote { term, .. } => term == self.term() && self.role == Role::Candidate,
            _ => body.term() == self.term(),
        }
    }

    /// Is all that it promises on disk?
    fn is_covered(&self, message: &Outgoing) -> bool {
        let HardState { term, vote } = self.hard.persisted();
        let persisted_index = self.persisted_index();
        match message.body {
            Body::RequestVote { last_index, .. } => {
                // Either this or the incarnation in the answer is enough: without the one the other must be gone for a
                // vote for an earlier life to elect anybody.
                let is_on_disk = self.hard.is_persisted() && last_index <= persisted_index;
                mutate!(MUT_1B, mutate!(MUT_1C, is_on_disk, true), true)
            }
            Body::VoteResp { rejected: false, .. } => {
                mutate!(MUT_1A, term == self.term() && vote == message.to, true)
            }
            Body::AppendResp { index, rejected: false, busy: false, .. } => {
                mutate!(MUT_4B, term == self.term() && index <= persisted_index, true)
            }
            _ => term == self.term(),
        }
    }

    /// An after-sync message, just before it leaves: the sync of the epoch that was open when it was drained has been
    /// stepped. `None` when its term is over; an ack is lowered to what is persisted. Losing an answer is always safe.
    #[must_use]
    pub fn release(&self, message: &Outgoing) -> Option<Outgoing> {
        if self.alarm.is_some() || !self.is_true_still(&message.body) {
            base::mark::hit!("raft.drain.promise_of_an_old_term");
            return None;
        }
        let mut message = *message;
        if let Body::AppendResp { index, rejected: false, busy: false, .. } = &mut message.body {
            base::mark::hit!("raft.drain.ack_lowered", *index > self.persisted_index());
            *index = (*index).min(self.persisted_index());
        }
        // Nothing leaves on the word of the caller alone.
        self.is_covered(&message).then_some(message)
    }
}
