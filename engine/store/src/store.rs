//! The store of one core: memtables, rows read ahead, and the threads that work the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use base::limits::{KEY_BYTES_MAX, L0_RUNS_MAX, L0_RUNS_SLOW, STORE_PINS_MAX, VALUE_BYTES_MAX};
use base::{CoreId, GroupId, IdMap};
use crossbeam::channel::{Receiver, bounded};
use meta::{Cold, Frozen, Machine, Pressure, Row, RowBatch, Rows, Store, StoreEvent, Want};

use crate::asked::Asked;
use crate::backup::checkpoint_request;
use crate::compactor::Compactor;
use crate::job::{CompactJob, Done, EVENTS_MAX, Lane, ReadJob, WriteJob};
use crate::keeper;
use crate::key::{GroupLife, Life};
use crate::machine_row::{FLAG_INSTALLED, FLAG_REMOVED, MachineRow};
use crate::memtable::{Leftovers, Memtable};
use crate::merge::Merged;
use crate::pins::Pins;
use crate::range_reads::{Missing, RangeReads};
use crate::reader::Reader;
use crate::row_cache::{Hold, RowCache};
use crate::row_filter::{RowFilters, RowHash, RowHasher};
use crate::settings::{OpenError, OpenSettings, Wake};
use crate::space::Space;
use crate::tree::Tree;
use crate::worker::{Outbox, start};
use crate::writer::Writer;
use damaged::Condemned;
use view::View;

/// `meta`'s [`Store`] on sorted tables: what a core knows of its groups' rows.
///
/// Reads look at the active memtable, the frozen ones, what was read ahead and the tables' filters, and are [`Row::Cold`]
/// otherwise; no call waits for the disk. Dropping it ends its threads and waits for them; what was not flushed is in the log.
/// Source: docs/design/store.md.
pub struct LsmStore {
    core: CoreId,
    memtable_bytes: usize,
    groups: IdMap<GroupId, GroupState>,
    active: Memtable,
    /// Memory of memtables that are gone.
    leftovers: Leftovers,
    /// Oldest first; flushed in this order.
    frozen: VecDeque<FrozenTable>,
    /// Flushed, but a read that began before that may still bring older rows. Oldest first.
    retired: VecDeque<Retired>,
    frozen_next: u64,
    hasher: RowHasher,
    filters: RowFilters,
    /// Of the rows that are written just now.
    hashes: Vec<RowHash>,
    cache: RowCache,
    ranges: RangeReads,
    view: View,
    /// Prefetches that are being read, by number.
    flights: BTreeMap<u64, Flight>,
    flight_next: u64,
    /// What was read for a token and is not released.
    tokens: IdMap<u64, Token>,
    /// Incoming snapshots: their number, and the life they will be.
    installs: HashMap<GroupId, (u64, Life)>,
    install_next: u64,
    /// Open outgoing snapshots and the seqno each reads below.
    snapshots: HashMap<u64, u64>,
    ready: VecDeque<StoreEvent>,
    reader: Lane<ReadJob>,
    writer: Lane<WriteJob>,
    compactor: Lane<CompactJob>,
    events: Option<Receiver<Done>>,
    pins: Arc<Pins>,
    l0_runs: Arc<AtomicUsize>,
    space: Arc<Space>,
    /// Parts of incoming snapshots that the writing thread has not taken yet.
    parts_waiting: Arc<AtomicUsize>,
    /// Tables that were found damaged, by number.
    damaged: BTreeMap<u64, Condemned>,
    /// A checkpoint that is asked for from outside, and the memtable whose flush ends it.
    asked: Arc<Asked>,
    asked_flush: Option<u64>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    wake: Wake,
    #[cfg(test)]
    tree: Arc<Tree>,
}

/// What the core knows of a group without looking at its rows.
#[derive(Default)]
struct GroupState {
    machine: Machine,
    flags: u8,
    /// 0: the group has no state here.
    life: Life,
    /// Invariant: `life <= life_high`.
    life_high: Life,
    /// The highest life begun when the group was dropped; what a thread still brings of it is late.
    gone: Life,
    /// It was dropped, and no flush has made that durable yet.
    drop_pending: bool,
    /// The tables may have rows of this life that no memtable has. Otherwise memory answers everything.
    in_tables: bool,
}

