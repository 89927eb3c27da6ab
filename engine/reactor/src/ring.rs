//! One core's io_uring: sockets, log operations and the doorbell behind one system call per turn.
//!
//! ```text
//!  listen connect send pause resume close submit_disk     reap ──▶ Event
//!        │ queue only                                       ▲ completions only
//!        ▼                                                  │
//!  submission queue ──────▶ enter: the one system call ──────┘
//! ```
//! What each completion means is in `ring/complete.rs`; all unsafe calls of the ring are here. The kernel reads and
//! writes memory that operations name until their last completion, so that memory stays in the slot, the pool or the
//! log's images until then, and dropping the ring waits for all of it.

mod complete;
mod config;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

use base::Mono;
use base::mono::Span;
use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use seglog::{DiskOp, OpToken, Slot as SegmentSlot};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::buffers::BufferPool;
use crate::clock;
use crate::inbox::Doorbell;
use crate::io::{Event, Io, Patience, SocketId, Wait};
use crate::listener::{Listener, set_patience};
use crate::op::{Kind, Token};
use crate::selftest;
use crate::setup::{self, Machine, RingError};
use crate::slots::{Receiving, Slots, State};

pub use config::{Counters, RingConfig};

/// The one buffer group of a ring.
const BUFFER_GROUP: u16 = 0;
/// Threads of the kernel for buffered writes and syncs, and for all else: few, for each takes a processor from cores.
const WORKERS_MAX: [u32; 2] = [4, 2];
/// How long accepting rests when the process is out of descriptors.
const ACCEPT_REST: Span = Span::from_ms(100);
/// How long dropping a ring waits for its sockets before it gives their memory up.
const DRAIN_MAX: Span = Span::from_ms(10_000);
/// The slot of a cancel that names no socket.
const NO_SLOT: u32 = u32::MAX;

/// The files and memory of a core's log segments, for [`Ring::submit_disk`].
///
/// # Safety
///
/// From the call of `submit_disk` until the matching [`Event::DiskDone`], or until the ring is dropped (which waits),
/// the descriptor stays open and `bytes` bytes at the returned pointer stay readable and are not written, though the
/// borrow of `self` has ended. `image_ptr` panics rather than return memory that is too short.
pub unsafe trait LogFiles {
    /// The file of a slot. Panics for a slot without one.
    fn raw_fd(&self, slot: SegmentSlot) -> RawFd;

    /// Where `offset..offset + bytes` of the tail image of a slot lies. Units: bytes from segment start.
    fn image_ptr(&self, slot: SegmentSlot, offset: u32, bytes: u32) -> *const u8;
}

/// The ring of one core. It belongs to the thread that made it.
pub struct Ring {
    uring: IoUring,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    pool: BufferPool,
    slots: Slots,
    listeners: Vec<Listener>,
    /// Log operations in flight; the index is in their token.
    disk: Vec<Option<OpToken>>,
    disk_free: Vec<u32>,
    doorbell: Option<Doorbell>,
    /// Where the read of the doorbell puts its count.
    doorbell_word: Box<AtomicU64>,
    /// Mail was seen before a wait, so no bell rings for it.
    has_mail: bool,
    /// Sockets whose receive found no buffer.
    starved: Vec<SocketId>,
    /// Connections that failed before the ring had to do with them: tag and errno.
    failed: VecDeque<(u64, i32)>,
    scratch: Vec<cqueue::Entry>,
    /// Operations queued or in the kernel.
    inflight: usize,
    is_stopping: bool,
    counters: Counters,
}

impl Ring {
    /// Makes a ring on the calling thread, which alone may use it, after the self-test has passed once in this process.
    ///
    /// Errors: [`RingError`] says what the kernel refused and what to change.
    pub fn new(config: &RingConfig) -> Result<Ring, RingError> {
        selftest::passed()?;
        Ring::untested(config)
    }

