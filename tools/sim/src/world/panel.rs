//! The checkers of a run, and which of them each event concerns.

use crate::observe::{Checker, Event, Time, Violation, Wants};

/// Checkers by what they want to see, in their order.
pub(super) struct Panel<'c> {
    checkers: &'c mut [Box<dyn Checker>],
    turns: Vec<usize>,
    news: Vec<usize>,
    sent: Vec<usize>,
    read: Vec<usize>,
    all: Vec<usize>,
}

impl<'c> Panel<'c> {
    pub fn new(checkers: &'c mut [Box<dyn Checker>]) -> Panel<'c> {
        let wants: Vec<Wants> = checkers.iter().map(|checker| checker.wants()).collect();
        let who = |what: Wants| (0..wants.len()).filter(|at| wants[*at].has(what)).collect();
        Panel {
            turns: who(Wants::TURNS),
            news: who(Wants::NEWS),
            sent: who(Wants::SENT),
            read: who(Wants::READ),
            all: (0..wants.len()).collect(),
            checkers,
        }
    }

    /// Shows an event to those that want it. The first claim that does not hold is returned; the others see it all the same.
    pub fn show(&mut self, at: Time, event: &Event<'_>) -> Option<Violation> {
        let whom = match event {
            Event::Turn(_) => &self.news,
            Event::Sent { .. } => &self.sent,
            Event::Read { .. } => &self.read,
            _ => &self.all,
        };
        show(self.checkers, whom, at, event)
    }

    /// Shows a turn that left the group as it was in all that a [`crate::world::node::Look`] tells.
    pub fn show_same(&mut self, at: Time, event: &Event<'_>) -> Option<Violation> {
        show(self.checkers, &self.turns, at, event)
    }

    /// Shows an event to everybody.
    pub fn show_all(&mut self, at: Time, event: &Event<'_>) -> Option<Violation> {
        show(self.checkers, &self.all, at, event)
    }
}

fn show(checkers: &mut [Box<dyn Checker>], whom: &[usize], at: Time, event: &Event<'_>) -> Option<Violation> {
    let mut first = None;
    for which in whom {
        if let Err(found) = checkers[*which].observe(at, event) {
            first.get_or_insert(found);
        }
    }
    first
}
