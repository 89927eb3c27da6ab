//! Changes of files here, as the kernel tells them: which folder, nothing more. What changed in it is found by reading it.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::{self, Errno};

use crate::local_tree::LocalId;
use crate::run::Wake;

/// What is of interest in a folder.
const WATCHED: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::EXCL_UNLINK);
/// Bytes of events that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The folders that are watched.
#[derive(Debug)]
pub struct Watcher {
    inotify: Arc<OwnedFd>,
    folders: HashMap<i32, LocalId>,
}

impl Watcher {
    /// Starts a thread that wakes through `wake` for as long as somebody listens there.
    ///
    /// Errors: of the system, as when this user has too many already.
    pub fn start(wake: Sender<Wake>) -> std::io::Result<Watcher> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let fd = Arc::clone(&inotify);
        std::thread::Builder::new().name("inotify".to_owned()).spawn(move || read(&fd, &wake))?;
        Ok(Watcher { inotify, folders: HashMap::new() })
    }

    /// Watches a folder too; one that moved keeps its watch and gets its new id.
    ///
    /// Errors: of the system: there is a bound of watches for each user.
    pub fn add(&mut self, id: LocalId, path: &Path) -> std::io::Result<()> {
        match inotify::add_watch(&*self.inotify, path, WATCHED) {
            Ok(watch) => drop(self.folders.insert(watch, id)),
            // It went meanwhile, and the folder above tells of it.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Which folder a watch is of.
    pub fn folder(&self, watch: i32) -> Option<LocalId> {
        self.folders.get(&watch).copied()
    }

    /// The kernel has ended a watch.
    pub fn forget(&mut self, watch: i32) {
        self.folders.remove(&watch);
    }
}

fn read(fd: &OwnedFd, wake: &Sender<Wake>) {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(fd, &mut buffer);
    loop {
        let wakes = match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => Wake::HereLost,
            Ok(event) if event.events().contains(ReadFlags::IGNORED) => Wake::HereEnded(event.wd()),
            Ok(event) => Wake::Here(event.wd()),
            Err(io::Errno::INTR) => continue,
            // Nothing is told any more: everything is read again from time to time.
            Err(_) => {
                let _ = wake.send(Wake::HereLost);
                return;
            }
        };
        if wake.send(wakes).is_err() {
            return;
        }
    }
}
