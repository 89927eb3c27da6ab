//! What holds between slots, segments and counts after every change; looked at by tests.

use std::collections::BTreeMap;

use crate::layout::HEAD_WORDS;
use crate::segments::SegmentState;
use crate::writer::Writer;

impl Writer {
    /// Walks the whole index. Panics, naming it, when something does not hold.
    ///
    /// Cost: all slots; for tests and the simulator.
    pub fn check(&self) {
        let mut of_segments: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let (mut items, mut key) = (0, Vec::new());
        for linked in (0..self.memory.buckets.len() as u32).flat_map(|bucket| self.index.slots(bucket)) {
            if !linked.slot.is_live() {
                continue;
            }
            items += 1;
            let location = linked.slot.location();
            let head = self.memory.head(location);
            let header = self.segments.header(location.segment);
            assert!(header.state != SegmentState::Free, "{linked:?} shows into a free segment");
            assert!(location.offset + head.item_words() as u32 <= header.written, "{linked:?} shows beyond the items");
            self.memory.copy_key(location, &head, &mut key);
            let hashed = self.memory.hash(&key);
            assert!(hashed.tag == linked.slot.tag(), "{linked:?} has another key's tag");
            assert!([hashed.first, hashed.second].contains(&linked.at.bucket), "{linked:?} is in no bucket of its key");
            assert!(self.index.find(&key, hashed) == Some(linked), "{linked:?}: its key is linked twice");
            let sum = of_segments.entry(location.segment).or_default();
            *sum = (sum.0 + 1, sum.1 + head.item_words() as u32);
        }
        assert!(items == self.stats.items, "{items} items are linked, {} are counted", self.stats.items);
        for (segment, header) in self.segments.headers().iter().enumerate() {
            let sum = of_segments.get(&(segment as u32)).copied().unwrap_or_default();
            assert!(sum == (header.items, header.live), "segment {segment} has {sum:?} of items, but {header:?}");
            assert!(header.written as usize <= self.memory.segment_words, "segment {segment} is overfull");
            assert!(header.items == 0 || header.live as usize >= HEAD_WORDS, "an item has its head");
        }
    }
}
