//! The store: rows as file commits leave them, in its memtable and in its tables.

use base::{LogIndex, Prng, Term};
use meta::{Machine, Row, RowBatch, Rows, Store as _, StoreEvent, Want};

use super::machine_rig::{GROUP, TempStore};
use crate::{Bench, Body, Scale};

/// Rows looked up in an iteration.
const KEYS: usize = 64;
const ROWS: u64 = 10_000;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    let keys = KEYS as u64;
    vec![
        Bench::new("store/get/memtable", |_| get_memtable()).operations(keys).counted(200),
        Bench::new("store/get/table", |_| get_table()).operations(keys),
        Bench::new("store/apply_batch/b=64", |_| apply_batch()).operations(64).state(8192).counted(200),
        Bench::new("store/range/n=1000", |_| range()).operations(1000).counted(50),
        Bench::new("store/checkpoint/rows=1M", checkpoint).operations(1_000_000).state(1),
    ]
}

/// `table u8 | spread number u64 BE | text`, 40 bytes: neighbours in time lie far apart, as files of many people do.
fn key(number: u64) -> Vec<u8> {
    let mut out = vec![0x11];
    out.extend_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    out.extend((out.len()..40).map(|at| b'a' + at as u8 % 23));
    out
}

/// 110 bytes that do not compress.
fn value(number: u64) -> Vec<u8> {
    let mut dice = Prng::new(number);
    let mut out: Vec<u8> = (0..14).flat_map(|_| dice.next_u64().to_le_bytes()).collect();
    out.truncate(110);
    out
}

fn batch(numbers: std::ops::Range<u64>) -> RowBatch {
    let mut rows: Vec<_> = numbers.map(|number| (key(number), Some(value(number)))).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows.into_iter().collect()
}

fn write(store: &mut TempStore, batch: &RowBatch, index: u64) {
    let machine = Machine { applied_index: LogIndex(index), applied_term: Term(1), ..Machine::default() };
    store.write(GROUP, batch, &machine);
}

fn filled(rows: u64) -> TempStore {
    let mut store = TempStore::open();
    for first in (0..rows).step_by(500) {
        write(&mut store, &batch(first..rows.min(first + 500)), first + 1);
    }
    store
}

fn next_event(store: &mut TempStore) -> StoreEvent {
    loop {
        match store.poll_event() {
            Some(event) => return event,
            None => std::thread::yield_now(),
        }
    }
}

fn flush(store: &mut TempStore) -> u64 {
    let frozen = store.freeze().expect("there is something to freeze");
    store.flush(frozen.id);
    match next_event(store) {
        StoreEvent::Flushed(flushed) => flushed.applied[0].1.0,
        other => panic!("a flush ended in {other:?}"),
    }
}

fn found(store: &TempStore, key: &[u8]) -> u64 {
    match store.get(GROUP, key) {
        Row::Hit(value) => u64::from(value[0]),
        other => panic!("a row that was written is {other:?}"),
    }
}

fn get_memtable() -> Body {
    let (store, mut dice) = (filled(ROWS), Prng::new(2));
    let keys: Vec<_> = (0..4096).map(|_| key(dice.below(ROWS))).collect();
    let mut at = 0;
    Box::new(move || {
        at = (at + KEYS) % keys.len();
        keys[at..at + KEYS].iter().map(|key| found(&store, key)).sum()
    })
}

/// Read ahead by the reading thread, then taken.
fn get_table() -> Body {
    let (mut store, mut dice) = (filled(ROWS), Prng::new(2));
    flush(&mut store);
    let mut token = 0;
    Box::new(move || {
        let keys: Vec<_> = (0..KEYS).map(|_| key(dice.below(ROWS))).collect();
        let wants: Vec<_> = keys.iter().cloned().map(Want::Key).collect();
        token += 1;
        store.prefetch(token, GROUP, &wants);
        assert_eq!(next_event(&mut store), StoreEvent::Prefetched { token });
        let sum = keys.iter().map(|key| found(&store, key)).sum();
        store.release(token);
        sum
    })
}

/// 64 new rows, in key order as the machine gives them.
fn apply_batch() -> Body {
    let mut store = filled(ROWS);
    let batches: Vec<RowBatch> = (0..400).map(|at| batch(ROWS + at * 64..ROWS + at * 64 + 64)).collect();
    let mut index = 0;
    Box::new(move || {
        // Later rounds write the same keys again.
        write(&mut store, &batches[index % batches.len()], ROWS + index as u64);
        index += 1;
        store.machine(GROUP).map_or(0, |machine| machine.applied_index.0)
    })
}

fn range() -> Body {
    let (store, mut rows) = (filled(ROWS), Rows::new());
    Box::new(move || {
        rows.clear();
        store.scan(GROUP, &[0x11][..]..&[0x12][..], 1000, &mut rows).expect("the memtable has all");
        rows.len() as u64
    })
}

/// A memtable of a million rows becomes a table; the time of it, not of its filling.
fn checkpoint(scale: Scale) -> Body {
    let mut store = filled(if scale == Scale::Full { 1_000_000 } else { 1000 });
    Box::new(move || flush(&mut store))
}
