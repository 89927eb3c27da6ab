//! The tree of sorted tables of one core: the one file that speaks to the `lsm-tree` crate's reads and writes.
//!
//! No memtable of the tree is ever used: rows go to tables directly. Two items it takes are hidden in the crate's
//! documentation (`flush_to_tables`, `register_tables`), so the version is pinned exactly.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use base::{GroupId, mutate};
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy};
use lsm_tree::{AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard, InternalValue};
use lsm_tree::{SequenceNumberCounter, Slice, Table, ValueType};
use xxhash_rust::xxh3::xxh3_128;

use crate::compactor::{DeadLives, DeadRows};
use crate::key::{self, Life, PREFIX_BYTES};
use crate::machine_row::MachineRow;
use crate::making::Making;
use crate::packed::Packed;
use crate::pins::Pins;
use crate::row_filter::FilterNumber;
use crate::settings::{OpenError, OpenSettings};
use crate::space::is_no_space;
use crate::tables::{Files, Newest, TableSet};

/// Reads here see everything registered; the crate keeps bit 63 for itself.
pub(crate) const LATEST: u64 = (1 << 63) - 1;

/// The tree failed; the node must stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("{0}; free space or check the disk, then start again")]
    Io(#[from] io::Error),
    #[error("a table is corrupt ({0}); replace this node's data, its groups come back by snapshot")]
    Corrupt(String),
}

impl TreeError {
    /// The disk is full, and what was begun has been undone: it may be tried again when there is room.
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, TreeError::Io(error) if is_no_space(error))
    }
}

impl From<lsm_tree::Error> for TreeError {
    fn from(error: lsm_tree::Error) -> TreeError {
        match error {
            lsm_tree::Error::Io(error) => TreeError::Io(error),
            other => TreeError::Corrupt(format!("{other:?}")),
        }
    }
}

/// The rows a range read found, in order, without group and life.
pub(crate) struct RangeRows {
    pub(crate) rows: Packed,
    /// There are no more before the end that was asked for.
    pub(crate) complete: bool,
}

/// One row on its way into tables: its full key, and the value or `None` for a delete.
pub(crate) type TableRow = (Slice, Option<Slice>);

/// The tree, shared by the threads of one store.
pub(crate) struct Tree {
    tree: AnyTree,
    counter: SequenceNumberCounter,
    /// The views that are open, and the watermark they leave.
    pub(crate) pins: Arc<Pins>,
    newest: Arc<Newest>,
    /// Lives that compaction may drop.
    pub(crate) dead: Arc<DeadLives>,
    /// `c<core>`.
    dir: PathBuf,
    making: Making,
    /// Those of tables that join the tree now, by number. The lock is held by threads that change versions alone.
    filters: Mutex<BTreeMap<u64, FilterNumber>>,
    /// Rows after which a table in the making meets a full disk; one is taken off by each.
    #[cfg(test)]
    pub(crate) full_after: std::sync::atomic::AtomicU64,
    /// MUT_21D: what the crate takes for visible.
    #[cfg(mutations)]
    visible: SequenceNumberCounter,
}

