//! How much is answered, beside quick_cache and an exact LRU with the same bytes, over the same draws.
//!
//! Each is charged for what it needs to hold a key and a value of any length. Ours has its whole memory, index and room
//! that is kept free included. The others: 21 bytes an item, which is what quick_cache keeps of its own, and the two
//! pointers with lengths to key and value; what an allocator adds is not counted against them.

mod common;

use std::collections::{BTreeMap, HashMap};

use base::Prng;
use cache::{Read, Rule, Settings, Writer, key, leak};
use common::{NOW, file};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

const KEYS: u64 = 200_000;
const DRAWS: usize = 1_200_000;
/// Draws before anything is counted.
const WARM: usize = 400_000;
const OVERHEAD: usize = 21 + 2 * 16;
const MEMORY: usize = 8 << 20;
/// As many of them as a core's cache of 64 MiB has.
const SEGMENT_BYTES: usize = 32 << 10;

/// 40 bytes.
fn key_for(n: u64) -> [u8; 40] {
    let mut out = [b'p'; 40];
    out[..9].copy_from_slice(&[key::PATH, 0, 0, 0, 0, 0, 0, 0, 1]);
    out[32..].copy_from_slice(&n.to_be_bytes());
    out
}

/// 100 to 356 bytes, the same for the same key.
fn value_bytes(n: u64) -> usize {
    100 + (base::mix64(n) % 257) as usize
}

fn charge(n: u64) -> u64 {
    (40 + value_bytes(n) + OVERHEAD) as u64
}

/// Ranks by Zipf's law with an exponent of 0.99, as key numbers in no order of rank.
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    fn new(keys: u64) -> Zipf {
        let mut sum = 0.0;
        let weight = |rank: u64| (rank as f64).powf(-0.99);
        Zipf {
            cumulated: (1..=keys)
                .map(|rank| {
                    sum += weight(rank);
                    sum
                })
                .collect(),
        }
    }

    fn draw(&self, prng: &mut Prng) -> u64 {
        let sum = self.cumulated.last().expect("there are keys");
        let at = prng.next_u64() as f64 / u64::MAX as f64 * sum;
        base::mix64(self.cumulated.partition_point(|cumulated| *cumulated < at) as u64) >> 20
    }
}

/// Zipf alone.
fn zipf(seed: u64) -> Vec<u64> {
    let (mut prng, zipf) = (Prng::new(seed), Zipf::new(KEYS));
    (0..DRAWS).map(|_| zipf.draw(&mut prng)).collect()
}

/// Zipf, with whole folders listed between: runs of 5,000 keys that nobody asks for again, a third of all reads.
fn with_scans(seed: u64) -> Vec<u64> {
    let (mut prng, zipf) = (Prng::new(seed), Zipf::new(KEYS));
    let (mut out, mut next) = (Vec::with_capacity(DRAWS), 1 << 50);
    while out.len() < DRAWS {
        out.extend((0..10_000).map(|_| zipf.draw(&mut prng)));
        out.extend(next..next + 5_000);
        next += 5_000;
    }
    out.truncate(DRAWS);
    out
}

/// Hits of a hundred reads after the first.
fn percent(trace: &[u64], mut is_hit: impl FnMut(u64) -> bool) -> f64 {
    let hits: Vec<bool> = trace.iter().map(|n| is_hit(*n)).collect();
    let counted = &hits[WARM..];
    100.0 * counted.iter().filter(|hit| **hit).count() as f64 / counted.len() as f64
}

fn ours(trace: &[u64]) -> f64 {
    let usual = Settings::new(1, 1, MEMORY, 1);
    let settings = Settings { segment_bytes: SEGMENT_BYTES, item_bytes_max: 1024, ..usual };
    let mut writer = Writer::new(leak(MEMORY), &settings).unwrap();
    writer.publish_lease(0, base::Mono(1 << 62));
    let (reader, value) = (writer.reader(), [7; 400]);
    let mut buffer = reader.value_buffer();
    percent(trace, |n| {
        let key = key_for(n);
        let is_hit = matches!(reader.get(0, &key, Rule::Lease(NOW), &mut buffer), Read::Hit(_));
        if !is_hit {
            let _ = writer.insert(0, &file(&key, 1, &value[..value_bytes(n)]));
        }
        is_hit
    })
}

#[derive(Clone)]
struct Charge;

impl Weighter<u64, ()> for Charge {
    fn weight(&self, key: &u64, _: &()) -> u64 {
        charge(*key)
    }
}

fn quick(trace: &[u64]) -> f64 {
    let cache = Cache::with_weighter(MEMORY / 290, MEMORY as u64, Charge);
    percent(trace, |n| {
        let is_hit = cache.get(&n).is_some();
        if !is_hit {
            cache.insert(n, ());
        }
        is_hit
    })
}

fn lru(trace: &[u64]) -> f64 {
    let (mut by_key, mut by_use, mut bytes) = (HashMap::new(), BTreeMap::new(), 0);
    let mut time = 0u64;
    percent(trace, |n| {
        time += 1;
        by_use.insert(time, n);
        let before = by_key.insert(n, time);
        match before {
            Some(before) => drop(by_use.remove(&before)),
            None => bytes += charge(n),
        }
        while bytes > MEMORY as u64 {
            let (_, oldest) = by_use.pop_first().expect("what takes bytes is there");
            by_key.remove(&oldest);
            bytes -= charge(oldest);
        }
        before.is_some()
    })
}

#[test]
fn as_much_is_answered_as_by_quick_cache_and_more_than_by_an_lru() {
    for (name, trace) in [("zipf", zipf(1)), ("with scans", with_scans(2))] {
        let (ours, quick, lru) = (ours(&trace), quick(&trace), lru(&trace));
        println!("{name}: {ours:.2} % ours, {quick:.2} % quick_cache, {lru:.2} % LRU");
        assert!(ours >= quick - 0.5, "{name}: {ours:.2} % is more than half a point below quick_cache's {quick:.2} %");
        assert!(ours > lru, "{name}: {ours:.2} % is not above the LRU's {lru:.2} %");
    }
}
