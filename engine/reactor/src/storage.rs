//! The storage thread: whatever the log asks for that may block. One per node, off every core; it answers by a callback.
//!
//! ```text
//! log/c<core>/seg-<segment_seq:016x>.log    live segments
//! log/c<core>/free/prep-<n:08x>.seg         prepared or retired ones
//! log/c<core>/meta                          4 copies of 4 KiB at 0, 16, 32, 48 KiB
//! ```
//! Also here: what format does to such a directory, and how recovery reads it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use base::limits::LOG_BLOCK_BYTES;
use base::{CoreId, mutate};
use memmap2::{Advice, Mmap, MmapMut};
use seglog::format::meta::{META_COPIES, META_STRIDE};
use seglog::{FoundSegment, LogReader, OpError, OpResult, OpToken, Settings, Slot, format_meta};

use crate::backend::Backend;
use crate::mmap_disk::{drop_cache, map_segment, map_window, populate};

/// Jobs that wait, of all cores; a core keeps what does not fit.
const JOBS_MAX: usize = 4096;
/// Bytes of one direct write of zeros and of one read of recovery.
const CHUNK_BYTES: usize = 1 << 20;
/// Segments up to this size are read ahead while those before them are judged.
const READ_AHEAD_BYTES_MAX: u64 = 128 << 20;
/// So many at once: a disk gives more to two readers than to one.
const READ_AHEAD_SEGMENTS: usize = 2;
const META_NAME: &str = "meta";
const META_BYTES: u64 = 3 * META_STRIDE + LOG_BLOCK_BYTES as u64;
const MAKING_NAME: &str = "prep.tmp";

/// One core's log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Whose.
    pub core: CoreId,
    /// `DATA/log/c<core>`.
    pub dir: PathBuf,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

/// The end of an operation of the storage thread, for [`crate::MmapDisk::finish`] on the core that asked.
#[derive(Debug)]
pub struct StorageDone {
    pub(crate) token: OpToken,
    pub(crate) result: OpResult,
    pub(crate) brings: Brings,
}

/// What the core's disk takes over.
#[derive(Debug)]
pub(crate) enum Brings {
    Nothing,
    /// `spare` is memory for the image of a segment to come, all there, so that a core that fills it does not wait
    /// for pages.
    Segment {
        slot: Slot,
        segment: SegmentFile,
        way: Way,
        spare: Option<MmapMut>,
    },
    Resident {
        slot: Slot,
        offset: u32,
        bytes: u32,
    },
    Retired {
        slots: Vec<Slot>,
    },
}

/// An open segment: its file, and its map for reading.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub file: Arc<File>,
    pub map: Arc<Mmap>,
}

/// How frames reach the file of an active segment.
#[derive(Debug, Default)]
pub(crate) enum Way {
    /// The ring writes.
    #[default]
    Ring,
    /// The core writes, into the page cache.
    Call,
    /// The core copies into this map.
    Map(MmapMut),
}

/// What a core asks of the thread.
#[derive(Debug)]
pub(crate) enum Work {
    Prepare,
    Activate { slot: Slot, segment_seq: u64, header: Vec<u8> },
    Retire { slots: Vec<(Slot, u64)> },
    WriteMeta { copies: [Vec<u8>; META_COPIES] },
    FaultIn { slot: Slot, segment: SegmentFile, offset: u32, bytes: u32 },
}

#[derive(Debug)]
pub(crate) enum Job {
    Work {
        core: CoreId,
        token: OpToken,
        work: Work,
    },
    /// Memory or files whose release takes long; an image may be used again.
    Release {
        core: CoreId,
        image: Option<MmapMut>,
        _way: Way,
        _segment: Option<SegmentFile>,
    },
    Stop,
}

/// Gives jobs to the storage thread; each core's disk has one.
#[derive(Clone, Debug)]
pub struct StorageSender {
    jobs: SyncSender<Job>,
}

