//! The frame of the store's threads: take a job, do it, say what came of it; stop at the first failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};

use crate::job::Done;
use crate::settings::{OpenError, OpenSettings, Wake};
use crate::tree::TreeError;

/// Where a thread's events go; the core is woken for each.
#[derive(Clone)]
pub(crate) struct Outbox {
    events: Sender<Done>,
    wake: Wake,
}

impl Outbox {
    pub(crate) fn new(events: Sender<Done>, wake: Wake) -> Outbox {
        Outbox { events, wake }
    }

    /// Queues an event, waiting while the core is behind. A core that is gone needs none.
    pub(crate) fn send(&self, done: Done) {
        if self.events.send(done).is_ok() {
            (self.wake)();
        }
    }

    /// Wakes the core: something changed that no event tells.
    pub(crate) fn ring(&self) {
        (self.wake)();
    }
}

/// What a thread does with each job.
pub(crate) trait Worker: Send + 'static {
    /// What it takes.
    type Job: Send + 'static;
    /// Part of the thread's name, and of the message when it fails.
    const NAME: &'static str;

    fn handle(&mut self, job: Self::Job) -> Result<(), TreeError>;
}

/// Starts a thread that works until its lane is closed, the store is stopping, or a job fails.
pub(crate) fn start<W: Worker>(
    mut worker: W,
    settings: &OpenSettings,
    jobs: Receiver<W::Job>,
    outbox: Outbox,
    stopping: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, OpenError> {
    let core = settings.core;
    std::thread::Builder::new()
        .name(format!("store-c{core}-{}", W::NAME))
        .spawn(move || {
            for job in jobs {
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                // The crate asserts on bytes it did not expect; the core must hear of that too.
                let reason = match catch_unwind(AssertUnwindSafe(|| worker.handle(job))) {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => format!("it panicked: {}", panic_text(&*panic)),
                };
                if !stopping.load(Ordering::Acquire) {
                    outbox.send(Done::Failed { reason: format!("store of core {core}, {}: {reason}", W::NAME) });
                }
                return;
            }
        })
        .map_err(|source| OpenError::Thread { dir: settings.tree_dir(), source })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
