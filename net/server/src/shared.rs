//! What the cores of one node share: the address book, who leads what, and the word to stop. Cold, but for the leaders,
//! which are atomics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::{CoreId, GroupId, LogIndex, NodeId, NodeUuid};
use parking_lot::{Mutex, RwLock};
use transport::Registry;
use wire::{ClusterMap, NodeAddress};

use crate::config::{Address, NodeConfig};
use crate::exit::ExitCode;
use crate::memcache::MemcacheStats;
use crate::near_cache::CacheTotals;
use crate::stall::Beats;

/// One member, as the address book knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Base of its peer ports.
    pub peer: Address,
    /// Its shared client port.
    pub client: Address,
    /// The directory it is bound to, once it has said so.
    pub uuid: Option<NodeUuid>,
}

/// Why a node stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code it calls for.
    pub code: ExitCode,
    /// The last line of the log.
    pub reason: String,
}

/// Shared by the cores of one node.
pub struct Shared {
    cores: u16,
    /// Members by id. From the configuration first, then from group 0.
    members: RwLock<BTreeMap<NodeId, Member>>,
    block_servers: RwLock<Vec<NodeAddress>>,
    /// By group; 0 is unknown.
    leaders: Vec<AtomicU64>,
    /// How far this node has applied group 0.
    applied_0: AtomicU64,
    is_stopping: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// Where each core stands in its turn.
    pub beats: Arc<Beats>,
    /// What the memcached ports of all cores counted.
    pub(crate) memcache: MemcacheStats,
    /// What the read caches of all cores hold and did.
    pub(crate) cache: CacheTotals,
}

impl Shared {
    /// Begins with the members that the configuration names.
    #[must_use]
    pub fn new(config: &NodeConfig) -> Shared {
        let members = config
            .cluster
            .nodes
            .iter()
            .map(|seed| (seed.id, Member { peer: seed.peer.clone(), client: seed.client.clone(), uuid: None }))
            .collect();
        Shared {
            cores: config.cluster.cores,
            members: RwLock::new(members),
            block_servers: RwLock::new(Vec::new()),
            leaders: (0..config.cluster.groups).map(|_| AtomicU64::new(0)).collect(),
            applied_0: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
            beats: Arc::new(Beats::new(config.cluster.cores)),
            memcache: MemcacheStats::new(config.cluster.cores),
            cache: CacheTotals::new(config.cluster.cores),
        }
    }

    /// Takes the members that group 0 knows; members of the configuration that it does not know stay.
    pub fn learn_members(&self, nodes: &[(NodeId, Member)], removed: &[NodeId]) {
        let mut members = self.members.write();
        for (id, member) in nodes {
            members.insert(*id, member.clone());
        }
        removed.iter().for_each(|id| {
            members.remove(id);
        });
    }

    /// Takes the block servers that group 0 knows.
    pub fn learn_block_servers(&self, servers: Vec<NodeAddress>) {
        *self.block_servers.write() = servers;
    }

    /// The members known.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        self.members.read().keys().copied().collect()
    }

    /// The shared client port of a member.
    #[must_use]
    pub fn client_address(&self, node: NodeId) -> Option<Address> {
        self.members.read().get(&node).map(|member| member.client.clone())
    }

    /// Publishes who leads a group.
    pub fn set_leader(&self, group: GroupId, leader: NodeId) {
        self.leaders[group.0 as usize].store(leader.0, Ordering::Relaxed);
    }

    /// Does this node lead that group, as far as it knows?
    #[must_use]
    pub fn leads(&self, node: NodeId, group: GroupId) -> bool {
        self.leaders[group.0 as usize].load(Ordering::Relaxed) == node.0
    }

    /// The leaders of all groups that have one, as far as this node knows.
    pub fn leaders(&self) -> impl Iterator<Item = NodeId> {
        self.leaders.iter().map(|leader| NodeId(leader.load(Ordering::Relaxed))).filter(|leader| *leader != NodeId(0))
    }

    /// Publishes how far group 0 is applied here.
    pub fn set_applied_0(&self, index: LogIndex) {
        self.applied_0.store(index.0, Ordering::Relaxed);
    }

    /// How far group 0 is applied here: something may have changed in it whenever this has.
    #[must_use]
    pub fn applied_0(&self) -> LogIndex {
        LogIndex(self.applied_0.load(Ordering::Relaxed))
    }

    /// The cluster as this node sees it.
    #[must_use]
    pub fn cluster_map(&self) -> ClusterMap {
        let leader = |leader: &AtomicU64| Some(NodeId(leader.load(Ordering::Relaxed))).filter(|id| id.0 != 0);
        let members = self.members.read();
        let nodes = members.iter().map(|(id, member)| NodeAddress { id: *id, address: member.client.to_string() });
        ClusterMap {
            cores: self.cores,
            nodes: nodes.collect(),
            block_servers: self.block_servers.read().clone(),
            leaders: self.leaders.iter().map(leader).collect(),
        }
    }

    /// Asks all cores to stop cleanly.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// True once stopping was asked for, or a core failed.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// A core cannot go on: the first reason stands, all cores stop.
    pub fn fail(&self, code: ExitCode, reason: String) {
        self.failure.lock().get_or_insert(Failure { code, reason });
        self.stop();
    }

    /// Why the node stopped by itself, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }
}

impl Registry for Shared {
    fn peer_address(&self, node: NodeId, core: CoreId) -> Option<String> {
        let members = self.members.read();
        let peer = &members.get(&node)?.peer;
        let port = peer.port.checked_add(core.0)?;
        Some(Address { host: peer.host.clone(), port }.to_string())
    }

    fn uuid(&self, node: NodeId) -> Option<NodeUuid> {
        self.members.read().get(&node)?.uuid
    }
}
