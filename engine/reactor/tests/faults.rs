//! The log over real files and a real ring when a sync fails or the disk is full: it stops at once and for good, a start from
//! the files finds all that was persisted, and space that comes back is used again.

mod common;

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use base::mono::Span;
use base::record::EntryKind;
use base::{GroupId, LogIndex, Mono, Term};
use common::{Seen, reap, small};
use reactor::storage::{FileLogReader, LogDir, StorageDone, StorageThread, format_log_dir};
use reactor::{Io as _, LogFiles as _, MmapDisk, Ring, Wait};
use seglog::testing::test_settings;
use seglog::{DiskOp, Health, LogFailure, LogReader as _, OpError, OpToken, SegLog, Settings, Slot, recover};

const GROUP: GroupId = GroupId(1);
const EIO: i32 = 5;

fn settings(salt_seed: u64) -> Settings {
    Settings { salt_seed, ..test_settings() }
}

/// One core with its ring and its storage thread.
struct Core {
    log: SegLog<MmapDisk>,
    ring: Ring,
    thread: StorageThread,
    stored: Receiver<StorageDone>,
    /// Operations of the storage thread that are under way.
    out: usize,
    now: Mono,
    /// The sync with this number from now on (1 is the next) fails.
    fails_in: Option<u32>,
    /// What was written and is not covered by a sync that succeeded: slot, offset, bytes.
    unsynced: Vec<(Slot, u32, u32)>,
    failure: Option<LogFailure>,
}

impl Core {
    /// Recovers, and starts. The group's entries that recovery holds are checked.
    fn boot(dir: &Path, salt_seed: u64, fails_in: Option<u32>) -> Core {
        let settings = settings(salt_seed);
        let recovered = recover(&mut FileLogReader::open(dir).unwrap(), &settings).unwrap();
        let (sender, stored) = channel();
        let at = LogDir { core: settings.core, dir: dir.to_owned(), segment_bytes: settings.segment_bytes };
        let on_done = move |_core, done| sender.send(done).unwrap();
        let thread = StorageThread::start(vec![at], Arc::new(on_done)).unwrap();
        let mut disk = MmapDisk::new(settings.core, dir.to_owned(), settings.segment_bytes, thread.sender());
        disk.open_recovered(recovered.segments()).unwrap();
        let log = SegLog::start(recovered, settings, disk);
        let ring = Ring::new(&small()).unwrap();
        let (unsynced, failure) = (Vec::new(), None);
        Core { log, ring, thread, stored, out: 0, now: Mono(1), fails_in, unsynced, failure }
    }

    fn done(&mut self, token: OpToken, result: Result<u32, OpError>) {
        let done = self.log.handle_op_done(token, result);
        self.failure = self.failure.take().or(done.err());
    }

    /// Turns until nothing is asked for any more, or the log has failed.
    fn settle(&mut self) {
        let mut in_ring: VecDeque<(OpToken, DiskOp)> = VecDeque::new();
        loop {
            self.log.handle_turn_end(self.now);
            while let Some((token, op)) = self.log.poll_op() {
                match op {
                    DiskOp::Sync { .. } if self.fails_in == Some(1) => {
                        self.fails_in = None;
                        self.done(token, Err(OpError::Errno(EIO)));
                    }
                    DiskOp::Write { .. } | DiskOp::Sync { .. } => {
                        if let (DiskOp::Sync { .. }, Some(left)) = (&op, &mut self.fails_in) {
                            *left -= 1;
                        }
                        self.ring.submit_disk(token, &op, self.log.disk());
                        in_ring.push_back((token, op));
                    }
                    op => {
                        self.log.disk_mut().submit(token, op);
                        self.out += 1;
                    }
                }
            }
            if self.failure.is_none() && in_ring.is_empty() && self.out == 0 {
                return;
            }
            self.wait(&mut in_ring);
            if self.failure.is_some() && in_ring.is_empty() && self.out == 0 {
                return;
            }
        }
    }

    fn wait(&mut self, in_ring: &mut VecDeque<(OpToken, DiskOp)>) {
        if !in_ring.is_empty() {
            self.ring.enter(Wait::Until(self.ring.now() + Span::from_ms(100)));
            for seen in reap(&mut self.ring) {
                let Seen::DiskDone(token, result) = seen else { panic!("{seen:?}") };
                let at = in_ring.iter().position(|(asked, _)| *asked == token).unwrap();
                match in_ring.remove(at).unwrap().1 {
                    DiskOp::Write { slot, offset, bytes } => self.unsynced.push((slot, offset, bytes)),
                    DiskOp::Sync { slot, .. } => self.unsynced.retain(|(written, ..)| *written != slot),
                    _ => {}
                }
                self.done(token, result);
            }
        } else if self.out > 0 {
            let done = self.stored.recv().unwrap();
            let (token, result) = self.log.disk_mut().finish(done);
            self.out -= 1;
            self.done(token, result);
        }
    }

    /// One entry in a frame of its own; true when it is persisted, and may be acknowledged.
    fn commit(&mut self, bytes: usize) -> bool {
        let index = self.log.last_index(GROUP).next();
        self.log.append_new(GROUP, EntryKind::Commands, index, Term(1), &payload(index, bytes));
        self.settle();
        self.failure.is_none() && self.log.persisted_epoch() >= self.log.covering_epoch()
    }

