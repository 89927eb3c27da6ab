//! The port plan of `dropstone dev`: no two listeners meet, for up to 16 cores and three nodes.
//!
//! ```text
//! node i, i = 1..3, B = BASE + 100 * (i - 1)
//!   B            client RPC, all cores          B + 1 + c     client RPC of core c, c < 16
//!   B + 50 + c   peer frames of core c          BASE + 44     block server
//!   B + 40       admin, HTTP                    B + 41        memcached
//!                                               BASE + 45     hub of the notifier
//!                                               BASE + 343    gateway, HTTPS
//! ```

use std::ops::RangeInclusive;

/// Where the plan begins unless told otherwise.
pub const BASE_DEFAULT: u16 = 7100;
/// Cores that fit between the ranges.
pub const CORES_MAX: u16 = 16;
/// Nodes that `dev` can start.
pub const NODES_MAX: u16 = 3;

const NODE_STEP: u16 = 100;
const PEER_OFFSET: u16 = 50;
const BLOCK_OFFSET: u16 = 44;
const HUB_OFFSET: u16 = 45;
const ADMIN_OFFSET: u16 = 40;
const GATEWAY_OFFSET: u16 = 343;
const MEMCACHE_OFFSET: u16 = 41;

/// Bases whose whole plan lies inside the port numbers.
pub const BASE_RANGE: RangeInclusive<u16> = 1024..=65_535 - GATEWAY_OFFSET;

/// The plan from one base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// The first port. Invariant: inside [`BASE_RANGE`].
    pub base: u16,
}

impl PortPlan {
    /// The shared client port of node `node`, from 1.
    pub fn client(self, node: u16) -> u16 {
        self.base + NODE_STEP * (node - 1)
    }

    /// The base of node `node`'s peer ports.
    pub fn peer(self, node: u16) -> u16 {
        self.client(node) + PEER_OFFSET
    }

    /// The admin port of node `node`.
    pub fn admin(self, node: u16) -> u16 {
        self.client(node) + ADMIN_OFFSET
    }

    /// The gateway's port.
    pub fn gateway(self) -> u16 {
        self.base + GATEWAY_OFFSET
    }

    /// The memcached port of node `node`.
    pub fn memcache(self, node: u16) -> u16 {
        self.client(node) + MEMCACHE_OFFSET
    }

    /// The port of the notifier's hub.
    pub fn hub(self) -> u16 {
        self.base + HUB_OFFSET
    }

    /// The block server's port.
    pub fn block(self) -> u16 {
        self.base + BLOCK_OFFSET
    }
}

/// The client addresses of a default `dev` cluster.
pub fn default_targets() -> Vec<String> {
    let plan = PortPlan { base: BASE_DEFAULT };
    (1..=NODES_MAX).map(|node| format!("127.0.0.1:{}", plan.client(node))).collect()
}

/// The admin addresses of a default `dev` cluster.
pub fn default_admins() -> Vec<String> {
    let plan = PortPlan { base: BASE_DEFAULT };
    (1..=NODES_MAX).map(|node| format!("127.0.0.1:{}", plan.admin(node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_listeners_meet_with_as_many_cores_as_fit() {
        for base in [*BASE_RANGE.start(), BASE_DEFAULT, *BASE_RANGE.end()] {
            let plan = PortPlan { base };
            let mut ports = vec![plan.block(), plan.hub(), plan.gateway()];
            for node in 1..=NODES_MAX {
                ports.extend(plan.client(node)..=plan.client(node) + CORES_MAX);
                ports.extend([plan.admin(node), plan.memcache(node)]);
                ports.extend(plan.peer(node)..plan.peer(node) + CORES_MAX);
            }
            let all = ports.len();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), all, "base {base}");
        }
    }

    #[test]
    fn the_default_targets_are_those_of_the_manual() {
        assert_eq!(default_targets(), ["127.0.0.1:7100", "127.0.0.1:7200", "127.0.0.1:7300"]);
    }
}
