//! The long run: a round, then sleep until something happens on either side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::Jid;

use crate::cloud::Native;
use crate::engine::{Engine, Round, SyncError};
use crate::events::Watcher;
use crate::tell::{Event, Tell};

/// Why the long run wakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Something happened in the folder of this watch.
    Here(i32),
    /// This watch has ended.
    HereEnded(i32),
    /// Events were lost: everything is read again.
    HereLost,
    /// The journal has grown to here.
    There(Jid),
    /// It is asked to stop.
    Stop,
}

/// Quiet for so long, what happens here has settled.
const SETTLE: Duration = Duration::from_millis(250);
/// So long at most one waits for that.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// What happens there is whole whenever it is read; so long it is gathered, so that a burst is few rounds.
const GATHER: Duration = Duration::from_millis(30);
/// What failed is tried again after so long, whatever happens.
const RETRY: Duration = Duration::from_secs(60);
/// Everything is read again so often where folders are not all watched.
const RESCAN: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Syncs until it is asked to stop, by a [`Wake::Stop`] and `stop`. `idle` hears of each round that left nothing to do.
///
/// Errors: [`SyncError`], but `Unreachable` only ends a round: it is told and tried again.
pub fn run(
    engine: &mut Engine<'_>,
    cloud: &Arc<Native>,
    tell: &dyn Tell,
    stop: &AtomicBool,
    (wake, wakes): (Sender<Wake>, &Receiver<Wake>),
    idle: &mut dyn FnMut(Round),
) -> Result<(), SyncError> {
    let local = |error| SyncError::Local { path: "inotify".into(), error };
    let mut watcher = Watcher::start(wake.clone()).map_err(local)?;
    let mut is_partly_watched = false;
    let watch = WatchThere::new(wake);
    watch.start(Arc::clone(cloud)).map_err(local)?;
    let mut pause = PAUSE_MIN;
    let ended = loop {
        let mut wait = RETRY;
        match engine.round() {
            Ok(round) if round.is_stopped => break Ok(()),
            Ok(round) => {
                pause = PAUSE_MIN;
                idle(round);
            }
            Err(SyncError::Unreachable(why)) => {
                tell.event(Event::Failed("the cluster".to_owned(), format!("{why}; it is tried again")));
                wait = pause;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => break Err(error),
        }
        watch.begin(engine.since());
        is_partly_watched |= watch_here(engine, &mut watcher, tell, is_partly_watched);
        if is_partly_watched {
            engine.mark_all();
            wait = wait.min(RESCAN);
        }
        if !sleep(engine, &mut watcher, wakes, wait) || stop.load(Ordering::Relaxed) {
            break Ok(());
        }
    };
    watch.end();
    ended
}

/// Watches folders that are new; true when the kernel takes no more.
fn watch_here(engine: &mut Engine<'_>, watcher: &mut Watcher, tell: &dyn Tell, was_partly: bool) -> bool {
    let mut is_partly = false;
    for (id, path) in engine.take_new_folders() {
        // What happened in it before it was watched is found by reading it once more.
        engine.mark(id);
        if let Err(error) = watcher.add(id, &path)
            && !std::mem::replace(&mut is_partly, true)
            && !was_partly
        {
            let text =
                format!("{error}; raise fs.inotify.max_user_watches; until then everything is read once a minute");
            tell.event(Event::Failed(path.display().to_string(), text));
        }
    }
    is_partly
}

/// Until something has happened and what happens here has settled; false to stop.
fn sleep(engine: &mut Engine<'_>, watcher: &mut Watcher, wakes: &Receiver<Wake>, wait: Duration) -> bool {
    let begun = Instant::now();
    // Quiet until, and at most until.
    let (mut quiet, mut by) = (begun + wait, begun + wait);
    let mut has_settling = false;
    loop {
        let now = Instant::now();
        match wakes.recv_timeout(quiet.min(by).saturating_duration_since(now)) {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Wake::There(head)) => {
                if head > engine.since() && !has_settling {
                    by = by.min(Instant::now() + GATHER);
                }
                continue;
            }
            Ok(Wake::Here(watch)) => mark(engine, watcher, watch),
            Ok(Wake::HereEnded(watch)) => watcher.forget(watch),
            Ok(Wake::HereLost) => engine.mark_all(),
        }
        if !std::mem::replace(&mut has_settling, true) {
            by = Instant::now() + SETTLE_MAX;
        }
        quiet = Instant::now() + SETTLE;
    }
}

fn mark(engine: &mut Engine<'_>, watcher: &Watcher, watch: i32) {
    if let Some(folder) = watcher.folder(watch) {
        engine.mark(folder);
    }
}

/// The watch of the journal, on a thread of its own; it begins once the first round has told from where.
#[derive(Clone)]
struct WatchThere {
    wake: Sender<Wake>,
    since: Arc<(Mutex<Option<Jid>>, Condvar)>,
    is_over: Arc<AtomicBool>,
}

impl WatchThere {
    fn new(wake: Sender<Wake>) -> WatchThere {
        WatchThere { wake, since: Arc::default(), is_over: Arc::default() }
    }

    /// The thread ends with the process: it may be waiting for a change that never comes.
    fn start(&self, cloud: Arc<Native>) -> std::io::Result<()> {
        let watch = self.clone();
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run(&cloud)).map(drop)
    }

    fn begin(&self, since: Jid) {
        *self.since.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
        self.since.1.notify_all();
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.since.1.notify_all();
    }

    fn run(&self, cloud: &Native) {
        let is_over = || self.is_over.load(Ordering::Relaxed);
        let mut pause = PAUSE_MIN;
        loop {
            let mut place = self.since.0.lock().unwrap_or_else(PoisonError::into_inner);
            while place.is_none() && !is_over() {
                place = self.since.1.wait(place).unwrap_or_else(PoisonError::into_inner);
            }
            let since = place.unwrap_or_default();
            drop(place);
            let mut on_head = |head| {
                pause = PAUSE_MIN;
                self.wake.send(Wake::There(head)).is_ok() && !is_over()
            };
            if is_over() || cloud.watch(since, &mut on_head).is_ok() {
                return;
            }
            // The round that follows says what is wrong, if it still is, and misses nothing meanwhile.
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            if self.wake.send(Wake::There(Jid(u64::MAX))).is_err() {
                return;
            }
        }
    }
}
