//! A core's view of another core's cache, or of its own.

use base::limits::CACHE_TRIES_MAX;
use base::{LogIndex, Mono, NodeId};

use crate::bucket;
use crate::buffer::ValueBuffer;
use crate::hash::Hashed;
use crate::layout::{FREQ_MAX, HEAD_WORDS, Head, Kind, Location, stripe_of};
use crate::memory::{Bucket, Memory, has_key};
use crate::publish;
use crate::stats::{ReadCounts, ReadStats};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// What makes an answer fresh enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The leader's lease holds at this time, which was taken after the request had come: linearizable.
    Lease(Mono),
    /// The caller knows by other means that what is applied is enough: a read index, or a client that asked for less.
    Applied,
}

/// What came of looking up a key.
#[derive(Debug)]
pub enum Read<'v> {
    /// The answer.
    Hit(Hit<'v>),
    /// It is not known here; the owner knows. Never an answer.
    Miss,
    /// Nothing may be answered here now; the leader may.
    NotHere,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit<'v> {
    /// What the value is; [`Kind::Absent`] has none.
    pub kind: Kind,
    /// The newest change that shaped it.
    pub as_of: u64,
    /// It had been used before.
    pub was_used: bool,
    /// The value's bytes, in the buffer that was given.
    pub value: &'v [u8],
}

/// Reads one core's cache, on any core. Each reading core has its own, for its counts.
pub struct Reader {
    memory: Memory,
    sample_mask: u64,
    counts: ReadCounts,
}

impl Clone for Reader {
    /// Another of the same cache, which has counted nothing.
    fn clone(&self) -> Reader {
        Reader::new(self.memory, self.sample_mask)
    }
}

impl Reader {
    pub(crate) fn new(memory: Memory, sample_mask: u64) -> Reader {
        Reader { memory, sample_mask, counts: ReadCounts::default() }
    }

    /// A buffer that every value of this cache fits into.
    #[must_use]
    pub fn value_buffer(&self) -> ValueBuffer {
        ValueBuffer::new(self.memory.item_words_max * 8)
    }

    /// Looks `key` up for a group, which is `group / cores`-th of its core; the value goes into `buffer`.
    ///
    /// Shape: the key has its nine first bytes. Nothing is allocated, and no lock is taken.
    pub fn get<'v>(&self, place: usize, key: &[u8], rule: Rule, buffer: &'v mut ValueBuffer) -> Read<'v> {
        self.get_hashed(place, key, self.memory.hash(key), rule, buffer)
    }

    pub(crate) fn get_hashed<'v>(
        &self,
        place: usize,
        key: &[u8],
        hashed: Hashed,
        rule: Rule,
        buffer: &'v mut ValueBuffer,
    ) -> Read<'v> {
        let line = &self.memory.groups[place];
        let fresh = publish::look(line).filter(|_| match rule {
            Rule::Lease(now) => publish::has_lease(line, now),
            Rule::Applied => true,
        });
        let Some(generation) = fresh else {
            self.counts.not_here.one();
            return Read::NotHere;
        };
        let Some(found) = self.find(key, hashed, buffer) else { return self.miss() };
        if self.memory.stripes[place][stripe_of(key)].load(Relaxed) as u32 != found.head.stripe_gen {
            return self.miss();
        }
        if !publish::is_unchanged(line, generation) {
            self.counts.not_here.one();
            return Read::NotHere;
        }
        let Some(kind) = Kind::from_bits(u64::from(found.head.kind)) else { return self.miss() };
        let count = self.counts.hits.one();
        if found.freq < FREQ_MAX && count & self.sample_mask == 0 {
            bucket::count_use(found.bucket, found.at, found.slot);
        }
        let value = buffer.value(key.len() % 8, found.head.value_bytes);
        Read::Hit(Hit { kind, as_of: found.head.as_of, was_used: found.freq > 0, value })
    }

    fn miss(&self) -> Read<'static> {
        self.counts.misses.one();
        Read::Miss
    }

    fn find(&self, key: &[u8], hashed: Hashed, buffer: &mut ValueBuffer) -> Option<Found> {
        let first = self.look_into(self.memory.bucket(hashed.first), key, hashed.tag, buffer);
        // An item that moves between its buckets meanwhile is missed, which is no answer.
        first.or_else(|| self.look_into(self.memory.bucket(hashed.other()?), key, hashed.tag, buffer))
    }

    /// The item of `key`, if this bucket has it; its words are in `buffer` then, all of one state.
    fn look_into(&self, bucket: &'static Bucket, key: &[u8], tag: u16, buffer: &mut ValueBuffer) -> Option<Found> {
        'tries: for _ in 0..CACHE_TRIES_MAX {
            let Some(sequence) = bucket::look(bucket) else {
                std::hint::spin_loop();
                continue;
            };
            for at in 1..bucket.len() {
                let slot = bucket::slot(bucket, at);
                if !slot.may_be(tag) {
                    continue;
                }
                let copied = copy(self.memory.words_from(slot.location()), key, buffer);
                if !bucket::is_unchanged(bucket, sequence) {
                    continue 'tries;
                }
                if let Some(head) = copied {
                    return Some(Found { bucket, at, slot, freq: slot.freq(), head });
                }
            }
            return None;
        }
        None
    }

    /// Until which entry of the group's log the owner's state has been brought.
    #[must_use]
    pub fn applied(&self, place: usize) -> LogIndex {
        publish::applied(&self.memory.groups[place])
    }

    /// Whom to ask when nothing may be answered here.
    #[must_use]
    pub fn leader_hint(&self, place: usize) -> Option<NodeId> {
        publish::hint(&self.memory.groups[place])
    }

    /// What it met.
    #[must_use]
    pub fn stats(&self) -> ReadStats {
        ReadStats {
            hits: self.counts.hits.get(),
            misses: self.counts.misses.get(),
            not_here: self.counts.not_here.get(),
        }
    }

    // What a batch looks at before it reads.

    pub(crate) fn hash(&self, key: &[u8]) -> Hashed {
        self.memory.hash(key)
    }

    pub(crate) fn bucket(&self, bucket: u32) -> &'static Bucket {
        self.memory.bucket(bucket)
    }

    pub(crate) fn words_from(&self, location: Location) -> &'static [AtomicU64] {
        self.memory.words_from(location)
    }
}

/// An item, copied.
struct Found {
    bucket: &'static Bucket,
    at: usize,
    slot: crate::layout::Slot,
    freq: u8,
    head: Head,
}

/// Copies the item that `words` begin with, if its key is `key`. They may change meanwhile, so nothing is believed: what
/// goes beyond them has no item, and what came out counts only if the bucket did not change.
fn copy(words: &[AtomicU64], key: &[u8], buffer: &mut ValueBuffer) -> Option<Head> {
    let (head, rest) = words.split_at_checked(HEAD_WORDS)?;
    let head = Head::parse([head[0].load(Relaxed), head[1].load(Relaxed)]);
    let item = rest.get(..head.item_words() - HEAD_WORDS)?;
    if head.key_bytes != key.len() || !has_key(item, key) {
        return None;
    }
    // The value begins in the middle of a word where the key ends there.
    let value = &item[key.len() / 8..];
    let out = buffer.words(value.len())?;
    for (out, word) in out.as_chunks_mut().0.iter_mut().zip(value) {
        *out = word.load(Relaxed).to_le_bytes();
    }
    Some(head)
}
