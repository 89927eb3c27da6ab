//! The owner's work on buckets: find, link, move, unlink.

use crate::bucket::{self, begin, end, set_slot, slot};
use crate::hash::{Hashed, other_bucket};
use crate::layout::{BUCKET_WORDS, Location, Slot, State};
use crate::memory::Memory;

/// A slot's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At {
    pub bucket: u32,
    /// 1 to 7.
    pub slot: usize,
}

/// A live slot with its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Linked {
    pub at: At,
    pub slot: Slot,
}

/// Where a new item may be linked.
pub(crate) enum Opening {
    /// Here, where nothing lives.
    Free(At),
    /// Here, once this item of other keys was evicted.
    Taken(Linked),
}

/// The index of one cache. A copy of its memory's parts; the state is in the words.
#[derive(Clone, Copy)]
pub(crate) struct Index {
    memory: Memory,
}

impl Index {
    pub fn new(memory: Memory) -> Index {
        Index { memory }
    }

    /// The item of a key.
    pub fn find(&self, key: &[u8], hashed: Hashed) -> Option<Linked> {
        self.live(hashed, |slot| slot.may_be(hashed.tag) && self.memory.has_key(slot.location(), key))
    }

    /// The slot that shows `location`.
    pub fn find_location(&self, hashed: Hashed, location: Location) -> Option<Linked> {
        self.live(hashed, |slot| slot.may_be(hashed.tag) && slot.location() == location)
    }

    fn live(&self, hashed: Hashed, is_it: impl Fn(Slot) -> bool) -> Option<Linked> {
        let mut places = buckets(hashed).flat_map(|bucket| self.slots(bucket));
        places.find(|linked| linked.slot.is_live() && is_it(linked.slot))
    }

    /// The slots of a bucket with their places.
    pub fn slots(&self, number: u32) -> impl Iterator<Item = Linked> + use<> {
        let line = self.memory.bucket(number);
        (1..BUCKET_WORDS).map(move |at| Linked { at: At { bucket: number, slot: at }, slot: slot(line, at) })
    }

    /// Does a ghost remember this key? Then no longer.
    pub fn take_ghost(&self, hashed: Hashed) -> bool {
        let mut places = buckets(hashed).flat_map(|bucket| self.slots(bucket));
        let is_it = |slot: Slot| slot.state() == State::Ghost && slot.ghosts().contains(&hashed.tag);
        let Some(linked) = places.find(|linked| is_it(linked.slot)) else { return false };
        self.set(linked.at, linked.slot.without_ghost(hashed.tag));
        true
    }

    /// What is left in the place of an item that goes and is to be remembered: a ghost there, unless another ghost slot of
    /// the bucket takes it.
    pub fn leave_ghost(&self, at: At, tag: u16) -> Slot {
        let has_room = |slot: Slot| slot.state() == State::Ghost && slot.ghosts().contains(&0);
        let Some(linked) = self.slots(at.bucket).find(|linked| has_room(linked.slot)) else { return Slot::ghost(tag) };
        self.set(linked.at, linked.slot.with_ghost(tag));
        Slot::EMPTY
    }

    /// Where a key that is not linked may be: in the emptier of its buckets; else where an item of these can move out of
    /// the way, which it does; else in the place of the least used.
    ///
    /// Returns also whether an item was moved.
    pub fn opening(&self, hashed: Hashed) -> (Opening, bool) {
        let roomier = buckets(hashed).max_by_key(|bucket| self.room(*bucket)).expect("a key has a bucket");
        if let Some(at) = self.free_slot(roomier) {
            return (Opening::Free(at), false);
        }
        for linked in buckets(hashed).flat_map(|bucket| self.slots(bucket)) {
            if let Some(at) = self.displace(linked) {
                return (Opening::Free(at), true);
            }
        }
        let least = buckets(hashed).flat_map(|bucket| self.slots(bucket)).min_by_key(|linked| linked.slot.freq());
        (Opening::Taken(least.expect("a full bucket has slots")), false)
    }

    fn room(&self, bucket: u32) -> usize {
        self.slots(bucket).filter(|linked| !linked.slot.is_live()).count()
    }

    /// An empty slot, or else that of the fewest ghosts.
    fn free_slot(&self, bucket: u32) -> Option<At> {
        let free = self.slots(bucket).filter(|linked| !linked.slot.is_live());
        let remembered = |slot: Slot| match slot.state() {
            State::Empty => 0,
            _ => slot.ghosts().iter().filter(|tag| **tag != 0).count(),
        };
        free.min_by_key(|linked| remembered(linked.slot)).map(|linked| linked.at)
    }

    /// Moves an item to its other bucket, if that has room; the place that it left.
    fn displace(&self, linked: Linked) -> Option<At> {
        let here = linked.at.bucket;
        let there = other_bucket(here, linked.slot.tag(), self.memory.buckets.len() as u32);
        if there == here {
            return None;
        }
        let target = self.free_slot(there)?;
        let (from, to) = (self.memory.bucket(here), self.memory.bucket(there));
        begin(from);
        begin(to);
        set_slot(to, target.slot, linked.slot);
        set_slot(from, linked.at.slot, Slot::EMPTY);
        end(to);
        end(from);
        Some(linked.at)
    }

    /// Puts `slot` into its place. What it shows is written.
    pub fn set(&self, at: At, slot: Slot) {
        self.change(at.bucket, || set_slot(self.memory.bucket(at.bucket), at.slot, slot));
    }

    /// Readers of this bucket look again if they saw anything of `change`.
    pub fn change(&self, number: u32, change: impl FnOnce()) {
        let line = self.memory.bucket(number);
        begin(line);
        change();
        end(line);
    }

    /// Fill tokens of the key are over, whatever else is done about it.
    pub fn bump(&self, hashed: Hashed) {
        bucket::bump(self.memory.bucket(hashed.first));
    }

    pub fn sequence(&self, hashed: Hashed) -> u64 {
        bucket::sequence(self.memory.bucket(hashed.first))
    }
}

fn buckets(hashed: Hashed) -> impl Iterator<Item = u32> {
    std::iter::once(hashed.first).chain(hashed.other())
}
