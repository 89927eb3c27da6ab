//! The log as a core drives it: one ring, one storage thread, one group; commands from a closed loop.
//!
//! A turn takes a bounded number of commands and ends with one enter, so what is appended while a commit is under way costs
//! the disk nothing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base::mono::Span;
use base::record::EntryKind;
use base::{ClusterId, CoreId, GroupId, LogIndex, Mono, NodeUuid, SyncEpoch, Term};
use reactor::mmap_disk::MmapDisk;
use reactor::storage::{FileLogReader, LogDir, StorageDone, StorageThread, format_log_dir};
use reactor::{Backend, Doorbell, Event, Inbox, Io as _, Ring, RingConfig, Wait, inbox};
use seglog::{DiskOp, OpResult, OpToken, SegLog, Settings, recover};

use super::arguments::LogBenchArgs;
use super::meter::{Commit, Trace, Window};

/// The largest commit that the log makes: a batch, and a frame more.
pub const FRAMES_MAX_BYTES: u32 = 24 << 20;

const GROUP: GroupId = GroupId(0);
const TERM: Term = Term(1);
/// Files made before the first command.
const FILES: usize = 6;
/// Segments that hold entries before the oldest are given up, so that files go round.
const SEGMENTS_KEPT: usize = 3;
/// Commands in flight while a log is filled.
const FILL_IN_FLIGHT: u64 = 1024;
/// Commands taken in one turn, as a core takes at most so many frames of one connection.
const TURN_COMMANDS_MAX: u64 = 64;
/// The storage thread is asked at least so often whether it is done.
const WAIT_MAX: Span = Span::from_ms(20);

/// A log with all that a core has around it.
pub struct Engine {
    // The ring names memory of the log: it is dropped first.
    ring: Ring,
    log: SegLog<MmapDisk>,
    inbox: Inbox<StorageDone>,
    storage: StorageThread,
    dir: PathBuf,
    settings: Settings,
    payload: Vec<u8>,
    /// Commands that are not durable yet: their epoch, when they were submitted, how many of both.
    waiting: VecDeque<(SyncEpoch, Mono, u64)>,
    in_flight: u64,
    /// Commands wait to be taken: the next enter does not wait.
    has_more: bool,
    done: Vec<(OpToken, OpResult)>,
    /// The commit under way, and when its first write was issued.
    commit: Commit,
    issued: Mono,
    /// Persisted, as far as it was noted.
    acknowledged: SyncEpoch,
}

impl Engine {
    /// Formats a log and starts it.
    ///
    /// # Errors
    /// The system refuses something.
    pub fn start(dir: &Path, backend: Backend, args: &LogBenchArgs) -> Result<Engine> {
        let settings = Settings {
            cluster_id: ClusterId([1; 16]),
            node_uuid: NodeUuid([2; 16]),
            core: CoreId(0),
            cores: 1,
            segment_bytes: args.segment_bytes(),
            log_bytes_max: 1024 * args.segment_bytes(),
            salt_seed: 1,
            batches_in_flight: args.batches,
        };
        format_log_dir(dir, &settings, FILES).with_context(|| format!("could not format {}", dir.display()))?;
        let recovered = recover(&mut FileLogReader::open(dir)?, &settings)?;
        let mut ring = Ring::new(&RingConfig { completions: 4096, ..RingConfig::default() })?;
        let doorbell = Doorbell::new()?;
        ring.attach_doorbell(&doorbell);
        let (sender, inbox) = inbox(4096, &doorbell);
        let at = LogDir { core: settings.core, dir: dir.to_owned(), segment_bytes: settings.segment_bytes };
        let on_done = Arc::new(move |_core, done| {
            assert!(sender.post(done).is_ok(), "fewer operations are out than the inbox holds");
        });
        let storage = StorageThread::start_with(vec![at], backend, on_done)?;
        let disk = MmapDisk::new(settings.core, dir.to_owned(), settings.segment_bytes, storage.sender());
        let mut log = SegLog::start(recovered, settings.clone(), disk);
        log.new_group(GROUP, b"bench");
        let mut engine = Engine {
            ring,
            log,
            inbox,
            storage,
            dir: dir.to_owned(),
            settings,
            payload: (0..args.bytes).map(|at| at as u8).collect(),
            waiting: VecDeque::with_capacity(1024),
            in_flight: 0,
            has_more: false,
            done: Vec::with_capacity(64),
            commit: Commit::default(),
            issued: Mono(0),
            acknowledged: SyncEpoch(0),
        };
        engine.settle()?;
        Ok(engine)
    }

    /// Keeps `in_flight` commands in flight for this time, then waits for the last of them.
    ///
    /// # Errors
    /// The log failed.
    pub fn run(&mut self, in_flight: u32, time: Span, window: &mut Window, trace: &mut Trace) -> Result<()> {
        let mut now = self.ring.now();
        let until = now + time;
        while now < until || self.in_flight > 0 {
            let wanted = if now < until { u64::from(in_flight) - self.in_flight } else { 0 };
            self.submit(wanted.min(TURN_COMMANDS_MAX), now);
            self.has_more = wanted > TURN_COMMANDS_MAX;
            self.give_up_old_entries();
            now = self.turn(now, window, trace)?;
        }
        Ok(())
    }