    /// A ring for the self-test itself.
    pub(crate) fn untested(config: &RingConfig) -> Result<Ring, RingError> {
        let machine = Machine::read();
        let (uring, _) = setup::create(config.entries, config.completions, &machine, setup::build)?;
        setup::probe(&uring, &machine)?;
        let pool = BufferPool::new(config.buffers, config.buffer_bytes);
        // SAFETY: the pool's ring has `count` entries and lives until `drop` has unregistered it, or for ever if leaked.
        let registered = unsafe {
            uring.submitter().register_buf_ring_with_flags(pool.ring_address(), pool.count(), BUFFER_GROUP, 0)
        };
        registered.map_err(|error| machine.explain("register buffers", error))?;
        let submitter = uring.submitter();
        let workers = submitter.register_iowq_max_workers(&mut WORKERS_MAX.clone());
        workers.map_err(|error| machine.explain("limit workers", error))?;
        if !config.worker_cpus.is_empty() {
            let affinity = submitter.register_iowq_aff(&cpu_set(&config.worker_cpus));
            affinity.map_err(|error| machine.explain("place workers", error))?;
        }
        Ok(Ring {
            uring,
            backlog: VecDeque::new(),
            pool,
            slots: Slots::new(config.sockets_max),
            listeners: Vec::new(),
            disk: Vec::new(),
            disk_free: Vec::new(),
            doorbell: None,
            doorbell_word: Box::new(AtomicU64::new(0)),
            has_mail: false,
            starved: Vec::new(),
            failed: VecDeque::new(),
            scratch: Vec::with_capacity(base::limits::REAP_MAX),
            inflight: 0,
            is_stopping: false,
            counters: Counters::default(),
        })
    }

    /// Lets senders wake this core: from now on a wait ends when the bell rings, none begins while mail is pending, and
    /// either is told as [`Event::Doorbell`]. Panics if a bell is attached already.
    pub fn attach_doorbell(&mut self, doorbell: &Doorbell) {
        assert!(self.doorbell.is_none(), "a core has one doorbell");
        self.doorbell = Some(doorbell.clone());
        self.arm_doorbell();
    }

    /// Queues a log operation; [`Event::DiskDone`] with `token` follows. It leaves with the next `enter`.
    ///
    /// Panics for an operation that is not the ring's ([`DiskOp::is_ring`]), and for one without bytes.
    pub fn submit_disk(&mut self, token: OpToken, op: &DiskOp, files: &impl LogFiles) {
        let entry = match *op {
            DiskOp::Write { slot, offset, bytes } => {
                assert!(bytes > 0, "a write has bytes");
                let fd = Fd(files.raw_fd(slot));
                let write = opcode::Write::new(fd, files.image_ptr(slot, offset, bytes), bytes);
                // Durable when it ends: one operation a commit, and no worker of the kernel that syncs. man 2 pwritev2
                write.offset(u64::from(offset)).rw_flags(libc::RWF_DSYNC).build()
            }
            DiskOp::Sync { slot, offset, bytes } => {
                // A range of zero bytes at zero would mean the whole file.
                assert!(bytes > 0, "a sync has bytes");
                let sync = opcode::Fsync::new(Fd(files.raw_fd(slot))).flags(FsyncFlags::DATASYNC);
                sync.offset(u64::from(offset)).len(bytes).build()
            }
            _ => panic!("the storage thread does this, not the ring: {op:?}"),
        };
        let index = self.disk_free.pop().unwrap_or_else(|| {
            self.disk.push(None);
            (self.disk.len() - 1) as u32
        });
        self.disk[index as usize] = Some(token);
        // What the operation is, for the counters: a token's generation means nothing for the disk.
        let is_sync = u32::from(matches!(op, DiskOp::Sync { .. }));
        self.push(entry, Token::new(Kind::Disk, is_sync, index));
    }

    /// What the ring has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sockets that are connecting, open or closing.
    #[must_use]
    pub fn sockets(&self) -> u32 {
        self.slots.taken()
    }

