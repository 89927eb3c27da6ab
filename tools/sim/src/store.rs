//! The simulated store: the in-memory twin, whose flushes, reads and installs take time. What was not flushed before a
//! crash is gone, marker included.

use std::collections::VecDeque;
use std::ops::Range;

use base::{GroupId, mutate};
use meta::{Cold, Frozen, Machine, MemoryStore, Pressure, Row, RowBatch, Rows, Store, StoreEvent, Want};

/// The store of one core.
#[derive(Clone, Default)]
pub struct SimStore {
    inner: MemoryStore,
    /// Flushes asked for; the world finishes them in order.
    flushes: VecDeque<u64>,
    /// Flushes asked for and not yet seen by the world.
    asked: u32,
    /// What the store finished and has not told yet; the world says when it does.
    waiting: VecDeque<StoreEvent>,
    /// Of these, so many that the world has not seen.
    unseen: u32,
    told: VecDeque<StoreEvent>,
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
        let Some(frozen) = self.flushes.pop_front() else { return false };
        self.inner.flush(frozen);
        while let Some(event) = self.inner.poll_event() {
            self.told.push_back(event);
        }
        true
    }

    /// Reads and installs that ended since the last call: each wants [`SimStore::tell`] once.
    pub fn take_unseen(&mut self) -> u32 {
        std::mem::take(&mut self.unseen)
    }

    /// The oldest of them is told to the core.
    pub fn tell(&mut self) {
        self.told.extend(self.waiting.pop_front());
    }

    fn gather(&mut self) {
        while let Some(event) = self.inner.poll_event() {
            self.waiting.push_back(event);
            self.unseen += 1;
        }
    }

    /// Loses all that is not durable.
    pub fn crash(&mut self) {
        self.inner.crash();
        self.flushes.clear();
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
        self.flushes.push_back(frozen);
        self.asked += 1;
    }

    fn pressure(&self) -> Pressure {
        self.inner.pressure()
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
        self.inner.install_begin(group, machine);
    }

    fn install_part(&mut self, group: GroupId, body: &[u8], last: bool) {
        self.inner.install_part(group, body, last);
        self.gather();
    }
}