struct FrozenTable {
    id: u64,
    table: Arc<Memtable>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// For the log to persist what it holds.
    Waits,
    /// It may be flushed, but an older one has to go first.
    Allowed,
    Submitted,
}

struct Retired {
    table: Arc<Memtable>,
    /// It may go when every prefetch numbered below this is done.
    barrier: u64,
}

struct Flight {
    token: u64,
    group: GroupLife,
    is_released: bool,
}

#[derive(Default)]
struct Token {
    holds: Vec<Hold>,
    /// Lives it has ranges in; a token may be used again after a life ended.
    lives: Vec<GroupLife>,
}

impl LsmStore {
    /// Opens or makes the store of a core and starts its threads. It waits for the disk: for boot only.
    ///
    /// The state found is the one at [`LsmStore::machines`]: a prefix of each group's log.
    /// Errors: [`OpenError`]; a store that is corrupt is not opened in part.
    pub fn open(settings: OpenSettings) -> Result<LsmStore, OpenError> {
        let stopping = Arc::new(AtomicBool::new(false));
        let l0_runs = Arc::new(AtomicUsize::new(0));
        let (tree, machines) = Tree::open(&settings, stopping.clone())?;
        let tree = Arc::new(tree);
        l0_runs.store(tree.l0_runs(), Ordering::Relaxed);
        let (sender, events) = bounded(EVENTS_MAX);
        let outbox = Outbox::new(sender, settings.wake.clone());
        let space = Arc::new(Space::new(settings.space.clone(), settings.space_reserve_bytes, settings.wake.clone()));
        let (reader, reader_jobs) = Lane::new();
        let (writer, writer_jobs) = Lane::new();
        let (mut compactor, compactor_jobs) = Lane::new();
        let parts_waiting = Arc::new(AtomicUsize::new(0));
        let leftovers = Leftovers::new(settings.memtable_bytes);
        let (hasher, filters) = (RowHasher::new(), RowFilters::new(settings.memtable_bytes));
        let reading = Reader::new(tree.clone(), outbox.clone(), settings.reader_cache_bytes());
        let writing = Writer {
            tree: tree.clone(),
            outbox: outbox.clone(),
            compactor: compactor.sender(),
            l0_runs: l0_runs.clone(),
            lives: machines.iter().map(|(group, row)| (*group, row.life)).collect(),
            chunk_bytes: settings.memtable_bytes,
            installs: HashMap::new(),
            space: space.clone(),
            parts_waiting: parts_waiting.clone(),
        };
        let compacting = Compactor {
            tree: tree.clone(),
            l0_runs: l0_runs.clone(),
            stopping: stopping.clone(),
            space: space.clone(),
            outbox: outbox.clone(),
            bad: BTreeSet::new(),
        };
        for (group, row) in machines.iter().filter(|(_, row)| row.life > 1 || row.is_removed()) {
            compactor.push(CompactJob::DropLivesBefore { group: *group, life: first_live(row) });
        }
        let asked = Arc::new(Asked::new(checkpoint_request(&settings.tree_dir()), settings.wake.clone()));
        let mut store = LsmStore {
            core: settings.core,
            memtable_bytes: settings.memtable_bytes,
            groups: machines.into_iter().map(|(group, row)| (group, GroupState::from_tables(row))).collect(),
            active: Memtable::new(&leftovers, filters.newest()),
            leftovers,
            frozen: VecDeque::new(),
            retired: VecDeque::new(),
            frozen_next: 1,
            hasher,
            filters,
            hashes: Vec::new(),
            cache: RowCache::new(settings.cache_bytes, hasher),
            ranges: RangeReads::default(),
            view: View::new(tree.shown()),
            flights: BTreeMap::new(),
            flight_next: 1,
            tokens: IdMap::default(),
            installs: HashMap::new(),
            install_next: 1,
            snapshots: HashMap::new(),
            ready: VecDeque::new(),
            reader,
            writer,
            compactor,
            events: Some(events),
            pins: tree.pins.clone(),
            l0_runs,
            space: space.clone(),
            parts_waiting,
            damaged: BTreeMap::new(),
            asked: asked.clone(),
            asked_flush: None,
            stopping: stopping.clone(),
            threads: Vec::new(),
            wake: settings.wake.clone(),
            #[cfg(test)]
            tree: tree.clone(),
        };
        // Started one by one, so that dropping the store joins those that run when a later one does not start.
        store.threads.push(start(reading, &settings, reader_jobs, outbox.clone(), stopping.clone())?);
        store.threads.push(start(writing, &settings, writer_jobs, outbox.clone(), stopping.clone())?);
        store.threads.push(start(compacting, &settings, compactor_jobs, outbox.clone(), stopping)?);
        store.threads.push(keeper::start(tree, space, &settings, outbox, asked)?);
        Ok(store)
    }

