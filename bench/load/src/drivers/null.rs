//! A target that answers everything at once and right, to show that the generator is never what is measured.

use base::{Mono, Span};

use crate::driver::{Answer, Done, Driver, OpToken, Submit};
use crate::op::{Op, OpKind};

/// The target. Answers wait until the next poll, so that permits, slots and judging are at work as with a real one.
pub struct NullDriver<C> {
    clock: C,
    waiting: Vec<Done>,
    heads: Vec<u64>,
}

impl<C: FnMut() -> Mono> NullDriver<C> {
    /// A target of so many namespaces, whose time is `clock`.
    #[must_use]
    pub fn new(namespaces: u32, clock: C) -> NullDriver<C> {
        // Revisions above all that a population may have.
        NullDriver { clock, waiting: Vec::new(), heads: vec![1 << 40; namespaces as usize] }
    }
}

impl<C: FnMut() -> Mono> Driver for NullDriver<C> {
    fn now(&mut self) -> Mono {
        (self.clock)()
    }

    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
        let head = &mut self.heads[op.namespace as usize];
        let answer = match op.kind {
            kind if kind.is_write() => {
                let rev = *head + 1;
                *head += u64::from(op.count);
                Answer::Applied { jid: *head, rev }
            }
            OpKind::HasBlocks => Answer::Known(1),
            OpKind::Stat | OpKind::Blocklist => Answer::Head(*head),
            OpKind::Delta => Answer::Changes { entries: 0, head: *head },
            OpKind::List => Answer::Page { entries: 0, head: *head },
            _ => Answer::Head(*head),
        };
        self.waiting.push(Done { token, sent: now, replied: now, answer });
        Submit::Queued
    }

    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span {
        if self.waiting.is_empty() {
            let begun = self.now();
            let mut now = begun;
            while now < until {
                std::hint::spin_loop();
                now = self.now();
            }
            return now.since(begun);
        }
        done.append(&mut self.waiting);
        Span(0)
    }
}
