//! The segments of one cache: free, open for items, sealed, or walked by eviction. The owner's alone.

use crate::layout::Location;
use crate::memory::Memory;
use crate::sync::Ordering::Relaxed;

/// New items, or items that proved their use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pool {
    Admission,
    Main,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentState {
    Free,
    Open,
    Sealed,
}

/// What the owner knows of a segment. Readers never look at it, so it is no part of the shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub state: SegmentState,
    pub pool: Pool,
    /// Words that hold items, live or dead.
    pub written: u32,
    /// Words of live items.
    pub live: u32,
    /// Live items.
    pub items: u32,
    /// Its place in the queue of all segments that were ever opened.
    pub fifo_number: u64,
}

const FREE: Header =
    Header { state: SegmentState::Free, pool: Pool::Admission, written: 0, live: 0, items: 0, fifo_number: 0 };

/// Of ten segments one is for new items.
const ADMISSION_ONE_IN: usize = 10;

/// All segments of one cache.
pub(crate) struct Segments {
    headers: Vec<Header>,
    free: Vec<u32>,
    /// By pool: the segment that takes items.
    open: [Option<u32>; 2],
    /// By pool: segments that are not free.
    counts: [usize; 2],
    /// Segments opened so far.
    opened: u64,
    segment_words: u32,
}

impl Segments {
    pub fn new(memory: &Memory) -> Segments {
        let count = memory.segments.len() / memory.segment_words;
        Segments {
            headers: vec![FREE; count],
            // The first is taken first.
            free: (0..count as u32).rev().collect(),
            open: [None; 2],
            counts: [0; 2],
            opened: 0,
            segment_words: memory.segment_words as u32,
        }
    }

    /// Room for an item of so many words in a pool; `None` when no segment is free for it.
    pub fn reserve(&mut self, pool: Pool, words: usize) -> Option<Location> {
        let words = u32::try_from(words).ok().filter(|words| *words <= self.segment_words)?;
        let segment = match self.open[pool as usize] {
            Some(segment) if self.headers[segment as usize].written + words <= self.segment_words => segment,
            full => {
                let segment = self.free.pop()?;
                if let Some(full) = full {
                    self.seal(full);
                }
                self.start(segment, pool);
                segment
            }
        };
        let header = &mut self.headers[segment as usize];
        let location = Location { segment, offset: header.written };
        header.written += words;
        header.live += words;
        header.items += 1;
        Some(location)
    }

    fn start(&mut self, segment: u32, pool: Pool) {
        self.opened += 1;
        self.counts[pool as usize] += 1;
        self.open[pool as usize] = Some(segment);
        self.headers[segment as usize] = Header { state: SegmentState::Open, pool, fifo_number: self.opened, ..FREE };
    }

    fn seal(&mut self, segment: u32) {
        let header = &mut self.headers[segment as usize];
        header.state = SegmentState::Sealed;
        if header.items == 0 {
            self.release(segment);
        }
    }

    /// An item is no longer linked. A sealed segment without any is free at once.
    pub fn forget(&mut self, segment: u32, words: usize) {
        let header = &mut self.headers[segment as usize];
        header.live -= words as u32;
        header.items -= 1;
        if header.items == 0 && header.state == SegmentState::Sealed {
            self.release(segment);
        }
    }

    fn release(&mut self, segment: u32) {
        let header = self.headers[segment as usize];
        assert!(header.live == 0 && header.items == 0, "segment {segment} is freed with items: {header:?}");
        self.counts[header.pool as usize] -= 1;
        self.headers[segment as usize] = FREE;
        self.free.push(segment);
    }

    /// The segment to evict next: the oldest new one when they are above their share, else the oldest of the others.
    pub fn victim(&self) -> Option<u32> {
        let share = (self.headers.len() / ADMISSION_ONE_IN).max(1);
        let first = if self.counts[Pool::Admission as usize] > share { Pool::Admission } else { Pool::Main };
        let other = if first == Pool::Main { Pool::Admission } else { Pool::Main };
        self.oldest(first).or_else(|| self.oldest(other))
    }

    fn oldest(&self, pool: Pool) -> Option<u32> {
        let of_pool = |header: &Header| header.state == SegmentState::Sealed && header.pool == pool;
        let sealed = self.headers.iter().enumerate().filter(|(_, header)| of_pool(header));
        sealed.min_by_key(|(_, header)| header.fifo_number).map(|(segment, _)| segment as u32)
    }

    pub fn header(&self, segment: u32) -> &Header {
        &self.headers[segment as usize]
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Words of live items in all segments.
    pub fn live_words(&self) -> u64 {
        self.headers.iter().map(|header| u64::from(header.live)).sum()
    }

    pub fn headers(&self) -> &[Header] {
        &self.headers
    }
}

/// Copies an item of so many words inside the cache.
pub(crate) fn copy_item(memory: &Memory, from: Location, to: Location, words: usize) {
    let (source, target) = (memory.words_from(from), memory.words_from(to));
    source[..words].iter().zip(&target[..words]).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed));
}