    /// Takes a connected socket over, as if it had been accepted but without an event.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> Option<SocketId> {
        let index = self.slots.insert(fd, State::Open, 0).ok()?;
        self.arm_recv(index);
        Some(self.slots.id(index))
    }

    fn arm_accept(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        listener.is_armed = true;
        let entry = opcode::AcceptMulti::new(Fd(listener.fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, Token::new(Kind::Accept, 0, index as u32));
    }

    fn arm_recv(&mut self, index: u32) {
        let slot = self.slots.at(index);
        debug_assert!(slot.state == State::Open && !slot.is_paused);
        slot.receiving = Receiving::Armed;
        let entry = opcode::RecvMulti::new(Fd(slot.raw_fd()), BUFFER_GROUP).build();
        self.push_for(index, Kind::Recv, entry);
    }

    fn arm_doorbell(&mut self) {
        let doorbell = self.doorbell.as_ref().expect("only called with a bell attached");
        let word = self.doorbell_word.as_ptr().cast::<u8>();
        let entry = opcode::Read::new(Fd(doorbell.raw_fd()), word, 8).build();
        self.push(entry, Token::new(Kind::Doorbell, 0, 0));
    }

    fn push_connect(&mut self, index: u32, address: SockAddr) {
        let slot = self.slots.at(index);
        let address = slot.address.insert(Box::new(address));
        let (pointer, bytes) = (address.as_ptr(), address.len());
        let entry = opcode::Connect::new(Fd(slot.raw_fd()), pointer.cast(), bytes).build();
        self.push_for(index, Kind::Connect, entry);
    }

    fn push_send(&mut self, index: u32, buffer: Vec<u8>) {
        let slot = self.slots.at(index);
        let bytes = u32::try_from(buffer.len()).expect("a buffer to send is far below 4 GiB");
        let pointer = slot.sending.insert(buffer).as_ptr();
        let entry = opcode::Send::new(Fd(slot.raw_fd()), pointer, bytes);
        let entry = entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
        self.push_for(index, Kind::Send, entry);
    }

    /// Cancels everything in flight on a socket.
    fn push_cancel_socket(&mut self, index: u32) {
        let fd = Fd(self.slots.at(index).raw_fd());
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build();
        self.push_for(index, Kind::Cancel, entry);
    }

    /// Cancels the receive of a socket, and nothing else.
    fn push_cancel_recv(&mut self, index: u32) {
        let target = self.slots.token(Kind::Recv, index).pack();
        self.push_for(index, Kind::Cancel, opcode::AsyncCancel::new(target).build());
    }

    /// Hands the descriptor to the kernel to close. Nothing else may be in flight.
    fn push_close(&mut self, index: u32) {
        let slot = self.slots.at(index);
        assert_eq!(slot.inflight, 0, "a socket is closed when nothing names it any more");
        slot.state = State::Shut;
        let fd = slot.fd.take().expect("a slot owns its descriptor until CLOSE is queued").into_raw_fd();
        self.push_for(index, Kind::Close, opcode::Close::new(Fd(fd)).build());
    }

    fn push_cancel_accept(&mut self, index: usize) {
        let target = Token::new(Kind::Accept, 0, index as u32).pack();
        self.push(opcode::AsyncCancel::new(target).build(), Token::new(Kind::Cancel, 0, NO_SLOT));
    }

    fn push_for(&mut self, index: u32, kind: Kind, entry: squeue::Entry) {
        self.slots.at(index).inflight += 1;
        let token = self.slots.token(kind, index);
        self.push(entry, token);
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        self.inflight += 1;
        self.backlog.push_back(entry.user_data(token.pack()));
        self.fill();
    }

    /// Moves entries into the submission queue while it has room.
    fn fill(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: what the entry points to stays valid and, where the kernel reads, unwritten until its last
            // completion: send buffer and address in the slot, the doorbell's word in its box, the log's memory by the
            // contract of `LogFiles`. Descriptors stay open: slot, listener and bell own them until nothing names them.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// One system call: submits, runs deferred work, waits for `want` completions or `timeout`. False if the kernel
    /// could not take anything now (then completions must be reaped first).
    fn call(&mut self, want: u32, timeout: Option<Span>) -> bool {
        self.counters.enters += 1;
        let to_submit = self.uring.submission().len() as u32;
        let timespec =
            timeout.map(|span| Timespec::new().sec(span.0 / 1_000_000_000).nsec((span.0 % 1_000_000_000) as u32));
        let args = SubmitArgs::new();
        let args = match &timespec {
            Some(timespec) => args.timespec(timespec),
            None => args,
        };
        // GETEVENTS always: deferred completions are only delivered inside such a call, and overflowed ones flushed.
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        // SAFETY: EXT_ARG takes exactly these arguments, which live until the call returns; the entries submitted were
        // checked when they were pushed.
        let result = unsafe { self.uring.submitter().enter(to_submit, want, flags, Some(&args)) };
        if self.uring.submission().cq_overflow() {
            self.counters.overflows += 1;
        }
        match result.as_ref().map_err(io::Error::raw_os_error) {
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR)) => true,
            Err(Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM)) => false,
            Err(_) => panic!("io_uring_enter failed, which is a defect of this program: {result:?}"),
        }
    }

    /// Arms again what ended for want of buffers, slots or descriptors, as far as there are some.
    fn rearm(&mut self) {
        if !self.starved.is_empty() {
            let waiting = self.uring.completion().len();
            let count = usize::from(self.pool.count());
            // Every buffer is the kernel's but those named by completions that were not reaped yet.
            if count.saturating_sub(waiting) >= count.div_ceil(4) {
                for socket in std::mem::take(&mut self.starved) {
                    let is_starved = self
                        .slots
                        .known(socket)
                        .is_some_and(|slot| slot.state == State::Open && slot.receiving == Receiving::Starved);
                    if is_starved {
                        self.arm_recv(socket.index);
                    }
                }
            }
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.is_paused && self.slots.has_room() {
                listener.is_paused = false;
            }
            if !listener.is_armed && !listener.is_paused && listener.rearm_at <= clock::mono() {
                self.arm_accept(index);
            }
        }
    }

    /// The earliest time at which a listener wants to be armed again.
    fn rearm_at(&self) -> Mono {
        let resting = self.listeners.iter().filter(|listener| !listener.is_armed && !listener.is_paused);
        resting.map(|listener| listener.rearm_at).min().unwrap_or(Mono::MAX)
    }

    /// Owns the descriptor that an accept brought.
    fn accepted_fd(result: i32) -> OwnedFd {
        assert!(result >= 0, "only called with a descriptor");
        // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(result) }
    }

    /// A connecting socket in a slot.
    fn begin_connect(&mut self, tag: u64, address: SocketAddr, patience: Patience) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        set_patience(&socket, patience)?;
        let Ok(index) = self.slots.insert(socket.into(), State::Connecting, tag) else {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        };
        self.push_connect(index, address.into());
        Ok(())
    }

    /// Starts the end of a socket; what was in flight is cancelled.
    fn begin_close(&mut self, index: u32, errno: i32) {
        let slot = self.slots.at(index);
        slot.state = State::Closing;
        slot.errno = errno;
        if slot.inflight > 0 {
            self.push_cancel_socket(index);
        } else {
            self.push_close(index);
        }
    }
}

