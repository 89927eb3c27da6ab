//! The writing thread: flushes frozen memtables and takes snapshots in. The only one that adds tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::GroupId;
use crossbeam::channel::Sender;
use lsm_tree::{Slice, Table};
use meta::Machine;

use crate::job::{CompactJob, Done, WriteJob};
use crate::key::{self, Life};
use crate::machine_row::{FLAG_INSTALLED, MachineRow};
use crate::memtable::Memtable;
use crate::part::PartReader;
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
            WriteJob::Flush { id, memtable } => self.flush(id, &memtable),
            WriteJob::InstallBegin { group, install, life, machine } => {
                let parts = PartReader::new();
                let fresh =
                    InSnapshot { install, life, machine, parts, rows: Vec::new(), rows_bytes: 0, tables: Vec::new() };
                if let Some(half) = self.installs.insert(group, fresh) {
                    self.tree.discard(half.tables);
                }
                Ok(())
            }
            WriteJob::Dispose(memtable) => {
                drop(memtable);
                Ok(())
            }
            WriteJob::InstallPart { group, install, body, last } => self.install_part(group, install, &body, last),
        }
    }
}

impl Writer {
    fn flush(&mut self, id: u64, memtable: &Memtable) -> Result<(), TreeError> {
        let seqno = self.tree.next_seqno();
        let lives = &self.lives;
        // A group that changed its life since then must not get its old state back.
        let groups = || {
            let current = |group: &GroupId, row: &MachineRow| lives.get(group).is_none_or(|life| *life <= row.life);
            memtable.machines().iter().filter(move |(group, row)| current(group, row))
        };
        let rows = groups().flat_map(|(&group, row)| {
            let machine = machine_row(group, row, seqno);
            let rows = memtable.range((group, row.life), &[], None);
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
            self.tree.register(&tables)?;
        }
        let written: Vec<_> = groups().map(|(group, row)| (*group, row.life)).collect();
        self.lives.extend(written);
        self.outbox.send(Done::Flushed { id });
        self.kick();
        Ok(())
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
            snapshot.rows_bytes = 0;
            if !rows.is_empty() {
                snapshot.tables.extend(self.tree.write_tables(self.tree.next_seqno(), rows.into_iter())?);
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
        let seqno = self.tree.next_seqno();
        let row = MachineRow { flags: FLAG_INSTALLED, life, life_high: life, machine: (*machine).clone() };
        // The machine row sorts before the rows of its group, so this is one run in key order.
        let mut run = self.tree.write_tables(seqno, std::iter::once(machine_row(group, &row, seqno)))?;
        run.extend(tables);
        self.tree.register(&run)?;
        self.lives.insert(group, life);
        self.outbox.send(Done::Installed { group, life, machine });
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
