//! The words of a small cache, pinned: slots, items, lines of groups, stripes.

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use base::{LogIndex, Mono, NodeId, Nsid};
use cache::{Item, Kind, Settings, Writer, key, leak};
use common::key_of;

/// `UPDATE_EXPECT=1` writes the file anew; a change of it wants a reason.
#[test]
fn words_are_laid_out_as_ever() {
    let settings = Settings {
        segment_bytes: 512,
        item_bytes: 128,
        item_bytes_max: 256,
        ..Settings::new(2, 1, 0, 0x0123_4567_89ab_cdef)
    };
    let lines = leak(24 << 10);
    let mut writer = Writer::new(lines, &settings).unwrap();
    writer.publish_lease(0, Mono(5_000_000));
    writer.publish_applied(1, LogIndex(9));
    writer.publish_leader(1, Some(NodeId(3)));
    writer.give_up_lease(1);
    writer.invalidate_namespace(0, Nsid(1));
    let keys = [key_of(key::PATH, 1, 1), key_of(key::PATH | key::JSON, 1, 1), key_of(0x03, 1, 7)];
    let kinds = [Kind::File, Kind::Absent, Kind::Row];
    for ((key, kind), value) in keys.iter().zip(kinds).zip([&b"a file's bytes"[..], b"", b"12345678"]) {
        let _ = writer.insert(0, &Item { key, kind, as_of: 0x1234, value });
    }
    let mut text = String::new();
    for (at, word) in lines.as_flattened().iter().enumerate().filter(|(_, word)| word.load(Ordering::Relaxed) != 0) {
        writeln!(text, "{at:5} {:016x}", word.load(Ordering::Relaxed)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/words.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).expect("UPDATE_EXPECT=1 makes it"));
}
