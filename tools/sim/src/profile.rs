//! Profiles: how long a run is and how often each class of faults strikes (docs/TESTING.md 2.4 and 2.5).

use crate::fault::{CLASSES, Class};

/// How a class strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// Of the chances (messages, operations, restarts), at most so many in a million.
    PerMillion(u32),
    /// As [`Rate::PerMillion`], and never below the first.
    Range(u32, u32),
    /// Per node and simulated hour, at most, in hundredths.
    PerNodeHour(u32),
    /// Per cluster and simulated hour, at most.
    PerHour(u32),
    /// Always on, no rate.
    On,
    /// Never.
    Off,
}

/// A profile's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Profile {
    /// Long and quiet.
    Standard,
    /// 100 simulated seconds full of faults.
    Dense,
    /// Dense, with clock rates up to 5 %.
    Clock,
    /// Dense, with clocks that run at half to twice the right rate: outside what leases are made for.
    ClockBroken,
    /// Dense, without the atlas rule.
    Hopeless,
    /// Dense, with disks that lie, and are not damaged otherwise.
    Liar,
    /// Dense, with nodes of two releases, and a feature level that is raised under load.
    Upgrade,
    /// Dense, with leases and a read cache on every core.
    Cached,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 8] = [
        Profile::Standard,
        Profile::Dense,
        Profile::Clock,
        Profile::ClockBroken,
        Profile::Hopeless,
        Profile::Liar,
        Profile::Upgrade,
        Profile::Cached,
    ];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Standard => "standard",
            Profile::Dense => "dense",
            Profile::Clock => "clock",
            Profile::ClockBroken => "clock-broken",
            Profile::Hopeless => "hopeless",
            Profile::Liar => "liar",
            Profile::Upgrade => "upgrade",
            Profile::Cached => "cached",
        }
    }

    /// The profile of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Simulated seconds: the least and the most of a run.
    #[must_use]
    pub fn seconds(self) -> (u64, u64) {
        match self {
            Profile::Standard => (600, 3600),
            _ => (100, 100),
        }
    }

    /// Parts in a million by which a clock may run too slow at most, and too fast.
    #[must_use]
    pub fn clock_ppm(self) -> (u64, u64) {
        match self {
            Profile::ClockBroken => (500_000, 1_000_000),
            Profile::Clock => (50_000, 50_000),
            _ => (10_000, 10_000),
        }
    }

    /// Runs of this profile are about leases: all have them, and clocks that run at rates of their own.
    #[must_use]
    pub fn is_of_clocks(self) -> bool {
        matches!(self, Profile::Clock | Profile::ClockBroken)
    }

    /// The largest wall clock offset at start, in seconds.
    #[must_use]
    pub fn clock_offset_s(self) -> u64 {
        if self == Profile::Standard { 10 } else { 3600 }
    }

    /// At least one intact copy of every committed entry is kept, and hard state with a majority.
    #[must_use]
    pub fn has_atlas_rule(self) -> bool {
        !matches!(self, Profile::Hopeless | Profile::Liar)
    }

    /// Disks of some seats lie in stretches; which claims outlive that is in [`crate::liar`].
    #[must_use]
    pub fn has_liars(self) -> bool {
        self == Profile::Liar
    }

    /// Some nodes begin with the release before.
    #[must_use]
    pub fn has_two_releases(self) -> bool {
        self == Profile::Upgrade
    }

    /// Reads by path are answered from a cache where they can be; leases are on in all runs.
    #[must_use]
    pub fn has_cache(self) -> bool {
        self == Profile::Cached
    }

    /// How often a class may strike.
    #[must_use]
    pub fn rate(self, class: Class) -> Rate {
        let (standard, dense) = TABLE[class as usize];
        if self == Profile::Standard { standard } else { dense }
    }
}

const fn percent(hundredths: u32) -> Rate {
    Rate::PerMillion(hundredths * 100)
}

const fn range(low: u32, high: u32) -> Rate {
    Rate::Range(low * 10_000, high * 10_000)
}

const fn node_hour(tenths: u32) -> Rate {
    Rate::PerNodeHour(tenths * 10)
}

/// Standard and dense, by class.
const TABLE: [(Rate, Rate); CLASSES] = [
    (percent(3000), percent(3000)),          // NET1
    (percent(5000), percent(7000)),          // NET2
    (percent(100), percent(500)),            // NET3
    (percent(2000), percent(2000)),          // NET4
    (percent(500), percent(1000)),           // NET5
    (percent(200), percent(200)),            // NET6
    (percent(10), percent(100)),             // NET7
    (percent(10), percent(100)),             // NET8
    (Rate::PerHour(60), Rate::PerHour(600)), // NET9
    (Rate::PerHour(60), Rate::PerHour(600)), // NET10
    (node_hour(16), node_hour(2000)),        // PROC1
    (percent(500), percent(3000)),           // PROC2
    (node_hour(30), node_hour(600)),         // PROC3
    (range(80, 100), range(50, 100)),        // PROC4
    (percent(200), percent(6000)),           // PROC5
    (node_hour(20), node_hour(500)),         // PROC6
    (node_hour(20), node_hour(500)),         // PROC7
    (range(80, 100), range(80, 100)),        // DISK1
    (range(80, 100), range(80, 100)),        // DISK2
    (percent(1), percent(100)),              // DISK3
    (percent(1), percent(100)),              // DISK4
    (percent(10), percent(2000)),            // DISK5
    (node_hour(100), node_hour(2000)),       // DISK6
    (percent(100), percent(1000)),           // DISK7
    (node_hour(5), node_hour(500)),          // DISK8
    (node_hour(5), node_hour(400)),          // DISK9
    (node_hour(10), node_hour(500)),         // DISK10
    (percent(10), percent(200)),             // DISK11
    (percent(10), percent(500)),             // DISK12
    (Rate::On, Rate::On),                    // CLK1
    (Rate::On, Rate::On),                    // CLK2
    (node_hour(10), node_hour(500)),         // CLK3
    (Rate::PerHour(4), Rate::PerHour(180)),  // CTL1
    (Rate::On, Rate::On),                    // CTL2
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_dense_is_never_quieter_than_standard() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
        }
        for (standard, dense) in TABLE {
            let order = |rate| match rate {
                Rate::PerMillion(most) | Rate::PerNodeHour(most) | Rate::PerHour(most) => most,
                Rate::Range(..) | Rate::On | Rate::Off => 0,
            };
            assert!(order(standard) <= order(dense));
        }
    }
}
