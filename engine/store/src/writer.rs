//! The writing thread: flushes frozen memtables and takes snapshots in. The only one that adds tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::GroupId;
use base::limits::SNAPSHOT_PARTS_WAITING_MAX;
use crossbeam::channel::Sender;
use lsm_tree::{Slice, Table};
use meta::Machine;

use crate::condemned::Span;
use crate::job::{CompactJob, Done, WriteJob};
use crate::key::{self, Life};
use crate::machine_row::{FLAG_INSTALLED, MachineRow};
use crate::memtable::Memtable;
use crate::part::PartReader;
use crate::row_filter::FilterNumber;
use crate::scrub::read_back;
use crate::space::{Space, retry};
use crate::tree::{TableRow, Tree, TreeError};
use crate::worker::{Outbox, Worker};

/// Writes the tree for the core.
pub(crate) struct Writer {
    pub(crate) tree: Arc<Tree>,
    pub(crate) outbox: Outbox,
    pub(crate) compactor: Option<Sender<CompactJob>>,
    pub(crate) l0_runs: Arc<AtomicUsize>,
    /// The current life of each group as the tables have it.
    pub(crate) lives: HashMap<GroupId, Life>,
    /// Rows of an incoming snapshot are written to a table when they are this many bytes.
    pub(crate) chunk_bytes: usize,
    pub(crate) installs: HashMap<GroupId, InSnapshot>,
    pub(crate) space: Arc<Space>,
    /// Parts that wait here and in the queue; the core stops its senders by it.
    pub(crate) parts_waiting: Arc<AtomicUsize>,
}

/// A snapshot coming in. Its tables join the tree in one step with the machine row that makes them the group's
/// state; before that a crash leaves files that no version names, and the next open removes them.
pub(crate) struct InSnapshot {
    install: u64,
    life: Life,
    machine: Box<Machine>,
    parts: PartReader,
    rows: Vec<TableRow>,
    rows_bytes: usize,
    tables: Vec<Table>,
}

impl Worker for Writer {
    type Job = WriteJob;
    const NAME: &'static str = "write";

    fn handle(&mut self, job: WriteJob) -> Result<(), TreeError> {
        match job {
            WriteJob::Flush { id, memtable } => self.flush(id, memtable),
            WriteJob::InstallBegin { group, install, life, machine } => {
                let parts = PartReader::new();
                let fresh =
                    InSnapshot { install, life, machine, parts, rows: Vec::new(), rows_bytes: 0, tables: Vec::new() };
                if let Some(half) = self.installs.insert(group, fresh) {
                    self.tree.discard(half.tables);
                }
                Ok(())
            }
            WriteJob::Condemn { table, span, graves } => self.condemn(table, &span, &graves),
            WriteJob::Dispose(memtable) => {
                memtable.dispose();
                Ok(())
            }
            WriteJob::InstallPart { group, install, body, last } => {
                let done = self.install_part(group, install, &body, last);
                if self.parts_waiting.fetch_sub(1, Ordering::Relaxed) == SNAPSHOT_PARTS_WAITING_MAX {
                    self.outbox.ring();
                }
                done
            }
        }
    }
}

impl Writer {
    /// Writes a memtable. On a full disk it is tried again when there is room: what an attempt began is undone.
    fn flush(&mut self, id: u64, memtable: Arc<Memtable>) -> Result<(), TreeError> {
        let space = self.space.clone();
        let Some(written) = retry(&space, memtable.bytes() as u64, || self.try_flush(&memtable))? else {
            return Ok(());
        };
        self.lives.extend(written);
        // Before the core hears of it: it takes the memory back.
        drop(memtable);
        self.outbox.send(Done::Flushed { id });
        self.kick();
        Ok(())
    }

    /// The groups that it wrote, each with its life.
    fn try_flush(&self, memtable: &Memtable) -> Result<Vec<(GroupId, Life)>, TreeError> {
        let seqno = self.tree.next_seqno();
        let lives = &self.lives;
        // A group that changed its life since then must not get its old state back.
        let groups = || {
            let current = |group: &GroupId, row: &MachineRow| lives.get(group).is_none_or(|life| *life <= row.life);
            memtable.machines().iter().filter(move |(group, row)| current(group, row))
        };
        let rows = groups().flat_map(|(&group, row)| {
            let machine = machine_row(group, row, seqno);
            let rows = memtable.rows((group, row.life));
            let mut full = key::prefix(group, row.life).to_vec();
            let rows = rows.map(move |(key, value)| {
                full.truncate(key::PREFIX_BYTES);
                full.extend_from_slice(key);
                (Slice::from(full.as_slice()), value.map(Slice::from))
            });
            std::iter::once(machine).chain(rows)
        });
        let tables = self.tree.write_tables(seqno, rows)?;
        if !tables.is_empty() {
            self.add(&tables, &tables, Some(memtable.filter()))?;
        }
        Ok(groups().map(|(group, row)| (*group, row.life)).collect())
    }

