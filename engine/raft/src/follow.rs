//! What a follower does with entries: Raft figure 2, AppendEntries, receiver.

use base::record::{EntryKind, Record, Records, record_space};
use base::{LogIndex, Mono, NodeId, Term, mutate};

use base::limits::UNSYNCED_BYTES_MAX;

use crate::raft::Raft;
use crate::{Alarm, Body, Config, Health, Log, NO_HINT};

/// The fields of an AppendEntries.
#[derive(Clone, Copy)]
struct Append {
    from: NodeId,
    term: Term,
    prev_index: LogIndex,
    prev_term: Term,
    prev_crc: u32,
    count: u16,
    send_mono: Mono,
}

impl Append {
    fn last_index(&self) -> LogIndex {
        LogIndex(self.prev_index.0.saturating_add(u64::from(self.count)))
    }

    /// Are these the entries that the message speaks of, in order, with terms that rise towards the leader's?
    fn is_sound(&self, entries: Records<'_>) -> bool {
        let (mut index, mut term, mut count) = (self.prev_index, self.prev_term, 0);
        for record in entries {
            let header = record.header();
            if header.index != index.next() || header.term < term || header.term > self.term || !is_sound(record) {
                return false;
            }
            (index, term, count) = (header.index, header.term, count + 1);
        }
        count == u64::from(self.count)
    }
}

/// A configuration is parsed before it is taken: afterwards it would be in force.
pub(crate) fn is_sound(record: Record<'_>) -> bool {
    match record.entry_kind() {
        Some(EntryKind::Config) => Config::decode(record.payload()).is_ok_and(|config| config != Config::default()),
        Some(_) => true,
        None => false,
    }
}

/// The last index, at most `at_most`, whose term is at most `term`; one below the first held when there is none.
/// Terms never fall along a log, so this is a binary search.
pub(crate) fn last_with_term(log: &impl Log, at_most: LogIndex, term: Term) -> LogIndex {
    let (mut low, mut high) = (log.first_index().prev().0, at_most.min(log.last_index()).0);
    if high < low || log.term_before_first() > term {
        return LogIndex(low).prev();
    }
    // Invariant: term(low) <= term, and whatever lies above `high` is out.
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if log.term(LogIndex(middle)).is_some_and(|middle_term| middle_term <= term) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    LogIndex(low)
}

impl Raft {
    /// `body` is an AppendEntries of the own term.
    pub(crate) fn handle_append(&mut self, log: &mut impl Log, from: NodeId, body: Body, entries: Records<'_>) {
        let Body::AppendEntries {
            term,
            prev_index,
            prev_term,
            prev_crc,
            commit_index,
            read_position,
            count,
            send_mono,
        } = body
        else {
            return;
        };
        let append = Append { from, term, prev_index, prev_term, prev_crc, count, send_mono };
        // Bytes that no leader sends are dropped like a lost message.
        if !append.is_sound(entries) || !self.follow(from) {
            return;
        }
        if self.health() == Health::Quarantined {
            base::mark::hit!("raft.append.quarantined_is_silent");
            return;
        }
        if read_position > self.seen_position {
            base::mark::hit!("raft.append.read_position_acked");
            // Reads do not wait for the sync of these entries.
            self.ack_heartbeat(from, read_position, false, send_mono);
        }
        if self.is_installing(log) || self.epochs.unsynced_bytes() > UNSYNCED_BYTES_MAX {
            base::mark::hit!("raft.append.busy_installing", self.is_installing(log));
            base::mark::hit!("raft.append.busy_unsynced", !self.is_installing(log));
            return self.answer_append(&append, LogIndex(0), false, true, (NO_HINT, Term(0)));
        }
        // What is committed matches every leader to come: a late message is answered with more than it asked.
        // Not with a faulty entry among them: else no leader would ever write it again.
        let sound_index = self.faults.readable_index();
        let is_old = mutate!(MUT_6B, append.last_index() <= self.commit_index, false);
        if is_old && self.commit_index <= sound_index {
            base::mark::hit!("raft.append.old_acked_to_commit");
            return self.answer_append(&append, self.commit_index, false, false, (NO_HINT, Term(0)));
        }
        if prev_index > sound_index {
            base::mark::hit!("raft.append.behind_a_fault");
            // From the first faulty entry on the log answers as if it ended before it.
            let hint = (sound_index, log.term(sound_index).unwrap_or_default());
            return self.answer_append(&append, prev_index, true, false, hint);
        }
        if mutate!(MUT_6B, prev_index >= self.commit_index, true) && !self.check_previous(log, &append) {
            return;
        }
        if !self.take_entries(log, entries) {
            return;
        }
        let end = append.last_index();
        if mutate!(MUT_6A, false, end >= self.commit_index && log.last_index() > end) {
            self.truncate(log, end.next());
        }
        if self.faults.is_active() {
            self.faults.find(log, self.applied_index, self.term());
            self.note_vouched(log, commit_index);
        }
        self.commit_up_to(commit_index.min(append.last_index()));
        // At most what this message matched: there may be more behind it, of another leader.
        let sound_index = self.faults.readable_index();
        let matched = mutate!(MUT_6C, end, log.last_index());
        self.answer_append(&append, matched.min(sound_index), false, false, (NO_HINT, Term(0)));
    }

