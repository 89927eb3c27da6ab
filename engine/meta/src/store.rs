//! The rows behind the machine: one core's groups, one writer, nothing here blocks (docs/design/store.md).

use std::ops::Range;

use base::{GroupId, LogIndex, Term};

use crate::batch::RowBatch;

/// What a point read finds in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row<'a> {
    /// The value.
    Hit(&'a [u8]),
    /// There is no such row.
    Absent,
    /// Not in memory: prefetch it and run again.
    Cold,
}

/// A read met a row that is not in memory. Not a failure: the wants were noted, prefetch them and run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cold;

/// What to bring into memory for a group. Keys are without the group: `table u8 | key`.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Want {
    /// One row, absent counts.
    Key(Vec<u8>),
    /// The first `rows_max` rows of a range.
    Range {
        /// Inclusive start, exclusive end.
        keys: Range<Vec<u8>>,
        /// At most this many.
        rows_max: u32,
    },
}

/// Rows in key order, key without the group.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The machine row of a group: where its state stands. Written with every batch, atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The last applied entry.
    pub applied_index: LogIndex,
    /// Its term.
    pub applied_term: Term,
    /// Its crc: the next entry's `prev_crc`.
    pub applied_crc: u32,
    /// The newest stamp seen; time never runs back in a group. Milliseconds since 1970.
    pub stamp_ms: u64,
    /// Rolling hash of all batches since the group's birth: equal on all replicas at one applied index.
    pub state_hash: u64,
    /// The index of the configuration in force.
    pub config_index: LogIndex,
    /// That configuration, encoded; opaque here.
    pub config: Vec<u8>,
}

/// A frozen memtable that waits to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Names it.
    pub id: u64,
    /// What it makes durable: each group written in it, with its applied index.
    pub applied: Vec<(GroupId, LogIndex)>,
}

/// Something the store finished off-core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// These wants are in memory now.
    Prefetched {
        /// As given to [`Store::prefetch`].
        token: u64,
    },
    /// This frozen memtable is durable: a checkpoint.
    Flushed(Frozen),
    /// One part of an outgoing snapshot is ready.
    SnapshotPart {
        /// As given to [`Store::snapshot_read`].
        snapshot: u64,
        /// The part, 0 first.
        part: u32,
        /// Its bytes, at most `SNAPSHOT_PART_BYTES_MAX`.
        body: Vec<u8>,
        /// It is the last one.
        last: bool,
    },
    /// An incoming snapshot was verified and is durable: its rows are the group's state, this its machine row.
    Installed {
        /// Whose.
        group: GroupId,
        /// As given to [`Store::install_begin`].
        machine: Machine,
    },
    /// An incoming snapshot did not verify; the group's old state stands.
    InstallFailed {
        /// Whose.
        group: GroupId,
        /// Why, for the log.
        reason: String,
    },
    /// Rows of this group lie where the disk gives back other bytes than were written. Nothing of it may be served any
    /// more: [`Store::drop_group`] it, and take its state from a peer.
    Damaged {
        /// Whose.
        group: GroupId,
        /// What was found, for the log.
        reason: String,
    },
    /// A write, sync or read of the store failed: the node must stop. Nothing is retried.
    Failed {
        /// Why, for the last line of the log.
        reason: String,
    },
}

/// How full the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Go on.
    None,
    /// A memtable should be frozen soon: call [`Store::freeze`] between batches.
    Freeze,
    /// Compaction is behind: fewer and fewer proposals, until it is less so.
    Slow,
    /// Two are frozen and the active one is full: no proposals.
    Full,
}

/// The rows of one core's groups.
///
/// One writer, nothing blocks. Keys are `table u8 | key`, big-endian inside so that scans give journal and directory
/// order. Bounds: `KEY_BYTES_MAX`, `VALUE_BYTES_MAX`, `LIST_PAGE_MAX` rows a scan.
pub trait Store {
    /// Memory only.
    fn get(&self, group: GroupId, key: &[u8]) -> Row<'_>;

    /// The first `rows_max` rows of `keys`, in order, appended to `out`; [`Cold`] when part of them is not in memory.
    fn scan(&self, group: GroupId, keys: Range<&[u8]>, rows_max: u32, out: &mut Rows) -> Result<(), Cold>;

    /// Brings rows into memory, off-core; [`StoreEvent::Prefetched`] tells when. They stay at least until
    /// [`Store::release`] of the token.
    fn prefetch(&mut self, token: u64, group: GroupId, wants: &[Want]);

    /// What was prefetched under this token may go.
    fn release(&mut self, token: u64);

    /// Writes all rows of one batch and the machine row, or none of them.
    fn write(&mut self, group: GroupId, batch: &RowBatch, machine: &Machine);

    /// The machine row as written last; `None` for a group that has no state here. Always in memory.
    fn machine(&self, group: GroupId) -> Option<&Machine>;

    /// Between batches only: freezes the active memtable. `None` when it is empty or two are frozen already.
    fn freeze(&mut self) -> Option<Frozen>;

    /// Writes a frozen memtable off-core; the caller waited until the log has persisted what it holds.
    fn flush(&mut self, frozen: u64);

    /// How full it is.
    fn pressure(&self) -> Pressure;

    /// A memtable should be frozen: it is full. That compaction is behind is no reason.
    fn wants_freeze(&self) -> bool {
        self.pressure() >= Pressure::Freeze
    }

    /// There is room on the disk. While there is none, what is here can be read and deleted, and no more is taken in.
    fn has_room(&self) -> bool {
        true
    }

    /// The group has no state here from now on, and a half install of it ends. Durable with the next flush: a crash before
    /// finds the group as it was, or without state.
    fn drop_group(&mut self, group: GroupId);

    /// What was finished since the last call.
    fn poll_event(&mut self) -> Option<StoreEvent>;

    /// Begins an outgoing snapshot of a group as of now and pins it; returns its machine row. `None` when the group has
    /// no state or too many are pinned.
    fn snapshot_begin(&mut self, snapshot: u64, group: GroupId) -> Option<Machine>;

    /// Reads the next part off-core, parts in order from 0; [`StoreEvent::SnapshotPart`] brings it.
    fn snapshot_read(&mut self, snapshot: u64, part: u32);

    /// Ends an outgoing snapshot and its pin.
    fn snapshot_end(&mut self, snapshot: u64);

    /// Begins an incoming snapshot: its rows stay invisible until it is verified. Drops a half one of the same group.
    fn install_begin(&mut self, group: GroupId, machine: Machine);

    /// Parts given to [`Store::install_part`] that wait to be taken in. Who sends them should not be told to go on while
    /// these are many; it rings when they are fewer.
    fn parts_waiting(&self) -> usize {
        0
    }

    /// Takes the next part, in order. With `last` it is verified, made the group's state and made durable off-core;
    /// [`StoreEvent::Installed`] or [`StoreEvent::InstallFailed`] tells.
    fn install_part(&mut self, group: GroupId, body: &[u8], last: bool);
}
