//! A [`Store`] in memory, for tests and the simulator: the same layers as the real one (active, frozen, durable), so it
//! can be cold, can be crashed, and sends snapshots.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};

use base::limits::SNAPSHOT_PART_BYTES_MAX;
use base::{GroupId, LogIndex, mutate};
use xxhash_rust::xxh3::Xxh3;

use crate::batch::{Change, RowBatch};
use crate::codec::{Put, Reader, len32};
use crate::store::{Cold, Frozen, Machine, Pressure, Row, Rows, Store, StoreEvent, Want};

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// What was written between two freezes.
#[derive(Clone, Debug, Default)]
struct Layer {
    id: u64,
    rows: BTreeMap<GroupId, Changes>,
    machines: BTreeMap<GroupId, Machine>,
}

fn owned((key, value): Change<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), value.map(<[u8]>::to_vec))
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
struct Durable {
    rows: BTreeMap<GroupId, Values>,
    machines: BTreeMap<GroupId, Machine>,
}

#[derive(Clone)]
struct Install {
    machine: Machine,
    rows: Values,
    hash: Xxh3,
    parts: u32,
}

/// The in-memory twin of the store. Events come at once, through [`Store::poll_event`].
#[derive(Clone, Default)]
pub struct MemoryStore {
    active: Layer,
    frozen: Vec<Layer>,
    durable: Durable,
    machines: BTreeMap<GroupId, Machine>,
    is_cold: bool,
    is_out_of_room: bool,
    pressure: Option<Pressure>,
    parts_waiting: usize,
    prefetched: BTreeMap<u64, (GroupId, Vec<Want>)>,
    events: VecDeque<StoreEvent>,
    snapshots: BTreeMap<u64, Vec<Vec<u8>>>,
    installs: BTreeMap<GroupId, Install>,
    next_frozen: u64,
    prefetches: u64,
    /// MUT_14C: the batch written last, and its group's machine row before.
    #[cfg(mutations)]
    last_batch: Option<(GroupId, RowBatch, Option<Machine>)>,
}

impl MemoryStore {
    /// An empty one, all of it in memory.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// From now on durable rows are `Cold` until prefetched (or no longer so). Rows not flushed yet are always warm.
    pub fn set_cold(&mut self, is_cold: bool) {
        self.is_cold = is_cold;
    }

    /// From now on the disk has room, or none.
    pub fn set_room(&mut self, has_room: bool) {
        self.is_out_of_room = !has_room;
    }

