//! Claim: nothing spins: at most 10,000 events in a simulated millisecond.

use crate::checker::ensure;
use crate::observe::{Checker, Event, Time, Violation, Wants};

const NAME: &str = "bounds";
const EVENTS_PER_MS_MAX: u32 = 10_000;

/// See the claim above.
#[derive(Default)]
pub struct Bounds {
    ms: u64,
    events: u32,
}

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS.and(Wants::SENT)
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        let ms = at.0 / 1_000_000;
        if ms != self.ms {
            (self.ms, self.events) = (ms, 0);
        }
        // Groups of a start and the final look are as many as they are.
        self.events += u32::from(matches!(event, Event::Turn(_) | Event::Sent { .. } | Event::Head { .. }));
        ensure!(NAME, self.events <= EVENTS_PER_MS_MAX, "{} events in the millisecond {ms}", self.events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, turn};

    #[test]
    fn a_spin_is_seen_and_a_steady_pace_is_not() {
        let mut checker = Bounds::default();
        let mut seat = Seat::with(1, &[1], 1);
        for event in 0..40_000 {
            seat.now_ms = event / 9_000;
            turn(&mut checker, &seat).unwrap();
        }
        seat.now_ms += 1;
        (0..10_000).for_each(|_| turn(&mut checker, &seat).unwrap());
        fires(NAME, turn(&mut checker, &seat));
    }
}