impl Io for Ring {
    fn listen(&mut self, tag: u64, address: SocketAddr, patience: Patience) -> io::Result<SocketAddr> {
        let listener = Listener::bind(tag, address, patience)?;
        let address = listener.address;
        self.listeners.push(listener);
        self.arm_accept(self.listeners.len() - 1);
        Ok(address)
    }

    fn connect(&mut self, tag: u64, address: SocketAddr, patience: Patience) {
        if let Err(error) = self.begin_connect(tag, address, patience) {
            self.failed.push_back((tag, error.raw_os_error().unwrap_or(libc::EINVAL)));
        }
    }

    /// On a socket that is closing the buffer is dropped; `Closed` follows.
    fn send(&mut self, socket: SocketId, buffer: Vec<u8>) {
        let Some(slot) = self.slots.known(socket) else { return };
        if slot.state == State::Open {
            assert!(slot.sending.is_none(), "one send in flight per socket");
            self.push_send(socket.index, buffer);
        }
    }

    /// What the kernel has received already may still come, at most the buffers of the pool.
    fn pause(&mut self, socket: SocketId) {
        let Some(slot) = self.slots.known(socket) else { return };
        if slot.state != State::Open || slot.is_paused {
            return;
        }
        slot.is_paused = true;
        match slot.receiving {
            Receiving::Armed => {
                slot.receiving = Receiving::Cancelling;
                self.push_cancel_recv(socket.index);
            }
            Receiving::Starved => slot.receiving = Receiving::Idle,
            Receiving::Idle | Receiving::Cancelling => {}
        }
    }

