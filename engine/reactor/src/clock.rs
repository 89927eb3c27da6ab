//! The clocks, and the watch that notices that they stood still. A read goes through the vDSO and is no system call.

use base::Mono;
use base::mono::Span;

/// Nanoseconds of `CLOCK_MONOTONIC_RAW`: the rate no time daemon bends, so leases may be measured with it.
#[must_use]
pub fn mono() -> Mono {
    Mono(read(libc::CLOCK_MONOTONIC_RAW))
}

/// Milliseconds since 1970 of `CLOCK_REALTIME`: for stamps that people read, never for order or for leases.
#[must_use]
pub fn wall_ms() -> u64 {
    read(libc::CLOCK_REALTIME) / 1_000_000
}

/// A suspend shorter than this is none; what a preempted reader adds must stay below.
const SUSPEND_MIN: Span = Span::from_ms(1);
/// Two reads of a clock that lie closer than this were not disturbed between them.
const UNDISTURBED: Span = Span::from_us(100);
/// Tries for an undisturbed read.
const READS_MAX: usize = 4;

/// Notices that the machine was suspended: `CLOCK_MONOTONIC` stands still then and `CLOCK_BOOTTIME` does not, so their
/// difference grows. Leases are measured with a clock that stands still as well.
///
/// It may cry wolf when its thread is preempted at every try; it never misses a suspend above 1 ms.
#[derive(Clone, Copy, Debug)]
pub struct SuspendWatch {
    /// The smallest difference seen since the last suspend: preemption only ever makes it look larger.
    difference: u64,
}

impl Default for SuspendWatch {
    fn default() -> SuspendWatch {
        SuspendWatch { difference: asleep() }
    }
}

impl SuspendWatch {
    /// For how long the machine slept since the last look, if it did.
    pub fn look(&mut self) -> Option<Span> {
        self.note(asleep())
    }

    fn note(&mut self, difference: u64) -> Option<Span> {
        let slept = Span(difference.saturating_sub(self.difference));
        if slept > SUSPEND_MIN {
            self.difference = difference;
            return Some(slept);
        }
        self.difference = self.difference.min(difference);
        None
    }
}

/// `CLOCK_BOOTTIME - CLOCK_MONOTONIC`, or a little more.
fn asleep() -> u64 {
    let mut least = u64::MAX;
    for _ in 0..READS_MAX {
        let before = read(libc::CLOCK_MONOTONIC);
        let boot = read(libc::CLOCK_BOOTTIME);
        least = least.min(boot.saturating_sub(before));
        if read(libc::CLOCK_MONOTONIC) - before < UNDISTURBED.0 {
            break;
        }
    }
    least
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable timespec, and the call writes nothing else.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "clock {clock} cannot be read; the kernel must have it");
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_backwards() {
        let mut last = mono();
        for _ in 0..100_000 {
            let now = mono();
            assert!(last <= now);
            last = now;
        }
    }

    #[test]
    fn a_difference_of_the_clocks_that_grows_is_a_suspend() {
        let ms = |ms: u64| Span::from_ms(ms).0;
        let mut watch = SuspendWatch { difference: ms(10) };
        assert_eq!(watch.note(ms(11)), None, "the bound itself is none");
        assert_eq!(watch.note(ms(9)), None, "an earlier look was disturbed");
        assert_eq!(watch.note(ms(11)), Some(Span::from_ms(2)), "seen from the smallest difference");
        assert_eq!(watch.note(ms(11)), None, "told once");
        assert_eq!(watch.note(ms(4000)), Some(Span::from_ms(3989)));
    }

    #[test]
    fn a_machine_that_is_awake_was_not_suspended() {
        let mut watch = SuspendWatch::default();
        let slept = (0..10_000).filter(|_| watch.look().is_some()).count();
        assert!(slept < 10, "{slept} of 10,000 looks saw a suspend");
    }

    #[test]
    fn the_wall_clock_is_in_milliseconds_since_1970() {
        // 2024-01-01 and 2200-01-01 in milliseconds.
        assert!((1_704_067_200_000..7_258_118_400_000).contains(&wall_ms()));
    }
}
