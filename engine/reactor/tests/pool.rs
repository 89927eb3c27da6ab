//! Prepared segments: every byte of them has its block, so that neither a store into a map nor a write finds no space.

use std::os::unix::fs::MetadataExt as _;

use base::CoreId;
use reactor::prepare_pool;

#[test]
fn a_prepared_segment_is_whole_zero_and_has_no_holes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = seglog::SEGMENT_BYTES_LEAST;
    prepare_pool(dir.path(), CoreId(0), bytes, 2).unwrap();
    let files: Vec<_> =
        std::fs::read_dir(dir.path().join("free")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for path in files {
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.len(), bytes);
        assert!(file.blocks() * 512 >= bytes, "{}: {} blocks of 512 bytes", path.display(), file.blocks());
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    }
}