impl StorageSender {
    /// Queues a job; gives it back when the queue is full. A stopped thread swallows it.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        match self.jobs.try_send(job) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(job)) => Err(job),
        }
    }
}

/// Takes the ends of operations: called on the storage thread, must not block; posts to the core's inbox.
pub type OnDone = Arc<dyn Fn(CoreId, StorageDone) + Send + Sync>;

/// The storage thread of a node.
#[derive(Debug)]
pub struct StorageThread {
    sender: StorageSender,
    thread: JoinHandle<()>,
}

impl StorageThread {
    /// Starts it for these directories, which exist, with the `direct` backend. `on_done` gets every operation's end.
    ///
    /// Errors: a directory cannot be read, or no thread can be started.
    pub fn start(dirs: Vec<LogDir>, on_done: OnDone) -> io::Result<StorageThread> {
        StorageThread::start_with(dirs, Backend::Direct, on_done)
    }

    /// As [`StorageThread::start`]; segments that are activated from now on are appended to by `backend`.
    ///
    /// Errors: a directory cannot be read, or no thread can be started.
    pub fn start_with(dirs: Vec<LogDir>, backend: Backend, on_done: OnDone) -> io::Result<StorageThread> {
        let open = |dir: LogDir| Ok((dir.core, Pool { backend, ..Pool::open(dir)? }));
        let pools = dirs.into_iter().map(open).collect::<io::Result<_>>()?;
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let run = move || run(pools, &queue, &on_done);
        let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(run)?;
        Ok(StorageThread { sender: StorageSender { jobs }, thread })
    }

    /// A sender of jobs, for a core's [`crate::MmapDisk`].
    #[must_use]
    pub fn sender(&self) -> StorageSender {
        self.sender.clone()
    }

    /// Carries out what is queued, then ends the thread. Blocks.
    pub fn stop(self) {
        // A full queue drains: the thread is at work.
        let _ = self.sender.jobs.send(Job::Stop);
        let _ = self.thread.join();
    }
}

fn run(mut pools: BTreeMap<CoreId, Pool>, queue: &Receiver<Job>, on_done: &OnDone) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Work { core, token, work } => {
                let pool = pools.get_mut(&core).expect("the thread was started with every core's directory");
                let (result, brings) = match pool.perform(work) {
                    Ok(brings) => (Ok(0), brings),
                    Err(error) => (Err(op_error(&error)), Brings::Nothing),
                };
                on_done(core, StorageDone { token, result, brings });
            }
            Job::Release { core, image, .. } => {
                let pool = pools.get_mut(&core).expect("the thread was started with every core's directory");
                image.into_iter().for_each(|image| pool.keep_image(image));
            }
            Job::Stop => return,
        }
    }
}

fn op_error(error: &io::Error) -> OpError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => OpError::NoSpace,
        Some(errno) => OpError::Errno(errno),
        None => OpError::Errno(libc::EIO),
    }
}

/// A core's directory and its prepared files.
#[derive(Debug)]
struct Pool {
    at: LogDir,
    backend: Backend,
    free: VecDeque<PathBuf>,
    next_name: u32,
    meta: Option<File>,
    /// A tail image that was given up, with what was in it.
    image: Option<MmapMut>,
}

impl Pool {
    fn open(at: LogDir) -> io::Result<Pool> {
        remove_if_there(&at.dir.join(MAKING_NAME))?;
        let names = free_files(&at.dir)?;
        let next_name = names.last().map_or(0, |(number, _)| number + 1);
        let free = names.into_iter().map(|(_, path)| path).collect();
        Ok(Pool { at, backend: Backend::Direct, free, next_name, meta: None, image: None })
    }

