//! The clocks, and the watch that notices that they stood still. A read goes through the vDSO and is no system call.
//! Stamps of the latency profile are reads of the processor's own counter: observed, never decided on.

use base::Mono;
use base::mono::Span;
use base::stages::{ON, Stamp, UNIT_SHIFT};

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

/// Nanoseconds since 1970 of `CLOCK_REALTIME`: for what people read beside other logs.
#[must_use]
pub fn wall_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
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

/// Of paired reads at a calibration, the one that was disturbed least counts.
const PAIRS: usize = 10;
/// A calibration at start lasts so long, a later one is made when so much time has passed.
const CALIBRATE_FIRST: Span = Span::from_ms(50);
const CALIBRATE_EVERY: Span = Span::from_ms(1000);
/// A rate that has changed by more than this is not believed. Unit: parts in a million.
const DRIFT_PPM_MAX: u64 = 500;
/// Binary places behind the point of [`StampClock::mult`].
const MULT_SHIFT: u32 = 24;

/// What stamps are read from, and how long a tick is. Each core has a copy of its own.
#[derive(Clone, Copy, Debug)]
pub struct StampClock {
    is_tsc: bool,
    /// Nanoseconds of a tick, times 2^24.
    mult: u64,
    /// The narrowest pair of the last calibration.
    pair: (u64, Mono),
}

impl StampClock {
    /// The processor's counter where it is trusted: CPUID calls it invariant and the kernel keeps time by it. Measures its
    /// rate for 50 ms, so it is made once a process and copied. Elsewhere `CLOCK_MONOTONIC_RAW`, at once.
    #[must_use]
    pub fn new() -> StampClock {
        if !is_tsc_trusted() {
            return StampClock::fallback();
        }
        let (ticks, at) = pair();
        while mono() < at + CALIBRATE_FIRST {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let last = pair();
        match rate((ticks, at), last) {
            Some(mult) => StampClock { is_tsc: true, mult, pair: last },
            None => StampClock::fallback(),
        }
    }

    /// Stamps from `CLOCK_MONOTONIC_RAW`: a tick is a nanosecond.
    #[must_use]
    pub fn fallback() -> StampClock {
        StampClock { is_tsc: false, mult: 1 << MULT_SHIFT, pair: (0, Mono(0)) }
    }

    /// This moment.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        match (ON, self.is_tsc) {
            (false, _) => Stamp::default(),
            (true, true) => Stamp::at(tsc()),
            (true, false) => Stamp::at(mono().0),
        }
    }

    /// This moment where a read is cheap, else `last`: for borders that a slow clock does without.
    #[must_use]
    pub fn stamp_or(&self, last: Stamp) -> Stamp {
        if self.is_tsc { self.stamp() } else { last }
    }

    /// Nanoseconds of a time in units of a slot.
    #[must_use]
    pub fn ns(&self, units: u32) -> u64 {
        // 32 and 4 bits, and a tick is shorter than 16 ns, which is 28 bits: it fits 64.
        ((u64::from(units) << UNIT_SHIFT) * self.mult) >> MULT_SHIFT
    }

    /// Nanoseconds of a tick, times 2^24: for who reads stamps from a file.
    #[must_use]
    pub fn mult(&self) -> u64 {
        self.mult
    }

    /// True when stamps are reads of the processor's counter.
    #[must_use]
    pub fn is_tsc(&self) -> bool {
        self.is_tsc
    }

    /// Measures the rate again, once a second; call it as often as you like. The change in parts in a million when it is too
    /// large to be believed: then the old rate stays.
    pub fn refine(&mut self, now: Mono) -> Option<u64> {
        if !self.is_tsc || now < self.pair.1 + CALIBRATE_EVERY {
            return None;
        }
        let last = pair();
        let mult = rate(std::mem::replace(&mut self.pair, last), last)?;
        let ppm = mult.abs_diff(self.mult).saturating_mul(1_000_000) / self.mult;
        if ppm > DRIFT_PPM_MAX {
            return Some(ppm);
        }
        self.mult = mult;
        None
    }
}