    /// Ends the threads and waits for them. Rows that were not flushed come back from the log.
    pub fn close(self) {
        drop(self);
    }

    /// The groups that have state here, each with its machine row, by group.
    pub fn machines(&self) -> impl Iterator<Item = (GroupId, &Machine)> {
        let with_state = self.groups.iter().filter(|(_, state)| state.life != 0);
        let mut groups: Vec<_> = with_state.map(|(group, state)| (*group, &state.machine)).collect();
        groups.sort_by_key(|(group, _)| *group);
        groups.into_iter()
    }

    /// The group's state came from a snapshot and no batch was written since: at boot, its log may not know yet.
    #[must_use]
    pub fn is_install_pending(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|state| state.life != 0 && state.flags & FLAG_INSTALLED != 0)
    }

    /// Writes that met a full disk and were undone, since the store was opened; each is tried again.
    #[must_use]
    pub fn writes_refused(&self) -> u64 {
        self.space.refused()
    }

    /// Whose store this is.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core
    }

    fn say(&mut self, event: StoreEvent) {
        self.ready.push_back(event);
        (self.wake)();
    }

    fn handle(&mut self, done: Done) {
        // The tables that this made are seen before a memtable goes whose rows they took.
        self.refresh_view();
        match done {
            Done::Prefetched { seq, keys, ranges } => self.handle_prefetched(seq, keys, ranges),
            Done::Flushed { id } => self.handle_flushed(id),
            Done::SnapshotPart { snapshot, part, body, last } => {
                if self.snapshots.contains_key(&snapshot) {
                    self.ready.push_back(StoreEvent::SnapshotPart { snapshot, part, body, last });
                }
            }
            Done::Installed { group, life, machine } => self.handle_installed(group, life, *machine),
            Done::InstallFailed { group, install, reason } => {
                if self.installs.get(&group).is_some_and(|open| open.0 == install) {
                    self.installs.remove(&group);
                    self.ready.push_back(StoreEvent::InstallFailed { group, reason });
                }
            }
            Done::Damaged(damage) => self.handle_damaged(&damage),
            Done::Condemned { table, groups } => self.handle_condemned(table, &groups),
            Done::Failed { reason } => self.ready.push_back(StoreEvent::Failed { reason }),
        }
    }

    fn handle_installed(&mut self, group: GroupId, life: Life, machine: Machine) {
        if self.installs.get(&group).is_some_and(|open| open.1 == life) {
            self.installs.remove(&group);
        }
        let state = self.groups.entry(group).or_default();
        if life < state.life || life <= state.gone {
            // It was dropped, or the group began a state of its own meanwhile; its next flush is the newer one.
            return;
        }
        let old = (group, state.life);
        state.drop_pending = false;
        state.life = life;
        state.life_high = state.life_high.max(life);
        state.flags = FLAG_INSTALLED;
        state.in_tables = true;
        state.machine = machine.clone();
        self.active.forget(group);
        self.cache.forget(old);
        self.ranges.forget(old);
        // Snapshots that begin from now on read the new life, so the old ones may go.
        self.compactor.push(CompactJob::DropLivesBefore { group, life });
        self.ready.push_back(StoreEvent::Installed { group, machine });
    }

    fn refresh_view(&mut self) {
        if let Some(old) = self.view.refresh() {
            self.reader.push(ReadJob::Forget(old));
            self.forget_filters();
        }
    }

    /// 0 when the group has no state.
    fn life(&self, group: GroupId) -> Life {
        self.groups.get(&group).map_or(0, |state| state.life)
    }
}

