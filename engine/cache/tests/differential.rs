//! Beside a map, under everything that apply and fills do and with every eviction that this brings: a hit is the newest
//! value. A miss proves nothing, so how many there are is looked at too.

mod common;

use std::collections::BTreeMap;

use base::{GroupId, Nsid, Prng, group_of};
use cache::{Filled, Inserted, Item, Kind, Read, Reader, Rule, ValueBuffer, Writer, key};
use common::{NOW, key_of, value_of, writer};

const GROUPS: u32 = 3;
const NAMESPACES: u64 = 5;
const TABLES: [u8; 4] = [key::PATH, key::PATH | key::JSON, key::NODE, 0x03];

/// What is true, as the store would have it.
struct Truth {
    kind: Kind,
    version: u64,
    value: Vec<u8>,
}

struct Run {
    prng: Prng,
    writer: Writer,
    reader: Reader,
    buffer: ValueBuffer,
    truth: BTreeMap<Vec<u8>, Truth>,
    version: u64,
    keys: u64,
    value_bytes_max: u64,
    hits: u64,
    hits_absent: u64,
}

impl Run {
    fn new(seed: u64, bytes: usize, segment_bytes: usize, keys: u64, value_bytes_max: u64) -> Run {
        let writer = writer(bytes, segment_bytes, GROUPS);
        let reader = writer.reader();
        let buffer = reader.value_buffer();
        let (prng, truth) = (Prng::new(seed), BTreeMap::new());
        Run { prng, writer, reader, buffer, truth, version: 0, keys, value_bytes_max, hits: 0, hits_absent: 0 }
    }

    fn place(key: &[u8]) -> usize {
        let nsid = Nsid(u64::from_be_bytes(key[1..9].try_into().unwrap()));
        let GroupId(group) = group_of(nsid, GROUPS);
        group as usize
    }

    /// Half of all draws are of a tenth of the keys.
    fn draw_key(&mut self) -> Vec<u8> {
        let keys = if self.prng.one_in(2) { self.keys.div_ceil(10) } else { self.keys };
        let table = TABLES[self.prng.below(4) as usize];
        key_of(table, self.prng.below(NAMESPACES), self.prng.below(keys))
    }

    /// The store's change of a key; the cache is told by the caller.
    fn change(&mut self, key: &[u8]) {
        self.version += 1;
        let bytes = self.prng.below(self.value_bytes_max) as usize;
        let truth = match self.prng.one_in(5) {
            true => Truth { kind: Kind::Absent, version: self.version, value: Vec::new() },
            false => Truth { kind: Kind::Folder, version: self.version, value: value_of(key, self.version, bytes) },
        };
        self.truth.insert(key.to_vec(), truth);
    }

    fn item<'a>(truth: &'a BTreeMap<Vec<u8>, Truth>, key: &'a [u8]) -> Item<'a> {
        let Truth { kind, version, value } = &truth[key];
        Item { key, kind: *kind, as_of: *version, value }
    }

    fn write(&mut self) {
        let key = self.draw_key();
        self.change(&key);
        match self.prng.below(4) {
            0 => self.writer.invalidate(&key),
            _ => {
                let _ = self.writer.insert(Self::place(&key), &Self::item(&self.truth, &key));
            }
        }
    }

    /// One command with two keys of one namespace.
    fn write_two(&mut self) {
        let first = self.draw_key();
        let mut second = self.draw_key();
        second[1..9].copy_from_slice(&first[1..9]);
        if first != second {
            self.change(&first);
            self.change(&second);
            let items = [&first, &second].map(|key| Self::item(&self.truth, key));
            self.writer.change(Self::place(&first), &items);
        }
    }

    /// A folder has moved: every answer of the namespace is another.
    fn change_namespace(&mut self) {
        let nsid = self.prng.below(NAMESPACES);
        let is_answer = |key: &[u8]| key[0] & 0x40 != 0 && key[1..9] == nsid.to_be_bytes();
        let keys: Vec<Vec<u8>> = self.truth.keys().filter(|key| is_answer(key)).cloned().collect();
        keys.iter().for_each(|key| self.change(key));
        self.writer.invalidate_namespace(group_of(Nsid(nsid), GROUPS).0 as usize, Nsid(nsid));
    }

