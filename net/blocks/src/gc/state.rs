//! What the collector keeps in the object store, at `gc/state`: whose turn it is, where it stands, what was done.
//!
//! Lines of text, so that anyone can read them. A state that is lost or damaged costs a cycle from its beginning, never
//! an object: no decision rests on it.

use base::BlockHash;

/// What collectors have done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Passes that came to their end.
    pub passes: u64,
    /// Passes that were given up.
    pub given_up: u64,
    /// Objects listed.
    pub listed: u64,
    /// Blocks that groups know, each once for every namespace.
    pub marks: u64,
    /// Objects moved to the trash.
    pub trashed: u64,
    /// Objects deleted from it.
    pub deleted: u64,
    /// Objects brought back from it.
    pub restored: u64,
    /// Tail objects deleted.
    pub tails: u64,
    /// Moves and deletes that failed.
    pub failed: u64,
    /// Blocks that a namespace knows and the object store has not. Each is data that cannot be read.
    pub missing: u64,
    /// Objects re-hashed by the scrubber.
    pub scrubbed: u64,
    /// Objects whose bytes do not give their name.
    pub corrupt: u64,
}

impl Counts {
    /// Their names in the state and in logs, with the numbers.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 12] {
        let mut copy = *self;
        copy.named_mut().map(|(name, count)| (name, *count))
    }

    fn named_mut(&mut self) -> [(&'static str, &mut u64); 12] {
        [
            ("passes", &mut self.passes),
            ("given_up", &mut self.given_up),
            ("listed", &mut self.listed),
            ("marks", &mut self.marks),
            ("trashed", &mut self.trashed),
            ("deleted", &mut self.deleted),
            ("restored", &mut self.restored),
            ("tails", &mut self.tails),
            ("failed", &mut self.failed),
            ("missing", &mut self.missing),
            ("scrubbed", &mut self.scrubbed),
            ("corrupt", &mut self.corrupt),
        ]
    }

    /// What this has beyond an earlier one, count by count.
    #[must_use]
    pub fn minus(mut self, earlier: &Counts) -> Counts {
        let taken = earlier.named();
        self.named_mut().into_iter().zip(taken).for_each(|((_, count), (_, less))| *count = count.saturating_sub(less));
        self
    }

    /// The sum, count by count.
    #[must_use]
    pub fn plus(mut self, other: &Counts) -> Counts {
        let added = other.named();
        self.named_mut().into_iter().zip(added).for_each(|((_, count), (_, more))| *count = count.saturating_add(more));
        self
    }
}

/// The state. Times in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GcState {
    /// The block server that collects.
    pub owner: u64,
    /// When it last said so.
    pub beat_ms: u64,
    /// Cycles that came to their end.
    pub cycle: u64,
    /// The name with which the next pass begins; the least one: between two cycles.
    pub from: BlockHash,
    /// When the last cycle ended; 0: none has.
    pub ended_ms: u64,
    /// The scrubber's next directory.
    pub scrub_byte: u8,
    /// Since the state was made.
    pub counts: Counts,
}

const FIRST_LINE: &str = "dropstone-gc 1";

impl GcState {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nfrom {}\n", self.from);
        for (name, number) in self.numbers().into_iter().chain(self.counts.named()) {
            text.push_str(&format!("{name} {number}\n"));
        }
        text
    }

    fn numbers(&self) -> [(&'static str, u64); 5] {
        [
            ("owner", self.owner),
            ("beat_ms", self.beat_ms),
            ("cycle", self.cycle),
            ("ended_ms", self.ended_ms),
            ("scrub_byte", u64::from(self.scrub_byte)),
        ]
    }

    /// The state in a text; `None` when it is none. Lines of names that are not known here are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<GcState> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut state = GcState::default();
        for line in lines {
            let (name, value) = line.split_once(' ')?;
            if name == "from" {
                state.from = value.parse().ok()?;
                continue;
            }
            let number: u64 = value.parse().ok()?;
            match name {
                "owner" => state.owner = number,
                "beat_ms" => state.beat_ms = number,
                "cycle" => state.cycle = number,
                "ended_ms" => state.ended_ms = number,
                "scrub_byte" => state.scrub_byte = u8::try_from(number).ok()?,
                _ => {
                    if let Some((_, count)) = state.counts.named_mut().into_iter().find(|(known, _)| *known == name) {
                        *count = number;
                    }
                }
            }
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_what_is_none_is_refused() {
        let counts = Counts { passes: 1, deleted: 5, corrupt: 9, ..Counts::default() };
        let from = BlockHash([0xab; 32]);
        let state = GcState { owner: 3, beat_ms: 77, cycle: 2, from, ended_ms: 60, scrub_byte: 255, counts };
        let text = state.encode();
        assert!(text.starts_with("dropstone-gc 1\nfrom abab"), "{text}");
        assert_eq!(GcState::parse(&text), Some(state.clone()));
        assert_eq!(GcState::parse(&format!("{text}later 8\n")), Some(state));
        let damaged =
            [text.replace("77", "x"), text.replace("gc 1", "gc 2"), text.replace("255", "256"), String::new()];
        damaged.iter().for_each(|text| assert_eq!(GcState::parse(text), None, "{text}"));
        assert_eq!(GcState::parse(text.trim_end()), None, "a text that was cut off");
    }

    #[test]
    fn counts_add_up_name_by_name() {
        let one = Counts { listed: 1, missing: 2, ..Counts::default() };
        let sum = one.plus(&Counts { listed: 10, scrubbed: 4, ..Counts::default() });
        assert_eq!(sum.minus(&one), Counts { listed: 10, scrubbed: 4, ..Counts::default() });
        assert_eq!(sum, Counts { listed: 11, missing: 2, scrubbed: 4, ..Counts::default() });
    }
}
