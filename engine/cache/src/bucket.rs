//! The sequence of a bucket: what makes its slots and their items one thing for a reader.
//!
//! ```text
//! owner: sequence = odd (Relaxed); fence(Release); slots and items (Relaxed); sequence = even (Release)
//! reader: sequence (Acquire); slots and items (Relaxed); fence(Acquire); sequence (Relaxed), the same?
//! ```
//! A reader that saw any word of a change meets the owner's fence with its own, so it sees the odd sequence too, or a
//! later one, and looks again. Words of a segment that is used again come after the fences under which every slot into
//! it was unlinked, so the bucket alone vouches for an item's bytes.

use base::mutate;

use crate::layout::Slot;
use crate::memory::Bucket;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::fence;

/// The owner begins to change the bucket.
pub(crate) fn begin(bucket: &Bucket) {
    let sequence = bucket[0].load(Relaxed);
    debug_assert!(sequence.is_multiple_of(2), "a bucket is changed twice at once");
    bucket[0].store(sequence + 1, Relaxed);
    if mutate!(MUT_41B, true, false) {
        fence(Release);
    }
}

/// And ends.
pub(crate) fn end(bucket: &Bucket) {
    let sequence = bucket[0].load(Relaxed);
    bucket[0].store(sequence + 1, Release);
}

/// A change that changes nothing: fill tokens of the bucket are over.
pub(crate) fn bump(bucket: &Bucket) {
    begin(bucket);
    end(bucket);
}

/// The owner's: what it would be told if it looked again later.
pub(crate) fn sequence(bucket: &Bucket) -> u64 {
    bucket[0].load(Relaxed)
}

/// A reader begins to look; `None` while the bucket is changed.
pub(crate) fn look(bucket: &Bucket) -> Option<u64> {
    let sequence = bucket[0].load(Acquire);
    sequence.is_multiple_of(2).then_some(sequence)
}

/// Was all that the reader loaded since [`look`] of one state?
pub(crate) fn is_unchanged(bucket: &Bucket, sequence: u64) -> bool {
    fence(Acquire);
    mutate!(MUT_41A, bucket[0].load(Relaxed) == sequence, true)
}

/// Slot `at`, 1 to 7.
pub(crate) fn slot(bucket: &Bucket, at: usize) -> Slot {
    Slot(bucket[at].load(Relaxed))
}

/// The owner's, between [`begin`] and [`end`].
pub(crate) fn set_slot(bucket: &Bucket, at: usize, slot: Slot) {
    // The owner's store follows every exchange of a use that was before it, which loom knows of exchanges only.
    #[cfg(loom)]
    bucket[at].swap(slot.0, Relaxed);
    #[cfg(not(loom))]
    bucket[at].store(slot.0, Relaxed);
}

/// A reader has used the item of `slot`. What the owner did meanwhile stays: a use is lost rather than a change.
pub(crate) fn count_use(bucket: &Bucket, at: usize, slot: Slot) {
    // The exchange compares all 64 bits, so it never revives an old slot.
    let _ = bucket[at].compare_exchange(slot.0, slot.0 + Slot::ONE_USE, Relaxed, Relaxed);
}