    fn perform(&mut self, work: Work) -> io::Result<Brings> {
        match work {
            Work::Prepare => self.prepare()?,
            Work::Activate { slot, segment_seq, header } => {
                let (segment, way) = self.activate(segment_seq, &header)?;
                return Ok(Brings::Segment { slot, segment, way, spare: self.spare_image() });
            }
            Work::Retire { slots } => {
                for (_, segment_seq) in &slots {
                    let path = self.free_name();
                    fs::rename(segment_path(&self.at.dir, *segment_seq), &path)?;
                    self.free.push_back(path);
                }
                self.sync_dirs()?;
                return Ok(Brings::Retired { slots: slots.into_iter().map(|(slot, _)| slot).collect() });
            }
            Work::WriteMeta { copies } => {
                if self.meta.is_none() {
                    self.meta = Some(open_meta(&self.at.dir)?);
                }
                let file = self.meta.as_ref().expect("it was opened above");
                put_meta(file, &copies)?;
            }
            Work::FaultIn { slot, segment, offset, bytes } => {
                populate(&segment.file, &segment.map, offset, bytes)?;
                return Ok(Brings::Resident { slot, offset, bytes });
            }
        }
        Ok(Brings::Nothing)
    }

    /// Makes one more file of full size in `free/`. Nothing stays when there is no space.
    fn prepare(&mut self) -> io::Result<()> {
        let making = self.at.dir.join(MAKING_NAME);
        let path = self.free_name();
        let made = write_zeros(&making, self.at.segment_bytes).and_then(|()| fs::rename(&making, &path));
        if let Err(error) = made {
            remove_if_there(&making)?;
            return Err(error);
        }
        self.sync_dirs()?;
        self.free.push_back(path);
        Ok(())
    }

    fn activate(&mut self, segment_seq: u64, header: &[u8]) -> io::Result<(SegmentFile, Way)> {
        let target = segment_path(&self.at.dir, segment_seq);
        loop {
            if self.free.is_empty() {
                self.prepare()?;
            }
            let path = self.free.pop_front().expect("one was prepared");
            let file = open_for_append(&path, self.backend)?;
            if file.metadata()?.len() != self.at.segment_bytes {
                // Of another size, by hand or by a crash of an older kind: not ours to use.
                fs::remove_file(&path)?;
                continue;
            }
            drop_cache(&file);
            let mut block = MmapMut::map_anon(LOG_BLOCK_BYTES)?;
            block.copy_from_slice(header);
            file.write_all_at(&block, 0)?;
            file.sync_all()?;
            fs::rename(&path, &target)?;
            self.sync_dirs()?;
            let way = match self.backend {
                Backend::Direct => Way::Ring,
                Backend::Pwrite => Way::Call,
                Backend::Mmap => Way::Map(map_window(&file, self.at.segment_bytes)?),
            };
            let map = map_segment(&file)?;
            return Ok((SegmentFile { file: Arc::new(file), map: Arc::new(map) }, way));
        }
    }

    fn keep_image(&mut self, image: MmapMut) {
        if self.image.is_none() && image.len() as u64 == self.at.segment_bytes {
            self.image = Some(image);
        }
    }

    /// Memory of a segment's size with all its pages, whatever is in it; `None` where memory is short.
    fn spare_image(&mut self) -> Option<MmapMut> {
        self.image.take().or_else(|| {
            let image = MmapMut::map_anon(self.at.segment_bytes as usize).ok()?;
            // Refused (before Linux 5.14), pages come when they are touched.
            let _ = image.advise(Advice::PopulateWrite);
            Some(image)
        })
    }

    fn free_name(&mut self) -> PathBuf {
        self.next_name += 1;
        free_dir(&self.at.dir).join(format!("prep-{:08x}.seg", self.next_name - 1))
    }

    fn sync_dirs(&self) -> io::Result<()> {
        if mutate!(MUT_27A, false, true) {
            return Ok(());
        }
        sync_dir(&free_dir(&self.at.dir))?;
        sync_dir(&self.at.dir)
    }
}

/// Makes the log directory of a core that has none: `free/` with `segments` prepared files, then `meta`. Blocking; for
/// format. The directories above `dir` are the caller's to make durable.
///
/// Errors: any of the system's; what was made stays, and making it again goes on from there.
pub fn format_log_dir(dir: &Path, settings: &Settings, segments: usize) -> io::Result<()> {
    prepare_pool(dir, settings.core, settings.segment_bytes, segments)?;
    let file = open_meta(dir)?;
    put_meta(&file, &format_meta(settings))?;
    sync_dir(dir)
}

