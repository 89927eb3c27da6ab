//! A claim that ends: it is asked for until a node goes on that is without something its disk had said is durable, and does
//! not know ([`crate::liar`]).

use crate::observe::{Checker, Event, Time, Violation, Wants};

/// See above.
pub struct Until {
    checker: Box<dyn Checker>,
    is_over: bool,
}

impl Until {
    /// Asks `checker` until then.
    #[must_use]
    pub fn new(checker: Box<dyn Checker>) -> Until {
        Until { checker, is_over: false }
    }
}

impl Checker for Until {
    fn name(&self) -> &'static str {
        self.checker.name()
    }

    fn wants(&self) -> Wants {
        self.checker.wants()
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        self.is_over |= matches!(event, Event::Forgot { is_known: false, .. });
        if self.is_over { Ok(()) } else { self.checker.observe(at, event) }
    }
}

#[cfg(test)]
mod tests {
    use base::NodeId;

    use super::*;
    use crate::checker::repair::Repair;
    use crate::checker::testing::{GROUP, Seat, boot, fires, ms, turn};

    fn forget(checker: &mut Until, is_known: bool) {
        let node = NodeId(1);
        checker.observe(ms(0), &Event::Forgot { node, group: GROUP, is_proven: false, is_known }).unwrap();
    }

    #[test]
    fn a_claim_ends_when_somebody_has_forgotten_and_does_not_know() {
        let mut checker = Until::new(Box::new(Repair::default()));
        turn(&mut checker, &Seat::with(1, &[1, 1, 1], 2)).unwrap();
        forget(&mut checker, true);
        fires("repair", boot(&mut checker, &Seat::with(1, &[1], 1)));
        forget(&mut checker, false);
        boot(&mut checker, &Seat::with(1, &[1], 1)).unwrap();
    }
}