impl Tree {
    /// Opens or makes the tree and reads the machine rows of all groups.
    pub(crate) fn open(
        settings: &OpenSettings,
        stopping: Arc<AtomicBool>,
    ) -> Result<(Tree, Vec<(GroupId, MachineRow)>), OpenError> {
        let dir = settings.tree_dir();
        let io = |source| OpenError::Io { dir: dir.clone(), source };
        let corrupt = |what: String| OpenError::Corrupt { dir: dir.clone(), what };
        std::fs::create_dir_all(&dir).map_err(io)?;
        sync_dir(&settings.dir).map_err(io)?;
        remove_leftovers(&dir).map_err(io)?;
        if let Some(what) = damage_of_version(&dir).map_err(io)? {
            return Err(corrupt(what));
        }
        let dead = Arc::new(DeadLives::default());
        let counter = SequenceNumberCounter::default();
        // The crate's idea of what is visible; nobody reads it.
        let visible = SequenceNumberCounter::default();
        let cache = Arc::new(Cache::with_capacity_bytes(settings.tree_cache_bytes()));
        let descriptors = Arc::new(DescriptorTable::new(settings.descriptor_files));
        let config = config(&dir, [counter.clone(), visible.clone()], DeadRows::new(dead.clone(), stopping))
            .use_cache(cache)
            .use_descriptor_table(Some(descriptors.clone()));
        let failed = |error| match TreeError::from(error) {
            TreeError::Io(source) => io(source),
            TreeError::Corrupt(what) => corrupt(what),
        };
        // A damaged file can trip an assertion of the crate; that is damage found, not a bug of this program.
        let tree = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| corrupt("opening the tables tripped over their bytes".into()))?
            .map_err(failed)?;
        let files = Files { tree: tree.id(), descriptors };
        let tree = Tree {
            newest: Arc::new(Newest::new(TableSet::new(0, files, Vec::new(), None, &BTreeMap::new()))),
            tree,
            counter: counter.clone(),
            pins: Arc::new(Pins::new(counter.clone())),
            dead,
            making: Making::new(dir.join("tables")),
            filters: Mutex::default(),
            dir: dir.clone(),
            #[cfg(test)]
            full_after: std::sync::atomic::AtomicU64::new(u64::MAX),
            #[cfg(mutations)]
            visible,
        };
        counter.fetch_max(tree.tree.get_highest_persisted_seqno().unwrap_or(0) + 1);
        tree.show();
        let read = || {
            tree.finish_condemned()?;
            match tree.machines() {
                Err(TreeError::Corrupt(reason)) if settings.heals => tree.heal(reason).and_then(|()| tree.machines()),
                done => done,
            }
        };
        let machines = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| corrupt("reading the machine rows tripped over their bytes".into()))?
            .map_err(|error| match error {
                TreeError::Io(source) => io(source),
                TreeError::Corrupt(what) => corrupt(what),
            })?;
        let highest = machines.iter().map(|(_, _, seqno)| *seqno).max().unwrap_or(0);
        let highest = highest.max(tree.tree.get_highest_persisted_seqno().unwrap_or(0));
        counter.fetch_max(highest + 1);
        Ok((tree, machines.into_iter().map(|(group, row, _)| (group, row)).collect()))
    }

    /// A number above all before: what a flush writes its rows under. Taken by the one writing thread only, so that
    /// tables are registered in the order of their numbers.
    pub(crate) fn next_seqno(&self) -> u64 {
        self.counter.next()
    }

    /// Writes sorted rows to new tables, synced but not yet part of the tree.
    ///
    /// Errors: nothing names the files of a failed attempt, and they are removed.
    pub(crate) fn write_tables(
        &self,
        seqno: u64,
        rows: impl Iterator<Item = TableRow>,
    ) -> Result<Vec<Table>, TreeError> {
        let before = self.tree.next_table_id();
        self.making.begin();
        let made = self.make_tables(seqno, rows);
        match &made {
            Ok(tables) => self.making.end_well(tables.iter().map(Table::id)),
            Err(_) => self.making.end_badly(before..self.tree.next_table_id()),
        }
        made
    }

    fn make_tables(&self, seqno: u64, rows: impl Iterator<Item = TableRow>) -> Result<Vec<Table>, TreeError> {
        let rows = rows.map(|(key, value)| {
            #[cfg(test)]
            self.meet_a_full_disk()?;
            Ok(match value {
                Some(value) => InternalValue::from_components(key, value, seqno, ValueType::Value),
                None => InternalValue::new_tombstone(key, seqno),
            })
        });
        Ok(self.tree.flush_to_tables(rows)?.map(|(tables, _)| tables).unwrap_or_default())
    }

    #[cfg(test)]
    fn meet_a_full_disk(&self) -> lsm_tree::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let left = |rows: u64| (rows != u64::MAX && rows > 0).then(|| rows - 1);
        match self.full_after.fetch_update(Relaxed, Relaxed, left) {
            Err(0) => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            _ => Ok(()),
        }
    }

    /// Makes tables part of the tree, all or none, durably. Shape: disjoint, in key order. `filter`: of all their rows.
    ///
    /// Errors: a full disk only when `current` still names the version before, so that nothing has happened.
    pub(crate) fn register(&self, tables: &[Table], filter: Option<FilterNumber>) -> Result<(), TreeError> {
        if let Some(filter) = filter {
            self.filters().extend(tables.iter().map(|table| (table.id(), filter)));
        }
        let done = self.tree.register_tables(tables, None, None, &[], self.pins.watermark());
        self.show();
        self.filters().clear();
        done.map_err(|error| self.undone(error.into()))
    }

    /// The tables of the newest version, to be read.
    pub(crate) fn newest(&self) -> Arc<TableSet> {
        self.newest.get()
    }

    /// For the core, which asks filters and nothing else.
    pub(crate) fn shown(&self) -> Arc<Newest> {
        self.newest.clone()
    }

    /// Point reads take rows below this seqno: all.
    pub(crate) fn below(&self) -> u64 {
        mutate!(MUT_21D, LATEST, self.visible.get())
    }

    fn filters(&self) -> MutexGuard<'_, BTreeMap<u64, FilterNumber>> {
        self.filters.lock().expect("no thread panics while it holds the filters")
    }

    /// The version may be a new one: readers see its tables from now on.
    pub(crate) fn show(&self) {
        let version = self.tree.current_version();
        let old = self.newest();
        if version.id() <= old.id && old.id != 0 {
            return;
        }
        let runs =
            version.iter_levels().flat_map(|level| level.iter()).map(|run| run.iter().cloned().collect()).collect();
        let new = Arc::new(TableSet::new(version.id(), old.files.clone(), runs, Some(&old), &self.filters()));
        // Tables that are in no version any more are removed with their last user.
        drop(self.newest.show(new));
    }

    /// A change of version failed. For want of room it may be tried again, but only if `current` was not replaced: else
    /// the next attempt would write over the version file that it names.
    fn undone(&self, error: TreeError) -> TreeError {
        if !error.is_no_space() {
            return error;
        }
        let named = std::fs::read(self.dir.join("current")).ok();
        let named = named.as_deref().and_then(<[u8]>::first_chunk::<8>).map(|id| u64::from_le_bytes(*id));
        if named == Some(self.tree.current_version().id()) {
            return error;
        }
        TreeError::Io(io::Error::other(format!("{error}, and `current` may have been replaced")))
    }

    /// Removes the files of tables that were never registered.
    pub(crate) fn discard(&self, tables: Vec<Table>) {
        for table in tables {
            // What cannot be removed now is an orphan, which the next open removes.
            let _ = std::fs::remove_file(&*table.path);
        }
    }

    /// One step of leveled compaction; false when there was nothing to do.
    ///
    /// Errors: as for [`Tree::register`]; the files of a failed attempt are removed.
    pub(crate) fn compact_once(&self) -> Result<bool, TreeError> {
        let (version, tables) = (self.tree.current_version().id(), self.tree.next_table_id());
        self.making.begin();
        let levels = Leveled::default().with_l0_threshold(L0_TABLES).with_table_target_size(TABLE_BYTES);
        let done = self.tree.compact(Arc::new(levels), self.pins.watermark());
        self.show();
        match done {
            Ok(()) => {
                let now = self.tree.current_version();
                self.making.end_well(now.iter_tables().map(Table::id));
                Ok(now.id() != version)
            }
            Err(error) => {
                let error = self.undone(error.into());
                // Tables that may be named by the version on disk are not touched.
                let used = if error.is_no_space() { tables..self.tree.next_table_id() } else { tables..tables };
                self.making.end_badly(used);
                Err(error)
            }
        }
    }

    /// The crate's tree.
    pub(crate) fn inner(&self) -> &AnyTree {
        &self.tree
    }

    /// `c<core>`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number that the next table gets.
    pub(crate) fn next_table(&self) -> u64 {
        self.tree.next_table_id()
    }

    /// The tables of the newest version.
    pub(crate) fn tables(&self) -> Vec<Table> {
        self.tree.current_version().iter_tables().cloned().collect()
    }

    /// The newest version names this table.
    pub(crate) fn has(&self, table: u64) -> bool {
        self.tree.current_version().iter_tables().any(|known| known.id() == table)
    }

    /// Bytes of all tables of the newest version.
    pub(crate) fn bytes(&self) -> u64 {
        self.tree.current_version().iter_tables().map(|table| table.metadata.file_size).sum()
    }

    /// Drops the tables that hold nothing but lives of `group` before `life`; the rest goes when it is compacted.
    pub(crate) fn drop_lives_before(&self, group: GroupId, life: Life) -> Result<(), TreeError> {
        let (start, end) = (key::full(group, 1, &[]), key::prefix(group, life).to_vec());
        let inside = |table: &Table| {
            let keys = &table.metadata.key_range;
            start.as_slice() <= &**keys.min() && &**keys.max() < end.as_slice()
        };
        if self.tree.current_version().iter_tables().any(inside) {
            self.tree.drop_range::<&[u8], _>(start.as_slice()..end.as_slice())?;
            self.show();
        }
        Ok(())
    }

    /// Rows of one life from `start` on, before `end` (both without group and life; no end: to the life's last row),
    /// as seen below `seqno`, at most `rows_max` and, but for the first, `bytes_max`.
    pub(crate) fn range(&self, read: &RangeAt<'_>) -> Result<RangeRows, TreeError> {
        let start = key::full(read.group, read.life, read.start);
        let end = match read.end {
            Some(end) => key::full(read.group, read.life, end),
            None => key::life_end(read.group, read.life),
        };
        let mut found = RangeRows { rows: Packed::default(), complete: true };
        if start >= end {
            return Ok(found);
        }
        let mut bytes = 0;
        for row in self.tree.range::<&[u8], _>(start.as_slice()..end.as_slice(), read.seqno, None) {
            let (key, value) = row.into_inner()?;
            if found.rows.len() == read.rows_max || (bytes >= read.bytes_max && bytes > 0) {
                found.complete = false;
                break;
            }
            bytes += key.len() + value.len();
            found.rows.push(&key[PREFIX_BYTES..], &value);
        }
        Ok(found)
    }

    /// Runs of the first level: how far compaction is behind.
    pub(crate) fn l0_runs(&self) -> usize {
        self.tree.l0_run_count()
    }

    /// All machine rows with the seqno they carry: one seek per group.
    fn machines(&self) -> Result<Vec<(GroupId, MachineRow, u64)>, TreeError> {
        let mut found = Vec::new();
        let mut next = Vec::new();
        while let Some(row) = self.tree.range::<&[u8], _>(next.as_slice().., LATEST, None).next() {
            let (full, value) = row.into_inner()?;
            let Some((group, life, key)) = key::split(&full) else {
                return Err(TreeError::Corrupt(format!("a key of {} bytes", full.len())));
            };
            if (life, key) != (0, &[0][..]) {
                return Err(TreeError::Corrupt(format!("group {group} has rows and no machine row")));
            }
            let (row, seqno) = MachineRow::decode(&value)
                .map_err(|error| TreeError::Corrupt(format!("machine row of group {group}: {error}")))?;
            found.push((group, row, seqno));
            match group.0.checked_add(1) {
                Some(group) => next = key::prefix(GroupId(group), 0).to_vec(),
                None => break,
            }
        }
        Ok(found)
    }
}

