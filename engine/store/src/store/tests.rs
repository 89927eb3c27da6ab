//! Orders of events that threads produce only by chance.

use super::*;
use base::LogIndex;

const GROUP: GroupId = GroupId(1);

fn put(store: &mut LsmStore, index: u64, key: &[u8], value: Option<&[u8]>) {
    let batch = RowBatch { rows: vec![(key.to_vec(), value.map(<[u8]>::to_vec))] };
    store.write(GROUP, &batch, &Machine { applied_index: LogIndex(index), ..Machine::default() });
}

/// Takes the next thing a thread did, without telling the store.
fn take(store: &LsmStore) -> Done {
    store.events.as_ref().unwrap().recv().unwrap()
}

fn checkpoint(store: &mut LsmStore) {
    let frozen = store.freeze().unwrap();
    store.flush(frozen.id);
    let done = take(store);
    assert!(matches!(done, Done::Flushed { .. }));
    store.handle(done);
}

fn open(dir: &std::path::Path) -> LsmStore {
    LsmStore::open(OpenSettings::dev(dir.to_owned(), CoreId(0), Arc::new(|| {}))).unwrap()
}

#[test]
fn a_read_that_was_overtaken_by_a_flush_never_hides_the_newer_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    put(&mut store, 1, b"k", Some(b"old"));
    put(&mut store, 2, b"gone", Some(b"old"));
    put(&mut store, 3, b"range", Some(b"old"));
    checkpoint(&mut store);
    assert_eq!(store.get(GROUP, b"k"), Row::Cold);
    let range = Want::Range { keys: b"a".to_vec()..b"z".to_vec(), rows_max: 10 };
    store.prefetch(7, GROUP, &[Want::Key(b"k".to_vec()), Want::Key(b"gone".to_vec()), range]);
    let read_before = take(&store);
    put(&mut store, 4, b"k", Some(b"new"));
    put(&mut store, 5, b"gone", None);
    put(&mut store, 6, b"range", Some(b"new"));
    checkpoint(&mut store);
    assert_eq!(store.retired.len(), 1, "a read older than the flush is open");
    assert_eq!(store.get(GROUP, b"k"), Row::Hit(b"new"));
    store.handle(read_before);
    assert!(store.retired.is_empty());
    assert_eq!(store.get(GROUP, b"k"), Row::Hit(b"new"));
    assert_eq!(store.get(GROUP, b"gone"), Row::Absent);
    let mut rows = Rows::new();
    store.scan(GROUP, b"a".as_slice()..b"z".as_slice(), 10, &mut rows).unwrap();
    assert_eq!(rows, [(b"k".to_vec(), b"new".to_vec()), (b"range".to_vec(), b"new".to_vec())]);
}

#[test]
fn a_prefetch_released_before_it_came_brings_no_event_and_no_range() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    put(&mut store, 1, b"k", Some(b"v"));
    checkpoint(&mut store);
    let _ = std::iter::from_fn(|| store.poll_event()).count();
    let range = Want::Range { keys: b"a".to_vec()..b"z".to_vec(), rows_max: 10 };
    store.prefetch(7, GROUP, &[Want::Key(b"k".to_vec()), range]);
    store.release(7);
    let done = take(&store);
    store.handle(done);
    assert_eq!(store.poll_event(), None);
    assert_eq!(store.get(GROUP, b"k"), Row::Hit(b"v"), "what was read is kept");
    assert_eq!(store.scan(GROUP, b"a".as_slice()..b"z".as_slice(), 10, &mut Rows::new()), Err(Cold));
    assert!(store.tokens.is_empty() && store.flights.is_empty());
}