impl Store for LsmStore {
    fn get(&self, group: GroupId, key: &[u8]) -> Row<'_> {
        let Some(state) = self.groups.get(&group).filter(|state| state.life != 0) else { return Row::Absent };
        let id = (group, state.life);
        let hash = self.hasher.hash(id, key);
        // What was read ahead is as new as the newest memtable.
        let cached = if state.in_tables { self.cache.get(id, key, hash) } else { None };
        let told = self.filters.ask(hash);
        let in_memory = || {
            let tables = newest_first(&self.active, &self.frozen, &self.retired);
            tables.filter(|table| told.may_have(table.filter())).find_map(|table| table.get(id, key))
        };
        let in_range = || if state.in_tables { self.ranges.get(id, key) } else { None };
        match cached.or_else(in_memory).or_else(in_range) {
            Some(Some(value)) => Row::Hit(value),
            Some(None) => Row::Absent,
            None if state.in_tables && self.view.may_have(id, key, told) => Row::Cold,
            None => Row::Absent,
        }
    }

    fn scan(&self, group: GroupId, keys: Range<&[u8]>, rows_max: u32, out: &mut Rows) -> Result<(), Cold> {
        let Some(state) = self.groups.get(&group).filter(|state| state.life != 0) else { return Ok(()) };
        let id = (group, state.life);
        if keys.start >= keys.end || rows_max == 0 {
            return Ok(());
        }
        if !state.in_tables {
            let tables = newest_first(&self.active, &self.frozen, &self.retired);
            let layers = tables.map(|table| table.range(id, keys.start, Some(keys.end))).collect();
            let rows = Merged::new(layers).live().take(rows_max as usize);
            out.extend(rows.map(|(key, value)| (key.to_vec(), value.to_vec())));
            return Ok(());
        }
        if self.ranges.scan(id, keys.start, keys.end, rows_max, out) { Ok(()) } else { Err(Cold) }
    }

    fn prefetch(&mut self, token: u64, group: GroupId, wants: &[Want]) {
        let seq = self.flight_next;
        self.flight_next += 1;
        let (mut keys, mut ranges) = (Vec::new(), Vec::new());
        let state = self.groups.get(&group).filter(|state| state.in_tables);
        let life = state.map_or(0, |state| state.life);
        let id = (group, life);
        for (want, at) in wants.iter().zip(0u32..).take_while(|_| state.is_some()) {
            match want {
                Want::Key(key) => {
                    if let Some(hold) = self.cache.hold(id, key) {
                        self.tokens.entry(token).or_default().holds.push(hold);
                        continue;
                    }
                    let mut tables = newest_first(&self.active, &self.frozen, &self.retired);
                    let is_known = tables.any(|table| table.get(id, key).is_some());
                    if !is_known && self.ranges.get(id, key).is_none() {
                        keys.push(key.clone());
                    }
                }
                Want::Range { keys, rows_max } if keys.start < keys.end && *rows_max > 0 => {
                    let want = || Missing { start: keys.start.clone(), end: keys.end.clone(), rows_max: *rows_max };
                    self.ranges.open(id, (seq, at), token, want());
                    self.tokens.entry(token).or_default().lives.push(id);
                    ranges.push((at, want()));
                }
                Want::Range { .. } => {}
            }
        }
        if keys.is_empty() && ranges.is_empty() {
            return self.say(StoreEvent::Prefetched { token });
        }
        self.flights.insert(seq, Flight { token, group: id, is_released: false });
        self.reader.push(ReadJob::Prefetch { seq, group, life, keys, ranges });
    }

    fn release(&mut self, token: u64) {
        let Token { holds, mut lives } = self.tokens.remove(&token).unwrap_or_default();
        for hold in holds {
            self.cache.unhold(hold);
        }
        self.cache.evict();
        lives.dedup();
        for life in lives {
            self.ranges.release(life, token);
        }
        for flight in self.flights.values_mut().filter(|flight| flight.token == token) {
            flight.is_released = true;
        }
    }

    fn write(&mut self, group: GroupId, batch: &RowBatch, machine: &Machine) {
        let state = self.groups.entry(group).or_default();
        if state.life == 0 {
            // Installs leave the last number to this case.
            state.life_high = state.life_high.checked_add(1).expect("installs never take the last life of a group");
            state.life = state.life_high;
            if self.installs.remove(&group).is_some() {
                let reason = "the group began a state of its own meanwhile".to_owned();
                self.ready.push_back(StoreEvent::InstallFailed { group, reason });
            }
        }
        state.flags = 0;
        state.machine = machine.clone();
        let (life, in_tables) = (state.life, state.in_tables);
        let id = (group, life);
        let row = MachineRow { flags: 0, life, life_high: state.life_high, machine: machine.clone() };
        let LsmStore { active, frozen, retired, cache, ranges, hasher, filters, hashes, .. } = self;
        let (is_cached, is_ranged) = (cache.has(id), ranges.has(id));
        hashes.clear();
        hashes.extend(batch.iter().map(|(key, _)| hasher.hash(id, key)));
        // One behind the other, so that the waits for their memory overlap.
        hashes.iter().for_each(|hash| filters.insert(*hash));
        let mut rows = active.life_mut(id);
        for (number, (key, value)) in batch.iter().enumerate() {
            rows.come_to(batch.from(number).map(|(key, _)| key));
            let value_bytes = value.map_or(0, <[u8]>::len);
            assert!(key.len() <= KEY_BYTES_MAX, "group {group}: a key of {} bytes", key.len());
            assert!(value_bytes <= VALUE_BYTES_MAX, "group {group}: a value of {value_bytes} bytes");
            let hash = hashes[number];
            // What was read ahead is as new as the newest memtable, so the older ones need not be asked. `false` costs a
            // tombstone, no more.
            let absent_below = || {
                if in_tables {
                    let cached = if is_cached { cache.get(id, key, hash) } else { None };
                    let known = cached.or_else(|| if is_ranged { ranges.get(id, key) } else { None });
                    return known.is_some_and(|value| value.is_none());
                }
                let below = frozen.iter().rev().map(|frozen| &frozen.table);
                let mut below = below.chain(retired.iter().rev().map(|retired| &retired.table));
                below.find_map(|table| table.get(id, key)).is_none_or(|value| value.is_none())
            };
            match value {
                Some(value) => rows.put(key, value, absent_below),
                None => rows.delete(key, absent_below),
            }
            if is_cached {
                cache.update(id, key, hash, value);
            }
            if is_ranged {
                ranges.update(id, key, value);
            }
        }
        active.set_machine(group, row);
    }

    fn machine(&self, group: GroupId) -> Option<&Machine> {
        self.groups.get(&group).filter(|state| state.life != 0).map(|state| &state.machine)
    }

    fn freeze(&mut self) -> Option<Frozen> {
        if self.active.is_empty() || self.frozen.len() >= FROZEN_MAX || self.retired.len() >= FROZEN_MAX {
            return None;
        }
        let id = self.frozen_next;
        self.frozen_next += 1;
        let next = Memtable::new(&self.leftovers, self.filters.next_memtable());
        let table = Arc::new(std::mem::replace(&mut self.active, next));
        let applied = table.applied();
        if self.asked.is_wanted() {
            self.asked_flush.get_or_insert(id);
        }
        self.frozen.push_back(FrozenTable { id, table, progress: Progress::Waits });
        Some(Frozen { id, applied })
    }

    fn flush(&mut self, frozen: u64) {
        for table in self.frozen.iter_mut().filter(|table| table.id == frozen && table.progress == Progress::Waits) {
            table.progress = Progress::Allowed;
        }
        self.submit_flushes();
    }

    fn pressure(&self) -> Pressure {
        let is_full = self.is_full();
        let runs = self.l0_runs.load(Ordering::Relaxed);
        if (is_full && self.frozen.len() >= FROZEN_MAX) || runs >= L0_RUNS_MAX {
            Pressure::Full
        } else if runs >= L0_RUNS_SLOW {
            Pressure::Slow
        } else if is_full {
            Pressure::Freeze
        } else {
            Pressure::None
        }
    }

    fn wants_freeze(&self) -> bool {
        self.is_full() || self.asked.is_wanted() && self.asked_flush.is_none() && !self.active.is_empty()
    }

    fn has_room(&self) -> bool {
        !self.space.is_low()
    }

    fn parts_waiting(&self) -> usize {
        self.parts_waiting.load(Ordering::Relaxed)
    }

    fn drop_group(&mut self, group: GroupId) {
        self.installs.remove(&group);
        let Some(state) =
            self.groups.get_mut(&group).filter(|state| state.life_high != 0 && state.life_high > state.gone)
        else {
            return;
        };
        let old = (group, state.life);
        let row = MachineRow {
            flags: FLAG_REMOVED,
            // Above a snapshot that may just become its state on the writing thread.
            life: state.life_high,
            life_high: state.life_high,
            machine: std::mem::take(&mut state.machine),
        };
        (state.life, state.flags, state.in_tables) = (0, FLAG_REMOVED, false);
        (state.gone, state.drop_pending) = (state.life_high, true);
        self.active.forget(group);
        self.active.set_machine(group, row);
        self.cache.forget(old);
        self.ranges.forget(old);
        self.condemn_tables();
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.look_asked();
        self.refresh_view();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let done = self.events.as_ref()?.try_recv().ok();
            // An event is room in a queue.
            self.reader.pump();
            self.writer.pump();
            self.compactor.pump();
            self.handle(done?);
        }
    }

    fn snapshot_begin(&mut self, snapshot: u64, group: GroupId) -> Option<Machine> {
        let life = self.life(group);
        if life == 0 || self.snapshots.len() >= STORE_PINS_MAX || self.snapshots.contains_key(&snapshot) {
            return None;
        }
        // What the memtables have now lies over the tables as registered now: rows flushed later carry numbers from
        // `seqno` on, and are not seen.
        let mut memtables = vec![Arc::new(self.active.copy_life((group, life)))];
        memtables.extend(self.frozen.iter().rev().map(|frozen| frozen.table.clone()));
        let seqno = self.pins.open();
        self.snapshots.insert(snapshot, seqno);
        self.reader.push(ReadJob::SnapshotBegin { snapshot, group, life, seqno, memtables });
        self.machine(group).cloned()
    }

    fn snapshot_read(&mut self, snapshot: u64, part: u32) {
        if self.snapshots.contains_key(&snapshot) {
            self.reader.push(ReadJob::SnapshotRead { snapshot, part });
        }
    }

    fn snapshot_end(&mut self, snapshot: u64) {
        if let Some(seqno) = self.snapshots.remove(&snapshot) {
            self.pins.close(seqno);
            self.reader.push(ReadJob::SnapshotEnd { snapshot });
        }
    }

    fn install_begin(&mut self, group: GroupId, machine: Machine) {
        let state = self.groups.entry(group).or_default();
        let install = self.install_next;
        self.install_next += 1;
        if state.life_high >= Life::MAX - 1 {
            let reason = "the group has used up its lives here; replace this node's data".to_owned();
            self.installs.remove(&group);
            return self.say(StoreEvent::InstallFailed { group, reason });
        }
        state.life_high += 1;
        let life = state.life_high;
        self.installs.insert(group, (install, life));
        self.writer.push(WriteJob::InstallBegin { group, install, life, machine: Box::new(machine) });
    }

    fn install_part(&mut self, group: GroupId, body: &[u8], last: bool) {
        if let Some(&(install, _)) = self.installs.get(&group) {
            self.parts_waiting.fetch_add(1, Ordering::Relaxed);
            self.writer.push(WriteJob::InstallPart { group, install, body: body.to_vec(), last });
        }
    }
}

