//! The hands of a core: io_uring, mapped segments, buffers, inboxes, mailboxes, the clock. The only crate with `unsafe`.

pub mod io;
pub mod ring;

pub mod backend;
mod buffers;
pub mod clock;
pub mod device;
pub mod flight;
pub mod inbox;
mod listener;
pub mod log_selftest;
pub mod mailbox;
pub mod mmap_disk;
#[cfg(all(test, loom))]
mod models;
mod op;
pub mod pin;
pub mod probes;
pub mod raw_writer;
pub mod selftest;
pub mod setup;
pub mod signals;
mod slots;
pub mod storage;
pub mod system;

pub use backend::{Backend, BackendWish};
pub use buffers::{CacheMemory, prefetch};
pub use inbox::{Doorbell, Inbox, Sender, inbox};
pub use io::{Event, Io, Patience, SocketId, Wait};
pub use mailbox::{Mailbox, Outbox, mailbox};
pub use mmap_disk::MmapDisk;
pub use ring::{Counters, LogFiles, Ring, RingConfig};
pub use setup::RingError;
pub use storage::{
    FileLogReader, LogDir, OnDone, StorageDone, StorageSender, StorageThread, format_log_dir, prepare_pool,
};