/// What [`Tree::range`] reads.
pub(crate) struct RangeAt<'a> {
    pub(crate) group: GroupId,
    pub(crate) life: Life,
    pub(crate) start: &'a [u8],
    pub(crate) end: Option<&'a [u8]>,
    pub(crate) seqno: u64,
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
}

/// Tables of level 0 that are merged into the next level, all at once, and what a table that comes of it holds. Their
/// product is where that level is full. Each such merge writes all of the next level anew, so it is done half as often as
/// the crate would by itself (docs/adr/2026-11-22-level-0-waits-for-eight.md).
const L0_TABLES: u8 = 8;
const TABLE_BYTES: u64 = 32 << 20;

/// Bits of filter per row in levels 0 to 2, and below, where nine of ten rows are. Most commands ask for rows that are
/// nowhere, in each run of level 0 and each level; where one filter in an entry's hundreds of questions errs, the entry
/// waits for the reading thread (docs/adr/2026-11-22-filters-that-seldom-err.md).
const UPPER_FILTER_BITS: f32 = 20.0;
const FILTER_BITS: f32 = 16.0;

fn bloom(bits: f32) -> FilterPolicyEntry {
    FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(bits))
}

fn config(dir: &Path, counters: [SequenceNumberCounter; 2], dead: DeadRows) -> Config {
    let [counter, visible] = counters;
    Config::new(dir, counter, visible)
        .filter_policy(FilterPolicy::new(
            [UPPER_FILTER_BITS, UPPER_FILTER_BITS, UPPER_FILTER_BITS, FILTER_BITS].map(bloom),
        ))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        // The reading thread has its own; a snapshot reads the crate's through the cache.
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_partitioning_policy(PinningPolicy::all(false))
        .index_block_partitioning_policy(PinningPolicy::all(false))
        .data_block_compression_policy(CompressionPolicy::new([
            CompressionType::None,
            CompressionType::None,
            CompressionType::Lz4,
        ]))
        .with_compaction_filter_factory(Some(Arc::new(dead)))
}

