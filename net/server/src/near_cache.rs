//! What a core reads of the read caches of all cores of its node: answers at once, on whatever core the request came to
//! (docs/design/cache.md).
//!
//! ```text
//!  Node::start: one map ─▶ a writer for each core's shard; readers of all of them ─▶ a NearCache for each core
//! ```
//! The owner of a group publishes until when it may be read; what is missing here is asked of it, and filled by it.

use std::sync::atomic::{AtomicU64, Ordering};

use base::mono::Span;
use base::{Acct, GroupId, Mono, Nsid, group_of};
use cache::{Asked, Hit, NodeCache, Prefetch, Read, Rule, SettingsError, ValueBuffer, WriteStats, Writer, key};
use meta::Query;
use reactor::CacheMemory;
use shard::cache_keys;
use wire::client::parse_query;

use crate::config::{NodeConfig, Profile};
use crate::core::Hands;

/// The processor's own instruction.
struct Ahead;

impl Prefetch for Ahead {
    fn line(&self, word: &AtomicU64) {
        reactor::prefetch(word);
    }
}

/// What became of requests that could be answered here. One writer, its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NearCounts {
    /// Keys answered.
    pub hits: u64,
    /// Keys that went to their owner.
    pub misses: u64,
}

/// One core's readers of all caches of its node.
pub(crate) struct NearCache {
    node: NodeCache,
    buffer: ValueBuffer,
    key: Vec<u8>,
    pub counts: NearCounts,
    /// Before that nothing is answered here.
    resumes: Mono,
    /// No lease is published for longer.
    lease_max: Span,
    groups: u32,
}

impl NearCache {
    fn new(node: NodeCache, (groups, lease_max): (u32, Span)) -> NearCache {
        let (buffer, counts) = (node.value_buffer(), NearCounts::default());
        NearCache { node, buffer, key: Vec::new(), counts, resumes: Mono(0), lease_max, groups }
    }

    /// The machine was suspended, or the clock jumped: leases that other cores published before say nothing of the time
    /// that was not counted, and those cores may not have noticed yet. All of them have run out by then.
    pub(crate) fn handle_clock_jump(&mut self, now: Mono) {
        self.resumes = now + self.lease_max;
    }

    /// May anything be answered here?
    pub(crate) fn is_open(&self, now: Mono) -> bool {
        now >= self.resumes
    }

    /// What is cached in a table under a path of a namespace; `None` is no answer. `now` was taken after the request had
    /// come.
    pub(crate) fn get(&mut self, now: Mono, group: GroupId, (table, nsid): (u8, Nsid), path: &str) -> Option<Hit<'_>> {
        key::encode(table, nsid, &[], &mut self.key);
        if !self.is_open(now) || !meta::path_key(path, &mut self.key) {
            return None;
        }
        match self.node.get(group, &self.key, Rule::Lease(now), &mut self.buffer) {
            Read::Hit(hit) => {
                self.counts.hits += 1;
                Some(hit)
            }
            Read::Miss | Read::NotHere => {
                self.counts.misses += 1;
                None
            }
        }
    }

    /// Answers the body of a Query of a native client, as [`NearCache::answer`] does.
    pub(crate) fn answer_query(&mut self, now: Mono, group: GroupId, body: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok((acct, nsid, query)) = parse_query(body) else { return false };
        // What is cached lies under the namespace alone, whichever group is asked.
        group_of(nsid, self.groups) == group
            && Query::decode(query).is_ok_and(|query| self.answer((now, group), (acct, nsid), &query, out))
    }

    /// Answers a query for an account where all that it takes is cached: the encoded answer is appended to `out`. False:
    /// its owner has the word.
    ///
    /// Rights are looked at after the answer: so nobody who was removed is told what came after that.
    pub(crate) fn answer(
        &mut self,
        (now, group): (Mono, GroupId),
        (acct, nsid): (Acct, Nsid),
        query: &Query,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.is_open(now) || !cache_keys::put_query_key(nsid, query, &mut self.key) {
            return false;
        }
        let before = out.len();
        let rule = Rule::Lease(now);
        let is_cached = match self.node.get(group, &self.key, rule, &mut self.buffer) {
            Read::Hit(hit) => {
                cache_keys::put_answer(&hit, out);
                self.may_read((now, group), (acct, nsid))
            }
            Read::Miss | Read::NotHere => false,
        };
        if !is_cached {
            out.truncate(before);
        }
        *if is_cached { &mut self.counts.hits } else { &mut self.counts.misses } += 1;
        is_cached
    }

    /// May the account read the namespace, as far as it is cached?
    fn may_read(&mut self, (now, group): (Mono, GroupId), (acct, nsid): (Acct, Nsid)) -> bool {
        if acct == Acct(0) {
            return true;
        }
        cache_keys::put_rights_key(nsid, &mut self.key);
        let rule = Rule::Lease(now);
        let Read::Hit(hit) = self.node.get(group, &self.key, rule, &mut self.buffer) else { return false };
        match cache_keys::rights_of(hit.value) {
            Some(rights) if rights.owner == acct => true,
            Some(rights) if rights.is_shared => {
                cache_keys::put_member_key(nsid, acct, &mut self.key);
                matches!(self.node.get(group, &self.key, rule, &mut self.buffer), Read::Hit(_))
            }
            _ => false,
        }
    }

    /// Looks keys up as [`NearCache::get`] does, their waits for memory side by side; told in their order. While nothing
    /// may be answered here, none is told.
    pub(crate) fn get_all(&mut self, now: Mono, asked: &[Asked<'_>], mut each: impl FnMut(usize, Read<'_>)) {
        let rule = Rule::Lease(now);
        match asked {
            _ if !self.is_open(now) => {}
            [one] => each(0, self.node.get(one.group, one.key, rule, &mut self.buffer)),
            _ => self.node.get_batch(asked, rule, &mut self.buffer, &Ahead, each),
        }
    }
}