    /// Raft 5.3: does the log hold the entry before the new ones? False if that was answered.
    fn check_previous(&mut self, log: &impl Log, append: &Append) -> bool {
        if log.term(append.prev_index) != Some(append.prev_term) {
            base::mark::hit!("raft.append.prev_beyond_end", append.prev_index > log.last_index());
            base::mark::hit!("raft.append.prev_conflicts", append.prev_index <= log.last_index());
            let hint_index = last_with_term(log, append.prev_index, append.prev_term);
            let hint = (hint_index, log.term(hint_index).unwrap_or_default());
            self.answer_append(append, append.prev_index, true, false, hint);
            return false;
        }
        let own_crc = log.crc(append.prev_index).unwrap_or(0);
        if differs(own_crc, append.prev_crc) {
            // Index and term name one entry: other bytes are corruption, not a conflict.
            self.stop(Alarm::PrevCrc);
            return false;
        }
        true
    }

    /// Skips what is there, truncates at a conflict, appends the rest. False if the group had to stop.
    fn take_entries(&mut self, log: &mut impl Log, entries: Records<'_>) -> bool {
        for record in entries {
            let header = record.header();
            let held = log.term(header.index).filter(|_| header.index <= log.last_index());
            base::mark::hit!("raft.append.entry_held", held == Some(header.term));
            base::mark::hit!("raft.append.entry_compacted", held.is_none() && header.index <= self.commit_index);
            match held {
                Some(term) if term == header.term && log.is_faulty(header.index) => {
                    if !self.rewrite(log, record) {
                        self.stop(Alarm::PrevCrc);
                        return false;
                    }
                    continue;
                }
                Some(term) if term == header.term => continue,
                Some(_) if header.index <= self.commit_index => {
                    self.stop(Alarm::CommittedConflict);
                    return false;
                }
                Some(_) => self.truncate(log, header.index),
                // Below the first entry held: in a snapshot, hence committed.
                None if header.index <= self.commit_index => continue,
                None => {}
            }
            if differs(log.crc(header.index.prev()).unwrap_or(0), header.prev_crc) {
                self.stop(Alarm::PrevCrc);
                return false;
            }
            self.append_received(log, record);
        }
        true
    }

    pub(crate) fn truncate(&mut self, log: &mut impl Log, index: LogIndex) {
        base::mark::hit!("raft.truncate.synced", index <= self.epochs.persisted_index());
        base::mark::hit!("raft.truncate.unsynced", index > self.epochs.persisted_index());
        base::mark::hit!("raft.truncate.config", self.configs.index() >= index);
        log.truncate_from(index);
        self.epochs.note_truncated(index);
        self.faults.note_truncated(index);
        self.outbox.config_changed |= self.configs.note_truncated(index);
    }

    pub(crate) fn append_received(&mut self, log: &mut impl Log, record: Record<'_>) {
        let index = record.header().index;
        assert!(index == log.last_index().next(), "{}: entry {index} behind {}", self.id, log.last_index());
        let epoch = log.append_record(record);
        self.epochs.note_written(epoch, index, record_space(record.payload().len()) as u64);
        if record.entry_kind() == Some(EntryKind::Config) {
            base::mark::hit!("raft.append.config_received");
            let config = Config::decode(record.payload()).expect("the message was checked whole before it was taken");
            self.adopt_config(index, config);
        }
    }

    /// A configuration entry is in the log: it is in force.
    pub(crate) fn adopt_config(&mut self, index: LogIndex, config: Config) {
        self.is_removed &= !config.is_member(self.id);
        self.configs.push(index, config);
        self.outbox.config_changed = true;
        self.dirty = true;
    }

    pub(crate) fn commit_up_to(&mut self, index: LogIndex) {
        if index > self.commit_index {
            self.commit_index = index;
            self.configs.note_committed(index);
            self.dirty = true;
        }
    }

    fn answer_append(
        &mut self,
        append: &Append,
        index: LogIndex,
        rejected: bool,
        busy: bool,
        (hint_index, hint_term): (LogIndex, Term),
    ) {
        let resp = Body::AppendResp {
            term: self.term(),
            index,
            rejected,
            busy,
            faulty: self.is_doubtful(),
            hint_index,
            hint_term,
            read_position: self.seen_position,
            echo_mono: append.send_mono,
        };
        self.push_after_sync(append.from, resp);
    }

    /// Tells the leader of this term that it was heard; only the term must be on disk for that.
    pub(crate) fn ack_heartbeat(&mut self, leader: NodeId, read_position: u64, quiesce: bool, send_mono: Mono) {
        self.seen_position = self.seen_position.max(read_position);
        let ack =
            Body::HeartbeatAck { term: self.term(), read_position: self.seen_position, quiesce, echo_mono: send_mono };
        self.push_after_sync(leader, ack);
    }
}

/// Two crcs of one entry differ; 0 is unknown.
fn differs(one: u32, other: u32) -> bool {
    one != 0 && other != 0 && one != other
}
