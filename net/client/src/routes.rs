//! Where a request goes: the cluster map, the believed leaders, and which addresses rest after a failure.

use std::collections::HashMap;
use std::sync::Arc;

use base::{CoreId, GroupId, Mono, NodeId, Nsid, Prng, core_of, group_of};
use wire::ClusterMap;

use crate::backoff::backoff;

/// Where to send next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// This address, which is this node's.
    To {
        /// `host:port`.
        address: Arc<str>,
        /// Whose it is, where the map says.
        node: Option<NodeId>,
    },
    /// All that could be asked rest until then.
    Wait(Mono),
    /// There is no cluster map yet.
    NoMap,
}

#[derive(Default, Clone, Copy)]
struct Belief {
    leader: Option<NodeId>,
    /// Who is asked next while no leader is known.
    cursor: usize,
}

/// An address that failed.
#[derive(Clone, Copy)]
struct Rest {
    until: Mono,
    failures: u32,
}

/// What the client knows of the cluster.
pub(crate) struct Routes {
    targets: Vec<String>,
    target_cursor: usize,
    map: Option<ClusterMap>,
    /// By node as the map lists them, the address of each core.
    cores: Vec<(NodeId, Vec<Option<Arc<str>>>)>,
    beliefs: Vec<Belief>,
    resting: HashMap<String, Rest>,
    /// The core that is sent to instead of a group's own.
    only_core: Option<CoreId>,
}

impl Routes {
    /// `only_core`: see [`crate::ClientOptions`].
    pub(crate) fn new(targets: Vec<String>, only_core: Option<CoreId>) -> Routes {
        Routes {
            targets,
            target_cursor: 0,
            map: None,
            cores: Vec::new(),
            beliefs: Vec::new(),
            resting: HashMap::new(),
            only_core,
        }
    }

    pub(crate) fn map(&self) -> Option<&ClusterMap> {
        self.map.as_ref()
    }

    pub(crate) fn group_of(&self, nsid: Nsid) -> Option<GroupId> {
        self.map.as_ref().map(|map| group_of(nsid, map.groups()))
    }

    /// Takes a map in. Beliefs that came from replies are newer and stay; unknown leaders are filled in.
    pub(crate) fn handle_map(&mut self, map: ClusterMap) {
        self.beliefs.resize(map.leaders.len(), Belief::default());
        for (belief, leader) in self.beliefs.iter_mut().zip(&map.leaders) {
            belief.leader = belief.leader.filter(|node| map.address_of(*node).is_some()).or(*leader);
        }
        let cores_of =
            |base: &str| (0..map.cores).map(|core| core_address(base, CoreId(core)).map(Arc::from)).collect();
        self.cores = map.nodes.iter().map(|node| (node.id, cores_of(&node.address))).collect();
        self.map = Some(map);
    }

    /// Where a core of a node listens, if the map has it.
    fn address(&self, node: NodeId, core: CoreId) -> Option<&Arc<str>> {
        let (_, cores) = self.cores.iter().find(|(id, _)| *id == node)?;
        cores.get(usize::from(core.0))?.as_ref()
    }

    /// Any node, by its shared port: the targets in turn, then the map's nodes.
    pub(crate) fn route_any(&mut self, now: Mono) -> Route {
        let nodes = self.map.iter().flat_map(|map| map.nodes.iter().map(|node| &node.address));
        let all: Vec<&String> = self.targets.iter().chain(nodes).collect();
        let turn = (0..all.len()).map(|step| all[(self.target_cursor + step) % all.len()]);
        let awake = turn.clone().find(|address| !self.is_resting(address, now));
        match awake {
            Some(address) => Route::To { address: address.as_str().into(), node: None },
            None => Route::Wait(turn.map(|address| self.rests_until(address)).min().unwrap_or(now)),
        }
    }

    /// The next `route_any` begins with another address.
    pub(crate) fn rotate_any(&mut self) {
        self.target_cursor = self.target_cursor.wrapping_add(1);
    }

    /// The core that is asked for a group.
    fn core_for(&self, group: GroupId, map: &ClusterMap) -> CoreId {
        let own = core_of(group, map.cores);
        self.only_core.filter(|only| only.0 < map.cores).unwrap_or(own)
    }

