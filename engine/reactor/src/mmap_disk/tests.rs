//! The log over real files: the storage thread at work, the ring's part done at once by plain calls.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use base::record::EntryKind;
use base::{ClusterId, GroupId, LogIndex, Mono, NodeId, NodeUuid, Term};
use seglog::{OpError, SegLog, Settings, Slice, recover};

use super::*;
use crate::backend::Backend;
use crate::storage::{FileLogReader, LogDir, StorageThread, format_log_dir, prepare_pool};

const GROUP: GroupId = GroupId(1);

fn settings() -> Settings {
    Settings {
        cluster_id: ClusterId([1; 16]),
        node_uuid: NodeUuid([2; 16]),
        core: CoreId(1),
        cores: 2,
        segment_bytes: 4 << 20,
        log_bytes_max: 64 << 20,
        salt_seed: 99,
        batches_in_flight: 1,
    }
}

/// A core with its storage thread.
struct Core {
    log: SegLog<MmapDisk>,
    thread: StorageThread,
    done: Receiver<StorageDone>,
    now: u64,
}

impl Core {
    fn boot(dir: &Path, backend: Backend) -> Core {
        let settings = settings();
        let recovered = recover(&mut FileLogReader::open(dir).unwrap(), &settings).unwrap();
        let (sender, done) = channel();
        let at = LogDir { core: settings.core, dir: dir.to_owned(), segment_bytes: settings.segment_bytes };
        let on_done = move |_core, done| sender.send(done).unwrap();
        let thread = StorageThread::start_with(vec![at], backend, Arc::new(on_done)).unwrap();
        let mut disk = MmapDisk::new(settings.core, dir.to_owned(), settings.segment_bytes, thread.sender());
        disk.open_recovered(recovered.segments()).unwrap();
        let mut core = Core { log: SegLog::start(recovered, settings, disk), thread, done, now: 1 };
        core.settle();
        core
    }

    /// Runs turns until nothing is asked for.
    fn settle(&mut self) {
        let mut out = 0;
        loop {
            self.log.handle_turn_end(Mono(self.now));
            while let Some((token, op)) = self.log.poll_op() {
                if op.is_ring() {
                    let now = self.log.disk_mut().do_now(&op);
                    let result = now.unwrap_or_else(|| self.log.disk().perform(&op));
                    self.log.handle_op_done(token, result).unwrap();
                } else {
                    self.log.disk_mut().submit(token, op);
                    out += 1;
                }
            }
            if out > 0 {
                let done = self.done.recv().unwrap();
                let (token, result) = self.log.disk_mut().finish(done);
                self.log.handle_op_done(token, result).unwrap();
                out -= 1;
            } else if self.log.next_deadline().is_none_or(|at| at > Mono(self.now)) {
                return;
            }
        }
    }

    fn append(&mut self, bytes: usize) {
        let index = self.log.last_index(GROUP).next();
        let payload = vec![index.0 as u8; bytes];
        self.log.append_new(GROUP, EntryKind::Commands, index, Term(1), &payload);
    }

    fn read(&mut self, index: u64) -> Vec<u8> {
        let index = LogIndex(index);
        while self.log.entry(GROUP, index) == Slice::Cold {
            self.log.fault_in(GROUP, index, index);
            self.settle();
        }
        match self.log.entry(GROUP, index) {
            Slice::InMemory(record) => record.payload().to_vec(),
            Slice::Cold | Slice::Faulty => panic!("it was faulted in"),
        }
    }

    fn stop(self) {
        drop(self.log);
        self.thread.stop();
    }
}