    fn read(&mut self) {
        let key = self.draw_key();
        let truth = self.truth.get(&key);
        match self.reader.get(Self::place(&key), &key, Rule::Lease(NOW), &mut self.buffer) {
            Read::Hit(hit) => {
                let truth = truth.expect("a key that was never written is a miss");
                assert_eq!((hit.kind, hit.as_of, hit.value), (truth.kind, truth.version, &truth.value[..]));
                self.hits += 1;
                self.hits_absent += u64::from(hit.kind == Kind::Absent);
            }
            Read::Miss => self.fill(&key),
            Read::NotHere => panic!("the lease holds"),
        }
    }

    /// The store is read, and sometimes written meanwhile.
    fn fill(&mut self, key: &[u8]) {
        let place = Self::place(key);
        let token = self.writer.token(place, key);
        let Some(read) = self.truth.get(key) else { return };
        let (kind, as_of, value) = (read.kind, read.version, read.value.clone());
        if self.prng.one_in(4) {
            self.write();
        }
        if self.prng.one_in(50) {
            self.change_namespace();
        }
        let filled = self.writer.fill(place, token, &Item { key, kind, as_of, value: &value });
        let is_true = self.truth[key].version == as_of;
        assert!(filled == Filled::Changed || is_true, "{filled:?} of a value that is no longer true");
    }

    fn run(&mut self, steps: u64) {
        for step in 0..steps {
            match self.prng.below(100) {
                0..25 => self.write(),
                25..30 => self.write_two(),
                30 if self.prng.one_in(20) => self.change_namespace(),
                31 if self.prng.one_in(500) => self.writer.clear(),
                32 => self.writer.evict(64),
                _ => self.read(),
            }
            if step % 1024 == 0 {
                self.writer.check();
            }
        }
        self.writer.check();
    }
}

#[test]
fn a_hit_is_the_newest_value_while_everything_is_evicted() {
    for seed in 0..12 {
        // More keys than fit, and segments of a few items.
        let mut run = Run::new(seed, 128 << 10, 4 << 10, 200, 600);
        run.run(30_000);
        let stats = run.writer.stats();
        assert!(run.hits > 1000 && run.hits_absent > 100, "seed {seed}: {} hits", run.hits);
        assert!(stats.evictions > 1000 && stats.survivors > 100 && stats.ghost_hits > 20, "seed {seed}: {stats:?}");
        assert!(stats.fills_changed > 30, "seed {seed}: {stats:?}");
    }
}

#[test]
fn a_hit_is_the_newest_value_while_the_index_is_overfull() {
    for seed in 0..4 {
        // Items of a fifth of what the index was made for.
        let mut run = Run::new(seed, 128 << 10, 4 << 10, 4000, 8);
        run.run(60_000);
        let stats = run.writer.stats();
        assert!(stats.displaced > 100 && stats.evictions > 1000, "seed {seed}: {stats:?}");
        assert!(run.hits > 500, "seed {seed}: {} hits", run.hits);
    }
}

#[test]
fn what_is_small_enough_stays_cached() {
    let mut run = Run::new(7, 1 << 20, 16 << 10, 40, 200);
    run.run(100_000);
    let stats = run.reader.stats();
    assert_eq!(run.writer.stats().evictions, 0);
    // Misses are of what was changed before: by invalidation, or with its whole namespace.
    assert!(stats.hits > 2 * stats.misses, "{stats:?}");
}

#[test]
fn an_item_beyond_the_bound_is_refused_and_takes_the_old_one_with_it() {
    let mut writer = writer(128 << 10, 4 << 10, 1);
    let (reader, key) = (writer.reader(), key_of(key::PATH, 1, 1));
    let mut buffer = reader.value_buffer();
    let fits = 1024 - 16 - key.len() / 8 * 8 - 8;
    for (bytes, expected) in [(fits, Inserted::Inserted), (2000, Inserted::Refused), (fits, Inserted::Inserted)] {
        let value = value_of(&key, 1, bytes);
        assert_eq!(writer.insert(0, &common::file(&key, 1, &value)), expected);
        let read = reader.get(0, &key, Rule::Lease(NOW), &mut buffer);
        match expected {
            Inserted::Inserted => assert!(matches!(read, Read::Hit(hit) if hit.value == value)),
            Inserted::Refused => assert!(matches!(read, Read::Miss)),
        }
    }
    let long = vec![key::PATH; base::limits::CACHE_KEY_BYTES_MAX + 1];
    assert_eq!(writer.insert(0, &common::file(&long, 1, b"")), Inserted::Refused);
    writer.check();
}