    /// The believed leader of `group`, or the nodes in turn while none is believed or the believed one rests. `is_watch`:
    /// only the group's own core will do.
    pub(crate) fn route_group(&mut self, group: GroupId, is_watch: bool, now: Mono) -> Route {
        let Some(map) = &self.map else { return Route::NoMap };
        let core = if is_watch { core_of(group, map.cores) } else { self.core_for(group, map) };
        let Some(belief) = self.beliefs.get(group.0 as usize).copied() else { return Route::NoMap };
        if let Some(node) = belief.leader
            && let Some(address) = self.address(node, core)
            && !self.is_resting(address, now)
        {
            return Route::To { address: Arc::clone(address), node: Some(node) };
        }
        let nodes = &map.nodes;
        let turn = (0..nodes.len()).map(|step| &nodes[(belief.cursor + step) % nodes.len()]);
        let turn = turn.filter_map(|node| Some((node.id, self.address(node.id, core)?)));
        match turn.clone().find(|(_, address)| !self.is_resting(address, now)) {
            Some((node, address)) => Route::To { address: Arc::clone(address), node: Some(node) },
            None => Route::Wait(turn.map(|(_, address)| self.rests_until(address)).min().unwrap_or(now)),
        }
    }

    /// `node` said that it does not lead `group`. True when the hint is a reason to ask again at once.
    pub(crate) fn handle_not_leader(
        &mut self,
        group: GroupId,
        node: Option<NodeId>,
        hint: Option<NodeId>,
        now: Mono,
    ) -> bool {
        let Some(map) = &self.map else { return false };
        let core = self.core_for(group, map);
        let hinted = hint.and_then(|hint| self.address(hint, core));
        let is_useful = hint != node && hinted.is_some_and(|address| !self.is_resting(address, now));
        let Some(believed) = self.beliefs.get(group.0 as usize).map(|belief| belief.leader) else { return false };
        let address = believed.and_then(|leader| self.address(leader, core));
        let is_awake = address.is_some_and(|address| !self.is_resting(address, now));
        // A belief that has moved on since this request was sent is newer than the reply. But when the one believed in
        // rests, others are asked in its place, and what they say counts: it may never come back.
        if is_awake && believed != node {
            base::mark::hit!("client.route.leader_known_better");
            return true;
        }
        let belief = &mut self.beliefs[group.0 as usize];
        belief.leader = hint.filter(|_| is_useful);
        if !is_useful {
            base::mark::hit!("client.route.asks_around");
            belief.cursor = after(map, node, belief.cursor);
        }
        is_useful
    }

    /// `node` answered for `group` as only its leader does.
    pub(crate) fn handle_leader(&mut self, group: GroupId, node: Option<NodeId>) {
        if let Some(belief) = self.beliefs.get_mut(group.0 as usize)
            && node.is_some()
        {
            belief.leader = node;
        }
    }

    /// `node` does not answer for `group` any more.
    pub(crate) fn forget_leader(&mut self, group: GroupId, node: Option<NodeId>) {
        if let Some(belief) = self.beliefs.get_mut(group.0 as usize)
            && (belief.leader == node || belief.leader.is_none())
            && let Some(map) = &self.map
        {
            belief.leader = None;
            belief.cursor = after(map, node, belief.cursor);
        }
    }

    /// A connection to `address` failed: it rests for a while.
    pub(crate) fn handle_failure(&mut self, address: &str, now: Mono, prng: &mut Prng) {
        let rest = self.resting.entry(address.to_owned()).or_insert(Rest { until: now, failures: 0 });
        rest.until = now + backoff(rest.failures, prng);
        rest.failures = rest.failures.saturating_add(1);
    }

    /// A connection to `address` was greeted.
    pub(crate) fn handle_success(&mut self, address: &str) {
        self.resting.remove(address);
    }

    fn is_resting(&self, address: &str, now: Mono) -> bool {
        // As a rule none rests, and nothing is hashed.
        !self.resting.is_empty() && self.resting.get(address).is_some_and(|rest| now < rest.until)
    }

    fn rests_until(&self, address: &str) -> Mono {
        self.resting.get(address).map_or(Mono(0), |rest| rest.until)
    }
}

/// The cursor behind `node`: the same however often it is asked, so that a thousand replies of one node move it once.
fn after(map: &ClusterMap, node: Option<NodeId>, cursor: usize) -> usize {
    map.nodes.iter().position(|entry| Some(entry.id) == node).map_or(cursor, |at| at + 1)
}

/// The own port of `core` on the node whose shared client port is at `base` (`host:port`): that port + 1 + core.
/// `None` when `base` is no `host:port` or has no such port.
pub(crate) fn core_address(base: &str, core: CoreId) -> Option<String> {
    let (host, port) = split_address(base)?;
    let port = port.checked_add(1)?.checked_add(core.0)?;
    Some(format!("{host}:{port}"))
}

