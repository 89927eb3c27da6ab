//! What a group asks of its log.

use base::record::{EntryKind, Record};
use base::{LogIndex, SyncEpoch, Term};

/// One group's log, answered by `shard` from the core's segmented log and by a plain list in tests.
///
/// Entries are written here when they are stepped, once: from the receive buffer (follower) or from the turn's
/// commands (leader) straight to their final place. They are persisted when their epoch is.
pub trait Log {
    /// The first entry held; `last_index + 1` when none is.
    fn first_index(&self) -> LogIndex;

    /// The last entry held, persisted or not; `first_index - 1` when none is.
    fn last_index(&self) -> LogIndex;

    /// The term of the entry at `first_index - 1`, which is no longer held; 0 at the log's beginning.
    fn term_before_first(&self) -> Term;

    /// The term of a held entry, or of the one before the first; `None` for any other index.
    /// O(log of the number of term runs).
    fn term(&self, index: LogIndex) -> Option<Term>;

    /// The crc of a held entry, or of the one before the first where it is known; `None` for any other index.
    fn crc(&self, index: LogIndex) -> Option<u32>;

    /// The last index such that the records `first..=it` together take at most `bytes_max`; at least `first`, at most
    /// `last`. Units: bytes on the wire, padding included.
    fn fit(&self, first: LogIndex, last: LogIndex, bytes_max: u32) -> (LogIndex, u32);

    /// Writes a new entry at `last_index + 1`, built here (a leader's own). Returns the epoch that will persist it.
    fn append_new(&mut self, kind: EntryKind, index: LogIndex, term: Term, payload: &[u8]) -> SyncEpoch;

    /// Writes a received entry at `last_index + 1`: its bytes are copied as they are. Returns its epoch.
    fn append_record(&mut self, record: Record<'_>) -> SyncEpoch;

    /// Drops the entries from `index` on. The truncation and what replaces it reach the disk in one frame.
    fn truncate_from(&mut self, index: LogIndex);

    /// The lowest held entry above `index` whose bytes are lost and whose index, term and crc are known. O(log n).
    fn first_faulty_above(&self, index: LogIndex) -> Option<LogIndex>;

    /// The lowest held entry whose bytes are lost.
    fn first_faulty(&self) -> Option<LogIndex> {
        self.first_faulty_above(LogIndex(0))
    }

    /// Are the bytes of this held entry lost? Such an entry still has its term and crc, and is never read.
    fn is_faulty(&self, index: LogIndex) -> bool;

    /// Writes the bytes of a held faulty entry again; its index, term and crc are those of `record`. Returns the epoch
    /// that will persist it; from now on it is no longer faulty.
    fn rewrite(&mut self, record: Record<'_>) -> SyncEpoch;

    /// The payload of a held entry of kind Config, for the configurations in force; `None` when the bytes are not in
    /// memory or are lost. Only asked at boot and after a truncation.
    fn config_payload(&self, index: LogIndex) -> Option<Vec<u8>>;
}
