//! S3-FIFO by segments: whole segments go, oldest first, and items that were used meanwhile are copied on.
//!
//! ```text
//! insert ─▶ admission pool, a tenth ── used ──▶ main pool ─┐ used: once more, one use less
//!                  └── else: a ghost             ▲          └── else: gone
//! insert of a key with a ghost ──────────────────┘
//! ```
//! A segment is walked in steps that each insert pays for by its size, so none waits for a whole one.
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

use base::mutate;

use crate::layout::{Head, Location, Slot};
use crate::segments::{Pool, SegmentState, copy_item};
use crate::writer::Writer;

/// Segments kept free.
const FREE_MIN: usize = 2;
/// Words that are walked for each word that is put in, while too few segments are free.
const WALK_PER_WORD: usize = 4;
/// Uses after which a new item stays. One, where the paper has two: ghosts are few here, so a key that is forgotten too
/// early is seldom known again (tests/hit_ratio.rs; 1.3 points on Zipf, 2.4 with scans).
const USES_TO_STAY: u8 = 1;

/// How far a segment has been evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walk {
    segment: u32,
    fifo_number: u64,
    /// The item to look at next.
    offset: u32,
}

impl Writer {
    /// Goes on with eviction, while too few segments are free: for at least so many words of items.
    ///
    /// Each insert does its part by itself; an idle core may do more ahead.
    pub fn evict(&mut self, words: usize) {
        let mut left = words;
        while left > 0 && self.segments.free_count() < FREE_MIN {
            let Some(walk) = self.walk.filter(|walk| self.goes_on(walk)).or_else(|| self.next_walk()) else { return };
            let stepped = self.step(walk);
            left = left.saturating_sub(stepped);
        }
    }

    pub(crate) fn make_room(&mut self, words: usize) {
        self.evict(words * WALK_PER_WORD);
    }

    /// It may have lost its last item meanwhile, and be in use again.
    fn goes_on(&self, walk: &Walk) -> bool {
        let header = self.segments.header(walk.segment);
        header.state == SegmentState::Sealed && header.fifo_number == walk.fifo_number
    }

    fn next_walk(&mut self) -> Option<Walk> {
        let segment = self.segments.victim()?;
        let fifo_number = self.segments.header(segment).fifo_number;
        self.walk = Some(Walk { segment, fifo_number, offset: 0 });
        self.walk
    }

    /// Evicts the next item of the walk; its words.
    fn step(&mut self, walk: Walk) -> usize {
        let header = *self.segments.header(walk.segment);
        assert!(walk.offset < header.written, "all items of segment {} were walked, and some stay", walk.segment);
        let location = Location { segment: walk.segment, offset: walk.offset };
        let head = self.memory.head(location);
        let words = head.item_words();
        self.walk = Some(Walk { offset: walk.offset + words as u32, ..walk });
        let mut key = std::mem::take(&mut self.key);
        self.memory.copy_key(location, &head, &mut key);
        self.evict_item(location, &head, &key, header.pool);
        self.key = key;
        words
    }

    fn evict_item(&mut self, location: Location, head: &Head, key: &[u8], pool: Pool) {
        let hashed = self.memory.hash(key);
        // An item without a slot was replaced or invalidated.
        let Some(linked) = self.index.find_location(hashed, location) else { return };
        if self.is_stale(key, head) {
            self.unlink(linked, Slot::EMPTY);
            self.stats.invalidated += 1;
            return;
        }
        let (stays, uses_left) = match pool {
            Pool::Admission => (linked.slot.freq() >= USES_TO_STAY, 0),
            Pool::Main => (linked.slot.freq() > 0, linked.slot.freq().saturating_sub(1)),
        };
        if stays && let Some(target) = self.segments.reserve(Pool::Main, head.item_words()) {
            copy_item(&self.memory, location, target, head.item_words());
            self.stats.survivors += 1;
            self.index.set(linked.at, Slot::live(hashed.tag, uses_left, target));
            self.segments.forget(location.segment, head.item_words());
            return;
        }
        self.stats.evictions += 1;
        let left = match pool {
            Pool::Admission if !stays => self.index.leave_ghost(linked.at, hashed.tag),
            _ => Slot::EMPTY,
        };
        if mutate!(MUT_41C, true, false) {
            self.unlink(linked, left);
        } else {
            self.forget_only(location, head);
        }
    }

    /// A seeded bug: the segment is given back while a slot shows into it.
    fn forget_only(&mut self, location: Location, head: &Head) {
        self.segments.forget(location.segment, head.item_words());
    }
}
