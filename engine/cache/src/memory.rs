//! The words of one cache, divided.

use base::limits::CACHE_STRIPES;

use crate::layout::{BUCKET_WORDS, HEAD_WORDS, Head, Location};
use crate::settings::{GROUP_WORDS, Settings, SettingsError};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// A line of memory: 64 bytes. What maps the memory should align it so; nothing is wrong otherwise, only slower.
pub type Line = [AtomicU64; 8];

pub(crate) type Bucket = [AtomicU64; BUCKET_WORDS];
pub(crate) type GroupLine = [AtomicU64; GROUP_WORDS];
pub(crate) type Stripes = [AtomicU64; CACHE_STRIPES];

/// The parts of a cache's memory, as readers and the writer see them.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub segments: &'static [AtomicU64],
    pub segment_words: usize,
    pub groups: &'static [GroupLine],
    pub stripes: &'static [Stripes],
    pub buckets: &'static [Bucket],
    pub seed: u64,
    pub item_words_max: usize,
}

impl Memory {
    pub fn new(lines: &'static [Line], settings: &Settings) -> Result<Memory, SettingsError> {
        let words = lines.as_flattened();
        let plan = settings.plan(words.len())?;
        let segment_words = settings.segment_words();
        let (segments, rest) = words.split_at(plan.segments * segment_words);
        let (groups, rest) = rest.split_at(settings.places() * GROUP_WORDS);
        let (stripes, rest) = rest.split_at(settings.places() * CACHE_STRIPES);
        let (buckets, _) = rest.split_at(plan.buckets * BUCKET_WORDS);
        Ok(Memory {
            segments,
            segment_words,
            groups: groups.as_chunks().0,
            stripes: stripes.as_chunks().0,
            buckets: buckets.as_chunks().0,
            seed: settings.seed,
            item_words_max: settings.item_bytes_max / 8,
        })
    }

    pub fn hash(&self, key: &[u8]) -> crate::hash::Hashed {
        crate::hash::hash(key, self.seed, self.buckets.len() as u32)
    }

    pub fn bucket(&self, bucket: u32) -> &'static Bucket {
        &self.buckets[bucket as usize]
    }

    /// The words of the segment from `location` on; empty where no segment is.
    pub fn words_from(&self, location: Location) -> &'static [AtomicU64] {
        let begin = location.segment as usize * self.segment_words;
        let segment = self.segments.get(begin..begin + self.segment_words).unwrap_or_default();
        segment.get(location.offset as usize..).unwrap_or_default()
    }

    /// The head of the item that a live slot of the owner's shows: it is there.
    pub fn head(&self, location: Location) -> Head {
        let words = self.words_from(location);
        Head::parse([words[0].load(Relaxed), words[1].load(Relaxed)])
    }

    /// Does the item at `location` have this key? The owner's; a reader looks for itself.
    pub fn has_key(&self, location: Location, key: &[u8]) -> bool {
        let words = self.words_from(location);
        self.head(location).key_bytes == key.len() && has_key(&words[HEAD_WORDS..], key)
    }

    /// Copies the key of the item at `location`, whose head it has, into `out`, whose old bytes go.
    pub fn copy_key(&self, location: Location, head: &Head, out: &mut Vec<u8>) {
        let words = &self.words_from(location)[HEAD_WORDS..];
        out.clear();
        for word in &words[..head.key_bytes.div_ceil(8)] {
            out.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        out.truncate(head.key_bytes);
    }
}

/// Do `words` begin with `key`? They are at least as many as it takes.
pub(crate) fn has_key(words: &[AtomicU64], key: &[u8]) -> bool {
    let (whole, rest) = key.as_chunks::<8>();
    let is_equal = whole.iter().zip(words).all(|(part, word)| u64::from_le_bytes(*part) == word.load(Relaxed));
    if rest.is_empty() || !is_equal {
        return is_equal;
    }
    let (word, mask) = (words[whole.len()].load(Relaxed), (1 << (rest.len() * 8)) - 1);
    tail(rest) == word & mask
}

/// Fewer than eight bytes as a word, with zeros behind them.
pub(crate) fn tail(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Memory of at least so many bytes that is never given back, on whole lines: for tests and tools. The product maps it.
#[must_use]
pub fn leak(bytes: usize) -> &'static [Line] {
    let count = bytes.div_ceil(size_of::<Line>());
    let new = |_| std::array::from_fn(|_| AtomicU64::new(0));
    // Words, so that the first of a line can be chosen.
    let lines: Vec<Line> = (0..=count).map(new).collect();
    let words: &'static [AtomicU64] = Vec::leak(lines).as_flattened();
    let skip = match words.as_ptr().align_offset(size_of::<Line>()) {
        skip if skip < 8 => skip,
        _ => 0,
    };
    &words[skip..].as_chunks().0[..count]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { segment_bytes: 4096, item_bytes_max: 1024, ..Settings::new(8, 2, 0, 1) }
    }

    #[test]
    fn parts_fill_the_memory_and_nothing_beyond_it() {
        let lines = leak(1 << 20);
        assert_eq!((lines.len() * 64, lines.as_ptr().align_offset(64)), (1 << 20, 0));
        let memory = Memory::new(lines, &settings()).unwrap();
        let used = memory.segments.len()
            + memory.groups.len() * GROUP_WORDS
            + memory.stripes.len() * CACHE_STRIPES
            + memory.buckets.len() * BUCKET_WORDS;
        assert_eq!((memory.groups.len(), memory.stripes.len()), (4, 4));
        assert!(used * 8 <= 1 << 20 && used * 8 > (1 << 20) - 8192, "{used} words");
    }

    #[test]
    fn too_little_memory_is_refused_with_what_would_do() {
        let Err(SettingsError::TooSmall { needed }) = settings().plan(0) else { panic!("it is too small") };
        assert!(settings().plan(needed / 8 - 1).is_err());
        assert_eq!(settings().plan(needed / 8).unwrap().segments, crate::settings::SEGMENTS_MIN);
        let odd = Settings { segment_bytes: 4 << 20, ..settings() };
        assert_eq!(odd.plan(1 << 30), Err(SettingsError::Shape));
        let large = Settings { item_bytes_max: 8192, ..settings() };
        assert_eq!(large.plan(1 << 30), Err(SettingsError::Item));
    }

    #[test]
    fn places_outside_of_the_memory_have_no_words() {
        let memory = Memory::new(leak(1 << 20), &settings()).unwrap();
        assert_eq!(memory.words_from(Location { segment: 0, offset: 500 }).len(), 12);
        assert!(memory.words_from(Location { segment: 0, offset: 600 }).is_empty());
        assert!(memory.words_from(Location { segment: 1 << 19, offset: 0 }).is_empty());
    }
}
