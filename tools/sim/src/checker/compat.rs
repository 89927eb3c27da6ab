//! Claim: what is of an unknown kind or version is refused, by an answer or a closed connection, and never skipped.

use meta::Outcome;
use wire::ReplyStatus;

use crate::checker::ensure;
use crate::observe::{Checker, Event, Foreign, Time, Violation, Wants};

const NAME: &str = "compat";

/// See the claim above.
#[derive(Default)]
pub struct Compat;

impl Checker for Compat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        let Event::Foreign { asked, status, body } = *event else { return Ok(()) };
        let is_refused = match asked {
            Foreign::Kind | Foreign::PeerFrame => status == Some(ReplyStatus::Unsupported),
            Foreign::CommandFormat | Foreign::QueryKind => status == Some(ReplyStatus::Malformed),
            // It may not have come as far as the machine.
            Foreign::CommandKind => match status {
                Some(ReplyStatus::Ok) => Outcome::decode(body) == Ok(Outcome::Unsupported),
                _ => status.is_some(),
            },
            Foreign::Query | Foreign::Command => return Ok(()),
        };
        ensure!(NAME, is_refused, "{asked:?}: the answer is {status:?} {body:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seen, fires, ms};

    fn answer(asked: Foreign, status: Option<ReplyStatus>, body: &[u8]) -> Seen {
        Compat.observe(ms(0), &Event::Foreign { asked, status, body })
    }

    #[test]
    fn refusals_are_fine() {
        answer(Foreign::Kind, Some(ReplyStatus::Unsupported), &[]).unwrap();
        answer(Foreign::PeerFrame, Some(ReplyStatus::Unsupported), &[]).unwrap();
        answer(Foreign::CommandFormat, Some(ReplyStatus::Malformed), &[]).unwrap();
        answer(Foreign::CommandKind, Some(ReplyStatus::NotLeader), &[]).unwrap();
        let mut body = Vec::new();
        Outcome::Unsupported.encode(&mut body);
        answer(Foreign::CommandKind, Some(ReplyStatus::Ok), &body).unwrap();
    }

    #[test]
    fn silence_and_what_was_done_are_seen() {
        fires(NAME, answer(Foreign::Kind, None, &[]));
        fires(NAME, answer(Foreign::PeerFrame, Some(ReplyStatus::Ok), &[]));
        fires(NAME, answer(Foreign::QueryKind, Some(ReplyStatus::Ok), &[]));
        let mut body = Vec::new();
        Outcome::NotFound.encode(&mut body);
        fires(NAME, answer(Foreign::CommandKind, Some(ReplyStatus::Ok), &body));
    }
}
