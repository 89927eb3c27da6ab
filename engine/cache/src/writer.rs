//! The owner's hands: what apply and fills do to the cache. One per shard; it is not cloned and not shared.

use std::cell::Cell;
use std::marker::PhantomData;

use base::limits::CACHE_KEY_BYTES_MAX;
use base::{GroupId, LogIndex, Mono, NodeId, Nsid, group_of, mutate};

use crate::eviction::Walk;
use crate::hash::Hashed;
use crate::index::{At, Index, Linked, Opening};
use crate::layout::{
    AS_OF_MAX, HEAD_WORDS, Head, Kind, Location, Slot, VALUE_BYTES_MAX, item_words, nsid_of, stripe_of,
    stripe_of_namespace,
};
use crate::memory::{Line, Memory, tail};
use crate::publish;
use crate::reader::Reader;
use crate::segments::{Pool, Segments};
use crate::settings::{Settings, SettingsError};
use crate::stats::WriteStats;
use crate::sync::Ordering::Relaxed;
use crate::token::{Filled, Token};

/// What is cached under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// Shape: at least the nine first bytes, at most `CACHE_KEY_BYTES_MAX`; longer keys are not cached.
    pub key: &'a [u8],
    /// What the value is.
    pub kind: Kind,
    /// The newest change that shaped the answer. Never less than what the key had before; below 2^60.
    pub as_of: u64,
    /// Shape: empty for [`Kind::Absent`].
    pub value: &'a [u8],
}

/// What came of putting an item in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// It can be read.
    Inserted,
    /// There is no room for it, or it is too large. What was there under its key is gone.
    Refused,
}

/// Writes one core's cache. Everything here is done by the core that owns the groups.
pub struct Writer {
    pub(crate) memory: Memory,
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    /// The segment that is being evicted.
    pub(crate) walk: Option<Walk>,
    pub(crate) stats: WriteStats,
    /// Room for a key, for eviction.
    pub(crate) key: Vec<u8>,
    groups: u32,
    cores: u16,
    sample_mask: u64,
    /// One owner: it may move to a thread, and is not shared by two.
    not_shared: PhantomData<Cell<()>>,
}

impl Writer {
    /// An empty cache in `memory`, which is all zeros and nobody else's.
    ///
    /// Errors: [`SettingsError`], which names what would do.
    pub fn new(memory: &'static [Line], settings: &Settings) -> Result<Writer, SettingsError> {
        let bytes = size_of_val(memory);
        let memory = Memory::new(memory, settings)?;
        Ok(Writer {
            memory,
            index: Index::new(memory),
            segments: Segments::new(&memory),
            walk: None,
            stats: WriteStats { memory_bytes: bytes as u64, ..WriteStats::default() },
            key: Vec::with_capacity(CACHE_KEY_BYTES_MAX + 8),
            groups: settings.groups,
            cores: settings.cores,
            sample_mask: settings.sample_mask,
            not_shared: PhantomData,
        })
    }

