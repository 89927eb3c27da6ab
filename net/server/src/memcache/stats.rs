//! Counters of the port, by memcached's names; each core counts for itself, and any tells the sums.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use base::mono::Span;
use cache::WriteStats;
use wire::memcache::put_stat;

use crate::near_cache::NearCounts;

/// What is counted. `curr_connections` is a level: a reset leaves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Count {
    CurrConnections,
    TotalConnections,
    CmdGet,
    CmdMeta,
    CmdFlush,
    GetHits,
    GetMisses,
    /// Commands answered with `SERVER_ERROR`.
    Refused,
    BytesRead,
    BytesWritten,
}

const COUNTS: usize = Count::BytesWritten as usize + 1;

/// One core's, on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfCore([AtomicU64; COUNTS]);

/// The counters of all cores of a node.
#[derive(Debug)]
pub struct MemcacheStats {
    cores: Vec<OfCore>,
}

impl MemcacheStats {
    /// For so many cores.
    #[must_use]
    pub fn new(cores: u16) -> MemcacheStats {
        MemcacheStats { cores: (0..cores).map(|_| OfCore::default()).collect() }
    }

    pub(super) fn add(&self, core: usize, count: Count, more: u64) {
        self.cores[core].0[count as usize].fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, core: usize, count: Count, less: u64) {
        self.cores[core].0[count as usize].fetch_sub(less, Ordering::Relaxed);
    }

    fn sum(&self, count: Count) -> u64 {
        self.cores.iter().map(|core| core.0[count as usize].load(Ordering::Relaxed)).sum()
    }

    pub(super) fn reset(&self) {
        for counter in self.cores.iter().flat_map(|core| &core.0[Count::TotalConnections as usize..]) {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The lines of `stats`, but those of the read cache.
    pub(super) fn put_general(&self, uptime: Span, wall_ms: u64, out: &mut Vec<u8>) {
        put_stat("pid", std::process::id(), out);
        put_stat("uptime", uptime.as_ms() / 1000, out);
        put_stat("time", wall_ms / 1000, out);
        put_stat("version", VERSION, out);
        put_stat("pointer_size", usize::BITS, out);
        let counted = [
            ("curr_connections", Count::CurrConnections),
            ("total_connections", Count::TotalConnections),
            ("cmd_get", Count::CmdGet),
            ("cmd_meta", Count::CmdMeta),
            ("cmd_flush", Count::CmdFlush),
            ("get_hits", Count::GetHits),
            ("get_misses", Count::GetMisses),
            ("refused", Count::Refused),
            ("bytes_read", Count::BytesRead),
            ("bytes_written", Count::BytesWritten),
        ];
        counted.iter().for_each(|(name, count)| put_stat(name, self.sum(*count), out));
        for name in ["cmd_set", "cmd_touch"] {
            put_stat(name, 0, out);
        }
        put_stat("threads", self.cores.len(), out);
    }

    /// The lines of `stats settings`.
    pub(super) fn put_settings(&self, listen: SocketAddr, out: &mut Vec<u8>) {
        put_stat("maxbytes", 0, out);
        put_stat("maxconns", base::limits::SOCKETS_MAX as usize * self.cores.len(), out);
        put_stat("tcpport", listen.port(), out);
        put_stat("udpport", 0, out);
        put_stat("inter", listen.ip(), out);
        put_stat("num_threads", self.cores.len(), out);
        put_stat("cas_enabled", "yes", out);
        put_stat("flush_enabled", "yes", out);
        put_stat("binding_protocol", "ascii", out);
        put_stat("item_size_max", base::limits::MEMCACHE_OUT_BYTES_MAX, out);
    }
}

/// The lines of `stats` about the node's read cache, by memcached's names. `cache_hits` and `cache_misses` are ours: keys
/// that were answered where they came, and keys that went to the core that has them; also those of native clients.
pub(super) fn put_cache(stats: &WriteStats, counts: NearCounts, out: &mut Vec<u8>) {
    put_stat("limit_maxbytes", stats.memory_bytes, out);
    put_stat("bytes", stats.item_bytes, out);
    put_stat("curr_items", stats.items, out);
    put_stat("total_items", stats.inserts, out);
    put_stat("evictions", stats.evictions, out);
    put_stat("cache_hits", counts.hits, out);
    put_stat("cache_misses", counts.misses, out);
}

/// What `version` tells: the memcached whose protocol is spoken, since clients go by it, and this release.
pub(super) const VERSION: &str = concat!("1.6.18-dropstone-", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_summed_and_a_reset_leaves_the_open_connections() {
        let stats = MemcacheStats::new(2);
        stats.add(0, Count::CurrConnections, 3);
        stats.sub(0, Count::CurrConnections, 1);
        stats.add(0, Count::GetHits, 5);
        stats.add(1, Count::GetHits, 7);
        assert_eq!((stats.sum(Count::CurrConnections), stats.sum(Count::GetHits)), (2, 12));
        stats.reset();
        assert_eq!((stats.sum(Count::CurrConnections), stats.sum(Count::GetHits)), (2, 0));
        let mut out = Vec::new();
        stats.put_general(Span::from_ms(61_999), 1_700_000_000_999, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("STAT uptime 61\r\nSTAT time 1700000000\r\n"), "{text}");
        assert!(text.contains("STAT threads 2\r\n"), "{text}");
    }
}