    fn resume(&mut self, socket: SocketId) {
        let Some(slot) = self.slots.known(socket) else { return };
        if slot.state != State::Open || !slot.is_paused {
            return;
        }
        slot.is_paused = false;
        // If its cancel is still in flight, the end of that receive arms the next one.
        if slot.receiving == Receiving::Idle {
            self.arm_recv(socket.index);
        }
    }

    /// A send in flight is cut off; wait for its `Sent` first if its bytes matter.
    fn close(&mut self, socket: SocketId) {
        if self.slots.known(socket).is_some_and(|slot| slot.state == State::Open) {
            self.begin_close(socket.index, 0);
        }
    }

    fn enter(&mut self, wait: Wait) {
        self.rearm();
        self.fill();
        while !self.backlog.is_empty() {
            self.counters.enters_full += 1;
            if !self.call(0, None) {
                return;
            }
            self.fill();
        }
        let mut timeout = match wait {
            Wait::No => Some(Span(0)),
            Wait::Until(until) if until.min(self.rearm_at()) == Mono::MAX => None,
            Wait::Until(until) => Some(until.min(self.rearm_at()).since(clock::mono())),
        };
        if !self.failed.is_empty() {
            timeout = Some(Span(0));
        }
        let may_wait = timeout != Some(Span(0));
        if let Some(doorbell) = &self.doorbell {
            let has_mail = if may_wait { !doorbell.fall_asleep() } else { doorbell.has_mail() };
            self.has_mail |= has_mail;
            if has_mail {
                timeout = Some(Span(0));
            }
        }
        let want = u32::from(timeout != Some(Span(0)));
        self.call(want, if want == 1 { timeout } else { None });
        if may_wait && let Some(doorbell) = &self.doorbell {
            doorbell.wake();
        }
    }

    fn reap(&mut self, each: &mut dyn FnMut(Event<'_>)) -> usize {
        self.reap_completions(each)
    }

    fn now(&self) -> Mono {
        clock::mono()
    }

    fn wall_ms(&self) -> u64 {
        clock::wall_ms()
    }
}

impl Drop for Ring {
    /// Cancels what can be cancelled and waits until the kernel names none of our memory. A log write or sync is waited
    /// for however long it takes, for its memory is the log's; sockets get `DRAIN_MAX`, then their memory is given up.
    fn drop(&mut self) {
        self.is_stopping = true;
        let until = clock::mono() + DRAIN_MAX;
        while self.inflight > 0 {
            let disk = self.disk.len() - self.disk_free.len();
            if disk == 0 && clock::mono() > until {
                // Never seen; the kernel may still write here, so the memory must outlive us.
                self.pool.leak();
                std::mem::forget(std::mem::replace(&mut self.slots, Slots::new(0)));
                std::mem::forget(std::mem::replace(&mut self.doorbell_word, Box::new(AtomicU64::new(0))));
                return;
            }
            self.push(
                opcode::AsyncCancel2::new(CancelBuilder::any().all()).build(),
                Token::new(Kind::Cancel, 0, NO_SLOT),
            );
            self.fill();
            self.call(1, Some(Span::from_ms(20)));
            while self.reap_completions(&mut |_| {}) > 0 {}
        }
        // The kernel has no operation of ours left, so nothing can take a buffer any more; a failure changes nothing.
        if self.uring.submitter().unregister_buf_ring(BUFFER_GROUP).is_err() {
            self.pool.leak();
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("inflight", &self.inflight)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The kernel's form of a list of processors; numbers it cannot hold are left out.
fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers, for which all zero is valid: the empty set.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    for &cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: below CPU_SETSIZE, so inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}
