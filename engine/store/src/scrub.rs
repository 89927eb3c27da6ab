//! Reading tables back: each new one once, and all of them again every day.
//!
//! The version file has xxh3-128 over all bytes of a table's file; a byte that changed anywhere in it shows. The crate
//! checks a block when it reads it, so a bad one is never served; the scrub finds those that nobody reads.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use base::GroupId;
use lsm_tree::Table;
use xxhash_rust::xxh3::Xxh3;

use crate::key::{self, Life};
use crate::tree::Tree;

/// Read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A table whose bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Its number.
    pub(crate) table: u64,
    /// Its first and its last key, whole: what it may hold lies between them.
    pub(crate) keys: (Vec<u8>, Vec<u8>),
    /// For the log.
    pub(crate) reason: String,
}

impl Damage {
    pub(crate) fn of(table: &Table, reason: String) -> Damage {
        let keys = &table.metadata.key_range;
        Damage { table: table.id(), keys: (keys.min().to_vec(), keys.max().to_vec()), reason }
    }

    /// May the table hold rows of this life of the group, or its machine row? Life 0: no.
    pub(crate) fn touches(&self, group: GroupId, life: Life) -> bool {
        let (min, max) = (self.keys.0.as_slice(), self.keys.1.as_slice());
        let has_rows = min < key::life_end(group, life).as_slice() && key::prefix(group, life).as_slice() <= max;
        life != 0 && (has_rows || self.has_machine(group))
    }

    /// May the table hold the group's machine row?
    pub(crate) fn has_machine(&self, group: GroupId) -> bool {
        let machine = key::machine(group);
        self.keys.0 <= machine && machine <= self.keys.1
    }
}

/// Reads a table's whole file; `None` when it is what was written.
/// What cannot be opened or read is damage too.
pub(crate) fn read_back(table: &Table) -> Option<Damage> {
    let mut reading = Reading::new(table.clone());
    while !reading.read(PIECE_BYTES) {}
    reading.damage()
}

/// One table that is being read.
struct Reading {
    table: Table,
    file: Option<File>,
    hash: Xxh3,
    bytes: u64,
    piece: Vec<u8>,
    failed: Option<String>,
}

impl Reading {
    fn new(table: Table) -> Reading {
        let (file, failed) = match File::open(&*table.path) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(format!("could not be opened: {error}"))),
        };
        Reading { table, file, hash: Xxh3::new(), bytes: 0, piece: vec![0; PIECE_BYTES], failed }
    }

    /// Reads about `bytes` on; true at the end.
    fn read(&mut self, bytes: usize) -> bool {
        let mut left = bytes;
        while let (Some(file), true) = (&mut self.file, left > 0) {
            let piece = &mut self.piece[..left.min(PIECE_BYTES)];
            match file.read(piece) {
                Ok(0) => self.file = None,
                Ok(read) => {
                    self.hash.update(&piece[..read]);
                    self.bytes += read as u64;
                    left -= read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The device cannot read this place: these bytes are gone, others may be well.
                Err(error) => {
                    self.failed = Some(format!("could not be read at {}: {error}", self.bytes));
                    self.file = None;
                }
            }
        }
        self.file.is_none()
    }

    fn damage(&self) -> Option<Damage> {
        let differs = || format!("its {} bytes have another checksum than was written", self.bytes);
        let is_bad = self.hash.digest128() != self.table.checksum().into_u128();
        let reason = self.failed.clone().or_else(|| is_bad.then(differs))?;
        Some(Damage::of(&self.table, format!("table {} {reason}", self.table.path.display())))
    }
}

/// The walk over all tables, a bounded number of bytes a second.
pub(crate) struct Scrub {
    bytes_per_second: u64,
    every: Duration,
    /// Until the next walk begins.
    wait: Duration,
    /// Tables of this walk that are not read yet.
    left: VecDeque<Table>,
    reading: Option<Reading>,
    /// Said already.
    bad: BTreeSet<u64>,
}

impl Scrub {
    /// The first walk begins after one round: what a start finds it has read, and every open begins anew.
    pub(crate) fn new(bytes_per_second: u64, every: Duration) -> Scrub {
        Scrub { bytes_per_second, every, wait: every, left: VecDeque::new(), reading: None, bad: BTreeSet::new() }
    }

    /// `time` has passed: reads its share. Says each damaged table once.
    pub(crate) fn step(&mut self, tree: &Tree, time: Duration) -> Vec<Damage> {
        let mut found = Vec::new();
        if self.bytes_per_second == 0 {
            return found;
        }
        self.wait = self.wait.saturating_sub(time);
        if self.wait.is_zero() && self.left.is_empty() && self.reading.is_none() {
            self.left = tree.tables().into();
            self.wait = self.every;
        }
        let share = (u128::from(self.bytes_per_second) * time.as_millis() / 1000) as usize;
        let mut read = 0;
        while read < share {
            if self.reading.is_none() {
                // A table that was compacted away meanwhile is kept by the walk, and needs no look.
                self.reading = self.left.pop_front().filter(|table| tree.has(table.id())).map(Reading::new);
            }
            let Some(reading) = &mut self.reading else {
                if self.left.is_empty() {
                    break;
                }
                continue;
            };
            let before = reading.bytes;
            let is_done = reading.read(share - read);
            read += (reading.bytes - before) as usize;
            if is_done {
                let damage = reading.damage().filter(|damage| self.bad.insert(damage.table));
                found.extend(damage);
                self.reading = None;
            }
        }
        found
    }
}