    /// The process ends. Of what no sync covers, the file keeps so many bytes of each write: the kernel dropped the others.
    fn end(self, kept: impl Fn(u32) -> u32) {
        let path = |slot: Slot| std::fs::read_link(format!("/proc/self/fd/{}", self.log.disk().raw_fd(slot))).unwrap();
        let unsynced: Vec<_> = self.unsynced.iter().map(|(slot, at, bytes)| (path(*slot), *at, *bytes)).collect();
        drop((self.log, self.ring));
        self.thread.stop();
        for (path, offset, bytes) in unsynced {
            let kept = kept(bytes);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&vec![0; (bytes - kept) as usize], u64::from(offset + kept)).unwrap();
        }
    }
}

fn payload(index: LogIndex, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (index.0 as usize + at) as u8).collect()
}

/// Every n of a run of a hundred commits, each in a frame of its own; the log of one n is that of the next.
#[test]
fn a_sync_that_fails_at_any_of_a_hundred_commits_stops_the_log_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("c0");
    format_log_dir(&dir, &settings(0), 1).unwrap();
    let (mut acknowledged, mut appended, mut doubtful) = (LogIndex(0), LogIndex(0), 0);
    for n in 1..=100u32 {
        let mut core = Core::boot(&dir, u64::from(n), Some(n));
        if !core.log.has_group(GROUP) {
            core.log.new_group(GROUP, b"config");
        }
        let last = core.log.last_index(GROUP);
        assert!(
            acknowledged <= last && last <= appended,
            "{n}: {acknowledged} acknowledged, {appended} sent, {last} found"
        );
        match core.log.health(GROUP) {
            Health::Clean => {}
            Health::RecoveringHead => {
                doubtful += 1;
                core.log.set_health(GROUP, Health::Clean);
            }
            other => panic!("{n}: a sync that failed leaves nothing worse than a doubt: {other:?}"),
        }
        // The first sync is that of the start; what is behind the last entry makes room.
        if last > LogIndex(1) && n % 4 == 0 {
            let crc = core.log.crc(GROUP, last.prev()).unwrap();
            core.log.truncate_prefix(GROUP, last, Term(1), crc, b"config");
        }
        let mut commits = 0;
        while core.commit([200, 5_000, 9_000][commits as usize % 3]) {
            acknowledged = core.log.last_index(GROUP);
            commits += 1;
            assert!(commits <= n, "{n}: every commit has a sync of its own");
        }
        appended = core.log.last_index(GROUP);
        let failure = core.failure.expect("the sync failed");
        assert!(matches!(failure, LogFailure::Operation { error: OpError::Errno(EIO), .. }), "{failure:?}");
        assert!(failure.to_string().contains("errno 5"), "{failure}");
        // For good: nothing is issued, nothing is released, and nobody asks again.
        let persisted = core.log.persisted_epoch();
        core.log.handle_turn_end(Mono(core.now.0 + 60_000_000_000));
        assert!(core.log.has_failed() && core.log.poll_op().is_none() && core.log.next_deadline().is_none());
        assert!(core.log.persisted_epoch() == persisted && persisted < core.log.covering_epoch());
        // The kernel keeps the pages, forgets them, or forgets some.
        match n % 3 {
            0 => core.end(|bytes| bytes),
            1 => core.end(|_| 0),
            _ => core.end(|_| 4096),
        }
    }
    let core = Core::boot(&dir, 1_000, None);
    assert!(core.log.last_index(GROUP) >= acknowledged && acknowledged >= LogIndex(2_000), "{acknowledged}");
    assert!(doubtful >= 10, "{doubtful} frames had a head and no body");
    core.end(|bytes| bytes);
}

/// Wants a directory on a file system of some 12 MiB, named by `DROPSTONE_SMALL_DIR`; `.ci/run` mounts one.
#[test]
fn a_full_disk_is_back_pressure_for_the_log_also_at_a_start_and_space_that_comes_back_is_used() {
    let Some(small) = std::env::var_os("DROPSTONE_SMALL_DIR").map(std::path::PathBuf::from) else {
        eprintln!("SKIPPED: a_full_disk_is_back_pressure_for_the_log: DROPSTONE_SMALL_DIR names no small file system");
        return;
    };
    // What another test of this file system left.
    for entry in std::fs::read_dir(&small).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let dir = small.join("log");
    format_log_dir(&dir, &settings(0), 1).unwrap();
    let ballast = small.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);

    let mut core = Core::boot(&dir, 1, None);
    core.log.new_group(GROUP, b"config");
    core.settle();
    assert!(core.log.is_full() && core.failure.is_none(), "{:?}", core.failure);
    // What was under way still fits the one segment that is there.
    for _ in 0..5 {
        assert!(core.commit(300_000), "{:?}", core.failure);
    }
    core.end(|bytes| bytes);

    let mut core = Core::boot(&dir, 2, None);
    core.settle();
    assert!(core.failure.is_none() && core.log.is_full(), "a start waits for space: {:?}", core.failure);
    assert_eq!(core.log.last_index(GROUP), LogIndex(5));
    assert!(!core.commit(100), "nothing is persisted before the start has its segment");
    let segments = FileLogReader::look(&dir).unwrap().segments().unwrap();
    assert!(segments.len() == 1 && core.failure.is_none(), "{segments:?}");

    std::fs::remove_file(&ballast).unwrap();
    core.now = Mono(core.now.0 + 11_000_000_000);
    core.settle();
    assert!(core.failure.is_none(), "{:?}", core.failure);
    assert_eq!(core.log.persisted_epoch(), core.log.covering_epoch(), "the start has its segment");
    assert!(core.commit(300_000));
    core.end(|bytes| bytes);
    let core = Core::boot(&dir, 3, None);
    assert_eq!(core.log.last_index(GROUP), LogIndex(7));
    core.end(|bytes| bytes);
    std::fs::remove_dir_all(&dir).unwrap();
}
