//! Claim: at no instant would two nodes serve a leased read of one group, and no node would when its lease is over.

use base::{GroupId, Mono, NodeId, Term};
use raft::Role;

use crate::checker::ensure;
use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};

const NAME: &str = "lease";
/// How far apart two looks at a clock are at least, to tell its rate. Units: ns.
const RATE_SPAN: u64 = 1_000_000;
/// What a clock may gain on its rate between two looks, parts of 1,024: rates drift, and a lease that is not over for
/// sure is taken for over.
const RATE_SLACK: u64 = 2;
/// Rates that clocks have, parts of 1,024: from half to twice as fast as true time.
const RATES: std::ops::RangeInclusive<u64> = 512..=2048;

/// What a node could serve when it was last seen, and how its clock runs against true time.
#[derive(Default)]
struct Node {
    is_up: bool,
    term: Term,
    lease_until: Option<Mono>,
    at: Time,
    now: Mono,
    /// ns of its clock in 1,024 ns of true time, as measured; 0 unknown.
    rate: u64,
    /// Where the rate is measured from.
    rate_from: (Time, Mono),
}

impl Node {
    fn note(&mut self, at: Time, view: &GroupView<'_>) {
        let since = at.0.saturating_sub(self.rate_from.0.0);
        if !self.is_up || view.now < self.rate_from.1 {
            (self.rate, self.rate_from) = (0, (at, view.now));
        } else if since >= RATE_SPAN {
            let passed = u128::from(view.now.0 - self.rate_from.1.0) * 1024 / u128::from(since);
            // A clock that stood still or jumps is no measure; then the lease counts only at the very instant of a look.
            self.rate = u64::try_from(passed).ok().filter(|rate| RATES.contains(rate)).unwrap_or(0);
            self.rate_from = (at, view.now);
        }
        self.is_up = true;
        (self.at, self.now, self.term) = (at, view.now, view.term);
        self.lease_until = view.lease_until.filter(|_| view.role == Role::Leader && !view.is_stopped);
    }

    /// Would it serve now? Only where that is sure.
    fn serves(&self, at: Time) -> bool {
        let Some(until) = self.lease_until.filter(|_| self.is_up) else { return false };
        let passed = at.0 - self.at.0;
        let clock = match (passed, self.rate) {
            (0, _) => self.now.0,
            (_, 0) => return false,
            (passed, rate) => {
                let rate = u128::from(rate) + u128::from(RATE_SLACK);
                self.now.0.saturating_add(u64::try_from(u128::from(passed) * rate / 1024 + 1).unwrap_or(u64::MAX))
            }
        };
        clock < until.0
    }
}

/// See the claim above. Between two looks at a node its clock is taken to run on as measured.
#[derive(Default)]
pub struct Lease {
    nodes: Slots<(GroupId, NodeId), Node>,
}

impl Lease {
    fn note_view(&mut self, at: Time, view: &GroupView<'_>) -> Result<(), Violation> {
        let node = self.nodes.of((view.group, view.node));
        node.note(at, view);
        if let Some(until) = node.lease_until {
            ensure!(
                NAME,
                view.now < until,
                "group {}: node {} in term {} would serve a read at {:?} of its clock, under a lease that ended at {until:?}",
                view.group,
                view.node,
                view.term,
                view.now
            );
        }
        if !node.serves(at) {
            return Ok(());
        }
        let term = view.term;
        let others = self.nodes.iter().filter(|((group, id), _)| *group == view.group && *id != view.node);
        for ((group, id), other) in others {
            ensure!(
                NAME,
                !other.serves(at),
                "group {group}: node {} in term {term} and node {id} in term {} both hold a lease",
                view.node,
                other.term
            );
        }
        Ok(())
    }

    fn note_down(&mut self, node: NodeId) {
        self.nodes.iter_mut().filter(|((_, id), _)| *id == node).for_each(|(_, kept)| *kept = Node::default());
    }
}

impl Checker for Lease {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::TURNS
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Turn(view) => self.note_view(at, view),
            Event::Crash { node, .. } | Event::DiskLost { node } => {
                self.note_down(*node);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Seat, Seen, fires, ms};

    /// A look at true time `at_ms` at a leader whose clock shows `now_ms`.
    fn look(checker: &mut Lease, node: u64, at_ms: u64, now_ms: u64, until_ms: Option<u64>) -> Seen {
        let seat = Seat { now_ms, lease_until_ms: until_ms, ..Seat::with(node, &[node], 1).leading() };
        checker.observe(ms(at_ms), &Event::Turn(seat.view()))
    }

    #[test]
    fn leases_one_after_the_other_are_legal() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1400)).unwrap();
        look(&mut checker, 1, 100, 1100, Some(1500)).unwrap();
        look(&mut checker, 2, 450, 50, None).unwrap();
        look(&mut checker, 2, 501, 101, Some(500)).unwrap();
    }

    #[test]
    fn two_leases_at_once_are_seen() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1400)).unwrap();
        look(&mut checker, 1, 100, 1100, Some(1500)).unwrap();
        fires(NAME, look(&mut checker, 2, 300, 0, Some(1)));
    }

    #[test]
    fn a_fast_clock_ends_a_lease_early_and_a_slow_one_late() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1400)).unwrap();
        look(&mut checker, 1, 100, 1200, Some(1600)).unwrap();
        look(&mut checker, 2, 310, 0, Some(400)).unwrap();
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1400)).unwrap();
        look(&mut checker, 1, 100, 1050, Some(1450)).unwrap();
        fires(NAME, look(&mut checker, 2, 800, 0, Some(400)));
    }

    #[test]
    fn a_lease_that_is_over_and_still_shown_is_seen() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1001)).unwrap();
        look(&mut checker, 1, 1, 1001, None).unwrap();
        look(&mut checker, 1, 2, 1002, Some(1003)).unwrap();
        fires(NAME, look(&mut checker, 1, 3, 1003, Some(1003)));
    }

    #[test]
    fn a_clock_that_stood_still_is_no_measure_of_its_rate() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(1400)).unwrap();
        look(&mut checker, 1, 2000, 1000, None).unwrap();
        look(&mut checker, 1, 2000, 1000, Some(1450)).unwrap();
        // Its lease may be over by now, whatever the time that its clock lost would make of it.
        look(&mut checker, 2, 2500, 0, Some(400)).unwrap();
        // At the very instant of a look there is no doubt.
        fires(NAME, look(&mut checker, 1, 2500, 1010, Some(1450)));
    }

    #[test]
    fn the_dead_and_those_who_gave_it_up_hold_no_lease() {
        let mut checker = Lease::default();
        look(&mut checker, 1, 0, 1000, Some(9000)).unwrap();
        look(&mut checker, 1, 100, 1100, Some(9000)).unwrap();
        checker.observe(ms(150), &Event::Crash { node: NodeId(1), is_power_cut: false }).unwrap();
        look(&mut checker, 2, 200, 0, Some(400)).unwrap();
        look(&mut checker, 2, 300, 100, Some(400)).unwrap();
        look(&mut checker, 2, 400, 200, None).unwrap();
        look(&mut checker, 3, 500, 0, Some(400)).unwrap();
    }
}
