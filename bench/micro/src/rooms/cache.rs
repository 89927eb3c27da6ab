//! The read cache, beside a map behind sharded locks and quick_cache: keys of 40 bytes, values of 200, drawn evenly.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use base::{GroupId, Mono, Prng};
use cache::{Asked, EarlyLoad, Item, Kind, Lent, NodeCache, Read, Rule, Settings, ValueBuffer, Writer, key};
use parking_lot::RwLock;

use crate::{Bench, Body, Scale, each};

const NOW: Mono = Mono(1);
const VALUE: [u8; 200] = [0x55; 200];
/// Reads of an iteration.
const READS: u64 = 32;
/// Locks of the map.
const LOCKS: usize = 64;

/// The benches of this room.
#[must_use]
pub fn benches() -> Vec<Bench> {
    vec![
        Bench::new("cache/get/hit", |scale| get(scale, 0)).operations(READS).counted(200),
        Bench::new("cache/get/miss", |scale| get(scale, 1 << 40)).operations(READS).counted(200),
        Bench::new("cache/get_batch/b=32", get_batch).operations(READS).counted(200),
        Bench::new("cache/insert/new", insert_new).operations(READS).counted(200),
        Bench::new("cache/insert/replace", replace).operations(READS).counted(200),
        Bench::new("cache/get/sharded_locks", get_locked).operations(READS),
        Bench::new("cache/get/quick_cache", get_quick).operations(READS),
    ]
}

fn items(scale: Scale) -> u64 {
    match scale {
        Scale::Full => 100_000,
        Scale::Tiny => 4000,
    }
}

/// 40 bytes.
fn key_of(number: u64) -> [u8; 40] {
    let mut out = [b'p'; 40];
    out[0] = key::PATH;
    out[1..9].copy_from_slice(&7u64.to_be_bytes());
    out[32..].copy_from_slice(&number.to_be_bytes());
    out
}

fn item(key: &[u8], as_of: u64) -> Item<'_> {
    Item { key, kind: Kind::File, as_of, value: &VALUE }
}

/// A cache with items 0 to `items`, and a reader.
struct Rig {
    writer: Writer,
    node: NodeCache,
    buffer: ValueBuffer,
    /// The last to go.
    _memory: Lent,
}

impl Rig {
    fn new(scale: Scale) -> Rig {
        // A fifth more than they take.
        let bytes = items(scale) as usize * 330 + (1 << 20);
        let memory = Lent::new(bytes);
        let settings = Settings { segment_bytes: 32 << 10, ..Settings::new(1, 1, bytes, 1) };
        let mut writer = Writer::new(memory.lines(), &settings).expect("it is large enough");
        writer.publish_lease(0, Mono(1 << 62));
        for number in 0..items(scale) {
            let _ = writer.insert(0, &item(&key_of(number), 0));
        }
        let node = NodeCache::new(vec![writer.reader()]);
        let buffer = node.value_buffer();
        Rig { writer, node, buffer, _memory: memory }
    }
}

fn told(read: Read<'_>) -> u64 {
    match read {
        Read::Hit(hit) => hit.value.len() as u64 + u64::from(hit.value[0]),
        Read::Miss => 1,
        Read::NotHere => 2,
    }
}

/// Of keys that begin at `first`.
fn get(scale: Scale, first: u64) -> Body {
    let (mut rig, mut prng) = (Rig::new(scale), Prng::new(3));
    each(READS, move |_| {
        let key = key_of(first + prng.below(items(scale)));
        let Rig { node, buffer, .. } = &mut rig;
        told(node.get(GroupId(0), &key, Rule::Lease(NOW), buffer))
    })
}

fn get_batch(scale: Scale) -> Body {
    let (mut rig, mut prng) = (Rig::new(scale), Prng::new(3));
    Box::new(move || {
        let keys: [[u8; 40]; READS as usize] = std::array::from_fn(|_| key_of(prng.below(items(scale))));
        let asked = keys.each_ref().map(|key| Asked { group: GroupId(0), key });
        let mut out = 0u64;
        let Rig { node, buffer, .. } = &mut rig;
        let each = |_, read: Read<'_>| out = out.rotate_left(1) ^ told(read);
        node.get_batch(&asked, Rule::Lease(NOW), buffer, &EarlyLoad, each);
        out
    })
}

/// Keys that were never there, so that as many others go.
fn insert_new(scale: Scale) -> Body {
    let mut rig = Rig::new(scale);
    each(READS, move |at| {
        let inserted = rig.writer.insert(0, &item(&key_of((1 << 41) + at), at));
        inserted as u64 + 1
    })
}

fn replace(scale: Scale) -> Body {
    let (mut rig, mut prng) = (Rig::new(scale), Prng::new(3));
    each(READS, move |at| {
        let inserted = rig.writer.insert(0, &item(&key_of(prng.below(items(scale))), at));
        inserted as u64 + 1
    })
}

/// The usual answer to the same task: a map in parts, each behind a lock. Nothing is ever evicted.
fn get_locked(scale: Scale) -> Body {
    type Part = RwLock<HashMap<Box<[u8]>, Box<[u8]>>>;
    let parts: Vec<Part> = (0..LOCKS).map(|_| RwLock::default()).collect();
    let hasher = RandomState::new();
    let part = move |key: &[u8]| hasher.hash_one(key) as usize % LOCKS;
    for number in 0..items(scale) {
        let key = key_of(number);
        parts[part(&key)].write().insert(key.into(), VALUE.into());
    }
    let (mut prng, mut buffer) = (Prng::new(3), Vec::with_capacity(VALUE.len()));
    each(READS, move |_| {
        let key = key_of(prng.below(items(scale)));
        buffer.clear();
        if let Some(value) = parts[part(&key)].read().get(&key[..]) {
            buffer.extend_from_slice(value);
        }
        buffer.len() as u64
    })
}

/// It gives out copies, so values are behind a counted pointer.
fn get_quick(scale: Scale) -> Body {
    let cache = quick_cache::sync::Cache::<Box<[u8]>, std::sync::Arc<[u8]>>::new(items(scale) as usize * 2);
    (0..items(scale)).for_each(|number| cache.insert(key_of(number).into(), VALUE.into()));
    let (mut prng, mut buffer) = (Prng::new(3), Vec::with_capacity(VALUE.len()));
    each(READS, move |_| {
        let key = key_of(prng.below(items(scale)));
        buffer.clear();
        if let Some(value) = cache.get(&key[..]) {
            buffer.extend_from_slice(&value);
        }
        buffer.len() as u64
    })
}