impl Drop for LsmStore {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.space.end();
        self.reader.close();
        self.writer.close();
        self.compactor.close();
        // A thread that waits for room among the events sees that nobody listens.
        self.events = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so in its event.
            let _ = thread.join();
        }
    }
}

impl GroupState {
    fn from_tables(row: MachineRow) -> GroupState {
        if row.is_removed() {
            return GroupState { flags: row.flags, life_high: row.life_high, ..GroupState::default() };
        }
        let MachineRow { flags, life, life_high, machine } = row;
        GroupState { machine, flags, life, life_high, in_tables: true, ..GroupState::default() }
    }
}

/// The oldest life whose rows still count.
fn first_live(row: &MachineRow) -> Life {
    if row.is_removed() { row.life_high.saturating_add(1) } else { row.life }
}

/// Memtables that wait to be flushed.
const FROZEN_MAX: usize = 2;

fn newest_first<'a>(
    active: &'a Memtable,
    frozen: &'a VecDeque<FrozenTable>,
    retired: &'a VecDeque<Retired>,
) -> impl Iterator<Item = &'a Memtable> {
    let frozen = frozen.iter().rev().map(|frozen| &*frozen.table);
    std::iter::once(active).chain(frozen).chain(retired.iter().rev().map(|retired| &*retired.table))
}

mod damaged;
mod flushes;
mod prefetches;
mod pressure;
#[cfg(test)]
mod tests;
mod view;
