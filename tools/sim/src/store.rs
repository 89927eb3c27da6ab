//! The simulated store: the in-memory twin, whose flushes, reads and installs take time. What was not flushed before a
//! crash is gone, marker included.

use std::collections::VecDeque;
use std::ops::Range;

use base::{GroupId, LogIndex, Prng, mutate};
use meta::{Cold, Frozen, Machine, MemoryStore, Pressure, Row, RowBatch, Rows, Store, StoreEvent, Want};
use xxhash_rust::xxh3::Xxh3;

/// The store of one core.
#[derive(Clone, Default)]
pub struct SimStore {
    inner: MemoryStore,
    /// Flushes asked for, and the groups whose snapshot was on its way then; the world finishes them in order.
    flushes: VecDeque<(u64, Vec<GroupId>)>,
    /// Groups whose snapshot is on its way.
    installing: Vec<GroupId>,
    /// Those of the flush that ended last.
    excused: Vec<GroupId>,
    /// Flushes asked for and not yet seen by the world.
    asked: u32,
    /// What the store finished and has not told yet; the world says when it does.
    waiting: VecDeque<StoreEvent>,
    /// Of these, so many that the world has not seen.
    unseen: u32,
    told: VecDeque<StoreEvent>,
    /// The next part of a snapshot is read with other bytes, drawn from this.
    rot: Option<u64>,
}

impl SimStore {
    /// An empty one.
    #[must_use]
    pub fn new(is_cold: bool) -> SimStore {
        let mut store = SimStore::default();
        store.inner.set_cold(is_cold);
        store
    }

    /// Flushes that were asked for since the last call: each wants [`SimStore::finish_flush`] once.
    pub fn take_asked(&mut self) -> u32 {
        std::mem::take(&mut self.asked)
    }

    /// The oldest flush is durable. False when there is none.
    pub fn finish_flush(&mut self) -> bool {
        let Some((frozen, excused)) = self.flushes.pop_front() else { return false };
        self.excused = excused;
        self.inner.flush(frozen);
        while let Some(event) = self.inner.poll_event() {
            self.told.push_back(event);
        }
        true
    }

    /// What the newest checkpoint holds of each group, until the core is told of it. Groups whose snapshot was on its
    /// way are left out: their log begins anew behind that.
    #[must_use]
    pub fn checkpointed(&self) -> Vec<(GroupId, LogIndex)> {
        match self.told.back() {
            Some(StoreEvent::Flushed(frozen)) => {
                frozen.applied.iter().filter(|(group, _)| !self.excused.contains(group)).copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Reads and installs that ended since the last call: each wants [`SimStore::tell`] once.
    pub fn take_unseen(&mut self) -> u32 {
        std::mem::take(&mut self.unseen)
    }

    /// Those that the core has not been told.
    pub fn reads_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest of them is told to the core.
    pub fn tell(&mut self) {
        self.told.extend(self.waiting.pop_front());
    }

    fn gather(&mut self) {
        while let Some(mut event) = self.inner.poll_event() {
            if let StoreEvent::SnapshotPart { body, last: false, .. } = &mut event
                && let Some(seed) = self.rot.take()
            {
                let mut dice = Prng::new(seed);
                let at = dice.below(body.len() as u64) as usize;
                body[at] ^= 1 << dice.below(8);
            }
            if let StoreEvent::Installed { group, .. } | StoreEvent::InstallFailed { group, .. } = &event {
                self.installing.retain(|other| other != group);
            }
            self.waiting.push_back(event);
            self.unseen += 1;
        }
    }

    /// A bit of the next part of a snapshot that is read is another one.
    pub fn rot_snapshot(&mut self, seed: u64) {
        self.rot = Some(seed);
    }

    /// Hash of all rows of a group.
    #[must_use]
    pub fn content(&self, group: GroupId) -> u64 {
        let mut hash = Xxh3::new();
        for (key, value) in self.inner.rows(group) {
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(&key);
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(&value);
        }
        hash.digest()
    }

    /// All of it as it is now, in memory.
    #[must_use]
    pub fn warm(&self) -> MemoryStore {
        let mut store = self.inner.clone();
        store.set_cold(false);
        store
    }

    /// Loses all that is not durable.
    pub fn crash(&mut self) {
        self.inner.crash();
        self.flushes.clear();
        self.installing.clear();
        self.waiting.clear();
        self.told.clear();
        (self.asked, self.unseen) = (0, 0);
    }
}

impl Store for SimStore {
    fn get(&self, group: GroupId, key: &[u8]) -> Row<'_> {
        self.inner.get(group, key)
    }

    fn scan(&self, group: GroupId, keys: Range<&[u8]>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        self.inner.scan(group, keys, rows_max, out)
    }

    fn prefetch(&mut self, token: u64, group: GroupId, wants: &[Want]) {
        self.inner.prefetch(token, group, wants);
        self.gather();
    }

    fn release(&mut self, token: u64) {
        self.inner.release(token);
    }

    fn write(&mut self, group: GroupId, batch: &RowBatch, machine: &Machine) {
        self.inner.write(group, batch, machine);
    }

    fn machine(&self, group: GroupId) -> Option<&Machine> {
        self.inner.machine(group)
    }

    fn freeze(&mut self) -> Option<Frozen> {
        self.inner.freeze()
    }

    fn flush(&mut self, frozen: u64) {
        mutate!(MUT_14E, (), self.inner.flush_machines(frozen));
        self.flushes.push_back((frozen, self.installing.clone()));
        self.asked += 1;
    }

    fn pressure(&self) -> Pressure {
        self.inner.pressure()
    }

    fn drop_group(&mut self, group: GroupId) {
        self.inner.drop_group(group);
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.told.pop_front()
    }

    fn snapshot_begin(&mut self, snapshot: u64, group: GroupId) -> Option<Machine> {
        self.inner.snapshot_begin(snapshot, group)
    }

    fn snapshot_read(&mut self, snapshot: u64, part: u32) {
        self.inner.snapshot_read(snapshot, part);
        self.gather();
    }

    fn snapshot_end(&mut self, snapshot: u64) {
        self.inner.snapshot_end(snapshot);
    }

    fn install_begin(&mut self, group: GroupId, machine: Machine) {
        self.installing.push(group);
        self.inner.install_begin(group, machine);
    }

    fn install_part(&mut self, group: GroupId, body: &[u8], last: bool) {
        self.inner.install_part(group, body, last);
        self.gather();
    }
}
