//! What a leader does with entries: its own go to the log and to every follower, acks make them committed.

use base::limits::{APPEND_BYTES_SOFT, ENTRY_BYTES_MAX};
use base::mono::Span;
use base::record::{EntryKind, record_space};
use base::{LogIndex, Mono, NodeId, mutate};

use crate::follow::last_with_term;
use crate::progress::{Peer, Progress};
use crate::quorum::reached_by_quorum;
use crate::raft::Raft;
use crate::{Body, Config, Log, Outcome};

/// Entries in one AppendEntries.
const APPEND_ENTRIES_MAX: u64 = 4096;

impl Raft {
    pub(crate) fn handle_propose(&mut self, log: &mut impl Log, payload: &[u8]) -> Outcome {
        assert!(payload.len() <= ENTRY_BYTES_MAX, "a payload of {} bytes was not refused at admit", payload.len());
        // A leader that a change removed still counts the others, but takes nothing new.
        if !self.is_leader() || !self.config().is_voter(self.id) {
            base::mark::hit!("raft.propose.not_leader", !self.is_leader());
            base::mark::hit!("raft.propose.leader_leaves", self.is_leader());
            return Outcome::NotLeader { hint: self.leader().filter(|leader| *leader != self.id) };
        }
        if self.lead.transfer.is_some() {
            base::mark::hit!("raft.propose.transferring");
            return Outcome::Transferring;
        }
        let bytes = record_space(payload.len()) as u64;
        let is_disk_full = self.epochs.unsynced_bytes() > base::limits::UNSYNCED_BYTES_MAX;
        if is_disk_full || !self.lead.backlog.fits(bytes) {
            base::mark::hit!("raft.propose.disk_backlog", is_disk_full);
            base::mark::hit!("raft.propose.backlog_full", !is_disk_full);
            return Outcome::Overloaded;
        }
        let index = self.append_own(log, EntryKind::Commands, payload);
        self.lead.backlog.note_proposed(index, bytes);
        Outcome::Proposed { index, term: self.term() }
    }

    /// Appends an entry of the own term. It is sent at the next drain, while the own disk works.
    pub(crate) fn append_own(&mut self, log: &mut impl Log, kind: EntryKind, payload: &[u8]) -> LogIndex {
        assert!(self.is_leader(), "{}: only a leader makes entries", self.id);
        let index = log.last_index().next();
        let epoch = log.append_new(kind, index, self.term(), payload);
        self.epochs.note_written(epoch, index, record_space(payload.len()) as u64);
        self.lead.last_index = index;
        self.note_used();
        self.dirty = true;
        index
    }

    /// Appends a configuration: it is in force at once.
    pub(crate) fn append_config(&mut self, log: &mut impl Log, config: Config) -> LogIndex {
        let index = self.append_own(log, EntryKind::Config, &config.encode());
        self.adopt_config(index, config);
        self.renew_peers(index);
        index
    }

    /// Makes the followers those of the configuration in force; who stays keeps its progress.
    pub(crate) fn renew_peers(&mut self, last_index: LogIndex) {
        let mut before = std::mem::take(&mut self.lead.peers);
        for id in self.configs.in_force().members().filter(|id| *id != self.id) {
            let known = before.iter().position(|peer| peer.id == id);
            let peer = known.map_or_else(|| Peer::new(id, last_index, self.now), |at| before.swap_remove(at));
            self.lead.peers.push(peer);
        }
        base::mark::hit!("raft.lead.peer_leaves", !before.is_empty());
        self.lead.leaving.extend(before.iter().map(|peer| peer.id));
    }

    /// Raft 5.3 and 5.4.2: commits what a quorum holds, if it is of the current term; never back.
    pub(crate) fn maybe_commit(&mut self, log: &mut impl Log) {
        // Each round may append a configuration, whose quorum may be another one.
        while self.is_leader() {
            let reached = reached_by_quorum(self.config(), |id| {
                // The leader counts itself by what is on its own disk.
                if id == self.id {
                    self.persisted_index()
                } else {
                    self.lead.peer(id).map_or(LogIndex(0), |peer| peer.match_index)
                }
            });
            let reached = mutate!(MUT_4A, reached, Some(log.last_index()));
            let reached = reached.map(|reached| reached.min(self.commit_bound()));
            let Some(reached) = reached.filter(|reached| *reached > self.commit_index) else { return };
            if mutate!(MUT_2A, log.term(reached) != Some(self.term()), false) {
                base::mark::hit!("raft.commit.earlier_term_waits");
                return;
            }
            base::mark::hit!("raft.commit.by_joint_quorum", self.config().is_joint());
            base::mark::hit!("raft.commit.before_own_disk", reached > self.persisted_index());
            self.commit_up_to(reached);
            self.lead.backlog.note_committed(reached);
            self.lead.reads.note_own_term_committed(reached);
            self.handle_config_committed(log);
        }
    }

