//! How many commands are let in while the store's compaction is behind (docs/design/store.md, "Pressure").

use base::Mono;
use base::mono::Span;

/// The rate halves once in a window while compaction is behind, and doubles once in a window afterwards.
const WINDOW: Span = Span::from_ms(100);
/// Never fewer than this in a window: what is under way must be able to end.
const ADMITTED_MIN: u64 = 16;

/// Commands of one core, counted in windows.
#[derive(Debug, Default)]
pub(crate) struct Admit {
    /// When the open window began.
    since: Mono,
    /// Let in during the open window.
    admitted: u64,
    /// How many may be let in within a window; `None`: as many as come.
    allowed: Option<u64>,
    /// The most that a window let in before the limit: where it goes back to.
    before: u64,
}

impl Admit {
    /// May one more command be let in? It counts as let in then. `is_behind`: compaction is.
    pub(crate) fn take(&mut self, is_behind: bool, now: Mono) -> bool {
        self.advance(is_behind, now);
        if self.allowed.is_some_and(|allowed| self.admitted >= allowed) {
            return false;
        }
        self.admitted += 1;
        true
    }

    fn advance(&mut self, is_behind: bool, now: Mono) {
        let windows = now.since(self.since).0 / WINDOW.0;
        if windows == 0 {
            return;
        }
        let admitted = std::mem::take(&mut self.admitted);
        self.since = now;
        self.allowed = match (self.allowed, is_behind) {
            (None, false) => None,
            // From what really came, so that the first window is slower already.
            (None, true) => {
                self.before = admitted;
                Some((admitted / 2).max(ADMITTED_MIN))
            }
            (Some(allowed), true) => Some((allowed / 2).max(ADMITTED_MIN)),
            (Some(allowed), false) => {
                let doubled = (0..windows.min(u64::from(u64::BITS))).fold(allowed, |rate, _| rate.saturating_mul(2));
                (doubled < self.before).then_some(doubled)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 10,000 are let in within the window that begins at `ms`.
    fn window(admit: &mut Admit, is_behind: bool, ms: u64) -> u64 {
        let now = Mono(Span::from_ms(ms).0);
        (0..10_000).filter(|_| admit.take(is_behind, now)).count() as u64
    }

    #[test]
    fn the_rate_halves_in_each_window_while_compaction_is_behind_and_doubles_afterwards() {
        let mut admit = Admit::default();
        assert_eq!(window(&mut admit, false, 1_000), 10_000);
        let behind: Vec<u64> = (1..14).map(|at| window(&mut admit, true, 1_000 + at * 100)).collect();
        assert_eq!(behind, [5_000, 2_500, 1_250, 625, 312, 156, 78, 39, 19, 16, 16, 16, 16]);
        assert_eq!(window(&mut admit, true, 2_350), 0, "the same window");
        let after: Vec<u64> = (1..6).map(|at| window(&mut admit, false, 2_300 + at * 100)).collect();
        assert_eq!(after, [32, 64, 128, 256, 512]);
        assert_eq!(window(&mut admit, false, 60_000), 10_000, "long over");
    }
}
