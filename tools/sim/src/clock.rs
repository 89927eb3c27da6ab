//! Clocks of nodes: each translates true time into its own, with an offset, a rate, and a wall clock that jumps.

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
}

impl Clock {
    /// A clock that is right.
    #[must_use]
    pub fn exact(start: u64) -> Clock {
        Clock { start, ppm: 0, wall_start_ms: 1_700_000_000_000 }
    }

    /// Its monotonic time at a true time.
    #[must_use]
    pub fn mono(&self, time: u64) -> Mono {
        Mono(self.start + self.elapsed(time))
    }

    /// The first true time at which it shows at least `mono`.
    #[must_use]
    pub fn time_of(&self, mono: Mono) -> u64 {
        if mono == Mono::MAX {
            return u64::MAX;
        }
        let elapsed = i128::from(mono.0.saturating_sub(self.start));
        let rate = MILLION + i128::from(self.ppm);
        let time = (elapsed * MILLION + rate - 1) / rate;
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Its wall clock at a true time, in ms since 1970.
    #[must_use]
    pub fn wall_ms(&self, time: u64) -> u64 {
        (self.wall_start_ms + (self.elapsed(time) / 1_000_000) as i64).max(0) as u64
    }

    fn elapsed(&self, time: u64) -> u64 {
        let drift = i128::from(time) * i128::from(self.ppm) / MILLION;
        (i128::from(time) + drift) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_translates_to_the_first_instant_that_reaches_it() {
        for ppm in [-500_000, -10_000, -1, 0, 3, 50_000, 1_000_000] {
            let clock = Clock { start: 12_345, ppm, wall_start_ms: 0 };
            for time in [0, 1, 999, 1_000_000, 3_600_000_000_000] {
                let mono = clock.mono(time);
                let back = clock.time_of(mono);
                assert!(back <= time + 2, "{ppm}: {time} became {back}");
                assert!(clock.mono(back) >= mono, "{ppm}: {back} is too early for {time}");
            }
        }
        assert_eq!(Clock::exact(0).time_of(Mono::MAX), u64::MAX);
    }
}