    /// `body` is an AppendResp of the own term.
    pub(crate) fn handle_append_resp(&mut self, log: &mut impl Log, from: NodeId, body: Body) {
        let Body::AppendResp { index, rejected, busy, faulty, hint_index, hint_term, read_position, echo_mono, .. } =
            body
        else {
            return;
        };
        let is_leader = self.is_leader();
        let (now, first, last) = (self.now, log.first_index(), log.last_index());
        let Some(peer) = self.lead.peer_mut(from).filter(|_| is_leader) else { return };
        // A message that echoes nothing answers none of this term's.
        let is_answer = echo_mono != Mono(0);
        if is_answer && echo_mono < peer.up_since {
            base::mark::hit!("raft.resp.of_an_earlier_life");
            return;
        }
        self.dirty = true;
        peer.note_answer(now, read_position, echo_mono);
        if is_answer && rejected && !faulty && index <= peer.acked_before {
            base::mark::hit!("raft.amnesia.accused");
            return self.accuse(from);
        }
        if busy {
            base::mark::hit!("raft.resp.busy");
            if peer.progress == Progress::Replicate {
                peer.become_probe(peer.expected_index(), true);
            }
        } else if rejected {
            base::mark::hit!("raft.resp.rejection_is_old", !peer.is_news_of_rejection(index));
            if peer.is_news_of_rejection(index) {
                base::mark::hit!("raft.resp.replicate_rejected", peer.progress == Progress::Replicate);
                base::mark::hit!("raft.resp.probe_rejected", peer.progress != Progress::Replicate);
                match peer.progress {
                    // It lost bytes behind `hint_index`, acked before, that are dropped here: only a state helps, since
                    // no other node need hold them either.
                    _ if faulty && hint_index.next() < first => {
                        base::mark::hit!("raft.snapshot.needed_for_lost_bytes");
                        peer.become_snapshot(now);
                        self.outbox.need_snapshot.push(peer.id);
                    }
                    // It fetches them; to ask again at once would go back and forth until it has.
                    _ if faulty && hint_index < peer.match_index => {
                        base::mark::hit!("raft.resp.waits_for_repair");
                        peer.become_probe(peer.match_index.next(), true);
                    }
                    Progress::Replicate => peer.become_probe(peer.match_index.next(), false),
                    _ => {
                        // The follower's last entry that may match, and of those our last of no later term.
                        base::mark::hit!("raft.resp.hint_skips_a_term", hint_term.0 > 0);
                        let next = last_with_term(log, hint_index, hint_term).next();
                        peer.become_probe(mutate!(MUT_31A, next.min(index), index.next()), false);
                    }
                }
            }
        } else if index <= last {
            let is_news = peer.note_acked(index);
            base::mark::hit!("raft.resp.snapshot_caught_up", matches!(peer.progress, Progress::Snapshot { .. }));
            base::mark::hit!("raft.resp.ack_is_old", !is_news);
            match peer.progress {
                Progress::Probe { .. } => peer.become_replicate(),
                Progress::Snapshot { .. } if peer.match_index.next() >= first => peer.become_replicate(),
                _ => {}
            }
            if is_news {
                self.maybe_commit(log);
                self.continue_transfer(log);
            }
        }
    }

    pub(crate) fn handle_heartbeat_ack(&mut self, log: &impl Log, from: NodeId, read_position: u64, echo_mono: Mono) {
        let is_leader = self.is_leader();
        let (now, heartbeat, last) = (self.now, self.settings.heartbeat, log.last_index());
        let Some(peer) = self.lead.peer_mut(from).filter(|_| is_leader) else { return };
        self.dirty = true;
        peer.note_answer(now, read_position, echo_mono);
        let is_quiet = now.since(peer.last_append) >= heartbeat;
        base::mark::hit!("raft.progress.probe_goes_on", is_quiet && matches!(peer.progress, Progress::Probe { .. }));
        match &mut peer.progress {
            Progress::Probe { is_paused } if is_quiet => *is_paused = false,
            // Something may have been lost: ask where the follower stands.
            Progress::Replicate if is_quiet && peer.match_index < last => peer.wants_empty = true,
            _ => {}
        }
    }

    pub(crate) fn handle_peer_up(&mut self, id: NodeId, incarnation: u64) {
        let is_new = match self.links.iter_mut().find(|(peer, _)| *peer == id) {
            Some((_, known)) => std::mem::replace(known, incarnation) != incarnation,
            None => {
                self.links.push((id, incarnation));
                false
            }
        };
        let now = self.now;
        if let Some(peer) = self.lead.peer_mut(id) {
            let next_index = peer.expected_index();
            if mutate!(MUT_31B, is_new, false) {
                base::mark::hit!("raft.peer.new_life");
                peer.note_new_life(now);
            }
            peer.become_probe(next_index, false);
            peer.sent_position = 0;
            self.dirty = true;
        }
    }

    pub(crate) fn handle_peer_down(&mut self, id: NodeId) {
        if let Some(peer) = self.lead.peer_mut(id) {
            base::mark::hit!("raft.peer.down");
            peer.become_probe(peer.expected_index(), false);
        }
    }