    /// A reader of this cache, for one core.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.memory, self.sample_mask)
    }

    // Items.

    /// The change of one key: what was under it is replaced, in one step for every reader. After the store has it.
    ///
    /// Of several keys see [`Writer::change`].
    pub fn insert(&mut self, place: usize, item: &Item<'_>) -> Inserted {
        let hashed = self.memory.hash(item.key);
        let before = self.index.sequence(hashed);
        let inserted = self.put(place, item, hashed);
        self.end_fills(hashed, before);
        inserted
    }

    /// The change of several keys by one command, after the store has it: first none of them answers, then all do. So
    /// nobody sees the new value of one and then the old value of another.
    pub fn change(&mut self, place: usize, items: &[Item<'_>]) {
        if items.len() > 1 && mutate!(MUT_25D, true, false) {
            items.iter().for_each(|item| self.invalidate(item.key));
        }
        for item in items {
            self.insert(place, item);
        }
    }

    /// The key's item goes, if there is one; fills that began before are over.
    pub fn invalidate(&mut self, key: &[u8]) {
        let hashed = self.memory.hash(key);
        let before = self.index.sequence(hashed);
        if let Some(linked) = self.index.find(key, hashed) {
            self.unlink(linked, Slot::EMPTY);
            self.stats.invalidated += 1;
        }
        self.end_fills(hashed, before);
    }

    /// Every answer of a namespace is over, and fills of them that began before: a subtree has changed. Rows stay.
    pub fn invalidate_namespace(&mut self, place: usize, nsid: Nsid) {
        let stripe = &self.memory.stripes[place][stripe_of_namespace(nsid.0)];
        let next = stripe.load(Relaxed) + 1;
        if next as u32 == 0 {
            // An item of 2^32 changes ago would count again.
            self.clear();
        }
        stripe.store(mutate!(MUT_25E, next, next - 1), Relaxed);
    }

    /// Nothing is cached any more. Whatever is filled meanwhile starts anew.
    pub fn clear(&mut self) {
        for bucket in 0..self.memory.buckets.len() as u32 {
            let live = self.index.slots(bucket).filter(|linked| linked.slot != Slot::EMPTY);
            live.for_each(|linked| match linked.slot.is_live() {
                true => self.unlink(linked, Slot::EMPTY),
                false => self.index.set(linked.at, Slot::EMPTY),
            });
        }
    }

    // Fills.

    /// Taken when the read of the store for `key` starts.
    #[must_use]
    pub fn token(&self, place: usize, key: &[u8]) -> Token {
        Token {
            sequence: self.index.sequence(self.memory.hash(key)),
            stripe: self.memory.stripes[place][stripe_of(key)].load(Relaxed),
            generation: publish::generation(&self.memory.groups[place]),
        }
    }

    /// What the store had, if nothing came between.
    pub fn fill(&mut self, place: usize, token: Token, item: &Item<'_>) -> Filled {
        let is_unchanged = self.token(place, item.key) == token && token.generation.is_multiple_of(2);
        if !mutate!(MUT_25A, is_unchanged, true) {
            self.stats.fills_changed += 1;
            return Filled::Changed;
        }
        match self.insert(place, item) {
            Inserted::Inserted => Filled::Inserted,
            Inserted::Refused => Filled::Refused,
        }
    }

    // Groups.

    /// Until when the leader's lease lasts; readers are told [`crate::LEASE_GUARD`] less. Only after the entry that
    /// began the leader's own term was applied.
    pub fn publish_lease(&self, place: usize, until: Mono) {
        publish::set_lease(&self.memory.groups[place], Some(until));
    }

    /// The entry that the store and the cache have been brought to.
    pub fn publish_applied(&self, place: usize, index: LogIndex) {
        publish::set_applied(&self.memory.groups[place], index);
    }

    /// Who may answer instead.
    pub fn publish_leader(&self, place: usize, leader: Option<NodeId>) {
        publish::set_hint(&self.memory.groups[place], leader);
    }

    /// The lease is over, before the message that lets another node lead.
    pub fn give_up_lease(&self, place: usize) {
        publish::give_up(&self.memory.groups[place]);
    }

    /// The group's whole state is about to be replaced: none of its items answers any more, and nothing is answered
    /// until [`Writer::end_replace`].
    pub fn begin_replace(&mut self, place: usize) {
        publish::begin_change(&self.memory.groups[place], &self.memory.stripes[place]);
    }

    /// The group's new state is there.
    pub fn end_replace(&mut self, place: usize) {
        publish::end_change(&self.memory.groups[place]);
    }

    /// What was done so far, and what there is.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats { item_bytes: self.segments.live_words() * 8, ..self.stats }
    }

    // The parts of these.

    /// Fills that began `before` are over, also where the item was in its other bucket or in none.
    fn end_fills(&self, hashed: Hashed, before: u64) {
        if self.index.sequence(hashed) == before && mutate!(MUT_41E, true, false) {
            self.index.bump(hashed);
        }
    }

    fn put(&mut self, place: usize, item: &Item<'_>, hashed: Hashed) -> Inserted {
        debug_assert!(item.as_of <= AS_OF_MAX, "a version of {} bits", 64 - item.as_of.leading_zeros());
        let words = item_words(item.key.len(), item.value.len());
        let is_possible = item.key.len() <= CACHE_KEY_BYTES_MAX
            && item.value.len() <= VALUE_BYTES_MAX
            && words <= self.memory.item_words_max;
        if is_possible {
            // First: it may move or unlink what is found next.
            self.make_room(words);
        }
        let linked = self.index.find(item.key, hashed);
        let head = self.head_of(place, item);
        let is_in = match linked {
            _ if !is_possible => false,
            Some(linked) if self.memory.head(linked.slot.location()).item_words() == words => {
                self.stats.replaced += 1;
                self.index.change(linked.at.bucket, || self.write(linked.slot.location(), &head, item));
                return Inserted::Inserted;
            }
            Some(linked) => self.relink(linked, &head, item),
            None => self.link(hashed, &head, item),
        };
        if is_in {
            return Inserted::Inserted;
        }
        self.stats.refused += 1;
        if let Some(linked) = linked {
            self.unlink(linked, Slot::EMPTY);
        }
        Inserted::Refused
    }

    /// The item has other words than before: a new copy takes the old one's place. False without room for it.
    fn relink(&mut self, linked: Linked, head: &Head, item: &Item<'_>) -> bool {
        let old = linked.slot.location();
        let pool = self.segments.header(old.segment).pool;
        let Some(location) = self.segments.reserve(pool, head.item_words()) else { return false };
        self.write(location, head, item);
        let old_words = self.memory.head(old).item_words();
        self.index.set(linked.at, Slot::live(linked.slot.tag(), linked.slot.freq(), location));
        self.segments.forget(old.segment, old_words);
        self.stats.replaced += 1;
        true
    }

    /// A key that was not there.
    fn link(&mut self, hashed: Hashed, head: &Head, item: &Item<'_>) -> bool {
        let is_known = self.index.take_ghost(hashed);
        let pool = if is_known { Pool::Main } else { Pool::Admission };
        let Some(location) = self.segments.reserve(pool, head.item_words()) else { return false };
        self.write(location, head, item);
        let at = self.open_slot(hashed);
        self.index.set(at, Slot::live(hashed.tag, 0, location));
        self.stats.items += 1;
        self.stats.inserts += 1;
        self.stats.ghost_hits += u64::from(is_known);
        true
    }

    fn open_slot(&mut self, hashed: Hashed) -> At {
        let (opening, is_displaced) = self.index.opening(hashed);
        self.stats.displaced += u64::from(is_displaced);
        match opening {
            Opening::Free(at) => at,
            Opening::Taken(linked) => {
                self.stats.evictions += 1;
                self.unlink(linked, Slot::EMPTY);
                linked.at
            }
        }
    }

    /// The item of a live slot goes; `left` stays in its place.
    pub(crate) fn unlink(&mut self, linked: Linked, left: Slot) {
        let location = linked.slot.location();
        let words = self.memory.head(location).item_words();
        self.index.set(linked.at, left);
        self.segments.forget(location.segment, words);
        self.stats.items -= 1;
    }

    fn head_of(&self, place: usize, item: &Item<'_>) -> Head {
        Head {
            key_bytes: item.key.len(),
            value_bytes: item.value.len(),
            stripe_gen: self.memory.stripes[place][stripe_of(item.key)].load(Relaxed) as u32,
            kind: item.kind as u8,
            as_of: item.as_of & AS_OF_MAX,
        }
    }

    /// Writes an item's words: where no slot shows them, or inside of a change of its bucket.
    fn write(&self, location: Location, head: &Head, item: &Item<'_>) {
        let words = self.memory.words_from(location);
        words.iter().zip(head.words()).for_each(|(word, value)| word.store(value, Relaxed));
        let (whole, rest) = item.key.as_chunks::<8>();
        let words = &words[HEAD_WORDS..head.item_words()];
        let (of_key, words) = words.split_at(whole.len());
        of_key.iter().zip(whole).for_each(|(word, part)| word.store(u64::from_le_bytes(*part), Relaxed));
        // The word that the key ends in is filled up with the value's first bytes.
        let (begin, value) = item.value.split_at(item.value.len().min((8 - rest.len()) % 8));
        let (middle, words) = words.split_at(usize::from(!rest.is_empty()));
        for word in middle {
            word.store(tail(rest) | tail(begin) << (8 * rest.len()), Relaxed);
        }
        let (whole, rest) = value.as_chunks::<8>();
        words.iter().zip(whole).for_each(|(word, part)| word.store(u64::from_le_bytes(*part), Relaxed));
        if !rest.is_empty() {
            words[whole.len()].store(tail(rest), Relaxed);
        }
    }

    /// Does the stripe of an item say that it is over?
    pub(crate) fn is_stale(&self, key: &[u8], head: &Head) -> bool {
        let place = place_of(key, self.groups, self.cores);
        self.memory.stripes[place][stripe_of(key)].load(Relaxed) as u32 != head.stripe_gen
    }
}

/// Tables from here to the answers' are of group 0.
const TABLE_OF_GROUP_0: u8 = 0x20;

/// The place, at its core, of the group that a key belongs to.
fn place_of(key: &[u8], groups: u32, cores: u16) -> usize {
    let is_of_group_0 = (TABLE_OF_GROUP_0..crate::layout::key::PATH).contains(&key[0]);
    let group = if is_of_group_0 { GroupId(0) } else { group_of(Nsid(nsid_of(key)), groups) };
    group.0 as usize / usize::from(cores)
}
