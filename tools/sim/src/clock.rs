//! Clocks of nodes: each translates true time into its own, with an offset, a rate, a wall clock that jumps, and stops
//! of the monotonic one while the machine is suspended.

use base::Mono;

/// Parts of a million.
const MILLION: i128 = 1_000_000;

/// One node's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Its monotonic clock at true time 0, in ns.
    pub start: u64,
    /// It runs too fast by so many parts in a million; negative: too slow.
    pub ppm: i64,
    /// Its wall clock at true time 0, in ms since 1970.
    pub wall_start_ms: i64,
    /// What its monotonic clock has lost in stops before the newest, in ns.
    lost: u64,
    /// The newest stop: true time from and until.
    stop: (u64, u64),
}

impl Clock {
    /// A clock that is right.
    #[must_use]
    pub fn exact(start: u64) -> Clock {
        Clock { start, ppm: 0, wall_start_ms: 1_700_000_000_000, lost: 0, stop: (0, 0) }
    }

    /// Its monotonic time at a true time, which is not before the end of any stop but the newest.
    #[must_use]
    pub fn mono(&self, time: u64) -> Mono {
        Mono(self.start + self.elapsed(time) - self.lost - self.lost_in_stop(time))
    }

    /// The first true time at which it shows at least `mono`.
    #[must_use]
    pub fn time_of(&self, mono: Mono) -> u64 {
        if mono == Mono::MAX {
            return u64::MAX;
        }
        let elapsed = u128::from(mono.0.saturating_sub(self.start)) + u128::from(self.lost);
        let before = self.time_of_elapsed(elapsed);
        if before <= self.stop.0 {
            return before;
        }
        self.time_of_elapsed(elapsed + u128::from(self.lost_in_stop(u64::MAX)))
    }

    /// The monotonic clock stands still from `now` on; with [`Clock::resume`] for less long than until `until`.
    pub fn suspend(&mut self, now: u64, until: u64) {
        if now < self.stop.1 {
            self.stop.1 = self.stop.1.max(until);
            return;
        }
        self.lost += self.lost_in_stop(u64::MAX);
        self.stop = (now, until);
    }

    /// Whatever holds it up ends at `now`.
    pub fn resume(&mut self, now: u64) {
        self.stop.1 = self.stop.1.min(now).max(self.stop.0);
    }

    /// Its wall clock at a true time, in ms since 1970.
    #[must_use]
    pub fn wall_ms(&self, time: u64) -> u64 {
        (self.wall_start_ms + (self.elapsed(time) / 1_000_000) as i64).max(0) as u64
    }

    fn time_of_elapsed(&self, elapsed: u128) -> u64 {
        let rate = (MILLION + i128::from(self.ppm)) as u128;
        // The wide division is slow, and what is less than five hours needs none.
        if let Some(parts) = u64::try_from(elapsed).ok().and_then(|elapsed| elapsed.checked_mul(MILLION as u64)) {
            return parts.div_ceil(rate as u64);
        }
        u64::try_from((elapsed * MILLION as u128).div_ceil(rate)).unwrap_or(u64::MAX)
    }

    /// Of the newest stop, as far as it reaches before `time`.
    fn lost_in_stop(&self, time: u64) -> u64 {
        let (from, until) = self.stop;
        if until.min(time) <= from {
            return 0;
        }
        self.elapsed(until.min(time)) - self.elapsed(from.min(time))
    }

    fn elapsed(&self, time: u64) -> u64 {
        match (time as i64).checked_mul(self.ppm) {
            Some(parts) => time.wrapping_add_signed(parts / MILLION as i64),
            None => (i128::from(time) + i128::from(time) * i128::from(self.ppm) / MILLION) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_translates_to_the_first_instant_that_reaches_it() {
        for ppm in [-500_000, -10_000, -1, 0, 3, 50_000, 1_000_000] {
            let clock = Clock { ppm, ..Clock::exact(12_345) };
            for time in [0, 1, 999, 1_000_000, 3_600_000_000_000] {
                let mono = clock.mono(time);
                let back = clock.time_of(mono);
                assert!(back <= time + 2, "{ppm}: {time} became {back}");
                assert!(clock.mono(back) >= mono, "{ppm}: {back} is too early for {time}");
            }
        }
        assert_eq!(Clock::exact(0).time_of(Mono::MAX), u64::MAX);
    }

    #[test]
    fn a_suspended_clock_stands_still_and_goes_on_from_there() {
        let mut clock = Clock { ppm: 10_000, ..Clock::exact(1_000_000) };
        let wall_ms = clock.wall_ms(9_000_000_000);
        clock.suspend(1_000_000_000, 4_000_000_000);
        assert_eq!(clock.mono(1_000_000_000), clock.mono(3_999_999_999));
        clock.resume(3_000_000_000);
        assert_eq!(clock.mono(4_000_000_000).0 - clock.mono(1_000_000_000).0, 1_010_000_000);
        let there_and_back = |clock: &Clock, times: &[u64]| {
            for time in times {
                let back = clock.time_of(clock.mono(*time));
                assert!(back <= time + 2 && clock.mono(back) >= clock.mono(*time), "{time} became {back}");
            }
        };
        there_and_back(&clock, &[0, 999_999_999, 1_000_000_000, 2_000_000_000, 3_000_000_001, 9_000_000_000]);
        clock.suspend(5_000_000_000, 6_000_000_000);
        assert_eq!(clock.mono(5_500_000_000), clock.mono(6_000_000_000));
        assert_eq!(clock.wall_ms(9_000_000_000), wall_ms);
        there_and_back(&clock, &[4_000_000_000, 5_000_000_000, 6_000_000_001, 7_000_000_000]);
        assert_eq!(clock.time_of(clock.mono(5_500_000_000)), 5_000_000_000);
    }
}