    /// Fills the log until its segments have so many bytes, and gives up nothing.
    ///
    /// # Errors
    /// The log failed.
    pub fn fill(&mut self, bytes: u64) -> Result<()> {
        let (mut window, mut trace) = (Window::default(), Trace { commits: Vec::new() });
        let mut now = self.ring.now();
        while self.log.bytes() < bytes {
            let wanted = FILL_IN_FLIGHT - self.in_flight;
            self.submit(wanted.min(TURN_COMMANDS_MAX), now);
            self.has_more = wanted > TURN_COMMANDS_MAX;
            now = self.turn(now, &mut window, &mut trace)?;
        }
        self.settle()
    }

    /// The last entry appended.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.log.last_index(GROUP)
    }

    /// Identity and sizes of the log.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Turns until nothing is under way.
    ///
    /// # Errors
    /// The log failed.
    pub fn settle(&mut self) -> Result<()> {
        let (mut window, mut trace) = (Window::default(), Trace { commits: Vec::new() });
        let mut now = self.ring.now();
        self.has_more = false;
        while !self.log.is_quiet() {
            now = self.turn(now, &mut window, &mut trace)?;
        }
        Ok(())
    }

    /// Stops it and reads its log back; the last entry that was acknowledged, and the last one found.
    ///
    /// # Errors
    /// The log failed, or does not open.
    pub fn stop_and_recover(mut self) -> Result<(LogIndex, LogIndex)> {
        self.settle()?;
        let last = self.log.last_index(GROUP);
        let Engine { ring, log, storage, dir, settings, .. } = self;
        drop(ring);
        drop(log);
        storage.stop();
        let recovered = recover(&mut FileLogReader::open(&dir)?, &settings)?;
        let groups = recovered.groups();
        let found = groups.iter().find(|group| group.group == GROUP).map_or(LogIndex(0), |group| group.last);
        Ok((last, found))
    }

    fn submit(&mut self, commands: u64, now: Mono) {
        for _ in 0..commands {
            let index = self.log.last_index(GROUP).next();
            let epoch = self.log.append_new(GROUP, EntryKind::Commands, index, TERM, &self.payload);
            match self.waiting.back_mut() {
                Some((of, at, count)) if (*of, *at) == (epoch, now) => *count += 1,
                _ => self.waiting.push_back((epoch, now, 1)),
            }
        }
        self.in_flight += commands;
    }

    /// Entries of all but the newest segments are given up, as a node compacts.
    fn give_up_old_entries(&mut self) {
        if self.log.segments_len() > SEGMENTS_KEPT && self.in_flight > 0 {
            let last = self.log.last_index(GROUP);
            let crc = self.log.crc(GROUP, last).expect("the last entry is held");
            // The first entry kept is the next one: no more than this core's own readers would want.
            self.log.truncate_prefix(GROUP, last.next(), TERM, crc, b"bench");
        }
    }

    /// One turn as `net/server` makes it; returns the time after it.
    fn turn(&mut self, now: Mono, window: &mut Window, trace: &mut Trace) -> Result<Mono> {
        self.log.handle_turn_end(now);
        self.begin_operations(window, trace)?;
        let deadline = self.log.next_deadline().unwrap_or(Mono::MAX);
        let wait = if self.has_more { Wait::No } else { Wait::Until(deadline.min(now + WAIT_MAX)) };
        self.ring.enter(wait);
        let done = &mut self.done;
        self.ring.reap(&mut |event| {
            if let Event::DiskDone { token, result } = event {
                done.push((token, result));
            }
        });
        while let Some(done) = self.inbox.pop() {
            self.done.push(self.log.disk_mut().finish(done));
        }
        for (token, result) in self.done.drain(..) {
            self.log.handle_op_done(token, result)?;
        }
        if self.begin_operations(window, trace)? {
            self.ring.enter(Wait::No);
        }
        self.note_commit(window, trace);
        Ok(self.ring.now())
    }

    /// True when the ring has got an operation.
    fn begin_operations(&mut self, window: &mut Window, trace: &mut Trace) -> Result<bool> {
        let mut has_rung = false;
        while let Some((token, op)) = self.log.poll_op() {
            if let DiskOp::Write { bytes, .. } = op {
                // The commit before may have ended just now.
                self.note_commit(window, trace);
                if self.commit.bytes == 0 {
                    self.issued = self.ring.now();
                }
                self.commit.bytes += bytes;
            }
            if !op.is_ring() {
                self.log.disk_mut().submit(token, op);
            } else if let Some(result) = self.log.disk_mut().do_now(&op) {
                self.log.handle_op_done(token, result)?;
            } else {
                self.ring.submit_disk(token, &op, self.log.disk());
                has_rung = true;
            }
        }
        Ok(has_rung)
    }

    /// Acknowledges what has become durable, and notes the commit.
    fn note_commit(&mut self, window: &mut Window, trace: &mut Trace) {
        if self.log.persisted_epoch() > self.acknowledged {
            self.acknowledged = self.log.persisted_epoch();
            let now = self.ring.now();
            self.acknowledge(now, window);
            window.note_commit(&self.commit, now.since(self.issued));
            trace.note(std::mem::take(&mut self.commit));
        }
    }

    fn acknowledge(&mut self, now: Mono, window: &mut Window) {
        let persisted = self.log.persisted_epoch();
        while let Some((_, submitted, count)) = self.waiting.pop_front_if(|(epoch, ..)| *epoch <= persisted) {
            window.note_commands(count, now.since(submitted));
            self.in_flight -= count;
            self.commit.commands += count as u32;
        }
    }
}
