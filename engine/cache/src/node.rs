//! The caches of all cores of a node, as one core reads them.

use base::limits::CACHE_BATCH_MAX;
use base::{GroupId, LogIndex, NodeId, core_of};

use crate::batch::{Prefetch, Wanted, serve};
use crate::buffer::ValueBuffer;
use crate::reader::{Read, Reader, Rule};
use crate::stats::ReadStats;

/// One core's readers of all caches of its node, itself included.
#[derive(Clone)]
pub struct NodeCache {
    /// By core.
    readers: Vec<Reader>,
}

/// One key of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'k> {
    /// The group that it belongs to.
    pub group: GroupId,
    /// Shape: as for [`NodeCache::get`].
    pub key: &'k [u8],
}

impl NodeCache {
    /// Shape: one reader of each core, by core.
    #[must_use]
    pub fn new(readers: Vec<Reader>) -> NodeCache {
        assert!(!readers.is_empty(), "a node has a core");
        NodeCache { readers }
    }

    /// Looks `key` up; the value goes into `buffer`.
    ///
    /// Shape: the key has its nine first bytes. Nothing is allocated, and no lock is taken.
    pub fn get<'v>(&self, group: GroupId, key: &[u8], rule: Rule, buffer: &'v mut ValueBuffer) -> Read<'v> {
        let (reader, place) = self.of(group);
        reader.get(place, key, rule, buffer)
    }

    /// Looks all of `asked` up, `CACHE_BATCH_MAX` at a time, so that their waits for memory overlap. Each is told by its
    /// place in `asked`, in this order.
    pub fn get_batch(
        &self,
        asked: &[Asked<'_>],
        rule: Rule,
        buffer: &mut ValueBuffer,
        prefetch: &impl Prefetch,
        mut each: impl FnMut(usize, Read<'_>),
    ) {
        for (batch, asked) in asked.chunks(CACHE_BATCH_MAX).enumerate() {
            let wanted = |at: usize| {
                let (reader, place) = self.of(asked[at].group);
                Wanted { reader, place, key: asked[at].key }
            };
            let mut each = |at: usize, read: Read<'_>| each(batch * CACHE_BATCH_MAX + at, read);
            serve(asked.len(), wanted, rule, buffer, prefetch, &mut each);
        }
    }

    /// A buffer that every value fits into.
    #[must_use]
    pub fn value_buffer(&self) -> ValueBuffer {
        self.readers[0].value_buffer()
    }

    /// Until which entry of the group's log the state behind the cache has been brought.
    #[must_use]
    pub fn applied(&self, group: GroupId) -> LogIndex {
        let (reader, place) = self.of(group);
        reader.applied(place)
    }

    /// Whom to ask when nothing may be answered here.
    #[must_use]
    pub fn leader_hint(&self, group: GroupId) -> Option<NodeId> {
        let (reader, place) = self.of(group);
        reader.leader_hint(place)
    }

    /// What these readers met together.
    #[must_use]
    pub fn stats(&self) -> ReadStats {
        self.readers.iter().map(Reader::stats).fold(ReadStats::default(), |sum, stats| ReadStats {
            hits: sum.hits + stats.hits,
            misses: sum.misses + stats.misses,
            not_here: sum.not_here + stats.not_here,
        })
    }

    fn of(&self, group: GroupId) -> (&Reader, usize) {
        let cores = self.readers.len();
        (&self.readers[usize::from(core_of(group, cores as u16).0)], group.0 as usize / cores)
    }
}