    /// Fills every follower's window, and starts a round for reads that nothing else carries.
    pub(crate) fn send_appends(&mut self, log: &impl Log) {
        if !self.is_leader() {
            return;
        }
        for at in 0..self.lead.peers.len() {
            while self.send_append(log, at) {}
            self.send_read_round(at);
        }
        self.lead.reads.seal();
    }

    /// Sends one AppendEntries to a follower, if it may have one. True if it may want another.
    fn send_append(&mut self, log: &impl Log, at: usize) -> bool {
        let now = self.now;
        let last = self.last_sendable(log, self.lead.peers[at].next_index);
        let applied_index = self.applied_index;
        let peer = &mut self.lead.peers[at];
        let has_entries = peer.next_index <= last;
        base::mark::hit!("raft.progress.window_full", has_entries && peer.is_window_full());
        let with_entries = match peer.progress {
            Progress::Probe { is_paused: false } => has_entries,
            Progress::Replicate if has_entries && !peer.is_window_full() => true,
            Progress::Replicate if peer.wants_empty => false,
            _ => return false,
        };
        let prev_index = peer.next_index.prev();
        // What is applied and lost cannot be sent any more, but the state can.
        let is_lost = peer.next_index <= applied_index && last < peer.next_index && log.last_index() > last;
        let Some(prev_term) = log.term(prev_index).filter(|_| !is_lost) else {
            base::mark::hit!("raft.snapshot.needed_compacted", !is_lost);
            base::mark::hit!("raft.snapshot.needed_lost_entry", is_lost);
            peer.become_snapshot(now);
            self.outbox.need_snapshot.push(peer.id);
            return false;
        };
        let (to, first) = (peer.id, peer.next_index);
        let (sent_last, bytes) = if with_entries {
            log.fit(first, last.min(LogIndex(first.0 + APPEND_ENTRIES_MAX - 1)), APPEND_BYTES_SOFT)
        } else {
            (prev_index, 0)
        };
        let body = Body::AppendEntries {
            term: self.hard.current.term,
            prev_index,
            prev_term,
            prev_crc: log.crc(prev_index).unwrap_or(0),
            commit_index: peer.advertised(mutate!(
                MUT_25F,
                self.commit_index.min(self.applied_index),
                self.commit_index
            )),
            read_position: self.lead.reads.position(),
            count: u16::try_from(sent_last.0 - prev_index.0).expect("bounded by APPEND_ENTRIES_MAX"),
            send_mono: now,
        };
        peer.note_append(&body, now);
        match &mut peer.progress {
            Progress::Probe { is_paused } => *is_paused = true,
            _ if with_entries => peer.note_sent(sent_last, bytes),
            _ => {}
        }
        self.outbox.push_now(to, body);
        true
    }

    /// The last entry of a run from `first` on whose bytes are all there.
    fn last_sendable(&self, log: &impl Log, first: LogIndex) -> LogIndex {
        let last = log.last_index();
        if log.first_faulty().is_none() {
            return last;
        }
        base::mark::hit!("raft.repair.sends_up_to_a_fault");
        let run = (first.0..=last.0).take(APPEND_ENTRIES_MAX as usize).map(LogIndex);
        run.take_while(|index| !log.is_faulty(*index)).last().unwrap_or(first.prev())
    }

    fn send_read_round(&mut self, at: usize) {
        let position = self.lead.reads.position();
        let is_wanted = self.lead.reads.is_waiting();
        let peer = &mut self.lead.peers[at];
        if !is_wanted || peer.sent_position >= position {
            return;
        }
        base::mark::hit!("raft.read.round_sent");
        let commit_index = peer.advertised(self.commit_index.min(self.applied_index));
        peer.sent_position = position;
        peer.sent_commit = commit_index;
        let term = self.hard.current.term;
        let to = peer.id;
        let body = Body::Heartbeat { term, commit_index, read_position: position, quiesce: false, send_mono: self.now };
        self.outbox.push_now(to, body);
    }
}

impl Peer {
    fn note_answer(&mut self, now: Mono, read_position: u64, echo_mono: Mono) {
        self.note_echo(echo_mono, now);
        self.last_answer = self.last_answer.max(now);
        self.acked_position = self.acked_position.max(read_position);
        self.must_list = false;
    }

    fn note_append(&mut self, body: &Body, now: Mono) {
        if let Body::AppendEntries { commit_index, read_position, .. } = *body {
            self.last_append = now;
            self.sent_commit = commit_index;
            self.sent_position = read_position;
            self.wants_empty = false;
        }
    }

    /// A snapshot without news for so long is given up: the next ack of a heartbeat starts over, at the first entry
    /// that the log holds, since the follower may have installed it and its ack was lost.
    pub(crate) fn expire_snapshot(&mut self, now: Mono, abort: Span, first: LogIndex) {
        if matches!(self.progress, Progress::Snapshot { since } if now.since(since) >= abort) {
            base::mark::hit!("raft.snapshot.expired");
            self.become_probe(first, true);
        }
    }
}

const _: () = assert!(APPEND_ENTRIES_MAX <= u16::MAX as u64);
