//! How fast the disk writes and syncs, over the last ten seconds: a slow one should not lead (docs/design/raft.md, "Slow disk").

use base::Mono;
use base::mono::Span;

/// A core whose 99th percentile is above this is slow, and stays so until it is below half of it.
const SLOW: Span = Span::from_ms(100);
/// One second each.
const WINDOWS: usize = 10;
const WINDOW: Span = Span::from_ms(1_000);
/// Fewer slow syncs than this are no pattern.
const SLOW_MIN: u32 = 2;

/// Counts of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u64,
    all: u32,
    above_half: u32,
    above: u32,
}

/// The syncs of a core: counted by what the two bounds ask, so that nothing is sorted and nothing allocated.
#[derive(Debug, Default)]
pub(crate) struct DiskPace {
    windows: [Window; WINDOWS],
    is_slow: bool,
    /// When leaderships leave next, while it is slow.
    pub(crate) next_handover: Mono,
}

impl DiskPace {
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// A write and its sync took so long.
    pub(crate) fn note_sync(&mut self, latency: Span, now: Mono) {
        let second = now.0 / WINDOW.0;
        let window = &mut self.windows[(second % WINDOWS as u64) as usize];
        if window.second != second {
            *window = Window { second, ..Window::default() };
        }
        window.all += 1;
        window.above_half += u32::from(latency.0 > SLOW.0 / 2);
        window.above += u32::from(latency > SLOW);
    }

    /// Judges anew; true when the judgement changed.
    pub(crate) fn judge(&mut self, now: Mono) -> bool {
        let second = now.0 / WINDOW.0;
        let recent = self.windows.iter().filter(|window| second - window.second.min(second) < WINDOWS as u64);
        let (all, above_half, above) =
            recent.fold((0, 0, 0), |(all, half, above), w| (all + w.all, half + w.above_half, above + w.above));
        // The 99th percentile is above a bound when more than one in a hundred is.
        let is_slow = match self.is_slow {
            false => above >= SLOW_MIN && above * 100 > all,
            true => above_half * 100 > all,
        };
        std::mem::replace(&mut self.is_slow, is_slow) != is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Span::from_ms(ms).0)
    }

    #[test]
    fn slow_above_a_hundred_ms_and_well_again_below_fifty() {
        let mut pace = DiskPace::default();
        (0..200).for_each(|i| pace.note_sync(Span::from_ms(3), at(i)));
        assert!(!pace.judge(at(200)));
        pace.note_sync(Span::from_ms(300), at(200));
        pace.note_sync(Span::from_ms(300), at(201));
        assert!(!pace.judge(at(201)), "two of 202 are within the hundredth");
        pace.note_sync(Span::from_ms(300), at(202));
        assert!(pace.judge(at(202)) && pace.is_slow());
        // Syncs between the bounds keep it slow; only when they are out of the window is it well.
        (0..50).for_each(|i| pace.note_sync(Span::from_ms(70), at(9_000 + i)));
        assert!(!pace.judge(at(11_000)) && pace.is_slow());
        (0..10).for_each(|i| pace.note_sync(Span::from_ms(3), at(18_000 + i)));
        assert!(pace.judge(at(19_500)) && !pace.is_slow());
    }

    #[test]
    fn one_slow_sync_is_no_pattern_and_an_idle_disk_is_well() {
        let mut pace = DiskPace::default();
        pace.note_sync(Span::from_ms(500), at(1_000));
        assert!(!pace.judge(at(1_100)));
        pace.note_sync(Span::from_ms(500), at(2_000));
        assert!(pace.judge(at(2_000)));
        assert!(pace.judge(at(13_000)) && !pace.is_slow());
    }
}