/// Sees to it that at least `segments` prepared files wait in `dir/free`. Blocking.
///
/// Errors: any of the system's; no half-made file stays.
pub fn prepare_pool(dir: &Path, core: CoreId, segment_bytes: u64, segments: usize) -> io::Result<()> {
    fs::create_dir_all(free_dir(dir))?;
    let mut pool = Pool::open(LogDir { core, dir: dir.to_owned(), segment_bytes })?;
    while pool.free.len() < segments {
        pool.prepare()?;
    }
    Ok(())
}

/// Recovery's view of a log directory: it reads the disk, never what only the page cache holds.
#[derive(Debug)]
pub struct FileLogReader {
    dir: PathBuf,
    segments: Vec<FoundSegment>,
    buffer: MmapMut,
    open: Option<(u64, File)>,
    /// The segments that are being read ahead.
    ahead: Vec<ReadAhead>,
    /// Memory of segments that were read ahead and taken: while one is copied the next is read.
    spare: Vec<MmapMut>,
    /// Nothing is synced, and files are opened for reading alone.
    is_looking: bool,
}

impl FileLogReader {
    /// Syncs every segment and the directory, drops what is cached, and lists the segments. Blocking.
    ///
    /// Errors: any of the system's; a failed sync means that the disk must not be trusted.
    pub fn open(dir: &Path) -> io::Result<FileLogReader> {
        FileLogReader::list(dir, false)
    }

    /// As [`FileLogReader::open`] for a log that is only looked at: it changes and syncs nothing, so it may be in use, and
    /// the file system may be mounted for reading. What a running process has not synced may be missing.
    ///
    /// Errors: any of the system's.
    pub fn look(dir: &Path) -> io::Result<FileLogReader> {
        FileLogReader::list(dir, true)
    }

    fn list(dir: &Path, is_looking: bool) -> io::Result<FileLogReader> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(segment_seq) = name.to_str().and_then(|name| number_of(name, "seg-", ".log", 16)) else {
                continue;
            };
            let file = match File::open(entry.path()) {
                // Retired by a running process since the directory was listed.
                Err(error) if is_looking && error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if !is_looking {
                file.sync_all()?;
                drop_cache(&file);
            }
            segments.push(FoundSegment { segment_seq, bytes: file.metadata()?.len() });
        }
        if !is_looking {
            sync_dir(dir)?;
        }
        segments.sort_by_key(|segment| segment.segment_seq);
        let buffer = MmapMut::map_anon(CHUNK_BYTES)?;
        Ok(FileLogReader {
            dir: dir.to_owned(),
            segments,
            buffer,
            open: None,
            ahead: Vec::new(),
            spare: Vec::new(),
            is_looking,
        })
    }

    fn open_file(&self, segment_seq: u64) -> io::Result<File> {
        let path = segment_path(&self.dir, segment_seq);
        if self.is_looking { open_to_look(&path) } else { open_segment(&path) }
    }

    /// A whole segment, if it was read ahead. Without it the reader reads itself, and says what is wrong.
    fn take_ahead(&mut self, segment_seq: u64) -> Option<MmapMut> {
        let at = self.ahead.iter().position(|ahead| ahead.segment_seq == segment_seq)?;
        self.ahead.swap_remove(at).thread.join().ok()?.ok()
    }

    /// Whoever reads whole segments reads the next ones after this: they are read meanwhile.
    fn read_ahead(&mut self, segment_seq: u64) {
        let behind = self.segments.partition_point(|segment| segment.segment_seq <= segment_seq);
        for next in behind..self.segments.len().min(behind + READ_AHEAD_SEGMENTS) {
            let FoundSegment { segment_seq, bytes } = self.segments[next].clone();
            let is_known = self.ahead.iter().any(|ahead| ahead.segment_seq == segment_seq);
            let is_whole_blocks = bytes.is_multiple_of(LOG_BLOCK_BYTES as u64);
            let is_fit = bytes > 0 && bytes <= READ_AHEAD_BYTES_MAX && is_whole_blocks;
            if is_known || !is_fit || self.ahead.len() == READ_AHEAD_SEGMENTS {
                continue;
            }
            let Ok(file) = self.open_file(segment_seq) else { return };
            let spare = self.spare.pop().filter(|spare| spare.len() as u64 == bytes);
            let read = move || {
                let mut out = spare.map_or_else(|| read_buffer(bytes as usize), Ok)?;
                for (at, part) in out.chunks_mut(CHUNK_BYTES).enumerate() {
                    file.read_exact_at(part, (at * CHUNK_BYTES) as u64)?;
                }
                Ok(out)
            };
            // Without a thread it is read when it is asked for.
            let thread = std::thread::Builder::new().name("log-read-ahead".to_owned()).spawn(read);
            self.ahead.extend(thread.ok().map(|thread| ReadAhead { segment_seq, thread }));
        }
    }
}

