//! A store under test: waits for its bell instead of sleeping, and reads through prefetches as a shard would.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use base::{CoreId, GroupId, LogIndex, Term};
use meta::{Machine, Row, RowBatch, Rows, Store, StoreEvent, Want};
use store::{LsmStore, OpenError, OpenSettings};

/// What a group's rows should be.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub struct Bench {
    pub store: LsmStore,
    pub dir: PathBuf,
    /// Events that came while another was waited for.
    pub aside: Vec<StoreEvent>,
    bell: Receiver<()>,
    token: u64,
}

impl Bench {
    pub fn open(dir: &Path) -> Result<Bench, OpenError> {
        Bench::open_with(dir, |_| {})
    }

    pub fn open_with(dir: &Path, change: impl FnOnce(&mut OpenSettings)) -> Result<Bench, OpenError> {
        let (ring, bell) = sync_channel(1);
        // One ring is enough: it is taken before the events are looked at.
        let wake = Arc::new(move || {
            let _ = ring.try_send(());
        });
        let mut settings = OpenSettings::dev(dir.to_owned(), CoreId(0), wake);
        change(&mut settings);
        Ok(Bench { store: LsmStore::open(settings)?, dir: dir.to_owned(), aside: Vec::new(), bell, token: 1 << 32 })
    }

    /// Waits until `wanted` takes an event; the others are put aside.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&StoreEvent) -> Option<T>) -> T {
        if let Some(at) = self.aside.iter().position(|event| wanted(event).is_some()) {
            return wanted(&self.aside.remove(at)).expect("it was wanted before");
        }
        loop {
            while let Some(event) = self.store.poll_event() {
                if let Some(found) = wanted(&event) {
                    return found;
                }
                if let StoreEvent::Failed { reason } = &event {
                    panic!("the store failed: {reason}");
                }
                self.aside.push(event);
            }
            // The limit only ends a test that would hang.
            self.bell.recv_timeout(Duration::from_secs(60)).expect("an event is due");
        }
    }

    pub fn write(&mut self, group: GroupId, rows: &[(&[u8], Option<&[u8]>)]) {
        let index = self.store.machine(group).map_or(LogIndex(1), |machine| machine.applied_index.next());
        self.store.write(group, &rows.iter().copied().collect::<RowBatch>(), &machine(index));
    }

    /// Freezes, flushes and waits; false when there was nothing to freeze.
    pub fn checkpoint(&mut self) -> bool {
        let Some(frozen) = self.store.freeze() else { return false };
        self.store.flush(frozen.id);
        self.wait(|event| matches!(event, StoreEvent::Flushed(done) if done.id == frozen.id).then_some(()));
        true
    }

    pub fn prefetch(&mut self, group: GroupId, wants: &[Want]) -> u64 {
        self.token += 1;
        let token = self.token;
        self.store.prefetch(token, group, wants);
        self.wait(|event| matches!(event, StoreEvent::Prefetched { token: done } if *done == token).then_some(()));
        token
    }

    /// A point read, through a prefetch when it is cold.
    pub fn get(&mut self, group: GroupId, key: &[u8]) -> Option<Vec<u8>> {
        for _ in 0..8 {
            match self.store.get(group, key) {
                Row::Hit(value) => return Some(value.to_vec()),
                Row::Absent => return None,
                Row::Cold => {}
            }
            let token = self.prefetch(group, &[Want::Key(key.to_vec())]);
            let found = match self.store.get(group, key) {
                Row::Hit(value) => Some(Some(value.to_vec())),
                Row::Absent => Some(None),
                // A memtable that answered was let go between.
                Row::Cold => None,
            };
            self.store.release(token);
            if let Some(found) = found {
                return found;
            }
        }
        panic!("prefetching never brought the row");
    }

    /// A range read, through a prefetch when it is cold.
    pub fn scan(&mut self, group: GroupId, start: &[u8], end: &[u8], rows_max: u32) -> Rows {
        let mut out = Rows::new();
        if self.store.scan(group, start..end, rows_max, &mut out).is_ok() {
            return out;
        }
        for _ in 0..8 {
            assert!(out.is_empty(), "a cold scan gives nothing");
            let token = self.prefetch(group, &[Want::Range { keys: start.to_vec()..end.to_vec(), rows_max }]);
            let answer = self.store.scan(group, start..end, rows_max, &mut out);
            self.store.release(token);
            if answer.is_ok() {
                return out;
            }
        }
        panic!("prefetching never brought the range");
    }

    pub fn all(&mut self, group: GroupId) -> Model {
        self.scan(group, &[], &[0xff; 8], u32::MAX).into_iter().collect()
    }

    /// The parts of a snapshot that was begun.
    pub fn parts(&mut self, snapshot: u64) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        loop {
            let (body, last) = self.part(snapshot, parts.len() as u32);
            parts.push(body);
            if last {
                return parts;
            }
        }
    }

    pub fn part(&mut self, snapshot: u64, wanted: u32) -> (Vec<u8>, bool) {
        self.store.snapshot_read(snapshot, wanted);
        self.wait(|event| match event {
            StoreEvent::SnapshotPart { snapshot: id, part, body, last } if (*id, *part) == (snapshot, wanted) => {
                Some((body.clone(), *last))
            }
            _ => None,
        })
    }

    pub fn install(&mut self, group: GroupId, machine: &Machine, parts: &[Vec<u8>]) -> Result<(), String> {
        self.store.install_begin(group, machine.clone());
        for (at, part) in parts.iter().enumerate() {
            self.store.install_part(group, part, at + 1 == parts.len());
        }
        self.wait(|event| match event {
            StoreEvent::Installed { group: id, machine: now } if *id == group => {
                assert_eq!(now, machine);
                Some(Ok(()))
            }
            StoreEvent::InstallFailed { group: id, reason } if *id == group => Some(Err(reason.clone())),
            _ => None,
        })
    }
}

/// A machine row whose every field depends on the index.
pub fn machine(index: LogIndex) -> Machine {
    Machine {
        applied_index: index,
        applied_term: Term(index.0 / 10 + 1),
        applied_crc: index.0 as u32 ^ 0x5a5a,
        stamp_ms: index.0 * 1000,
        state_hash: base::mix64(index.0),
        config_index: LogIndex(1),
        config: vec![index.0 as u8; 5],
    }
}

/// Copies the tree of core 0 as a crash at this instant would leave it: what `current` names is whole, the rest is
/// whatever was there. The store may be working all the while.
pub fn crash_copy(from: &Path, to: &Path) {
    for _ in 0..100 {
        let _ = std::fs::remove_dir_all(to);
        if try_crash_copy(&from.join("c0"), &to.join("c0")).is_ok() {
            return;
        }
    }
    panic!("the tables changed a hundred times while they were copied");
}

fn try_crash_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to.join("tables"))?;
    let current = std::fs::read(from.join("current"))?;
    std::fs::write(to.join("current"), &current)?;
    let id = u64::from_le_bytes(current[..8].try_into().expect("current begins with 8 bytes"));
    std::fs::copy(from.join(format!("v{id}")), to.join(format!("v{id}")))?;
    for entry in std::fs::read_dir(from.join("tables"))? {
        let entry = entry?;
        // Tables of this version stay while it is the newest; when it is not any more, the copy begins again.
        std::fs::copy(entry.path(), to.join("tables").join(entry.file_name()))?;
    }
    if std::fs::read(from.join("current"))? == current {
        return Ok(());
    }
    Err(std::io::Error::other("a newer version came"))
}
