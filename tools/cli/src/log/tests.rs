//! The tools on a real directory: whole, damaged, and lost.

use std::fs;
use std::path::Path;

use base::record::EntryKind;
use base::{GroupId, Term};
use seglog::format::meta::META_STRIDE;
use seglog::testing::{MemDisk, MemLogReader, run_ops_until_echoed, test_settings};
use seglog::{LogReader as _, SEGMENT_BYTES_LEAST, SegLog, Settings, create};

use super::look::parse_range;
use super::*;

const GROUP: GroupId = GroupId(1);

/// A log of several segments of 256 KiB as files in `dir`.
fn write_log(dir: &Path) {
    let settings =
        Settings { segment_bytes: SEGMENT_BYTES_LEAST, log_bytes_max: 64 * SEGMENT_BYTES_LEAST, ..test_settings() };
    let mut log = SegLog::start(create(&settings), settings.clone(), MemDisk::new(&settings));
    log.new_group(GROUP, b"config");
    while log.segments_len() < 5 {
        let index = log.last_index(GROUP).next();
        log.append_new(GROUP, EntryKind::Commands, index, Term(1), &[index.0 as u8; 1000]);
        run_ops_until_echoed(&mut log);
    }
    let mut reader = MemLogReader::new(log.disk());
    let mut meta = vec![0; 4 * META_STRIDE as usize];
    for (copy, block) in reader.meta().expect("memory").into_iter().enumerate() {
        let block = block.expect("all copies are there");
        meta[copy * META_STRIDE as usize..][..block.len()].copy_from_slice(&block);
    }
    fs::create_dir_all(dir.join("free")).expect("a temporary directory");
    fs::write(dir.join("meta"), meta).expect("written");
    for found in reader.segments().expect("memory") {
        let mut bytes = vec![0; found.bytes as usize];
        reader.read(found.segment_seq, 0, &mut bytes).expect("memory");
        fs::write(segment(dir, found.segment_seq), bytes).expect("written");
    }
}

fn segment(dir: &Path, segment_seq: u64) -> PathBuf {
    dir.join(format!("seg-{segment_seq:016x}.log"))
}

fn args(dir: &Path) -> LogArgs {
    LogArgs { dir: dir.to_owned(), core: None }
}

fn verdict(dir: &Path) -> ExitCode {
    verify::judge(&args(dir), true).expect("it can be read")
}

fn is(code: ExitCode, number: u8) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::from(number))
}

/// Every file with its bytes and the time of its last change.
fn all_of(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(dir).expect("there").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).expect("there");
    files.into_iter().map(|path| (path.clone(), fs::read(&path).expect("there"), changed(&path))).collect()
}

#[test]
fn a_whole_log_is_whole_and_nothing_is_written() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("log/c0");
    write_log(&dir);
    let before = all_of(&dir);
    assert!(is(verdict(&dir), 0));
    assert!(is(verdict(temporary.path()), 0), "the data directory above names the same log");
    assert!(is(stat::show(&args(&dir), true).expect("it opens"), 0));
    let dump = DumpArgs { log: args(&dir), group: Some(1), index: Some(3..4), segment: None, frames: false };
    assert!(is(dump::show(&dump, true).expect("it can be read"), 0));
    assert_eq!(all_of(&dir), before);
}

#[test]
fn a_flipped_byte_is_damage_and_a_lost_segment_is_a_lost_log() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("c0");
    write_log(&dir);
    let second = segment(&dir, 2);
    let mut bytes = fs::read(&second).expect("there");
    // In the payload of an entry in the middle of a sealed segment.
    bytes[100_000] ^= 1;
    fs::write(&second, bytes).expect("written");
    assert!(is(verdict(&dir), 3));
    fs::remove_file(&second).expect("there");
    assert!(is(verdict(&dir), 4));
}

#[test]
fn a_directory_without_a_log_is_named_with_the_nodes_in_it() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    fs::create_dir_all(temporary.path().join("n1/log/c0/free")).expect("created");
    let error = verify::judge(&args(temporary.path()), true).expect_err("there is no log").to_string();
    assert!(error.contains("holds no log") && error.contains("n1"), "{error}");
}

#[test]
fn ranges_are_half_open_and_one_index_is_a_range() {
    assert_eq!(parse_range("3..7"), Ok(3..7));
    assert_eq!(parse_range("3.."), Ok(3..u64::MAX));
    assert_eq!(parse_range("5"), Ok(5..6));
    assert!(parse_range("x").is_err());
}