/// Memory for direct reads. In large pages a read is one request to the device; in small ones it may be several, each of so
/// many pages as the device takes at once.
fn read_buffer(bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes)?;
    // Refused, the pages are small.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// A segment on its way into memory.
#[derive(Debug)]
struct ReadAhead {
    segment_seq: u64,
    thread: JoinHandle<io::Result<MmapMut>>,
}

impl LogReader for FileLogReader {
    fn meta(&mut self) -> io::Result<[Option<Vec<u8>>; META_COPIES]> {
        let file = match File::open(self.dir.join(META_NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok([const { None }; META_COPIES]),
            Err(error) => return Err(error),
        };
        if !self.is_looking {
            file.sync_all()?;
            drop_cache(&file);
        }
        Ok([0, 1, 2, 3].map(|copy| {
            let mut block = vec![0; LOG_BLOCK_BYTES];
            // A copy that cannot be read is a copy that is not there: the others decide.
            file.read_exact_at(&mut block, copy * META_STRIDE).is_ok().then_some(block)
        }))
    }

    fn free(&mut self) -> io::Result<u32> {
        Ok(free_files(&self.dir)?.len() as u32)
    }

    fn segments(&mut self) -> io::Result<Vec<FoundSegment>> {
        Ok(self.segments.clone())
    }

    fn read(&mut self, segment_seq: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let size = self.segments.iter().find(|segment| segment.segment_seq == segment_seq).map(|segment| segment.bytes);
        let is_whole = offset == 0 && size == Some(out.len() as u64);
        if is_whole {
            let bytes = self.take_ahead(segment_seq);
            self.read_ahead(segment_seq);
            if let Some(bytes) = bytes.filter(|bytes| bytes.len() == out.len()) {
                out.copy_from_slice(&bytes);
                self.spare.push(bytes);
                return Ok(());
            }
        }
        if self.open.as_ref().is_none_or(|(seq, _)| *seq != segment_seq) {
            self.open = Some((segment_seq, self.open_file(segment_seq)?));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        let mut offset = offset;
        for part in out.chunks_mut(CHUNK_BYTES) {
            // Direct reads take whole blocks; the log asks for nothing else.
            let block = &mut self.buffer[..part.len().next_multiple_of(LOG_BLOCK_BYTES)];
            file.read_exact_at(block, offset)?;
            part.copy_from_slice(&block[..part.len()]);
            offset += part.len() as u64;
        }
        Ok(())
    }
}

/// The file of a live segment.
pub(crate) fn segment_path(dir: &Path, segment_seq: u64) -> PathBuf {
    dir.join(format!("seg-{segment_seq:016x}.log"))
}

/// Opens a segment for direct reading and writing; without `O_DIRECT` where the file system refuses it.
pub(crate) fn open_segment(path: &Path) -> io::Result<File> {
    open_direct(OpenOptions::new().read(true).write(true), path)
}

/// Opens a segment that is to be appended to: past the page cache, or through it where the frames go that way.
fn open_for_append(path: &Path, backend: Backend) -> io::Result<File> {
    match backend {
        Backend::Direct | Backend::Mmap => open_segment(path),
        Backend::Pwrite => open_buffered(path),
    }
}

/// Opens a segment for reading and writing through the page cache.
pub(crate) fn open_buffered(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// As [`open_segment`], for reading alone.
fn open_to_look(path: &Path) -> io::Result<File> {
    open_direct(OpenOptions::new().read(true), path)
}

fn open_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match open_only_direct(options, path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.custom_flags(0).open(path),
        opened => opened,
    }
}

/// Opens a file past the page cache; EINVAL where the file system cannot.
pub(crate) fn open_only_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(libc::O_DIRECT).open(path)
}

/// The same for a writer whose every write is durable when it ends, as the ring's are.
pub(crate) fn open_durable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path)
}

