//! The hash of all that happened, and the events themselves when somebody wants to read them.

use xxhash_rust::xxh3::Xxh3;

/// Events are folded many at once: one by one the hash costs five times as much.
const PENDING_BYTES: usize = 4096;

/// Folds events into 128 bits.
pub(crate) struct Trace {
    hash: Xxh3,
    /// Events that are not in `hash` yet.
    pending: Vec<u8>,
    pub events: u64,
    pub print: bool,
    /// Hash after each so many events, to find where two runs part.
    pub steps: Option<Vec<u64>>,
    /// Text of these events, by number.
    pub wanted: Option<std::ops::Range<u64>>,
    pub text: Vec<String>,
}

impl Trace {
    pub fn new() -> Trace {
        let pending = Vec::with_capacity(PENDING_BYTES);
        Trace { hash: Xxh3::new(), pending, events: 0, print: false, steps: None, wanted: None, text: Vec::new() }
    }

    /// An event: when, a number for what, whose, and two numbers of its own.
    #[inline]
    pub fn fold(&mut self, time: u64, what: u64, a: u64, b: u64) {
        let mut bytes = [0; 32];
        for (slot, part) in bytes.chunks_exact_mut(8).zip([time, what, a, b]) {
            slot.copy_from_slice(&part.to_le_bytes());
        }
        self.pending.extend_from_slice(&bytes);
        self.events += 1;
        if self.pending.len() >= PENDING_BYTES || self.steps.is_some() {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        if let Some(steps) = &mut self.steps {
            steps.push(self.hash.digest());
        }
    }

    /// True when the text of the event just folded is wanted.
    pub fn wants_text(&self) -> bool {
        self.print || self.wanted.as_ref().is_some_and(|wanted| wanted.contains(&self.events))
    }

    pub fn digest(&self) -> u128 {
        let mut hash = self.hash.clone();
        hash.update(&self.pending);
        hash.digest128()
    }
}
