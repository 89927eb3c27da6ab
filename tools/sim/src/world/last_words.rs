//! Last words: in a share of the runs, once all is healed and nobody works, a watch is answered and one more change of what
//! it watches follows at once, the last one. Who watches must hear of it: no later change would wake it.

use base::Prng;
use client::Operation;
use meta::{At, Command, Mkdir};

use super::load::{Effect, OWNER};
use super::{MS, SECOND, World};
use crate::draw::{Stream, between, log_between, prng};
use crate::heap::Due;

/// One run in so many has last words.
const SHARE: u64 = 4;
/// Namespaces that are watched and changed, one after the other.
const ROUNDS: u64 = 4;
/// From the answer of a watch to the change, in ns: at once, within a heartbeat, or a little later.
const PAUSE: (u64, u64) = (MS / 20, 50 * MS);
/// A namespace that was never founded has no head to tell: then the change comes unasked.
const SILENCE: u64 = SECOND;

/// Where the last words are.
pub(super) struct LastWords {
    dice: Prng,
    left: u64,
    at: Awaits,
}

/// What comes next; numbers are operations'.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Head { watch: u64, place: usize, asked: u64 },
    Change { place: usize, at: u64 },
    Answer { command: u64 },
}

impl LastWords {
    /// What the seed says; most runs have none.
    pub fn new(seed: u64) -> LastWords {
        let mut dice = prng(seed, Stream::LastWords, 0, 0);
        let left = if dice.below(SHARE) == 0 { between(&mut dice, 1, ROUNDS) } else { 0 };
        LastWords { dice, left, at: Awaits::Nothing }
    }

    /// Nothing is left to be said.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }
}

impl World<'_> {
    /// Watches the next namespace.
    pub(super) fn begin_last_word(&mut self) {
        let place = self.last_words.dice.below(self.load.namespaces.len() as u64) as usize;
        let client = self.last_words.dice.below(self.clients.len() as u64) as usize;
        let watch = Operation::Watch { acct: OWNER, nsid: self.load.namespaces[place], since: base::Jid(0) };
        self.submit(client, watch, Effect::None);
        self.last_words.at = Awaits::Head { watch: self.counts.operations, place, asked: self.now };
        self.push(self.now + SILENCE, Due::LastWord);
        self.drive(client);
    }

    /// A watch was told a head: if it is the one waited for, the change is due soon.
    pub(super) fn note_told(&mut self, watch: u64) {
        if let Awaits::Head { watch: awaited, place, .. } = self.last_words.at
            && awaited == watch
        {
            let at = self.now + log_between(&mut self.last_words.dice, PAUSE.0, PAUSE.1);
            self.last_words.at = Awaits::Change { place, at };
            self.push(at, Due::LastWord);
        }
    }

    /// The change itself, by any client.
    pub(super) fn say_last_word(&mut self) {
        let place = match self.last_words.at {
            Awaits::Change { place, at } if at == self.now => place,
            Awaits::Head { place, asked, .. } if asked + SILENCE == self.now => place,
            _ => return,
        };
        let client = self.last_words.dice.below(self.clients.len() as u64) as usize;
        let command = Command::Mkdir(Mkdir { at: At::path("/last word"), autorename: true });
        self.submit(
            client,
            Operation::Command { acct: OWNER, nsid: self.load.namespaces[place], command },
            Effect::None,
        );
        self.last_words.at = Awaits::Answer { command: self.counts.operations };
        self.drive(client);
    }

    /// An operation ended: the next word, if it was the last one's.
    pub(super) fn note_ended(&mut self, operation: u64) {
        let is_awaited = match self.last_words.at {
            // A watch ends when its time is over or its node is gone: then it has nothing to wait for.
            Awaits::Head { watch, .. } => watch == operation,
            Awaits::Answer { command } => command == operation,
            Awaits::Nothing | Awaits::Change { .. } => false,
        };
        if is_awaited {
            (self.last_words.at, self.last_words.left) = (Awaits::Nothing, self.last_words.left - 1);
        }
    }

    /// The next word is due: the one before it has been said.
    pub(super) fn wants_last_word(&self) -> bool {
        self.last_words.at == Awaits::Nothing && !self.last_words.is_over()
    }
}
