//! Every order in which an owner's change and another core's reads can meet, under the memory model of C11 (loom).
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p dropstone-cache --lib models
//! ```
//! A segment holds one item here, so that its words are soon used again.

use base::{Mono, Nsid};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use crate::{Filled, Item, Kind, Read, Reader, Rule, Settings, Writer, key, leak};

/// Orders in which one thread is put aside for another at most so often; more find nothing new in code this short.
const PREEMPTIONS_MAX: usize = 2;
const NOW: Mono = Mono(1_000_000);
const NSID: Nsid = Nsid(1);

fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_with(PREEMPTIONS_MAX, model);
}

fn explore_with(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A cache of six segments of one item each, whose group has a lease.
fn cache() -> (Writer, Reader) {
    let usual = Settings::new(1, 1, 0, 1);
    let settings = Settings { segment_bytes: 48, item_bytes: 48, item_bytes_max: 48, ..usual };
    let writer = Writer::new(leak(1 << 10), &settings).unwrap();
    writer.publish_lease(0, Mono(1 << 62));
    let reader = writer.reader();
    (writer, reader)
}

fn key_of(name: u8) -> [u8; 16] {
    let mut out = Vec::new();
    key::encode(key::PATH, NSID, &[name; 7], &mut out);
    out.try_into().unwrap()
}

/// Two words that tell key and version.
fn value_of(name: u8, version: u64) -> [u8; 16] {
    [u64::from(name) << 32 | version; 2].map(u64::to_le_bytes).concat().try_into().unwrap()
}

fn write(writer: &mut Writer, name: u8, version: u64) {
    let (key, value) = (key_of(name), value_of(name, version));
    let _ = writer.insert(0, &Item { key: &key, kind: Kind::File, as_of: version, value: &value });
}

/// The version that is read, 0 for none. Checks that its bytes are of one item.
fn read(reader: &Reader, name: u8) -> u64 {
    let mut buffer = reader.value_buffer();
    match reader.get(0, &key_of(name), Rule::Lease(NOW), &mut buffer) {
        Read::Hit(hit) if hit.kind == Kind::Absent => hit.as_of,
        Read::Hit(hit) => {
            assert_eq!(hit.value, value_of(name, hit.as_of), "the bytes are of two items");
            hit.as_of
        }
        Read::Miss | Read::NotHere => 0,
    }
}

#[test]
fn an_item_that_is_changed_in_its_place_is_read_whole() {
    explore(|| {
        let (mut writer, reader) = cache();
        write(&mut writer, b'a', 1);
        let readers = thread::spawn(move || {
            let version = read(&reader, b'a');
            assert!(version <= 2);
        });
        write(&mut writer, b'a', 2);
        readers.join().unwrap();
    });
}

#[test]
fn words_of_a_segment_that_is_used_again_are_not_taken_for_the_old_item() {
    explore(|| {
        let (mut writer, reader) = cache();
        write(&mut writer, b'a', 1);
        write(&mut writer, b'b', 1);
        let readers = thread::spawn(move || {
            let version = read(&reader, b'a');
            assert!(version <= 1);
        });
        // Its segment is sealed, and free as soon as it is empty.
        writer.invalidate(&key_of(b'a'));
        write(&mut writer, b'c', 1);
        readers.join().unwrap();
        writer.check();
    });
}

#[test]
fn nothing_is_answered_after_a_message_that_lets_another_lead() {
    explore(|| {
        let (mut writer, reader) = cache();
        write(&mut writer, b'a', 1);
        let other_leads = Arc::new(AtomicU64::new(0));
        let message = Arc::clone(&other_leads);
        let readers = thread::spawn(move || {
            let is_told = message.load(Ordering::Relaxed) == 1;
            // The request came over the network from one who heard the other leader.
            fence(Ordering::Acquire);
            let version = read(&reader, b'a');
            assert!(!is_told || version == 0, "an answer after the lease was given up");
        });
        writer.give_up_lease(0);
        other_leads.store(1, Ordering::Relaxed);
        readers.join().unwrap();
    });
}

#[test]
fn a_fill_never_follows_the_change_that_it_missed() {
    explore(|| {
        let (mut writer, reader) = cache();
        let acked = Arc::new(AtomicU64::new(0));
        let known = Arc::clone(&acked);
        let readers = thread::spawn(move || {
            let floor = known.load(Ordering::Acquire);
            let version = read(&reader, b'a');
            assert!(version == 0 || version >= floor, "version {version} after {floor} was acknowledged");
        });
        // The store is read, and has version 1; then version 2 is applied, of which the cache holds nothing.
        let token = writer.token(0, &key_of(b'a'));
        writer.invalidate(&key_of(b'a'));
        acked.store(2, Ordering::Release);
        let (key, value) = (key_of(b'a'), value_of(b'a', 1));
        let filled = writer.fill(0, token, &Item { key: &key, kind: Kind::File, as_of: 1, value: &value });
        readers.join().unwrap();
        assert_eq!(filled, Filled::Changed);
    });
}

#[test]
fn who_saw_one_half_of_a_rename_never_sees_the_old_other_half() {
    // A long change: the reads stand together between two of its steps.
    explore_with(1, || {
        let (mut writer, reader) = cache();
        write(&mut writer, b'a', 1);
        let (from, to) = (key_of(b'a'), key_of(b'b'));
        let absent = |key, as_of| Item { key, kind: Kind::Absent, as_of, value: &[] };
        let _ = writer.insert(0, &absent(&to, 1));
        let readers = thread::spawn(move || {
            let first = read(&reader, b'b');
            let second = read(&reader, b'a');
            assert!(first != 2 || second != 1, "the file is at both places");
        });
        let value = value_of(b'b', 2);
        let moved = Item { key: &to, kind: Kind::File, as_of: 2, value: &value };
        writer.change(0, &[moved, absent(&from, 2)]);
        readers.join().unwrap();
    });
}

#[test]
fn who_saw_a_subtree_changed_sees_no_old_answer_of_it() {
    nothing_old_after(|writer| writer.invalidate_namespace(0, NSID));
}

#[test]
fn who_saw_a_new_state_of_the_group_sees_nothing_of_the_old_one() {
    nothing_old_after(|writer| {
        writer.begin_replace(0);
        writer.end_replace(0);
    });
}

/// Whoever sees the answer that is written after `change` finds nothing that was there before it.
fn nothing_old_after(change: fn(&mut Writer)) {
    explore(move || {
        let (mut writer, reader) = cache();
        write(&mut writer, b'a', 1);
        let readers = thread::spawn(move || {
            let first = read(&reader, b'b');
            let second = read(&reader, b'a');
            assert!(first != 2 || second == 0, "an answer from before the change");
        });
        change(&mut writer);
        write(&mut writer, b'b', 2);
        readers.join().unwrap();
    });
}