/// The read cache of a node that starts: its memory, and what each core gets.
pub(crate) struct NodeCaches {
    /// Gives its pages back when the node has ended.
    pub memory: Option<CacheMemory>,
    /// By core; empty without a cache.
    pub cores: Vec<(Writer, NearCache)>,
}

impl NodeCaches {
    /// As the configuration wants it. A node that cannot have it serves all the same, and tells why.
    pub(crate) fn of(config: &NodeConfig, seed: u64) -> NodeCaches {
        let bytes = config.process.cache_bytes as usize;
        let none = NodeCaches { memory: None, cores: Vec::new() };
        if bytes == 0 || config.cluster.machine.is_null() {
            return none;
        }
        let is_populated = config.process.profile == Profile::Server;
        let (memory, refusal) = match CacheMemory::map(bytes, is_populated) {
            Ok(mapped) => mapped,
            Err(error) => {
                tracing::warn!(bytes, %error, "no read cache: lower process.cache_bytes");
                return none;
            }
        };
        if let Some(error) = refusal {
            tracing::warn!(bytes, %error, "the read cache has no huge pages, or is not there at once; it is slower");
        }
        match writers(config, &memory, seed) {
            Ok(writers) => {
                let lease_max = Span::from_ms(u64::from(config.cluster.election_ms_max));
                let node = NodeCache::new(writers.iter().map(Writer::reader).collect());
                let cores = writers
                    .into_iter()
                    .map(|writer| (writer, NearCache::new(node.clone(), (config.cluster.groups, lease_max))));
                NodeCaches { cores: cores.collect(), memory: Some(memory) }
            }
            Err(error) => {
                tracing::warn!(bytes, %error, "no read cache");
                none
            }
        }
    }
}

/// One for each core, of equal parts of the memory.
fn writers(config: &NodeConfig, memory: &CacheMemory, seed: u64) -> Result<Vec<Writer>, SettingsError> {
    let (cores, lines) = (config.cluster.cores, memory.lines());
    let settings = cache::Settings::new(config.cluster.groups, cores, config.process.cache_bytes as usize, seed);
    let each = (lines.len() / usize::from(cores)).max(1);
    lines.chunks_exact(each).take(usize::from(cores)).map(|part| Writer::new(part, &settings)).collect()
}

/// What the caches of all cores hold and did, as each core tells it; any reads the sums.
#[derive(Debug)]
pub(crate) struct CacheTotals {
    cores: Vec<OfCore>,
}

