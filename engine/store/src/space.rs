//! Room on the file system of the store: how much is free, whether that is below the reserve, and waiting for more.
//!
//! One per store, shared by its threads. The keeping thread asks the file system once a second; the core reads flags.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::settings::{SpaceProbe, Wake};
use crate::tree::TreeError;

/// A thread that met a full disk looks this often whether there is room again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// It tries again after so many looks even when the file system says that nothing changed: quotas do not show there.
const LOOKS_MAX: u32 = 50;
/// What a table takes beside its rows, a version file and `current`.
const SLACK_BYTES: u64 = 1 << 20;

/// The room of one store.
pub(crate) struct Space {
    probe: Option<SpaceProbe>,
    reserve_bytes: u64,
    /// As last seen.
    free_bytes: AtomicU64,
    is_below: AtomicBool,
    /// Threads that wait for room.
    waiting: AtomicU32,
    /// Writes that were undone because the disk was full.
    refused: AtomicU64,
    /// Something is worth another look: set and rung at the store's end.
    ended: Mutex<bool>,
    changed: Condvar,
    wake: Wake,
}

impl Space {
    pub(crate) fn new(probe: Option<SpaceProbe>, reserve_bytes: u64, wake: Wake) -> Space {
        let space = Space {
            probe,
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            is_below: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            ended: Mutex::new(false),
            changed: Condvar::new(),
            wake,
        };
        space.look();
        space
    }

    /// Asks the file system; the core is rung when the answer matters. A file system that does not say changes nothing.
    pub(crate) fn look(&self) -> Option<u64> {
        let free = self.probe.as_ref()?().ok()?;
        self.free_bytes.store(free, Ordering::Relaxed);
        // Once below, an eighth more than the reserve is asked for: on the edge it would flicker.
        let was_below = self.is_below.load(Ordering::Relaxed);
        let wanted = self.reserve_bytes.saturating_add(if was_below { self.reserve_bytes / 8 } else { 0 });
        let is_below = free < wanted;
        if self.is_below.swap(is_below, Ordering::Relaxed) != is_below {
            (self.wake)();
        }
        Some(free)
    }

    /// Free space is below the reserve, or a write met a full disk and waits.
    pub(crate) fn is_low(&self) -> bool {
        self.is_below.load(Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Writes that were undone for want of room, since the store was opened.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Waits until a write of about `bytes` may fit, or until it is worth to try; false when the store ends.
    pub(crate) fn wait_for(&self, bytes: u64) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.wake)();
        }
        let mut looks = 0;
        let mut ended = self.ended.lock().expect("no thread panics while it holds this");
        while !*ended && looks < LOOKS_MAX {
            (ended, _) = self.changed.wait_timeout(ended, LOOK_EVERY).expect("no thread panics while it holds this");
            looks += 1;
            if self.look().is_some_and(|free| free >= bytes.saturating_add(SLACK_BYTES)) {
                break;
            }
        }
        let goes_on = !*ended;
        drop(ended);
        if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            (self.wake)();
        }
        goes_on
    }

    /// Sleeps for `time`; false when the store ends.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let ended = self.ended.lock().expect("no thread panics while it holds this");
        let (ended, _) = self
            .changed
            .wait_timeout_while(ended, time, |ended| !*ended)
            .expect("no thread panics while it holds this");
        !*ended
    }

    /// The store ends: nobody waits any longer.
    pub(crate) fn end(&self) {
        *self.ended.lock().expect("no thread panics while it holds this") = true;
        self.changed.notify_all();
    }
}

/// Does `attempt` until it does not meet a full disk; `bytes` is about what it writes. Each attempt undoes what it began.
///
/// `Ok(None)`: the store ends.
pub(crate) fn retry<T>(
    space: &Arc<Space>,
    bytes: u64,
    mut attempt: impl FnMut() -> Result<T, TreeError>,
) -> Result<Option<T>, TreeError> {
    loop {
        match attempt() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if error.is_no_space() => {
                if !space.wait_for(bytes) {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The disk, or the quota, is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk whose free space the test sets, and how often the core was rung.
    fn disk(reserve: u64) -> (Arc<Space>, Arc<AtomicU64>, Arc<AtomicU64>) {
        let (free, rings) = (Arc::new(AtomicU64::new(1000)), Arc::new(AtomicU64::new(0)));
        let (probed, rung) = (free.clone(), rings.clone());
        let probe: SpaceProbe = Arc::new(move || Ok(probed.load(Ordering::Relaxed)));
        let wake: Wake = Arc::new(move || {
            rung.fetch_add(1, Ordering::Relaxed);
        });
        (Arc::new(Space::new(Some(probe), reserve, wake)), free, rings)
    }

    #[test]
    fn space_is_low_below_the_reserve_until_there_is_an_eighth_more() {
        let (space, free, rings) = disk(800);
        assert!(!space.is_low());
        for (bytes, is_low, rung) in [(799, true, 1), (800, true, 1), (899, true, 1), (900, false, 2), (800, false, 2)]
        {
            free.store(bytes, Ordering::Relaxed);
            space.look();
            assert_eq!((space.is_low(), rings.load(Ordering::Relaxed)), (is_low, rung), "{bytes}");
        }
    }

    #[test]
    fn what_meets_a_full_disk_is_tried_again_when_there_is_room_and_other_errors_are_not() {
        let (space, free, _) = disk(0);
        let full = || TreeError::from(io::Error::from(io::ErrorKind::StorageFull));
        let mut tries = 0;
        let done = retry(&space, 500, || {
            tries += 1;
            assert_eq!(space.refused() + 1, tries);
            free.store(500 + SLACK_BYTES, Ordering::Relaxed);
            if tries < 3 { Err(full()) } else { Ok(7) }
        });
        assert!(matches!(done, Ok(Some(7))));
        assert!(!space.is_low());
        let other = retry(&space, 0, || -> Result<(), _> { Err(io::Error::from(io::ErrorKind::NotFound).into()) });
        assert!(other.is_err());
        space.end();
        assert!(matches!(retry(&space, 0, || -> Result<(), _> { Err(full()) }), Ok(None)));
    }
}
