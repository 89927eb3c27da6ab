//! The metrics thread: takes the cores' full seconds, adds them up, gives them back empty. No counter is shared.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use base::CoreId;
use base::stages::{OP_CLASSES, OpClass, STAGES};
use parking_lot::Mutex;

use super::interval::{Counts, Interval, Slow, TOTAL};
use super::near::Near;
use super::wide::Wide;

/// Intervals of one core that are under way at most: one is filled, one is added up.
const INTERVALS: usize = 2;
/// Seconds whose slowest requests are kept.
const SLOW_SECONDS: usize = 60;
/// How often the thread looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A core's end: where it leaves full seconds and finds empty ones. Neither waits.
pub struct Feed {
    core: CoreId,
    full: SyncSender<(CoreId, Box<Interval>)>,
    empty: Receiver<Box<Interval>>,
}

impl Feed {
    /// An empty interval, unless the metrics thread is behind.
    pub(super) fn spare(&self) -> Option<Box<Interval>> {
        self.empty.try_recv().ok()
    }

    /// Hands a full one over; it comes back when there is no room.
    pub(super) fn send(&self, full: Box<Interval>) -> Result<(), Box<Interval>> {
        match self.full.try_send((self.core, full)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full((_, back)) | TrySendError::Disconnected((_, back))) => Err(back),
        }
    }
}

/// What a node has counted since its start, and in the last second that each core has ended.
#[derive(Default)]
pub struct Totals {
    sums: [[Wide; STAGES + 1]; OP_CLASSES],
    nears: [Near; OP_CLASSES],
    cores: Vec<Counts>,
    seconds: u64,
    slow: VecDeque<Second>,
}

#[derive(Default)]
struct Second {
    core: CoreId,
    number: u64,
    slow: Vec<(OpClass, Slow)>,
}

impl Totals {
    fn add(&mut self, core: CoreId, interval: &Interval) {
        for class in OpClass::ALL {
            for (place, sum) in self.sums[class as usize].iter_mut().enumerate() {
                interval.histogram(class, place).into_iter().for_each(|histogram| sum.merge(histogram));
            }
            interval.near(class).into_iter().for_each(|near| self.nears[class as usize].merge(near));
        }
        let at = usize::from(core.0);
        if self.cores.len() <= at {
            self.cores.resize(at + 1, Counts::default());
        }
        self.cores[at] = interval.counts;
        self.seconds += 1;
        // The oldest second of all cores gives its place: the memory is kept.
        let is_full = self.slow.len() >= SLOW_SECONDS * self.cores.len();
        let mut second = if is_full { self.slow.pop_front().unwrap_or_default() } else { Second::default() };
        (second.core, second.number) = (core, self.seconds);
        second.slow.clear();
        for class in OpClass::ALL {
            second.slow.extend(interval.slow(class).iter().map(|slow| (class, *slow)));
        }
        self.slow.push_back(second);
    }

    /// The samples of a class since the start.
    #[must_use]
    pub fn near(&self, class: OpClass) -> &Near {
        &self.nears[class as usize]
    }

    /// Each core's counts, by core, as of its last full second.
    #[must_use]
    pub fn cores(&self) -> &[Counts] {
        &self.cores
    }

    /// The histogram of a class and a stage since the start.
    #[must_use]
    pub fn histogram(&self, class: OpClass, place: usize) -> &Wide {
        &self.sums[class as usize][place]
    }

    /// The slowest requests of a class in the last minute, slowest first, at most `max`: core, age in full seconds of any
    /// core, request.
    #[must_use]
    pub fn slowest(&self, class: OpClass, max: usize) -> Vec<(CoreId, u64, Slow)> {
        let of_second = |second: &Second| {
            let age = (self.seconds - second.number) / self.cores.len().max(1) as u64;
            let core = second.core;
            second.slow.iter().filter(move |(of, _)| *of == class).map(move |(_, slow)| (core, age, *slow)).collect()
        };
        let mut all: Vec<(CoreId, u64, Slow)> =
            self.slow.iter().flat_map(|second| -> Vec<_> { of_second(second) }).collect();
        all.sort_by_key(|(_, _, slow)| std::cmp::Reverse(slow.lengths.total));
        all.truncate(max);
        all
    }

    /// Classes of which anything was counted.
    pub fn classes(&self) -> impl Iterator<Item = OpClass> {
        OpClass::ALL.into_iter().filter(|class| self.histogram(*class, TOTAL).count() > 0)
    }
}

const _: () = assert!(OP_CLASSES <= 16, "a second's slowest fit a short list");

/// The metrics thread of one node; it ends with this value.
pub struct Watch {
    totals: Arc<Mutex<Totals>>,
    /// Its end tells the thread to end.
    alive: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread; one feed per core.
    pub fn start(cores: u16) -> std::io::Result<(Watch, Vec<Feed>)> {
        let (full, inbox) = sync_channel(usize::from(cores) * INTERVALS);
        let totals = Arc::new(Mutex::new(Totals::default()));
        let (mut feeds, mut backs) = (Vec::new(), Vec::new());
        for core in (0..cores).map(CoreId) {
            let (back, empty) = sync_channel(INTERVALS);
            back.try_send(Box::default()).expect("a new channel has room");
            feeds.push(Feed { core, full: full.clone(), empty });
            backs.push(back);
        }
        let (alive, is_over) = sync_channel(0);
        let shared = totals.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || run(&inbox, &backs, &is_over, &shared))?;
        Ok((Watch { totals, alive: Some(alive), thread: Some(thread) }, feeds))
    }

    /// What it has added up; locked by readers and this thread alone, never by a core.
    #[must_use]
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        self.totals.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

fn run(
    inbox: &Receiver<(CoreId, Box<Interval>)>,
    backs: &[SyncSender<Box<Interval>>],
    is_over: &Receiver<()>,
    totals: &Mutex<Totals>,
) {
    loop {
        match inbox.recv_timeout(LOOK_EVERY) {
            Ok((core, mut interval)) => {
                totals.lock().add(core, &interval);
                interval.clear();
                // A core that is gone takes nothing back.
                let _ = backs[usize::from(core.0)].try_send(interval);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if is_over.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
            return;
        }
    }
}