    /// From now on it is so full.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        self.pressure = Some(pressure);
    }

    /// From now on so many parts of incoming snapshots are said to wait.
    pub fn set_parts_waiting(&mut self, parts: usize) {
        self.parts_waiting = parts;
    }

    /// From now on rows of a group are damaged, so the next event says.
    pub fn damage(&mut self, group: GroupId) {
        self.events.push_back(StoreEvent::Damaged { group, reason: "a test says so".to_owned() });
    }

    /// How often [`Store::prefetch`] was called.
    #[must_use]
    pub fn prefetches(&self) -> u64 {
        self.prefetches
    }

    /// Makes all rows durable at once: freeze and flush of everything.
    pub fn checkpoint(&mut self) {
        while let Some(id) = self.frozen.first().map(|layer| layer.id) {
            self.flush(id);
        }
        if let Some(frozen) = self.freeze() {
            self.flush(frozen.id);
        }
    }

    /// Loses all that was not flushed, as a crash does.
    pub fn crash(&mut self) {
        let next_frozen = self.next_frozen;
        let durable = std::mem::take(&mut self.durable);
        let machines = durable.machines.clone();
        *self = MemoryStore { durable, machines, is_cold: self.is_cold, next_frozen, ..MemoryStore::default() };
    }

    /// All rows of a group, in key order, wherever they are.
    #[must_use]
    pub fn rows(&self, group: GroupId) -> Rows {
        self.merged(group, Bound::Unbounded, Bound::Unbounded)
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    /// MUT_14C: half of the last batch, with its machine row, goes into the next memtable.
    #[cfg(mutations)]
    fn cut_last_batch(&mut self, frozen: &mut Layer) {
        let Some((group, batch, before)) = self.last_batch.take() else { return };
        let Some(rows) = frozen.rows.get_mut(&group) else { return };
        let later = || batch.from(batch.len() / 2);
        later().for_each(|(key, _)| drop(rows.remove(key)));
        self.active.rows.entry(group).or_default().extend(later().map(owned));
        self.active.machines.extend(frozen.machines.remove(&group).map(|machine| (group, machine)));
        frozen.machines.extend(before.map(|machine| (group, machine)));
    }

    /// MUT_14E: the machine rows of a memtable are durable before its other rows.
    #[cfg(mutations)]
    pub fn flush_machines(&mut self, frozen: u64) {
        let layer = self.frozen.iter().find(|layer| layer.id == frozen);
        self.durable.machines.extend(layer.map(|layer| layer.machines.clone()).unwrap_or_default());
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev())
    }

    fn merged(&self, group: GroupId, from: Bound<&[u8]>, to: Bound<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut merged: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        if let Some(rows) = self.durable.rows.get(&group) {
            merged.extend(rows.range::<[u8], _>((from, to)).map(|(key, value)| (&key[..], Some(&value[..]))));
        }
        for layer in self.frozen.iter().chain(std::iter::once(&self.active)) {
            if let Some(rows) = layer.rows.get(&group) {
                merged.extend(rows.range::<[u8], _>((from, to)).map(|(key, value)| (&key[..], value.as_deref())));
            }
        }
        merged.into_iter().filter_map(|(key, value)| value.map(|value| (key, value)))
    }

    fn is_key_warm(&self, group: GroupId, key: &[u8]) -> bool {
        !self.is_cold
            || self.prefetched.values().filter(|(of, _)| *of == group).flat_map(|(_, wants)| wants).any(|want| {
                match want {
                    Want::Key(wanted) => wanted == key,
                    Want::Range { .. } => false,
                }
            })
    }

    fn is_range_warm(&self, group: GroupId, keys: &Range<&[u8]>, rows_max: u32) -> bool {
        !self.is_cold
            || self.prefetched.values().filter(|(of, _)| *of == group).flat_map(|(_, wants)| wants).any(|want| {
                match want {
                    Want::Key(_) => false,
                    Want::Range { keys: wanted, rows_max: wanted_max } => {
                        let (from, to) = (Bound::Included(&wanted.start[..]), Bound::Excluded(&wanted.end[..]));
                        // A range that has no more rows than were asked for is known to its end.
                        let is_whole = || self.merged(group, from, to).count() < *wanted_max as usize;
                        let is_inside = wanted.start == keys.start && keys.end <= &wanted.end[..];
                        is_inside && (rows_max <= *wanted_max || is_whole())
                    }
                }
            })
    }

    fn snapshot_parts(&self, group: GroupId) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut hash = Xxh3::new();
        let mut body = vec![0; 8];
        let mut rows = 0u32;
        let mut close = |body: &mut Vec<u8>, rows: &mut u32| {
            base::bytes::put_u32(body, 0, *rows);
            hash.update(body);
            parts.push(std::mem::replace(body, vec![0; 8]));
            *rows = 0;
        };
        for (key, value) in self.merged(group, Bound::Unbounded, Bound::Unbounded) {
            if mutate!(MUT_18A, false, key.first() == Some(&crate::keys::table::OUTCOME)) {
                continue;
            }
            if body.len() + 8 + key.len() + value.len() > SNAPSHOT_PART_BYTES_MAX {
                close(&mut body, &mut rows);
            }
            body.u16(crate::codec::len16(key.len()));
            body.zero(2);
            body.u32(len32(value.len()));
            body.bytes(key);
            body.bytes(value);
            rows += 1;
        }
        close(&mut body, &mut rows);
        let mut last = Vec::new();
        last.u32(len32(parts.len()));
        last.zero(4);
        last.bytes(&hash.digest128().to_le_bytes());
        parts.push(last);
        parts
    }

    fn take_part(install: &mut Install, body: &[u8]) -> Result<(), String> {
        let broken = |_| "a part is broken".to_owned();
        let mut reader = Reader::new(body);
        let rows = reader.u32().map_err(broken)?;
        reader.zero(4).map_err(broken)?;
        for _ in 0..rows {
            let key_bytes = reader.u16().map_err(broken)? as usize;
            reader.zero(2).map_err(broken)?;
            let value_bytes = reader.u32().map_err(broken)? as usize;
            let key = reader.take(key_bytes).map_err(broken)?.to_vec();
            install.rows.insert(key, reader.take(value_bytes).map_err(broken)?.to_vec());
        }
        install.hash.update(body);
        install.parts += 1;
        reader.end().map_err(broken)
    }

    fn check_last(install: &Install, body: &[u8]) -> Result<(), String> {
        let mut wanted = Vec::new();
        wanted.u32(install.parts);
        wanted.zero(4);
        wanted.bytes(&install.hash.digest128().to_le_bytes());
        if mutate!(MUT_13B, wanted == body, true) {
            Ok(())
        } else {
            Err("the hash of the parts is another one".to_owned())
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, group: GroupId, key: &[u8]) -> Row<'_> {
        for layer in self.layers() {
            if let Some(value) = layer.rows.get(&group).and_then(|rows| rows.get(key)) {
                return value.as_ref().map_or(Row::Absent, |value| Row::Hit(value));
            }
        }
        if !self.is_key_warm(group, key) {
            return Row::Cold;
        }
        self.durable.rows.get(&group).and_then(|rows| rows.get(key)).map_or(Row::Absent, |value| Row::Hit(value))
    }

    fn scan(&self, group: GroupId, keys: Range<&[u8]>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        if keys.start >= keys.end {
            return Ok(());
        }
        if !self.is_range_warm(group, &keys, rows_max) {
            return Err(Cold);
        }
        let rows = self.merged(group, Bound::Included(keys.start), Bound::Excluded(keys.end));
        out.extend(rows.take(rows_max as usize).map(|(key, value)| (key.to_vec(), value.to_vec())));
        Ok(())
    }

    fn prefetch(&mut self, token: u64, group: GroupId, wants: &[Want]) {
        self.prefetches += 1;
        self.prefetched.insert(token, (group, wants.to_vec()));
        self.events.push_back(StoreEvent::Prefetched { token });
    }

    fn release(&mut self, token: u64) {
        self.prefetched.remove(&token);
    }

    fn write(&mut self, group: GroupId, batch: &RowBatch, machine: &Machine) {
        assert!(batch.iter().is_sorted_by(|a, b| a.0 < b.0), "a batch is sorted and names a key once");
        mutate!(MUT_14C, (), self.last_batch = Some((group, batch.clone(), self.machines.get(&group).cloned())));
        self.active.rows.entry(group).or_default().extend(batch.iter().map(owned));
        self.active.machines.insert(group, machine.clone());
        self.machines.insert(group, machine.clone());
    }

    fn machine(&self, group: GroupId) -> Option<&Machine> {
        self.machines.get(&group)
    }

    fn freeze(&mut self) -> Option<Frozen> {
        if self.active.machines.is_empty() || self.frozen.len() >= 2 {
            return None;
        }
        self.next_frozen += 1;
        let mut layer = std::mem::take(&mut self.active);
        layer.id = self.next_frozen;
        mutate!(MUT_14C, (), self.cut_last_batch(&mut layer));
        let applied = layer.machines.iter().map(|(group, machine)| (*group, machine.applied_index)).collect();
        let frozen = Frozen { id: layer.id, applied };
        self.frozen.push(layer);
        Some(frozen)
    }

    fn flush(&mut self, frozen: u64) {
        let Some(at) = self.frozen.iter().position(|layer| layer.id == frozen) else { return };
        assert!(at == 0, "memtables are flushed in the order in which they were frozen");
        let layer = self.frozen.remove(at);
        let applied: Vec<(GroupId, LogIndex)> =
            layer.machines.iter().map(|(group, machine)| (*group, machine.applied_index)).collect();
        for (group, changes) in layer.rows {
            let rows = self.durable.rows.entry(group).or_default();
            for (key, value) in changes {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
        self.durable.machines.extend(mutate!(MUT_14A, layer.machines, self.machines.clone()));
        self.events.push_back(StoreEvent::Flushed(Frozen { id: frozen, applied }));
    }

    fn pressure(&self) -> Pressure {
        self.pressure.unwrap_or(Pressure::None)
    }

    fn wants_freeze(&self) -> bool {
        self.pressure == Some(Pressure::Freeze)
    }

    fn has_room(&self) -> bool {
        !self.is_out_of_room
    }

    fn parts_waiting(&self) -> usize {
        self.parts_waiting
    }

    fn drop_group(&mut self, group: GroupId) {
        self.machines.remove(&group);
        self.installs.remove(&group);
        for layer in self.frozen.iter_mut().chain(std::iter::once(&mut self.active)) {
            layer.rows.remove(&group);
            layer.machines.remove(&group);
        }
        self.durable.rows.remove(&group);
        self.durable.machines.remove(&group);
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.events.pop_front()
    }

    fn snapshot_begin(&mut self, snapshot: u64, group: GroupId) -> Option<Machine> {
        let machine = self.machines.get(&group)?.clone();
        let parts = self.snapshot_parts(group);
        self.snapshots.insert(snapshot, parts);
        Some(machine)
    }

    fn snapshot_read(&mut self, snapshot: u64, part: u32) {
        let Some(parts) = self.snapshots.get(&snapshot) else { return };
        let Some(body) = parts.get(part as usize) else { return };
        let last = part as usize + 1 == parts.len();
        self.events.push_back(StoreEvent::SnapshotPart { snapshot, part, body: body.clone(), last });
    }

    fn snapshot_end(&mut self, snapshot: u64) {
        self.snapshots.remove(&snapshot);
    }

    fn install_begin(&mut self, group: GroupId, machine: Machine) {
        let install = Install { machine, rows: Values::new(), hash: Xxh3::new(), parts: 0 };
        self.installs.insert(group, install);
    }

    fn install_part(&mut self, group: GroupId, body: &[u8], last: bool) {
        let Some(install) = self.installs.get_mut(&group) else { return };
        let taken = if last { Self::check_last(install, body) } else { Self::take_part(install, body) };
        if let Err(reason) = taken {
            self.installs.remove(&group);
            return self.events.push_back(StoreEvent::InstallFailed { group, reason });
        }
        if !last {
            return;
        }
        let install = self.installs.remove(&group).expect("it was just taken into");
        for layer in self.frozen.iter_mut().chain(std::iter::once(&mut self.active)) {
            layer.rows.remove(&group);
            layer.machines.remove(&group);
        }
        mutate!(
            MUT_21A,
            {
                self.durable.rows.insert(group, install.rows);
            },
            self.durable.rows.entry(group).or_default().extend(install.rows)
        );
        self.durable.machines.insert(group, install.machine.clone());
        self.machines.insert(group, install.machine.clone());
        self.events.push_back(StoreEvent::Installed { group, machine: install.machine });
    }
}
