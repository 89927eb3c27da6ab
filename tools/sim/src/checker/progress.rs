//! Claim: five seconds after all is healed no operation that was begun before is still open.

use std::collections::BTreeMap;

use crate::checker::ensure;
use crate::observe::{Asked, Checker, Event, Time, Violation, Wants};

const NAME: &str = "progress";
/// Five times the longest election timeout. Units: ns.
const ANSWER_MAX: u64 = 5_000_000_000;

/// See the claim above. What may be old is not counted: watches stay open.
#[derive(Default)]
pub struct Progress {
    open: BTreeMap<u64, Time>,
    healed: Option<Time>,
}

impl Progress {
    fn check(&self, at: Time) -> Result<(), Violation> {
        // Numbers rise with time: the first is the oldest.
        let Some((operation, since)) = self.open.first_key_value() else { return Ok(()) };
        let Some(healed) = self.healed else { return Ok(()) };
        let waited = at.0.saturating_sub(since.0.max(healed.0));
        ensure!(
            NAME,
            waited < ANSWER_MAX,
            "operation {operation} is open since {since:?}, and all is healed since {healed:?}"
        );
        Ok(())
    }
}

impl Checker for Progress {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        self.check(at)?;
        match event {
            Event::Invoke { asked: Asked::Read { is_stale_allowed: true, .. }, .. } => {}
            Event::Invoke { operation, .. } => {
                self.open.insert(*operation, at);
            }
            Event::Return { operation, .. } => {
                self.open.remove(operation);
            }
            Event::Healed => self.healed = Some(at),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, Nsid};

    use super::*;
    use crate::checker::testing::{fires, ms};
    use crate::observe::Ended;

    fn invoke(checker: &mut Progress, at: u64, operation: u64, is_stale_allowed: bool) {
        let asked = Asked::Read { query: &meta::Query::Head, is_stale_allowed };
        let event = Event::Invoke { operation, client: 1, acct: Acct(1), nsid: Nsid(1), asked };
        checker.observe(ms(at), &event).unwrap();
    }

    #[test]
    fn only_what_is_open_too_long_after_the_heal_is_seen() {
        let mut checker = Progress::default();
        invoke(&mut checker, 0, 1, false);
        invoke(&mut checker, 0, 2, true);
        checker.observe(ms(60_000), &Event::Healed).unwrap();
        checker.observe(ms(64_999), &Event::Return { operation: 1, ended: Ended::Unknown }).unwrap();
        invoke(&mut checker, 64_999, 3, false);
        checker.observe(ms(69_998), &Event::End).unwrap();
        fires(NAME, checker.observe(ms(69_999), &Event::End));
    }
}
