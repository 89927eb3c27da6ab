//! Many reads at once, so that their waits for memory overlap.
//!
//! ```text
//! hash all, ask for all first buckets ▶ find slots, ask for their items ▶ read in the order of the requests
//! ```

use std::hint::black_box;

use base::limits::CACHE_BATCH_MAX;

use crate::bucket;
use crate::buffer::ValueBuffer;
use crate::hash::Hashed;
use crate::reader::{Read, Reader, Rule};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// Asks the processor for a line before it is needed. The reactor has the instruction for it.
pub trait Prefetch {
    /// The line that `word` lies in will be read soon.
    fn line(&self, word: &AtomicU64);
}

/// Without the instruction: the word is loaded early, and nobody waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarlyLoad;

impl Prefetch for EarlyLoad {
    fn line(&self, word: &AtomicU64) {
        black_box(word.load(Relaxed));
    }
}

/// One key of a batch with the reader of its core and its place there.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub reader: &'a Reader,
    pub place: usize,
    pub key: &'a [u8],
}

/// Serves up to `CACHE_BATCH_MAX` keys, in their order.
pub(crate) fn serve<'a>(
    count: usize,
    wanted: impl Fn(usize) -> Wanted<'a>,
    rule: Rule,
    buffer: &mut ValueBuffer,
    prefetch: &impl Prefetch,
    each: &mut impl FnMut(usize, Read<'_>),
) {
    let mut hashes = [Hashed::default(); CACHE_BATCH_MAX];
    for (at, hashed) in hashes[..count].iter_mut().enumerate() {
        let Wanted { reader, key, .. } = wanted(at);
        *hashed = reader.hash(key);
        prefetch.line(&reader.bucket(hashed.first)[0]);
    }
    for (at, hashed) in hashes[..count].iter().enumerate() {
        ask_for_item(wanted(at).reader, *hashed, prefetch);
    }
    for (at, hashed) in hashes[..count].iter().enumerate() {
        let Wanted { reader, place, key } = wanted(at);
        each(at, reader.get_hashed(place, key, *hashed, rule, buffer));
    }
}

/// A guess by the tag: what it finds is looked at again when it is read.
fn ask_for_item(reader: &Reader, hashed: Hashed, prefetch: &impl Prefetch) {
    let line = reader.bucket(hashed.first);
    let found = (1..line.len()).map(|at| bucket::slot(line, at)).find(|slot| slot.may_be(hashed.tag));
    match found {
        // A usual item has four lines, which the processor goes on to by itself after the second.
        Some(slot) => reader.words_from(slot.location()).iter().step_by(8).take(2).for_each(|word| prefetch.line(word)),
        None => prefetch.line(&reader.bucket(hashed.second)[0]),
    }
}