    /// Reads back the tables that are `new`, and makes all of a run part of the tree. After an error the new ones are gone.
    /// `filter`: of all rows of the run but machine rows, which are not asked of it.
    fn add(&self, run: &[Table], new: &[Table], filter: Option<FilterNumber>) -> Result<(), TreeError> {
        // Before anything names them: a disk that lost what it was given has lost nothing that counts.
        let done = match new.iter().find_map(read_back) {
            Some(damage) => Err(TreeError::Corrupt(damage.reason)),
            None => self.tree.register(run, filter),
        };
        if done.as_ref().is_err_and(TreeError::is_no_space) {
            self.tree.discard(new.to_vec());
        }
        done
    }

    fn install_part(&mut self, group: GroupId, install: u64, body: &[u8], last: bool) -> Result<(), TreeError> {
        let Some(snapshot) = self.installs.get_mut(&group).filter(|snapshot| snapshot.install == install) else {
            return Ok(());
        };
        let InSnapshot { parts, rows, rows_bytes, life, .. } = snapshot;
        let taken = parts.take(body, last, |key, value| {
            *rows_bytes += key.len() + value.len();
            rows.push((Slice::from(key::full(group, *life, key).as_slice()), Some(Slice::from(value))));
        });
        if let Err(error) = taken {
            if let Some(bad) = self.installs.remove(&group) {
                self.tree.discard(bad.tables);
            }
            self.outbox.send(Done::InstallFailed { group, install, reason: error.to_string() });
            return Ok(());
        }
        if snapshot.rows_bytes >= self.chunk_bytes || last {
            let rows = std::mem::take(&mut snapshot.rows);
            let bytes = std::mem::take(&mut snapshot.rows_bytes);
            if !rows.is_empty() {
                let write = || {
                    let tables = self.tree.write_tables(self.tree.next_seqno(), rows.iter().cloned())?;
                    match tables.iter().find_map(read_back) {
                        Some(damage) => Err(TreeError::Corrupt(damage.reason)),
                        None => Ok(tables),
                    }
                };
                let Some(tables) = retry(&self.space, bytes as u64, write)? else { return Ok(()) };
                snapshot.tables.extend(tables);
            }
        }
        if last && let Some(whole) = self.installs.remove(&group) {
            self.install(group, whole)?;
        }
        Ok(())
    }

    /// All parts are here and verified: the flip.
    fn install(&mut self, group: GroupId, snapshot: InSnapshot) -> Result<(), TreeError> {
        let InSnapshot { life, machine, tables, .. } = snapshot;
        let row = MachineRow { flags: FLAG_INSTALLED, life, life_high: life, machine: (*machine).clone() };
        let flip = || {
            let seqno = self.tree.next_seqno();
            // The machine row sorts before the rows of its group, so this is one run in key order.
            let mut run = self.tree.write_tables(seqno, std::iter::once(machine_row(group, &row, seqno)))?;
            let head = run.clone();
            run.extend(tables.iter().cloned());
            self.add(&run, &head, None)
        };
        let Some(()) = retry(&self.space, 0, flip)? else { return Ok(()) };
        self.lives.insert(group, life);
        self.outbox.send(Done::Installed { group, life, machine });
        self.kick();
        Ok(())
    }

    /// Takes a damaged table out of the tree, durably.
    fn condemn(&mut self, table: u64, span: &Span, graves: &BTreeMap<GroupId, MachineRow>) -> Result<(), TreeError> {
        let tree = self.tree.clone();
        let Some(()) = retry(&self.space, 0, || tree.condemn(span, graves))? else { return Ok(()) };
        for (group, row) in graves {
            // A memtable that was frozen before may not bring its old machine row back.
            self.lives.insert(*group, row.life_high.saturating_add(1));
        }
        self.outbox.send(Done::Condemned { table, groups: graves.keys().copied().collect() });
        if let Some(compactor) = &self.compactor {
            // Not `try_send`: without this the tree is never compacted again. The thread takes its jobs all the while.
            let _ = compactor.send(CompactJob::Gone { table });
        }
        self.kick();
        Ok(())
    }

    fn kick(&self) {
        self.l0_runs.store(self.tree.l0_runs(), Ordering::Relaxed);
        if let Some(compactor) = &self.compactor {
            // A full queue ends in a compaction anyway.
            let _ = compactor.try_send(CompactJob::Kick);
        }
    }
}

fn machine_row(group: GroupId, row: &MachineRow, seqno: u64) -> TableRow {
    (Slice::from(key::machine(group).as_slice()), Some(Slice::from(row.encode(seqno).as_slice())))
}
