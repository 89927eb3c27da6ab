//! Claim: a second after all is healed, and after the last election, every watcher has been told the newest head that
//! anyone knew when all was healed.

use std::collections::BTreeMap;

use base::{GroupId, Jid, Nsid, Term};
use meta::{Answer, Outcome};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Ended, Event, Path, Time, Violation, Wants};

const NAME: &str = "wakeup";
/// Units: ns.
const WAKE_MAX: u64 = 1_000_000_000;

/// See the claim above. A watcher counts from the first head that it is told: before, it may know enough.
#[derive(Default)]
pub struct Wakeup {
    watches: BTreeMap<u64, (Nsid, Jid)>,
    /// Of the reads on their way.
    reads: BTreeMap<u64, Nsid>,
    heads: Slots<Nsid, Jid>,
    /// The newest term of each group in which somebody led: who watches has to find the leader of the next one.
    led: Slots<GroupId, Term>,
    /// The heads at the heal, and when to look.
    wanted: Option<(Time, Vec<(Nsid, Jid)>)>,
}

impl Wakeup {
    fn note_head(&mut self, nsid: Nsid, head: Jid) {
        let known = self.heads.of(nsid);
        *known = head.max(*known);
    }

    fn note_return(&mut self, operation: u64, ended: &Ended<'_>) {
        self.watches.remove(&operation);
        let nsid = self.reads.remove(&operation);
        match (ended, nsid) {
            (Ended::Outcome(Outcome::Applied(metadata), _), _) => self.note_head(metadata.nsid, metadata.jid),
            (Ended::Answer(Answer::Head(head), token), Some(nsid)) if token.path != Path::Stale => {
                self.note_head(nsid, *head);
            }
            _ => {}
        }
    }

    fn check(&mut self, at: Time) -> Result<(), Violation> {
        let Some((_, wanted)) = self.wanted.take_if(|(due, _)| *due <= at) else { return Ok(()) };
        for (operation, (nsid, told)) in &self.watches {
            let head = wanted.iter().find(|(of, _)| of == nsid).map_or(Jid(0), |(_, head)| *head);
            ensure!(
                NAME,
                *told >= head,
                "watch {operation} of namespace {nsid} was told {told}, and {head} was known before all was healed"
            );
        }
        Ok(())
    }
}

impl Checker for Wakeup {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        if self.wanted.is_some() {
            self.check(at)?;
        }
        match event {
            Event::Invoke { operation, nsid, .. } => {
                self.reads.insert(*operation, *nsid);
            }
            Event::Return { operation, ended } => self.note_return(*operation, ended),
            Event::Head { operation, nsid, head } => {
                self.watches.insert(*operation, (*nsid, *head));
                self.note_head(*nsid, *head);
            }
            Event::Turn(view) if view.role == Role::Leader && view.term > *self.led.of(view.group) => {
                *self.led.of(view.group) = view.term;
                if let Some((due, _)) = &mut self.wanted {
                    *due = Time(at.0 + WAKE_MAX);
                }
            }
            Event::Healed => {
                let heads = self.heads.iter().map(|(nsid, head)| (nsid, *head)).collect();
                self.wanted = Some((Time(at.0 + WAKE_MAX), heads));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, fires, ms, turn};

    fn told(checker: &mut Wakeup, at: u64, operation: u64, head: u64) {
        checker.observe(ms(at), &Event::Head { operation, nsid: Nsid(7), head: Jid(head) }).unwrap();
    }

    #[test]
    fn a_watcher_that_is_told_in_time_is_well() {
        let mut checker = Wakeup::default();
        told(&mut checker, 1, 1, 3);
        told(&mut checker, 1, 2, 5);
        checker.observe(ms(10), &Event::Healed).unwrap();
        told(&mut checker, 1009, 1, 5);
        told(&mut checker, 1500, 2, 9);
        checker.observe(ms(5000), &Event::End).unwrap();
    }

    #[test]
    fn who_lost_its_leader_has_a_second_to_find_the_next() {
        let mut checker = Wakeup::default();
        told(&mut checker, 1, 1, 3);
        told(&mut checker, 1, 2, 5);
        turn(&mut checker, &Seat::with(1, &[1], 1).leading()).unwrap();
        checker.observe(ms(10), &Event::Healed).unwrap();
        turn(&mut checker, &Seat { now_ms: 900, ..Seat::with(2, &[1, 2], 1).leading() }).unwrap();
        checker.observe(ms(1500), &Event::End).unwrap();
        turn(&mut checker, &Seat { now_ms: 1600, ..Seat::with(2, &[1, 2], 1).leading() }).unwrap();
        fires(NAME, checker.observe(ms(1900), &Event::End));
    }

    #[test]
    fn a_watcher_that_sleeps_over_a_head_is_seen() {
        let mut checker = Wakeup::default();
        told(&mut checker, 1, 1, 3);
        told(&mut checker, 1, 2, 5);
        checker.observe(ms(10), &Event::Healed).unwrap();
        told(&mut checker, 500, 1, 4);
        fires(NAME, checker.observe(ms(1010), &Event::End));
    }
}