/// One core's, on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfCore {
    items: AtomicU64,
    item_bytes: AtomicU64,
    memory_bytes: AtomicU64,
    inserts: AtomicU64,
    evictions: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl CacheTotals {
    pub(crate) fn new(cores: u16) -> CacheTotals {
        CacheTotals { cores: (0..cores).map(|_| OfCore::default()).collect() }
    }

    /// A core tells.
    pub(crate) fn set(&self, core: usize, stats: &WriteStats, counts: NearCounts) {
        let of = &self.cores[core];
        let told = [
            (&of.items, stats.items),
            (&of.item_bytes, stats.item_bytes),
            (&of.memory_bytes, stats.memory_bytes),
            (&of.inserts, stats.inserts),
            (&of.evictions, stats.evictions),
            (&of.hits, counts.hits),
            (&of.misses, counts.misses),
        ];
        told.iter().for_each(|(place, value)| place.store(*value, Ordering::Relaxed));
    }

    /// The sums.
    pub(crate) fn sum(&self) -> (WriteStats, NearCounts) {
        let sum = |of: fn(&OfCore) -> &AtomicU64| self.cores.iter().map(|core| of(core).load(Ordering::Relaxed)).sum();
        let stats = WriteStats {
            items: sum(|core| &core.items),
            item_bytes: sum(|core| &core.item_bytes),
            memory_bytes: sum(|core| &core.memory_bytes),
            inserts: sum(|core| &core.inserts),
            evictions: sum(|core| &core.evictions),
            ..WriteStats::default()
        };
        (stats, NearCounts { hits: sum(|core| &core.hits), misses: sum(|core| &core.misses) })
    }
}

impl Hands {
    /// Tells what this core's cache holds, and what it answered of all of them.
    pub(crate) fn publish_cache(&mut self) {
        let (Some(near), Some(stats)) = (&self.near, self.shard.cache_stats()) else { return };
        let own = self.shard.cache_reads();
        let (hits, misses) = (near.counts.hits + own.hits, near.counts.misses + own.misses);
        self.shared.cache.set(usize::from(self.id.0), &stats, NearCounts { hits, misses });
        let counters = &mut self.counters;
        (counters.cache_hits, counters.cache_misses, counters.cache_evictions) = (hits, misses, stats.evictions);
        (counters.cache_items, counters.cache_bytes) = (stats.items, stats.item_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        let mut config = NodeConfig::of_profile(Profile::Dev);
        (config.cluster.groups, config.cluster.cores) = (4, 2);
        config
    }

    fn put(caches: &mut NodeCaches, core: usize, path: &[u8], until: Mono) {
        let (writer, _) = &mut caches.cores[core];
        writer.publish_lease(0, until);
        let mut key = key::prefix(key::PATH, Nsid(9)).to_vec();
        key.extend_from_slice(path);
        writer.insert(0, &cache::Item { key: &key, kind: cache::Kind::File, as_of: 3, value: b"value" });
    }

    #[test]
    fn every_core_reads_what_every_other_has_cached_while_its_lease_lasts() {
        let mut caches = NodeCaches::of(&config(), 7);
        assert_eq!(caches.cores.len(), 2);
        let (now, until) = (Mono(5), Mono(0) + Span::from_ms(1000));
        // The first group of the second core.
        put(&mut caches, 1, b"/a", until);
        for (_, near) in &mut caches.cores {
            let hit = near.get(now, GroupId(1), (key::PATH, Nsid(9)), "/A").expect("it is there");
            assert_eq!((hit.value, hit.as_of), (&b"value"[..], 3));
            assert!(near.get(now, GroupId(1), (key::PATH, Nsid(9)), "/b").is_none());
            assert!(near.get(until, GroupId(1), (key::PATH, Nsid(9)), "/a").is_none(), "the lease is over");
            assert_eq!(near.counts, NearCounts { hits: 1, misses: 2 });
        }
    }

    #[test]
    fn after_a_jump_of_the_clock_no_lease_from_before_counts() {
        let mut caches = NodeCaches::of(&config(), 7);
        let now = Mono(0) + Span::from_ms(10);
        put(&mut caches, 0, b"/a", now + Span::from_ms(500));
        let near = &mut caches.cores[1].1;
        assert!(near.get(now, GroupId(0), (key::PATH, Nsid(9)), "/a").is_some());
        near.handle_clock_jump(now);
        assert!(near.get(now, GroupId(0), (key::PATH, Nsid(9)), "/a").is_none());
        let later = now + Span::from_ms(u64::from(config().cluster.election_ms_max));
        put(&mut caches, 0, b"/a", later + Span::from_ms(500));
        assert!(caches.cores[1].1.get(later, GroupId(0), (key::PATH, Nsid(9)), "/a").is_some(), "a new one does");
    }

    #[test]
    fn a_node_without_room_for_a_cache_has_none() {
        let mut config = config();
        config.process.cache_bytes = 0;
        assert!(NodeCaches::of(&config, 7).cores.is_empty());
        config.process.cache_bytes = 64 << 10;
        let caches = NodeCaches::of(&config, 7);
        assert!(caches.cores.is_empty() && caches.memory.is_none());
    }
}