impl MmapDisk {
    fn perform(&self, op: &DiskOp) -> OpResult {
        let file = |slot: Slot| Arc::clone(&self.memory(slot).unwrap().segment.as_ref().unwrap().file);
        match *op {
            DiskOp::Write { slot, offset, bytes } => {
                let image = self.memory(slot).unwrap().image.as_ref().unwrap();
                assert_eq!(self.image_ptr(slot, offset, bytes), image[offset as usize..].as_ptr());
                assert_eq!(self.raw_fd(slot), file(slot).as_raw_fd());
                file(slot).write_all_at(&image[offset as usize..(offset + bytes) as usize], u64::from(offset)).unwrap();
                Ok(bytes)
            }
            DiskOp::Sync { slot, .. } => file(slot).sync_data().map(|()| 0).map_err(|_| OpError::Errno(libc::EIO)),
            _ => panic!("not the ring's: {op:?}"),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut out: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    out.sort();
    out
}

/// Each start takes another backend: the format is one.
#[test]
fn a_log_on_real_files_switches_segments_reads_sealed_ones_collects_and_recovers() {
    let [direct, pwrite, mmap] = Backend::BY_CHOICE;
    for backends in [[direct, pwrite, mmap], [pwrite, mmap, direct], [mmap, direct, pwrite]] {
        run_with(backends);
    }
}

fn run_with(backends: [Backend; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("c1");
    format_log_dir(&dir, &settings(), 1).unwrap();
    let mut core = Core::boot(&dir, backends[0]);
    core.log.new_group(GROUP, b"config");
    core.log.set_state(GROUP, Term(3), NodeId(2));
    for _ in 0..40 {
        core.append(400_000);
        core.settle();
    }
    assert!(core.log.segments_len() >= 4, "40 entries of 400,000 bytes fill segments of 4 MiB");
    for index in 1..=40 {
        assert_eq!(core.read(index), vec![index as u8; 400_000]);
    }
    core.stop();

    let mut core = Core::boot(&dir, backends[1]);
    assert_eq!((core.log.last_index(GROUP), core.log.state(GROUP)), (LogIndex(40), (Term(3), NodeId(2))));
    for index in 1..=40 {
        assert_eq!(core.read(index), vec![index as u8; 400_000]);
    }
    let live = names(&dir).iter().filter(|name| name.starts_with("seg-")).count();
    let crc = core.log.crc(GROUP, LogIndex(39)).unwrap();
    core.log.truncate_prefix(GROUP, LogIndex(40), Term(1), crc, b"later");
    core.settle();
    core.append(10);
    core.settle();
    let kept = names(&dir).iter().filter(|name| name.starts_with("seg-")).count();
    assert!(kept < live, "{kept} of {live} segments are kept");
    assert_eq!(core.log.segments_len(), kept);
    core.stop();

    let mut core = Core::boot(&dir, backends[2]);
    assert_eq!((core.log.first_index(GROUP), core.log.last_index(GROUP)), (LogIndex(40), LogIndex(41)));
    assert_eq!((core.read(40).len(), core.read(41).len()), (400_000, 10));
    assert_eq!(core.log.group_config_prefix(GROUP), b"later");
    core.stop();
}

#[test]
fn a_pool_is_made_once_and_holds_zeros_of_full_size() {
    let dir = tempfile::tempdir().unwrap();
    prepare_pool(dir.path(), CoreId(0), 4 << 20, 2).unwrap();
    prepare_pool(dir.path(), CoreId(0), 4 << 20, 2).unwrap();
    let free = dir.path().join("free");
    assert_eq!(names(&free), ["prep-00000000.seg", "prep-00000001.seg"]);
    assert_eq!(names(dir.path()), ["free"]);
    let bytes = std::fs::read(free.join("prep-00000001.seg")).unwrap();
    assert!(bytes.len() == 4 << 20 && bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn a_directory_without_meta_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    prepare_pool(dir.path(), CoreId(1), 4 << 20, 0).unwrap();
    let error = recover(&mut FileLogReader::open(dir.path()).unwrap(), &settings()).unwrap_err();
    assert!(matches!(error, seglog::RecoverError::NoMeta), "{error}");
}

/// Wants a directory on a file system with between 8 and 16 MiB free, named by `DROPSTONE_SMALL_DIR`; `.ci/run` mounts one.
#[test]
fn a_full_disk_is_an_answer_and_leaves_no_half_made_file() {
    let Some(small) = std::env::var_os("DROPSTONE_SMALL_DIR") else {
        eprintln!("SKIPPED: a_full_disk_is_an_answer: DROPSTONE_SMALL_DIR names no small file system");
        return;
    };
    let dir = std::path::PathBuf::from(small).join("c0");
    let error = prepare_pool(&dir, CoreId(0), 4 << 20, 8).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(names(&dir), ["free"]);
    assert!(!names(&dir.join("free")).is_empty());
}
