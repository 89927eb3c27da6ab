//! One group's view of the core's log: what `raft` asks, answered by `seglog`.

use base::record::{EntryKind, Record};
use base::{GroupId, LogIndex, SyncEpoch, Term};
use seglog::{Disk, SegLog};

/// A group's log for the length of one `step` or `drain`.
pub(crate) struct GroupLog<'a, D: Disk> {
    pub(crate) log: &'a mut SegLog<D>,
    pub(crate) group: GroupId,
    /// The newest epoch written to: the group must hear of its sync.
    pub(crate) wrote: &'a mut Option<SyncEpoch>,
}

impl<D: Disk> raft::Log for GroupLog<'_, D> {
    fn first_index(&self) -> LogIndex {
        self.log.first_index(self.group)
    }

    fn last_index(&self) -> LogIndex {
        self.log.last_index(self.group)
    }

    fn term_before_first(&self) -> Term {
        self.log.term(self.group, self.log.first_index(self.group).prev()).unwrap_or_default()
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.log.term(self.group, index)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        self.log.crc(self.group, index)
    }

    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32) {
        self.log.fit(self.group, first, last, bytes_max)
    }

    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch {
        let epoch = self.log.append_new(self.group, kind, index, term, payload);
        *self.wrote = Some(epoch);
        epoch
    }

    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch {
        let epoch = self.log.append_record(self.group, record);
        *self.wrote = Some(epoch);
        epoch
    }

    fn truncate_from(&mut self, index: LogIndex) {
        // Its record goes with the entry that replaces what is dropped, and that one is noted.
        self.log.truncate_suffix(self.group, index);
    }

    fn first_faulty_above(&self, index: LogIndex) -> Option<LogIndex> {
        self.log.first_faulty_above(self.group, index)
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.log.is_faulty(self.group, index)
    }

    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch {
        let epoch = self.log.rewrite(self.group, record);
        *self.wrote = Some(epoch);
        epoch
    }

    fn config_payload(&self, index: LogIndex) -> Option<Vec<u8>> {
        self.log.config_payload(self.group, index).map(<[u8]>::to_vec)
    }
}
