//! Snapshots, as far as consensus is concerned: who needs one, and what an installed one means.

use base::{LogIndex, Mono, NodeId, Term};

use crate::progress::Progress;
use crate::raft::Raft;
use crate::{Alarm, Body, Config, Log, NO_HINT};

impl Raft {
    /// A snapshot to `peer` has begun or moved on: the wait for it starts anew. Nothing happens unless
    /// [`crate::Effects::need_snapshot`] asked for it and it is still wanted.
    pub fn snapshot_sent(&mut self, peer: NodeId, now: Mono) {
        if let Some(Progress::Snapshot { since }) = self.lead.peer_mut(peer).map(|peer| &mut peer.progress) {
            *since = now;
        }
    }

    /// The log is whole and the machine's state is gone, or is here again. The leader is asked for it: an EntryFetch of
    /// entry 0, which every log has compacted.
    pub(crate) fn handle_state_lost(&mut self, is_lost: bool) {
        self.is_state_lost = is_lost;
        if let Some(leader) = self.leader().filter(|leader| is_lost && *leader != self.id) {
            base::mark::hit!("raft.snapshot.asked_for");
            let (none, no_term) = (LogIndex(0), Term(0));
            let term = self.term();
            let ask = Body::EntryFetch {
                term,
                first_index: none,
                first_term: no_term,
                last_index: none,
                doubt_term: no_term,
            };
            self.push_now(leader, ask);
        }
    }

    pub(crate) fn handle_snapshot_report(&mut self, log: &impl Log, peer: NodeId, installed: Option<LogIndex>) {
        let Some(peer) = self.lead.peer_mut(peer) else { return };
        if !matches!(peer.progress, Progress::Snapshot { .. }) {
            base::mark::hit!("raft.snapshot.report_too_late");
            return;
        }
        base::mark::hit!("raft.snapshot.reported_installed", installed.is_some());
        base::mark::hit!("raft.snapshot.reported_failed", installed.is_none());
        match installed {
            // Its own ack counts, not the report; but that is where to look first.
            Some(index) => peer.become_probe(index.min(log.last_index()).next(), false),
            // After a failure the next ack of a heartbeat starts over, not this turn. It may have been refused by a
            // follower that has installed it, and whose ack was lost: so the first question is the lowest that can
            // still be asked, and only its rejection asks for another snapshot.
            None => peer.become_probe(log.first_index(), true),
        }
        self.dirty = true;
    }

    /// The shard has installed a snapshot and restarted the log behind it; both are on disk.
    pub(crate) fn handle_installed(&mut self, log: &impl Log, index: LogIndex, term: Term, config: &[u8]) {
        let Ok(config) = Config::decode(config) else {
            return self.stop(Alarm::BadConfig(index));
        };
        if term > self.term() {
            base::mark::hit!("raft.snapshot.raises_term");
            self.become_follower(term, NodeId(0));
        }
        self.epochs.note_installed(index, log.last_index());
        base::mark::hit!("raft.snapshot.behind_commit", index <= self.commit_index);
        base::mark::hit!("raft.snapshot.keeps_suffix", log.last_index() > index);
        if index > self.commit_index {
            base::mark::hit!("raft.snapshot.installed");
            self.commit_index = index;
            self.is_removed &= !config.is_member(self.id);
            self.configs.note_installed(index, config, log.last_index());
            self.configs.note_committed(index);
            self.outbox.config_changed = true;
        }
        self.applied_index = self.applied_index.max(index);
        self.outbox.note_installed(index);
        self.faults.note_installed(index);
        self.dirty = true;
        // Who is quarantined may hold it, and acks nothing all the same.
        let acks = self.health() != crate::health::Health::Quarantined;
        if let Some(leader) = self.leader().filter(|leader| *leader != self.id && acks) {
            let resp = Body::AppendResp {
                term: self.term(),
                index,
                rejected: false,
                busy: false,
                faulty: self.is_doubtful(),
                hint_index: NO_HINT,
                hint_term: Term(0),
                read_position: self.seen_position,
                echo_mono: Mono(0),
            };
            self.push_after_sync(leader, resp);
        }
    }
}
