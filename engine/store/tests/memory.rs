//! A state of ten times the memory that the store is given: everything is written, read and deleted right, and the process
//! does not grow with the state. The only test of its file, since it measures its process.
#![cfg(target_os = "linux")]

mod harness;

use base::{GroupId, Prng};
use harness::Bench;
use meta::{Pressure, Row, RowBatch, Store, StoreEvent, Want};

const GROUP: GroupId = GroupId(3);
const MEMTABLE_BYTES: usize = 512 << 10;
const CACHE_BYTES: usize = 512 << 10;
const BLOCK_CACHE_BYTES: u64 = 1 << 20;
/// Three memtables and both caches.
const BUDGET_BYTES: usize = 3 * MEMTABLE_BYTES + CACHE_BYTES + BLOCK_CACHE_BYTES as usize;
const VALUE_BYTES: usize = 1000;
const ROWS: u32 = (10 * BUDGET_BYTES / VALUE_BYTES) as u32;

/// Kilobytes of this process, now or at most.
fn memory_kib(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn key(row: u32) -> Vec<u8> {
    // Spread over the range, so that each memtable touches all of it.
    let mut key = vec![0x10];
    key.extend(row.reverse_bits().to_be_bytes());
    key
}

/// Nothing that compresses.
fn value(row: u32, version: u64) -> Vec<u8> {
    let mut prng = Prng::new(u64::from(row) << 8 | version);
    (0..VALUE_BYTES / 8).flat_map(|_| prng.next_u64().to_le_bytes()).collect()
}

/// Writes a row as a core does: not while the store is full, and flushing as it asks.
fn write(bench: &mut Bench, row: u32, value: Option<Vec<u8>>) {
    let index = bench.store.machine(GROUP).map_or(base::LogIndex(1), |machine| machine.applied_index.next());
    bench.store.write(GROUP, &RowBatch::from_iter([(key(row), value)]), &harness::machine(index));
    if bench.store.wants_freeze()
        && let Some(frozen) = bench.store.freeze()
    {
        bench.store.flush(frozen.id);
    }
    let mut rung = false;
    while bench.store.pressure() == Pressure::Full || !rung {
        while let Some(event) = bench.store.poll_event() {
            assert!(matches!(event, StoreEvent::Flushed(_)), "{event:?}");
        }
        rung = true;
        std::thread::yield_now();
    }
}

#[test]
fn a_state_of_ten_times_the_memory_is_served_without_growing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let before = memory_kib("VmRSS");
    let mut bench = Bench::open_with(dir.path(), |settings| {
        settings.memtable_bytes = MEMTABLE_BYTES;
        settings.cache_bytes = CACHE_BYTES;
        settings.block_cache_bytes = BLOCK_CACHE_BYTES;
    })
    .unwrap();
    (0..ROWS).for_each(|row| write(&mut bench, row, Some(value(row, 1))));
    // Every third again, every seventh away.
    (0..ROWS).step_by(3).for_each(|row| write(&mut bench, row, Some(value(row, 2))));
    (0..ROWS).step_by(7).for_each(|row| write(&mut bench, row, None));
    let wanted = |row: u32| match row {
        row if row % 7 == 0 => None,
        row if row % 3 == 0 => Some(value(row, 2)),
        row => Some(value(row, 1)),
    };
    let mut cold = 0;
    for first in (0..ROWS).step_by(64) {
        let rows = first..ROWS.min(first + 64);
        cold += rows.clone().filter(|row| bench.store.get(GROUP, &key(*row)) == Row::Cold).count();
        let wants: Vec<Want> = rows.clone().map(|row| Want::Key(key(row))).collect();
        let token = bench.prefetch(GROUP, &wants);
        for row in rows {
            let found = match bench.store.get(GROUP, &key(row)) {
                Row::Hit(value) => Some(value.to_vec()),
                Row::Absent => None,
                // Its memtable went to the tables meanwhile.
                Row::Cold => bench.get(GROUP, &key(row)),
            };
            assert!(found == wanted(row), "row {row}");
        }
        bench.store.release(token);
        bench.aside.clear();
    }
    assert!(cold > ROWS as usize / 2, "{cold} of {ROWS} rows were not in memory");
    let on_disk: u64 = std::fs::read_dir(dir.path().join("c0/tables"))
        .unwrap()
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum();
    assert!(on_disk as usize > 7 * BUDGET_BYTES, "{on_disk} bytes in tables");
    let grown = (memory_kib("VmHWM") - before) << 10;
    println!("grown by {} KiB; budget {} KiB, tables {} KiB", grown >> 10, BUDGET_BYTES >> 10, on_disk >> 10);
    // What a compaction reads and writes at a time, pinned filters and indexes, and the allocator's holes come on top.
    assert!(grown < 4 * BUDGET_BYTES, "grown by {grown} bytes where {BUDGET_BYTES} are the budget");
}
