//! Leases, generations and stripes: when a group's items answer, and when nothing does.

mod common;

use base::{GroupId, LogIndex, Mono, NodeId, Nsid};
use cache::{Asked, EarlyLoad, Filled, LEASE_GUARD, NodeCache, Read, Rule, Settings, Writer, key, leak};
use common::{NOW, file, key_of, value_of, writer};

/// `hit`, `miss` or `not here`.
fn read(writer: &Writer, place: usize, key: &[u8], rule: Rule) -> &'static str {
    let reader = writer.reader();
    match reader.get(place, key, rule, &mut reader.value_buffer()) {
        Read::Hit(_) => "hit",
        Read::Miss => "miss",
        Read::NotHere => "not here",
    }
}

#[test]
fn nothing_is_answered_by_lease_from_a_millisecond_before_its_end() {
    let mut writer = writer(128 << 10, 4 << 10, 2);
    let key = key_of(key::PATH, 1, 1);
    let _ = writer.insert(0, &file(&key, 1, b"value"));
    let end = Mono(NOW.0 + 5_000_000);
    writer.publish_lease(0, end);
    let last = Mono(end.0 - LEASE_GUARD.0 - 1);
    assert_eq!(read(&writer, 0, &key, Rule::Lease(last)), "hit");
    assert_eq!(read(&writer, 0, &key, Rule::Lease(Mono(last.0 + 1))), "not here");
    assert_eq!(read(&writer, 0, &key, Rule::Applied), "hit");
    writer.give_up_lease(0);
    assert_eq!(read(&writer, 0, &key, Rule::Lease(NOW)), "not here");
    assert_eq!(read(&writer, 0, &key, Rule::Applied), "hit");
    assert_eq!(read(&writer, 1, &key_of(key::PATH, 2, 1), Rule::Lease(NOW)), "miss");
}

#[test]
fn a_new_state_of_a_group_ends_its_items_and_its_fills_and_no_others() {
    let mut writer = writer(128 << 10, 4 << 10, 2);
    let (key, row) = (key_of(key::PATH, 1, 1), key_of(0x03, 1, 1));
    for place in [0, 1] {
        let _ = writer.insert(place, &file(&key, 1, b"value"));
    }
    let _ = writer.insert(0, &file(&row, 1, b"row"));
    let token = writer.token(0, &row);
    writer.begin_replace(0);
    assert_eq!(read(&writer, 0, &key, Rule::Applied), "not here");
    assert_eq!(writer.fill(0, writer.token(0, &row), &file(&row, 1, b"row")), Filled::Changed);
    writer.end_replace(0);
    assert_eq!(read(&writer, 0, &key, Rule::Lease(NOW)), "miss");
    assert_eq!(read(&writer, 0, &row, Rule::Lease(NOW)), "miss");
    assert_eq!(writer.fill(0, token, &file(&row, 1, b"row")), Filled::Changed);
    assert_eq!(writer.fill(0, writer.token(0, &row), &file(&row, 2, b"row")), Filled::Inserted);
    assert_eq!(read(&writer, 0, &row, Rule::Lease(NOW)), "hit");
}

#[test]
fn a_lease_that_is_given_up_while_the_state_is_replaced_stays_given_up() {
    let mut writer = writer(128 << 10, 4 << 10, 1);
    writer.begin_replace(0);
    writer.give_up_lease(0);
    assert_eq!(read(&writer, 0, &key_of(key::PATH, 1, 1), Rule::Applied), "not here");
    writer.end_replace(0);
    assert_eq!(read(&writer, 0, &key_of(key::PATH, 1, 1), Rule::Lease(NOW)), "not here");
    assert_eq!(read(&writer, 0, &key_of(key::PATH, 1, 1), Rule::Applied), "miss");
}

#[test]
fn a_changed_subtree_ends_the_answers_of_its_namespace_and_no_rows() {
    let mut writer = writer(128 << 10, 4 << 10, 1);
    let keys = [(key::PATH, 1), (key::NODE, 1), (0x02, 1), (key::PATH, 2)].map(|(table, nsid)| key_of(table, nsid, 1));
    for key in &keys {
        let _ = writer.insert(0, &file(key, 1, b"value"));
    }
    let token = writer.token(0, &keys[0]);
    writer.invalidate_namespace(0, Nsid(1));
    let reads = keys.each_ref().map(|key| read(&writer, 0, key, Rule::Lease(NOW)));
    assert_eq!(reads, ["miss", "miss", "hit", "hit"]);
    assert_eq!(writer.fill(0, token, &file(&keys[0], 1, b"value")), Filled::Changed);
}

#[test]
fn a_change_of_a_key_that_is_not_cached_ends_its_fills_in_both_forms() {
    let mut writer = writer(128 << 10, 4 << 10, 1);
    let (plain, json) = (key_of(key::PATH, 1, 1), key_of(key::PATH | key::JSON, 1, 1));
    let tokens = [&plain, &json].map(|key| writer.token(0, key));
    writer.invalidate(&plain);
    for (token, key) in tokens.into_iter().zip([&plain, &json]) {
        assert_eq!(writer.fill(0, token, &file(key, 1, b"old")), Filled::Changed);
    }
    assert_eq!(writer.stats().fills_changed, 2);
}

#[test]
fn a_batch_answers_like_single_reads_in_the_order_of_its_keys_over_all_cores() {
    let settings = Settings { segment_bytes: 4096, item_bytes_max: 1024, ..Settings::new(5, 2, 0, 3) };
    let mut writers = [0, 1].map(|_| Writer::new(leak(256 << 10), &settings).unwrap());
    let node = NodeCache::new(writers.iter().map(Writer::reader).collect());
    let group = |n: u64| GroupId((n % 5) as u32);
    let keys: Vec<Vec<u8>> = (0..100).map(|n| key_of(key::PATH, n % 5, n)).collect();
    for (n, key) in keys.iter().enumerate() {
        let (GroupId(group), n) = (group(n as u64), n as u64);
        let (core, place) = (group as usize % 2, group as usize / 2);
        writers[core].publish_lease(place, Mono(1 << 62));
        writers[core].publish_applied(place, LogIndex(u64::from(group) + 10));
        writers[core].publish_leader(place, Some(NodeId(u64::from(group) + 1)));
        if n % 3 > 0 {
            let _ = writers[core].insert(place, &file(key, n, &value_of(key, n, 100)));
        }
    }
    writers[1].give_up_lease(1);
    let asked: Vec<Asked<'_>> = (0..100).map(|n| Asked { group: group(n), key: &keys[n as usize] }).collect();
    let mut buffer = node.value_buffer();
    let mut next = 0;
    node.get_batch(&asked, Rule::Lease(NOW), &mut buffer, &EarlyLoad, |at, read| {
        assert_eq!(at, next);
        next += 1;
        match (group(at as u64).0, at % 3) {
            (3, _) => assert!(matches!(read, Read::NotHere), "{at}: {read:?}"),
            (_, 0) => assert!(matches!(read, Read::Miss), "{at}: {read:?}"),
            _ => assert!(matches!(read, Read::Hit(hit) if hit.value == value_of(&keys[at], at as u64, 100)), "{at}"),
        }
    });
    assert_eq!(next, 100);
    let stats = node.stats();
    assert_eq!((stats.hits, stats.misses, stats.not_here), (53, 27, 20));
    assert_eq!((node.applied(GroupId(4)), node.leader_hint(GroupId(4))), (LogIndex(14), Some(NodeId(5))));
}
