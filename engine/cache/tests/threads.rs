//! One writer and two readers at full speed: no reader ever sees bytes of two items, or a version that went back.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::{Prng, mix64};
use cache::{Item, Kind, Read, Reader, Rule, key};
use common::{NOW, writer};

const KEYS: u64 = 400;
const WRITES: u64 = 300_000;

fn key_for(n: u64) -> [u8; 17] {
    let mut out = [0; 17];
    out[0] = key::PATH;
    out[8] = 1;
    out[9..].copy_from_slice(&n.to_be_bytes());
    out
}

/// The word that every word of the value must be.
fn word(n: u64, version: u64) -> [u8; 8] {
    mix64(n << 40 ^ version).to_le_bytes()
}

/// Reads until the writer is done; hits.
fn read_all(reader: &Reader, seed: u64, is_done: &AtomicBool, newest: &[AtomicU64]) -> u64 {
    let (mut prng, mut buffer) = (Prng::new(seed), reader.value_buffer());
    let mut hits = 0;
    while !is_done.load(Ordering::Acquire) {
        let n = prng.below(KEYS);
        // A version that was answered to anybody, or acknowledged, is the least that may be read from now on.
        let floor = newest[n as usize].load(Ordering::SeqCst);
        if let Read::Hit(hit) = reader.get(0, &key_for(n), Rule::Lease(NOW), &mut buffer) {
            assert!(hit.as_of >= floor, "key {n}: version {} after {floor}", hit.as_of);
            let expected = word(n, hit.as_of);
            assert!(hit.value.as_chunks::<8>().0.iter().all(|word| *word == expected), "key {n} is torn");
            assert!(hit.value.len() / 8 == (hit.as_of % 30) as usize, "key {n} has another version's length");
            newest[n as usize].fetch_max(hit.as_of, Ordering::SeqCst);
            hits += 1;
        }
    }
    hits
}

#[test]
fn readers_see_whole_items_whose_versions_never_go_back() {
    // Less memory than the items take, so that segments are used again and again.
    let mut writer = writer(64 << 10, 2 << 10, 1);
    let newest: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let is_done = AtomicBool::new(false);
    let readers = [writer.reader(), writer.reader()];
    let hits: u64 = std::thread::scope(|scope| {
        let (is_done, newest) = (&is_done, &newest);
        let threads: Vec<_> = readers
            .iter()
            .enumerate()
            .map(|(seed, reader)| scope.spawn(move || read_all(reader, seed as u64, is_done, newest)))
            .collect();
        let mut prng = Prng::new(11);
        for version in 1..=WRITES {
            let n = prng.below(KEYS);
            let (key, value) = (key_for(n), word(n, version).repeat((version % 30) as usize));
            let item = Item { key: &key, kind: Kind::File, as_of: version, value: &value };
            match prng.below(10) {
                0 => writer.invalidate(&key),
                _ => {
                    let _ = writer.insert(0, &item);
                }
            }
            newest[n as usize].fetch_max(version, Ordering::SeqCst);
        }
        is_done.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    writer.check();
    assert!(hits > 1000, "{hits} hits prove little");
    assert!(writer.stats().evictions > 1000, "{:?}", writer.stats());
}
