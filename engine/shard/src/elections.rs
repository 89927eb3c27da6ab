//! How many elections a core starts: a power cut, or a node with ten thousand idle groups that is gone, must not make all
//! of them ask for votes in one moment (docs/design/raft.md, "Quiescence").

use base::Mono;
use base::limits::ELECTIONS_PER_SECOND;
use base::mono::Span;

/// One start takes this long of the budget.
const EVERY: Span = Span(1_000_000_000 / ELECTIONS_PER_SECOND);
/// What was not used for so long is lost: this many starts may come at once.
const SAVED: Span = Span::from_ms(50);

/// The starts of a core, by reservation: who comes too early gets a time, and so is looked at twice and not more often.
#[derive(Debug, Default)]
pub(crate) struct ElectionBudget {
    next: Mono,
}

impl ElectionBudget {
    /// When the group that asks now may start: `now`, or later. It is its turn then, whatever else asks meanwhile.
    pub(crate) fn reserve(&mut self, now: Mono) -> Mono {
        let turn = self.next.max(now - SAVED);
        self.next = turn + EVERY;
        turn.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_a_second_after_a_small_burst() {
        let mut budget = ElectionBudget::default();
        let now = Mono(10_000_000_000);
        let turns: Vec<Mono> = (0..5_000).map(|_| budget.reserve(now)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == now).count(), 51);
        for second in 1..4 {
            let (from, to) = (now + Span::from_ms(1000 * second - 1000), now + Span::from_ms(1000 * second));
            let started = turns.iter().filter(|turn| from < **turn && **turn <= to).count();
            assert_eq!(started as u64, ELECTIONS_PER_SECOND);
        }
        assert_eq!(budget.reserve(now + Span::from_ms(60_000)), now + Span::from_ms(60_000), "time heals");
    }
}
