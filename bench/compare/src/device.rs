//! What the device under a directory did, and whether its counters can tell of syncs at all.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::target::Durability;

const SECTOR_BYTES: u64 = 512;

/// The whole device below a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name in /proc/diskstats; `None` for a file system without a device.
    name: Option<String>,
    /// Why a sync may leave no flush, if so.
    blind: Option<&'static str>,
}

/// Counters at one moment, or their difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Flush requests completed.
    pub flushes: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What is known of the flushes of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushes {
    /// So many, of everybody on the device.
    Counted(u64),
    /// And why not.
    NotCounted(&'static str),
}

impl Device {
    /// The device of a directory.
    #[must_use]
    pub fn of(dir: &Path) -> Device {
        let none = Device { name: None, blind: Some("this file system has no device with counters") };
        let Ok(facts) = fs::metadata(dir) else { return none };
        let (major, minor) = numbers(facts.dev());
        let Ok(mut place) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else { return none };
        if place.join("partition").exists() {
            // Partitions count no flushes; the whole device does.
            place = place.parent().map_or_else(PathBuf::new, Path::to_owned);
        }
        let Some(name) = place.file_name().and_then(|name| name.to_str()) else { return none };
        let fact = |name: &str| fs::read_to_string(place.join("queue").join(name)).unwrap_or_default();
        let blind = blind(fact("write_cache").trim(), fact("fua").trim());
        Device { name: Some(name.to_owned()), blind }
    }

    /// Its counters now.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        parse(&fs::read_to_string("/proc/diskstats").ok()?, self.name.as_deref()?)
    }

    /// What a window's difference tells of flushes.
    #[must_use]
    pub fn flushes(&self, moved: Option<Counters>) -> Flushes {
        match (moved, self.blind) {
            (Some(moved), _) if moved.flushes > 0 => Flushes::Counted(moved.flushes),
            (_, Some(why)) => Flushes::NotCounted(why),
            (Some(_), None) => Flushes::Counted(0),
            (None, None) => Flushes::NotCounted("the kernel tells no counters of this device"),
        }
    }
}

impl Counters {
    /// What came since an earlier reading.
    #[must_use]
    pub fn since(self, before: Counters) -> Counters {
        Counters {
            flushes: self.flushes.saturating_sub(before.flushes),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// A target that claims synced writes and shows no flush is wrong about one of the two. `None`: nothing speaks against it.
#[must_use]
pub fn contradiction(durability: &Durability, flushes: Flushes) -> Option<&'static str> {
    let is_so = durability.claims_sync() && flushes == Flushes::Counted(0);
    is_so.then_some("writes are claimed to be synced, but the device was not flushed once in the window")
}

/// Why a device's flush counter need not move at a sync.
fn blind(write_cache: &str, fua: &str) -> Option<&'static str> {
    match (write_cache, fua) {
        ("write through", _) => Some("the device has no volatile cache, so a sync needs no flush"),
        (_, "1") => Some("the device takes forced writes, so a sync may need no flush"),
        _ => None,
    }
}

/// Major and minor of a device number, as the C library packs them.
fn numbers(device: u64) -> (u64, u64) {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
    (major, minor)
}

/// A line is `major minor name`, then the counters: the 7th is sectors written, the 16th flushes.
fn parse(text: &str, device: &str) -> Option<Counters> {
    let line = text.lines().find(|line| line.split_whitespace().nth(2) == Some(device))?;
    let number = |at: usize| line.split_whitespace().nth(at)?.parse::<u64>().ok();
    Some(Counters { bytes: number(9)? * SECTOR_BYTES, flushes: number(18)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    #[test]
    fn counters_are_found_by_name() {
        let text = " 254 0 vda 1 2 3 4 5 6 70 8 9 10 11 12 13 14 15 16 17\n 254 1 vda1 1 2 3 4 5 6 7 8 9 10 11\n";
        assert_eq!(parse(text, "vda"), Some(Counters { bytes: 70 * 512, flushes: 16 }));
        assert_eq!((parse(text, "vda1"), parse(text, "vd")), (None, None));
        assert_eq!(numbers(0xfe00), (254, 0));
        assert_eq!(numbers(0x10_0805), (8, 0x105));
    }

    #[test]
    fn a_claim_of_synced_writes_without_a_flush_is_a_contradiction() {
        let seen = |target: Target, flushes| contradiction(&target.durability(), flushes).is_some();
        for claims in [Target::Dropstone, Target::Etcd, Target::EtcdPut, Target::Redis, Target::RedisSet] {
            assert!(seen(claims, Flushes::Counted(0)), "{}", claims.name());
            assert!(!seen(claims, Flushes::Counted(1)) && !seen(claims, Flushes::NotCounted("tmpfs")));
        }
        assert!(!seen(Target::Memcached, Flushes::Counted(0)));
    }

    #[test]
    fn where_a_sync_needs_no_flush_none_is_missed() {
        let device = |write_cache, fua| Device { name: Some("x".into()), blind: blind(write_cache, fua) };
        let still = Some(Counters::default());
        assert_eq!(device("write back", "0").flushes(still), Flushes::Counted(0));
        assert!(matches!(device("write through", "0").flushes(still), Flushes::NotCounted(_)));
        assert!(matches!(device("write back", "1").flushes(still), Flushes::NotCounted(_)));
        let moved = Some(Counters { flushes: 3, bytes: 0 });
        assert_eq!(device("write back", "1").flushes(moved), Flushes::Counted(3));
        assert!(matches!(Device { name: None, blind: Some("tmpfs") }.flushes(None), Flushes::NotCounted("tmpfs")));
    }
}
