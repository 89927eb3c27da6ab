//! A trace comes back as it was written; of a file that is cut or changed comes back what is before that, and no more.

use super::*;
use crate::trace::BATCH_MAX;

fn op(at_us: u64, namespace: u32, choice: Choice) -> TracedOp {
    TracedOp { at_us, namespace, choice }
}

/// Every kind at least once, in two namespaces.
pub fn sample() -> Trace {
    let of = Choice::of;
    let put = |folder, size| Choice { folder, size, ..of(OpKind::Put) };
    let meet = |kind, file| Choice { file: FileId(file), ..of(kind) };
    let choices = [
        (0, put(2, 70_000)),
        (0, meet(OpKind::Stat, 0)),
        (1, Choice { folder: 1, count: 3, ..of(OpKind::PutBatch) }),
        (0, Choice { is_update: true, size: 5_000_000, ..meet(OpKind::Put, 3) }),
        (1, Choice { folder: 1, ..of(OpKind::Mkdir) }),
        (1, Choice { folder: 2, ..meet(OpKind::Move, 1) }),
        (1, of(OpKind::MoveFolder)),
        (0, meet(OpKind::Attr, 1)),
        (0, meet(OpKind::Delete, 2)),
        (0, meet(OpKind::Blocklist, 3)),
        (0, Choice { folder: 3, count: 500, ..of(OpKind::List) }),
        (1, Choice { count: 500, ..of(OpKind::Delta) }),
        (1, of(OpKind::Head)),
        (1, Choice { count: 8, ..meet(OpKind::HasBlocks, 2) }),
    ];
    let at = |at: usize| (at * at * 1_000) as u64;
    let spaces = vec![
        Space { folders: vec![1, 2], files: vec![(1, 0), (2, 4096), (3, 4096)] },
        // Nothing but the two folders that each has.
        Space::default(),
    ];
    Trace {
        origin: Origin {
            mix: "sync".to_owned(),
            version: 2,
            hash: 0x1122_3344_5566_7788,
            seed: 7,
            start_unix_ms: 1_700_000_000_000,
            is_closed: false,
            window_us: (5_000, 170_000),
        },
        spaces,
        ops: choices.iter().enumerate().map(|(n, (namespace, choice))| op(at(n), *namespace, *choice)).collect(),
    }
}

fn bytes(trace: &Trace) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(trace, &mut bytes).unwrap();
    bytes
}

/// Many blocks, of operations that fit each other.
fn long() -> Trace {
    let mut trace = sample();
    trace.spaces[1].files = (0..10_000).map(|file| (1, file % 5000)).collect();
    trace.spaces[1].folders = vec![1; 5000];
    let stat = |n: u32| op(u64::from(n) * 250, 1, Choice { file: FileId(n % 10_000), ..Choice::of(OpKind::Stat) });
    trace.ops = (0..60_000).map(stat).collect();
    trace
}

#[test]
fn a_trace_comes_back_as_it_was_written() {
    for trace in [sample(), long(), Trace { spaces: Vec::new(), ops: Vec::new(), ..sample() }] {
        let found = read(&bytes(&trace)).unwrap();
        assert_eq!(found.damage, None);
        assert!(found.trace == trace);
    }
}

/// Every version ever shipped is read.
#[test]
fn the_bytes_of_version_1_are_these() {
    let golden = include_bytes!("../../../tests/golden/trace-1.dstrace");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/trace-1.dstrace");
        std::fs::write(path, bytes(&sample())).unwrap();
        return;
    }
    assert_eq!(read(golden).unwrap(), Found { trace: sample(), damage: None });
    assert_eq!(bytes(&sample()), golden);
}

#[test]
fn of_a_cut_file_whole_blocks_come_back() {
    let (trace, bytes) = (long(), bytes(&long()));
    let mut seen = 0;
    for cut in (0..bytes.len()).step_by(997) {
        match read(&bytes[..cut]) {
            Ok(found) => {
                let good = found.trace.ops.len();
                let damage = found.damage.expect("it lacks the end");
                assert!(0 < good && good >= seen && damage.at <= cut as u64, "{damage}");
                assert!(found.trace.ops[..] == trace.ops[..good]);
                seen = good;
            }
            Err(error) => assert_eq!(seen, 0, "{error}"),
        }
    }
    assert!(seen > 40_000, "{seen}");
    // The end alone is missing.
    let found = read(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!((found.trace.ops.len(), found.damage.unwrap().what), (60_000, "the file is cut off"));
}

#[test]
fn a_changed_byte_ends_what_is_good_and_nothing_panics() {
    let (trace, whole) = (sample(), bytes(&sample()));
    for at in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(Found { trace: read, damage }) = read(&bytes) {
                assert!(damage.is_some(), "byte {at}, bit {bit} was changed and nobody saw it");
                assert!(read.ops[..] == trace.ops[..read.ops.len()]);
            }
        }
    }
    let bytes = [whole, vec![0]].concat();
    assert_eq!(read(&bytes).unwrap().damage.unwrap().what, "something follows the end");
}

#[test]
fn a_file_of_something_else_or_of_a_later_program_is_told() {
    assert!(matches!(read(b"#!/bin/sh"), Err(TraceError::NoTrace)));
    assert!(matches!(read(b""), Err(TraceError::NoTrace)));
    assert!(matches!(read(b"DSTRACE1"), Err(TraceError::Header)));
    let mut later = bytes(&sample());
    later[8] = 2;
    assert!(matches!(read(&later), Err(TraceError::Newer(2))));
}

/// A checksum that fits says nothing of the sense: whoever wrote it, nothing of it is believed.
#[test]
fn operations_that_cannot_be_are_refused_though_the_checksum_fits() {
    let wrong = [
        (0, Choice { file: FileId(3), ..Choice::of(OpKind::Stat) }),
        (0, Choice { folder: 4, ..Choice::of(OpKind::List) }),
        (2, Choice::of(OpKind::Head)),
        (0, Choice { folder: 1, count: BATCH_MAX + 1, ..Choice::of(OpKind::PutBatch) }),
        (0, Choice { folder: 1, size: u64::MAX, ..Choice::of(OpKind::Put) }),
        (0, Choice { folder: 0, ..Choice::of(OpKind::Mkdir) }),
        (0, Choice { count: 0, ..Choice::of(OpKind::Delta) }),
    ];
    for (namespace, choice) in wrong {
        let ops = vec![op(0, namespace, choice)];
        let error = read(&bytes(&Trace { ops, ..sample() })).unwrap_err();
        assert!(matches!(error, TraceError::Nothing(_)), "{choice:?}: {error}");
    }
    let delete = Choice { file: FileId(0), ..Choice::of(OpKind::Delete) };
    let twice = Trace { ops: vec![op(0, 0, delete), op(1, 0, delete)], ..sample() };
    assert!(read(&bytes(&twice)).is_err(), "it was gone already");
    for parent in [0, 2, u32::MAX] {
        let spaces = vec![Space { folders: vec![parent], files: Vec::new() }];
        assert!(read(&bytes(&Trace { spaces, ops: Vec::new(), ..sample() })).is_err(), "{parent}");
    }
    let deep = Space { folders: (1..80).collect(), files: Vec::new() };
    assert!(read(&bytes(&Trace { spaces: vec![deep], ops: Vec::new(), ..sample() })).is_err());
}
