//! Memory is what was given, an item costs at most 30 bytes beside its own, and a hit allocates nothing.

mod common;

use base::{Mono, Prng};
use cache::{Asked, EarlyLoad, NodeCache, Read, Rule, Settings, Writer, key, leak};
use common::{NOW, file, key_of, value_of};

fn full(bytes: usize) -> Writer {
    let mut writer = Writer::new(leak(bytes), &Settings::new(1, 1, bytes, 1)).unwrap();
    writer.publish_lease(0, Mono(1 << 62));
    for n in 0..bytes as u64 / 120 {
        let key = key_for(n);
        let _ = writer.insert(0, &file(&key, n, &value_of(&key, n, 200)));
    }
    writer
}

/// 40 bytes, as the usual path has.
fn key_for(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    key::encode(key::PATH, base::Nsid(7), format!("/photos/2026/some/pic{n:010}").as_bytes(), &mut out);
    assert_eq!(out.len(), 40);
    out
}

#[test]
fn an_item_costs_at_most_thirty_bytes_beside_its_key_and_value() {
    let writer = full(16 << 20);
    writer.check();
    let stats = writer.stats();
    // What the memory holds, at its fullest: segments but for the two that are kept free and the two open.
    let (slots, head) = (64.0 / (7.0 * 0.88), 16.0);
    let padding = stats.item_bytes as f64 / stats.items as f64 - 240.0 - head;
    assert!(slots + head + padding <= 30.0, "{padding} bytes of padding");
    let each = stats.memory_bytes as f64 / stats.items as f64;
    // The two free segments, the open ones and the dead ends of all are a tenth of so small a cache.
    assert!(each < 1.13 * (240.0 + 30.0), "{each:.1} bytes of memory for each of {} items", stats.items);
}

#[test]
fn no_more_is_ever_used_than_was_given() {
    // The memory is one slice, which nothing grows; what the owner keeps beside it is known by segments.
    let lines = leak(4 << 20);
    let mut writer = Writer::new(lines, &Settings::new(4, 1, 4 << 20, 1)).unwrap();
    let mut prng = Prng::new(3);
    for n in 0..20_000 {
        let key = key_for(prng.below(40_000));
        let _ = writer.insert(0, &file(&key, n, &value_of(&key, n, 100)));
    }
    let allocated = allocation_counter::measure(|| {
        for n in 20_000..60_000 {
            let key = [&[key::PATH][..], &7u64.to_be_bytes(), &prng.below(40_000).to_be_bytes()];
            let mut bytes = [0; 17];
            key.iter().flat_map(|part| part.iter()).zip(&mut bytes).for_each(|(from, to)| *to = *from);
            let _ = writer.insert(0, &file(&bytes, n, &[n as u8; 150][..prng.below(150) as usize]));
        }
    });
    assert_eq!(allocated.count_total, 0, "an insert allocates");
    assert!(writer.stats().evictions > 10_000, "{:?}", writer.stats());
    writer.check();
}

#[test]
fn a_hit_allocates_nothing() {
    let writer = full(4 << 20);
    let node = NodeCache::new(vec![writer.reader()]);
    let mut buffer = node.value_buffer();
    let last = (4 << 20) / 120;
    let keys: Vec<Vec<u8>> = (last - 1000..last).map(key_for).collect();
    let asked: Vec<Asked<'_>> = keys.iter().map(|key| Asked { group: base::GroupId(0), key }).collect();
    let mut hits = 0;
    let allocated = allocation_counter::measure(|| {
        for key in &keys {
            hits += u32::from(matches!(node.get(base::GroupId(0), key, Rule::Lease(NOW), &mut buffer), Read::Hit(_)));
        }
        let each = |_, read: Read<'_>| hits += u32::from(matches!(read, Read::Hit(_)));
        node.get_batch(&asked, Rule::Lease(NOW), &mut buffer, &EarlyLoad, each);
    });
    assert_eq!((hits, allocated.count_total), (2000, 0));
}

#[test]
fn uses_are_counted_up_to_three_and_sampled_as_set() {
    let key = key_of(key::PATH, 1, 1);
    for (sample_mask, expected) in [(0, [false, true, true, true, true]), (3, [false, true, true, true, true])] {
        let settings = Settings { sample_mask, ..Settings::new(1, 1, 2 << 20, 1) };
        let mut writer = Writer::new(leak(3 << 20), &settings).unwrap();
        writer.publish_lease(0, Mono(1 << 62));
        let _ = writer.insert(0, &file(&key, 1, b"value"));
        let reader = writer.reader();
        let mut buffer = reader.value_buffer();
        let uses = [0; 5].map(|_| match reader.get(0, &key, Rule::Lease(NOW), &mut buffer) {
            Read::Hit(hit) => hit.was_used,
            _ => panic!("it is cached"),
        });
        assert_eq!(uses, expected);
    }
}
