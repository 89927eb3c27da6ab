//! The two clocks. A read goes through the vDSO and is no system call.

use base::Mono;

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
    fn the_wall_clock_is_in_milliseconds_since_1970() {
        // 2024-01-01 and 2200-01-01 in milliseconds.
        assert!((1_704_067_200_000..7_258_118_400_000).contains(&wall_ms()));
    }
}
