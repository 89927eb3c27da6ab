//! Orders of events that threads produce only by chance.

use super::*;
use base::LogIndex;

const GROUP: GroupId = GroupId(1);

fn put(store: &mut LsmStore, index: u64, key: &[u8], value: Option<&[u8]>) {
    let batch = RowBatch::from_iter([(key, value)]);
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
fn a_row_that_no_table_has_is_absent_without_a_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for index in 1..=200u64 {
        put(&mut store, index, format!("even {:05}", 2 * index).as_bytes(), Some(b"v"));
    }
    checkpoint(&mut store);
    assert!(store.retired.is_empty());
    let is_cold = |store: &LsmStore, number: u64| store.get(GROUP, format!("even {number:05}").as_bytes()) == Row::Cold;
    assert!((1..=200).all(|index| is_cold(&store, 2 * index)), "a row in a table must be read");
    let unsure = (1..200).filter(|index| is_cold(&store, 2 * index + 1)).count();
    assert!(unsure < 20, "the filter is not sure of {unsure} of 199 rows that are nowhere");
    assert_eq!(store.get(GROUP, b"behind all"), Row::Absent);
    // A delete is a row as well: it must be read, until compaction has taken it out.
    put(&mut store, 201, b"even 00002", None);
    checkpoint(&mut store);
    assert!(is_cold(&store, 2));
    // A core that finds no news holds on to no table that is gone.
    let old = Arc::downgrade(&store.view.refresh().unwrap_or_else(|| store.view.newest.get()));
    put(&mut store, 202, b"more", Some(b"v"));
    checkpoint(&mut store);
    assert_eq!(store.get(GROUP, b"more"), Row::Cold);
    let begun = std::time::Instant::now();
    while old.strong_count() > 0 {
        assert!(begun.elapsed().as_secs() < 20, "the old tables are held");
        let _ = store.poll_event();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn after_many_rows_that_are_there_one_that_is_not_is_read_once_and_the_next_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let key = |number: u64| format!("row {number:05}").into_bytes();
    for index in 1..=400u64 {
        put(&mut store, index, &key(2 * index), Some(b"v"));
    }
    checkpoint(&mut store);
    (1..=64).for_each(|index| assert_eq!(store.get(GROUP, &key(2 * index)), Row::Cold));
    assert_eq!(store.get(GROUP, &key(2)), Row::Cold);
    assert_eq!(store.get(GROUP, &key(201)), Row::Cold, "it is taken to be there too");
    store.prefetch(7, GROUP, &[Want::Key(key(201)), Want::Key(key(200)), Want::Key(key(203))]);
    let done = take(&store);
    store.handle(done);
    assert_eq!(store.get(GROUP, &key(201)), Row::Absent);
    assert_eq!(store.get(GROUP, &key(200)), Row::Hit(b"v"));
    let unsure = (210..=390).filter(|index| store.get(GROUP, &key(2 * index + 1)) == Row::Cold).count();
    assert!(unsure < 20, "{unsure} of 181 rows that are nowhere are not told at once");
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

#[test]
fn a_flush_that_meets_a_full_disk_is_undone_and_comes_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, bell) = std::sync::mpsc::sync_channel(1);
    let wake: Wake = Arc::new(move || {
        let _ = ring.try_send(());
    });
    let free = Arc::new(std::sync::atomic::AtomicU64::new(10 << 20));
    let probed = free.clone();
    let mut settings = OpenSettings::dev(dir.path().to_owned(), CoreId(0), wake);
    settings.space = Some(Arc::new(move || Ok(probed.load(Ordering::Relaxed))));
    let mut store = LsmStore::open(settings.clone()).unwrap();
    let wait = |limit: &mut u32| {
        // The limit only ends a test that would hang.
        *limit += 1;
        assert!(*limit < 600, "nothing happened for a minute");
        let _ = bell.recv_timeout(std::time::Duration::from_millis(100));
    };
    put(&mut store, 1, b"before", Some(b"1"));
    let frozen = store.freeze().unwrap();
    store.flush(frozen.id);
    let (mut limit, mut flushed) = (0, None);
    while flushed.is_none() {
        wait(&mut limit);
        flushed = store.poll_event();
    }
    let files = || std::fs::read_dir(dir.path().join("c0/tables")).unwrap().count();
    assert_eq!((files(), store.has_room()), (1, true));

    // The disk fills while the table is written, three times.
    for at in 0..100u8 {
        put(&mut store, 2 + u64::from(at), &[0x10, at], Some(&[at; 100]));
    }
    store.tree.full_after.store(50, Ordering::Relaxed);
    free.store(0, Ordering::Relaxed);
    let frozen = store.freeze().unwrap();
    store.flush(frozen.id);
    for tries in 1..4 {
        while store.writes_refused() < tries {
            wait(&mut limit);
        }
        assert_eq!(store.get(GROUP, &[0x10, 99]), Row::Hit(&[99; 100]), "reads go on");
        assert_eq!(store.poll_event(), None, "the store neither failed nor flushed");
        if tries < 3 {
            free.store(10 << 20, Ordering::Relaxed);
        }
    }
    while store.has_room() {
        wait(&mut limit);
    }
    assert_eq!(files(), 1, "what the attempts left is gone");
    store.tree.full_after.store(u64::MAX, Ordering::Relaxed);
    free.store(10 << 20, Ordering::Relaxed);
    let mut flushed = None;
    while flushed.is_none() || !store.has_room() {
        wait(&mut limit);
        flushed = store.poll_event().or(flushed);
    }
    assert_eq!(flushed, Some(StoreEvent::Flushed(frozen)));
    store.close();
    let store = LsmStore::open(settings).unwrap();
    assert_eq!(store.machine(GROUP).unwrap().applied_index, LogIndex(101));
}
