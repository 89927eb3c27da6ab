//! What the tests of the cache share.

#![allow(dead_code)] // each test takes a part

use base::{Mono, Nsid, Prng, mix64};
use cache::{Item, Kind, Settings, Writer, key, leak};

/// A time at which the lease of [`writer`]'s groups holds.
pub const NOW: Mono = Mono(1_000_000_000);

/// A small cache of one core, with small segments, whose groups have a lease.
pub fn writer(bytes: usize, segment_bytes: usize, groups: u32) -> Writer {
    let usual = Settings::new(groups, 1, bytes, 0x5eed);
    let settings = Settings { segment_bytes, item_bytes: 128, item_bytes_max: segment_bytes / 4, ..usual };
    let writer = Writer::new(leak(bytes), &settings).unwrap();
    (0..groups as usize).for_each(|place| writer.publish_lease(place, Mono(1 << 62)));
    writer
}

/// The key of `rest` in a namespace.
pub fn key_of(table: u8, nsid: u64, rest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let text = format!("/{rest}/{}", "x".repeat(rest as usize % 23));
    key::encode(table, Nsid(nsid), text.as_bytes(), &mut out);
    out
}

/// A value that tells its key and version in every byte.
pub fn value_of(key: &[u8], version: u64, bytes: usize) -> Vec<u8> {
    let mut prng = Prng::new(key.iter().fold(version, |hash, byte| mix64(hash ^ u64::from(*byte))));
    (0..bytes).map(|_| prng.next_u64() as u8).collect()
}

/// A file's answer.
pub fn file<'a>(key: &'a [u8], as_of: u64, value: &'a [u8]) -> Item<'a> {
    Item { key, kind: Kind::File, as_of, value }
}