/// A prepared file of full size, to try out what the file system does; it is made if there is none.
///
/// Errors: any of the system's.
pub(crate) fn spare_file(at: &LogDir) -> io::Result<PathBuf> {
    let is_full_size = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() == at.segment_bytes);
    let newest = || Ok::<_, io::Error>(free_files(&at.dir)?.into_iter().map(|(_, path)| path).rfind(is_full_size));
    if let Some(path) = newest()? {
        return Ok(path);
    }
    let has = free_files(&at.dir)?.len();
    prepare_pool(&at.dir, at.core, at.segment_bytes, has + 1)?;
    newest()?.ok_or_else(|| io::Error::other("a file that was just prepared is gone"))
}

fn free_dir(dir: &Path) -> PathBuf {
    dir.join("free")
}

/// Prepared files by number.
fn free_files(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(free_dir(dir))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| number_of(name, "prep-", ".seg", 8));
        if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
            out.push((number, entry.path()));
        }
    }
    out.sort();
    Ok(out)
}

fn number_of(name: &str, before: &str, after: &str, digits: usize) -> Option<u64> {
    let number = name.strip_prefix(before)?.strip_suffix(after)?;
    let is_plain = number.len() == digits && number.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_plain { u64::from_str_radix(number, 16).ok() } else { None }
}

/// Creates a file of zeros, really written and synced.
pub(crate) fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    remove_if_there(path)?;
    drop(OpenOptions::new().write(true).create_new(true).open(path)?);
    // Large writes through the page cache leave large folios there, and a sync would later write each of them whole.
    let (file, chunk) = match open_only_direct(OpenOptions::new().read(true).write(true), path) {
        Ok(file) => (file, CHUNK_BYTES),
        Err(_) => (open_buffered(path)?, LOG_BLOCK_BYTES),
    };
    if mutate!(MUT_15B, false, true) {
        return file.set_len(bytes);
    }
    crate::mmap_disk::allocate(&file, bytes)?;
    let zeros = MmapMut::map_anon(chunk)?;
    let mut offset = 0;
    while offset < bytes {
        let part = (bytes - offset).min(chunk as u64);
        file.write_all_at(&zeros[..part as usize], offset)?;
        offset += part;
    }
    file.sync_all()?;
    drop_cache(&file);
    Ok(())
}

fn open_meta(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(META_NAME))?;
    if file.metadata()?.len() < META_BYTES {
        file.set_len(META_BYTES)?;
        file.sync_all()?;
        sync_dir(dir)?;
    }
    Ok(file)
}

/// Two copies, sync, two copies, sync: at every moment two of the four are whole.
fn put_meta(file: &File, copies: &[Vec<u8>; META_COPIES]) -> io::Result<()> {
    for pair in [0, 2] {
        for (copy, block) in copies.iter().enumerate().skip(pair).take(2) {
            file.write_all_at(block, copy as u64 * META_STRIDE)?;
        }
        file.sync_data()?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
