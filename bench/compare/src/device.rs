//! What the device under a directory did, and whether its counters can tell of syncs at all.

use std::path::Path;

use reactor::device::{Device, DeviceCounters};

use crate::target::Durability;

/// The whole disk below a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// `None` for a file system without a device.
    device: Option<Device>,
    /// Why a sync may leave no flush, if so.
    blind: Option<&'static str>,
}

/// What is known of the flushes of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushes {
    /// So many, of everybody on the device.
    Counted(u64),
    /// And why not.
    NotCounted(&'static str),
}

impl Disk {
    /// The disk of a directory.
    #[must_use]
    pub fn of(dir: &Path) -> Disk {
        let Some(device) = Device::of(dir).ok().and_then(|device| device.disk()) else {
            return Disk { device: None, blind: Some("this file system has no device with counters") };
        };
        let fact = |name| device.queue_fact(name).unwrap_or_default();
        Disk { device: Some(device), blind: blind(&fact("write_cache"), &fact("fua")) }
    }

    /// Its counters now.
    #[must_use]
    pub fn counters(&self) -> Option<DeviceCounters> {
        self.device?.counters()
    }

    /// What a window's difference tells of flushes.
    #[must_use]
    pub fn flushes(&self, moved: Option<DeviceCounters>) -> Flushes {
        match (moved.and_then(|moved| moved.flushes), self.blind) {
            (Some(flushes), _) if flushes > 0 => Flushes::Counted(flushes),
            (_, Some(why)) => Flushes::NotCounted(why),
            (Some(_), None) => Flushes::Counted(0),
            (None, None) => Flushes::NotCounted("the kernel tells no counters of this device"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

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
        let device = |write_cache, fua| Disk { device: Device::numbered("254:0"), blind: blind(write_cache, fua) };
        let still = Some(DeviceCounters { flushes: Some(0), ..DeviceCounters::default() });
        assert_eq!(device("write back", "0").flushes(still), Flushes::Counted(0));
        assert!(matches!(device("write through", "0").flushes(still), Flushes::NotCounted(_)));
        assert!(matches!(device("write back", "1").flushes(still), Flushes::NotCounted(_)));
        let moved = Some(DeviceCounters { flushes: Some(3), ..DeviceCounters::default() });
        assert_eq!(device("write back", "1").flushes(moved), Flushes::Counted(3));
        assert!(matches!(Disk { device: None, blind: Some("tmpfs") }.flushes(None), Flushes::NotCounted("tmpfs")));
        assert!(matches!(device("write back", "0").flushes(None), Flushes::NotCounted(_)));
    }
}
