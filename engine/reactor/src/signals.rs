//! SIGINT and SIGTERM ask for a stop; a second one ends the process at once.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Says whether a stop was asked for. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl StopSignal {
    /// One that nobody has asked yet, without any handler; tests and embedders call [`StopSignal::ask`] themselves.
    #[must_use]
    pub fn new() -> StopSignal {
        StopSignal::default()
    }

    /// Asks for the stop.
    pub fn ask(&self) {
        *self.asked() = true;
        self.shared.1.notify_all();
    }

    /// True once a stop was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked()
    }

    /// Blocks the calling thread (never a core) until a stop is asked for.
    pub fn wait(&self) {
        let mut asked = self.asked();
        while !*asked {
            asked = self.shared.1.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn asked(&self) -> MutexGuard<'_, bool> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks SIGINT and SIGTERM in the calling thread and in every thread it starts later, and waits for them on a thread
/// of its own, which calls `callback` at the first. So no core is ever interrupted. Call it first in `main`: a thread
/// that runs already would still be killed by the signal.
///
/// The second signal ends the process at once with status 128 + its number, as a shell reports it.
/// Errors: the mask cannot be set or the thread cannot start.
pub fn on_stop(callback: impl FnOnce() + Send + 'static) -> io::Result<StopSignal> {
    let signals = stop_signals();
    // SAFETY: `signals` is a filled set; the old mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    let stop = StopSignal::new();
    let seen = stop.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        wait_for(&signals);
        seen.ask();
        // The callback may take long or hang; the second signal must be heard meanwhile.
        let first = std::thread::Builder::new().name("stop".to_owned()).spawn(callback);
        let second = wait_for(&signals);
        drop(first);
        // SAFETY: ends the process without running anything else, which is what a second signal asks for.
        unsafe { libc::_exit(128 + second) }
    })?;
    Ok(stop)
}

fn stop_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` is writable for one sigset_t.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `set` was initialised by sigemptyset and both numbers are signals.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised by sigemptyset.
    unsafe { set.assume_init() }
}

/// Waits for one of `signals`; returns its number.
fn wait_for(signals: &libc::sigset_t) -> i32 {
    loop {
        let mut signal = 0;
        // SAFETY: the set is initialised and `signal` is writable; both outlive the call.
        let result = unsafe { libc::sigwait(signals, &raw mut signal) };
        if result == 0 {
            return signal;
        }
    }
}