/// Host and port of `host:port`; the host may be an address in brackets.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    (!host.is_empty() && port != 0 && !is_bare_v6).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::NodeAddress;

    fn routes() -> Routes {
        let mut routes = Routes::new(vec!["a:100".into(), "b:100".into()], None);
        let nodes = [(1, "a:100"), (2, "b:100"), (3, "c:100")];
        let nodes = nodes.map(|(id, address)| NodeAddress { id: NodeId(id), address: address.into() }).to_vec();
        let leaders = vec![None; 4];
        routes.handle_map(ClusterMap { cores: 2, nodes, block_servers: vec![], leaders });
        routes
    }

    fn to(address: &str, node: u64) -> Route {
        Route::To { address: address.into(), node: Some(NodeId(node)) }
    }

    #[test]
    fn addresses_are_split_and_core_ports_follow_the_shared_one() {
        assert_eq!(core_address("host:7100", CoreId(2)), Some("host:7103".into()));
        assert_eq!(core_address("[::1]:7100", CoreId(0)), Some("[::1]:7101".into()));
        for bad in ["host", "host:", ":7100", "host:x", "host:0", "host:65535", "::1:7100", "host:70000"] {
            assert_eq!(core_address(bad, CoreId(0)), None, "{bad}");
        }
    }

    #[test]
    fn all_but_watches_go_to_the_one_core_that_is_asked_for() {
        let mut routes = routes();
        routes.only_core = Some(CoreId(1));
        assert_eq!(routes.route_group(GroupId(0), false, Mono(1)), to("a:102", 1));
        assert_eq!(routes.route_group(GroupId(1), false, Mono(1)), to("a:102", 1));
        assert_eq!(routes.route_group(GroupId(0), true, Mono(1)), to("a:101", 1));
        // A core that the cluster does not have would be nobody's port.
        routes.only_core = Some(CoreId(2));
        assert_eq!(routes.route_group(GroupId(0), false, Mono(1)), to("a:101", 1));
    }

    #[test]
    fn a_hint_is_followed_and_a_stale_one_is_not() {
        let mut routes = routes();
        let now = Mono(1);
        assert_eq!(routes.route_group(GroupId(1), false, now), to("a:102", 1));
        assert!(routes.handle_not_leader(GroupId(1), Some(NodeId(1)), Some(NodeId(3)), now));
        assert_eq!(routes.route_group(GroupId(1), false, now), to("c:102", 3));
        // A late reply of node 1 with an older hint changes nothing.
        assert!(routes.handle_not_leader(GroupId(1), Some(NodeId(1)), Some(NodeId(2)), now));
        assert_eq!(routes.route_group(GroupId(1), false, now), to("c:102", 3));
        // Node 3 knows no leader: the nodes in turn, however many requests it has told so.
        for _ in 0..999 {
            assert!(!routes.handle_not_leader(GroupId(1), Some(NodeId(3)), None, now));
        }
        assert_eq!(routes.route_group(GroupId(1), false, now), to("a:102", 1));
        assert!(!routes.handle_not_leader(GroupId(1), Some(NodeId(1)), None, now));
        assert_eq!(routes.route_group(GroupId(1), false, now), to("b:102", 2));
    }

    #[test]
    fn while_the_believed_leader_rests_others_are_heard() {
        let mut routes = routes();
        let now = Mono(1);
        routes.handle_leader(GroupId(0), Some(NodeId(3)));
        routes.handle_failure("c:101", now, &mut Prng::new(1));
        assert_eq!(routes.route_group(GroupId(0), false, now), to("a:101", 1));
        assert!(routes.handle_not_leader(GroupId(0), Some(NodeId(1)), Some(NodeId(2)), now));
        assert_eq!(routes.route_group(GroupId(0), false, now), to("b:101", 2));
        // Without a hint the turn goes on too.
        routes.handle_leader(GroupId(0), Some(NodeId(3)));
        assert!(!routes.handle_not_leader(GroupId(0), Some(NodeId(1)), None, now));
        assert_eq!(routes.route_group(GroupId(0), false, now), to("b:101", 2));
    }

    #[test]
    fn resting_addresses_are_passed_over_and_all_resting_is_a_wait() {
        let mut routes = routes();
        let mut prng = Prng::new(1);
        let now = Mono(1);
        routes.handle_leader(GroupId(0), Some(NodeId(1)));
        routes.handle_failure("a:101", now, &mut prng);
        assert_eq!(routes.route_group(GroupId(0), false, now), to("b:101", 2));
        // A hint to a resting node is no reason to hurry.
        routes.forget_leader(GroupId(0), Some(NodeId(1)));
        assert!(!routes.handle_not_leader(GroupId(0), Some(NodeId(2)), Some(NodeId(1)), now));
        routes.handle_failure("b:101", now, &mut prng);
        routes.handle_failure("c:101", now, &mut prng);
        let Route::Wait(until) = routes.route_group(GroupId(0), false, now) else { panic!("all rest") };
        assert!(now < until);
        assert!(matches!(routes.route_group(GroupId(0), false, until), Route::To { .. }));
    }
}
