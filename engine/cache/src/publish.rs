//! What the owner tells every core about a group: may it answer, until when, and whom to ask otherwise.
//!
//! ```text
//! word 0 generation, odd while the group's state is replaced | 1 lease_ns, 0 = none | 2 applied_index
//!      | 3 leader_hint | zero
//! ```

use base::{LogIndex, Mono, NodeId, Span, mutate};

use crate::memory::{GroupLine, Stripes};
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::fence;

/// Cores may differ so much about the time: a lease ends earlier for readers than for its leader.
pub const LEASE_GUARD: Span = Span::from_ms(1);

const GENERATION: usize = 0;
const LEASE: usize = 1;
const APPLIED: usize = 2;
const HINT: usize = 3;

// The owner's half.

/// Until when reads are fresh; `None`: from now on they are not.
pub(crate) fn set_lease(line: &GroupLine, until: Option<Mono>) {
    let ns = until.map_or(0, |until| until.0.saturating_sub(LEASE_GUARD.0));
    line[LEASE].store(ns, Release);
}

pub(crate) fn set_applied(line: &GroupLine, index: LogIndex) {
    line[APPLIED].store(index.0, Release);
}

pub(crate) fn set_hint(line: &GroupLine, leader: Option<NodeId>) {
    line[HINT].store(leader.map_or(0, |leader| leader.0), Relaxed);
}

/// The lease ends now, whatever a reader has seen: only then may leave what lets another node lead.
pub(crate) fn give_up(line: &GroupLine) {
    let generation = line[GENERATION].load(Relaxed);
    // Inside of a change it is odd already, and stays so.
    line[GENERATION].store(generation | 1, Relaxed);
    line[LEASE].store(0, Relaxed);
    if mutate!(MUT_41D, true, false) {
        fence(SeqCst);
    }
    if generation.is_multiple_of(2) {
        line[GENERATION].store(generation + 2, Release);
    }
}

/// Every item of the group is over, and none is made until [`end_change`].
pub(crate) fn begin_change(line: &GroupLine, stripes: &Stripes) {
    let generation = line[GENERATION].load(Relaxed);
    assert!(generation.is_multiple_of(2), "a group's state is replaced twice at once");
    line[GENERATION].store(generation + 1, Relaxed);
    fence(Release);
    stripes.iter().for_each(|stripe| stripe.store(stripe.load(Relaxed) + 1, Relaxed));
}

pub(crate) fn end_change(line: &GroupLine) {
    let generation = line[GENERATION].load(Relaxed);
    assert!(!generation.is_multiple_of(2), "no change was begun");
    line[GENERATION].store(generation + 1, Release);
}

pub(crate) fn generation(line: &GroupLine) -> u64 {
    line[GENERATION].load(Relaxed)
}

// The readers' half.

/// A reader begins; `None` while the group's state is replaced.
pub(crate) fn look(line: &GroupLine) -> Option<u64> {
    let generation = line[GENERATION].load(Acquire);
    generation.is_multiple_of(2).then_some(generation)
}

/// After [`look`].
pub(crate) fn has_lease(line: &GroupLine, now: Mono) -> bool {
    now.0 < line[LEASE].load(Acquire)
}

/// After an acquire fence behind all that was copied.
pub(crate) fn is_unchanged(line: &GroupLine, seen: u64) -> bool {
    generation(line) == seen
}

pub(crate) fn applied(line: &GroupLine) -> LogIndex {
    LogIndex(line[APPLIED].load(Acquire))
}

pub(crate) fn hint(line: &GroupLine) -> Option<NodeId> {
    let leader = line[HINT].load(Relaxed);
    (leader != 0).then_some(NodeId(leader))
}