impl Default for StampClock {
    fn default() -> StampClock {
        StampClock::new()
    }
}

/// Nanoseconds of a tick between two pairs, times 2^24.
fn rate(first: (u64, Mono), last: (u64, Mono)) -> Option<u64> {
    let ticks = last.0.checked_sub(first.0).filter(|ticks| *ticks > 0)?;
    let mult = (u128::from(last.1.since(first.1).0) << MULT_SHIFT) / u128::from(ticks);
    // From 63 MHz to 32 GHz: anything else is no processor's clock, and would overflow above.
    u64::try_from(mult).ok().filter(|mult| (1 << (MULT_SHIFT - 5)..1 << (MULT_SHIFT + 4)).contains(mult))
}

/// The counter and the time, read together with nothing between.
fn pair() -> (u64, Mono) {
    let mut best = (u64::MAX, (0, Mono(0)));
    for _ in 0..PAIRS {
        let before = tsc();
        let now = mono();
        let after = tsc();
        let width = after.saturating_sub(before);
        if width < best.0 {
            best = (width, (before + width / 2, now));
        }
    }
    best.1
}

/// CPUID says that the counter runs at one rate always, and the kernel takes the time from it.
fn is_tsc_trusted() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    is_tsc_invariant() && std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc")
}

#[cfg(target_arch = "x86_64")]
fn is_tsc_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn is_tsc_invariant() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn tsc() -> u64 {
    // SAFETY: the instruction reads a counter and nothing else; every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> u64 {
    mono().0
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
    fn stamps_of_either_clock_last_as_long_as_the_time_does() {
        for mut clock in [StampClock::new(), StampClock::fallback()] {
            let (stamp, now) = (clock.stamp(), mono());
            let mut last = stamp;
            while mono() < now + Span::from_ms(20) {
                let next = clock.stamp();
                assert!(last <= next, "{last:?} before {next:?}");
                last = next;
            }
            let told = clock.ns(clock.stamp().units_since(stamp));
            let passed = mono().since(now).0;
            // Preemption between the two reads only ever adds; the rate itself is good to a thousandth.
            assert!(
                told <= passed + passed / 1000 + 100_000_000 && told + told / 1000 >= 20_000_000,
                "{told} of {passed}"
            );
            assert_eq!(clock.refine(mono()), None, "nothing is due");
            assert!(!ON || clock.stamp_or(Stamp::default()) > Stamp::default() || !clock.is_tsc());
        }
    }

    #[test]
    fn a_rate_that_no_processor_has_is_not_taken() {
        assert_eq!(rate((0, Mono(0)), (2_000, Mono(1_000))), Some(1 << 23));
        assert_eq!(rate((0, Mono(0)), (0, Mono(1_000))), None);
        assert_eq!(rate((5, Mono(0)), (4, Mono(1_000))), None);
        assert_eq!(rate((0, Mono(0)), (1, Mono(1_000))), None);
        assert_eq!(rate((0, Mono(0)), (1_000_000, Mono(1))), None);
    }

    #[test]
    fn a_rate_that_jumps_is_told_and_not_believed() {
        let (ticks, now) = pair();
        let second = Span::from_ms(1_000).0;
        // As if a tick had taken 4 ns for two seconds, and 1 ns before.
        let mut clock =
            StampClock { is_tsc: true, mult: 1 << 24, pair: (ticks - 500_000_000, Mono(now.0 - 2 * second)) };
        assert!(clock.refine(mono()).is_some_and(|ppm| ppm > DRIFT_PPM_MAX));
        assert_eq!(clock.mult(), 1 << 24);
    }

    #[test]
    fn the_wall_clock_is_in_milliseconds_since_1970() {
        // 2024-01-01 and 2200-01-01 in milliseconds.
        assert!((1_704_067_200_000..7_258_118_400_000).contains(&wall_ms()));
    }
}
