//! Claim: an account reads and changes nothing in a namespace that is not its own.

use meta::{Answer, Outcome};
use wire::ReplyStatus;

use crate::checker::ensure;
use crate::observe::{Checker, Event, Foreign, Time, Violation, Wants};

const NAME: &str = "tenant";

/// See the claim above.
#[derive(Default)]
pub struct Tenant;

impl Checker for Tenant {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        let Event::Foreign { asked, status: Some(ReplyStatus::Ok), body } = *event else { return Ok(()) };
        let is_refused = match asked {
            Foreign::Query => matches!(Answer::decode(body), Ok(Answer::NoAccess)),
            // A session that has ended refuses as well.
            Foreign::Command => matches!(
                Outcome::decode(body),
                Ok(Outcome::NoAccess | Outcome::SessionGone | Outcome::Acknowledged | Outcome::TooLarge)
            ),
            _ => return Ok(()),
        };
        ensure!(NAME, is_refused, "{asked:?} of an account in another's namespace: the answer is {body:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::Jid;

    use super::*;
    use crate::checker::testing::{Seen, fires, ms};

    fn answer(asked: Foreign, status: ReplyStatus, encode: impl FnOnce(&mut Vec<u8>)) -> Seen {
        let mut body = Vec::new();
        encode(&mut body);
        Tenant.observe(ms(0), &Event::Foreign { asked, status: Some(status), body: &body })
    }

    #[test]
    fn refusals_are_fine() {
        answer(Foreign::Query, ReplyStatus::Ok, |out| Answer::NoAccess.encode(out)).unwrap();
        answer(Foreign::Query, ReplyStatus::NotLeader, |_| ()).unwrap();
        answer(Foreign::Command, ReplyStatus::Ok, |out| Outcome::NoAccess.encode(out)).unwrap();
    }

    #[test]
    fn what_is_told_or_done_is_seen() {
        fires(NAME, answer(Foreign::Query, ReplyStatus::Ok, |out| Answer::Head(Jid(3)).encode(out)));
        fires(NAME, answer(Foreign::Query, ReplyStatus::Ok, |out| Answer::NotFound.encode(out)));
        fires(NAME, answer(Foreign::Command, ReplyStatus::Ok, |out| Outcome::NotFound.encode(out)));
    }
}