/// Checks the version file against `current`, which the crate does not: u64 id, u128 xxh3, u8 0. Says what is wrong.
fn damage_of_version(dir: &Path) -> io::Result<Option<String>> {
    let current = match std::fs::read(dir.join("current")) {
        Ok(current) => current,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let has_tables = dir.join("tables").exists() && dir.join("tables").read_dir()?.next().is_some();
            return Ok(has_tables.then(|| "there are tables and no file `current`".into()));
        }
        Err(error) => return Err(error),
    };
    let parts = current.split_first_chunk::<8>().and_then(|(id, rest)| {
        let (hash, kind) = rest.split_first_chunk::<16>()?;
        (kind == [0]).then(|| (u64::from_le_bytes(*id), u128::from_le_bytes(*hash)))
    });
    let Some((id, hash)) = parts else {
        return Ok(Some(format!("`current` has {} bytes that name no version", current.len())));
    };
    match std::fs::read(dir.join(format!("v{id}"))) {
        Ok(version) if xxh3_128(&version) == hash => Ok(None),
        Ok(_) => Ok(Some(format!("the version file v{id} has another checksum than `current` says"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(format!("the version file v{id} is gone"))),
        Err(error) => Err(error),
    }
}

/// A crash while `current` was replaced leaves its temporary file.
fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".tmp") && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}
