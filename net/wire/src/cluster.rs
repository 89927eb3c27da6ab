//! The body of a ClusterMap reply: who is where, and who leads what.
//!
//! ```text
//! 0 u32 groups   4 u16 cores   6 u16 nodes   8 nodes   then groups x u64 leader (0 unknown)
//! node           0 u64 id   8 u8 role (1 metaserver, 2 block server)   9 u8 zero   10 u16 address_bytes   12 u32 zero
//!               16 address "host:port", zero-padded to 8
//! ```
//! The address of a metaserver is its shared client port; core `c` alone listens on that port + 1 + `c`.

use base::NodeId;
use base::bytes::{align_up, get_u16, get_u32, get_u64};

use crate::client::BodyError;

/// Where one node listens for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAddress {
    /// The node.
    pub id: NodeId,
    /// `host:port` of its shared client port.
    pub address: String,
}

/// The cluster, as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterMap {
    /// Cores of every node.
    pub cores: u16,
    /// The metaservers.
    pub nodes: Vec<NodeAddress>,
    /// `host:port` of the block servers that announced themselves.
    pub block_servers: Vec<NodeAddress>,
    /// The believed leader of each group; as many as there are groups.
    pub leaders: Vec<Option<NodeId>>,
}

impl ClusterMap {
    /// Groups of the cluster.
    #[must_use]
    pub fn groups(&self) -> u32 {
        self.leaders.len() as u32
    }

    /// The address of a metaserver.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> Option<&str> {
        self.nodes.iter().find(|entry| entry.id == node).map(|entry| entry.address.as_str())
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.groups().to_le_bytes());
        out.extend_from_slice(&self.cores.to_le_bytes());
        let nodes = self.nodes.len() + self.block_servers.len();
        out.extend_from_slice(&u16::try_from(nodes).expect("a cluster has few nodes").to_le_bytes());
        let roles = self.nodes.iter().map(|node| (1, node)).chain(self.block_servers.iter().map(|node| (2, node)));
        for (role, node) in roles {
            let start = out.len();
            out.extend_from_slice(&node.id.0.to_le_bytes());
            out.extend_from_slice(&[role, 0]);
            let bytes = u16::try_from(node.address.len()).expect("an address is short");
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(node.address.as_bytes());
            out.resize(start + 16 + align_up(node.address.len(), 8), 0);
        }
        for leader in &self.leaders {
            out.extend_from_slice(&leader.unwrap_or_default().0.to_le_bytes());
        }
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<ClusterMap, BodyError> {
        Self::read(body).ok_or(BodyError { what: "cluster map", bytes: body.len() })
    }

    fn read(body: &[u8]) -> Option<ClusterMap> {
        let groups = get_u32(body, 0)? as usize;
        let cores = get_u16(body, 4).filter(|cores| *cores > 0)?;
        let mut map = ClusterMap { cores, ..ClusterMap::default() };
        let mut rest = body.get(8..)?;
        for _ in 0..get_u16(body, 6)? {
            let id = NodeId(get_u64(rest, 0)?);
            let length = usize::from(get_u16(rest, 10)?);
            let address = std::str::from_utf8(rest.get(16..16 + length)?).ok()?.to_owned();
            match rest[8] {
                1 => map.nodes.push(NodeAddress { id, address }),
                2 => map.block_servers.push(NodeAddress { id, address }),
                _ => return None,
            }
            rest = rest.get(16 + align_up(length, 8)..)?;
        }
        if groups == 0 || rest.len() != groups.checked_mul(8)? {
            return None;
        }
        let leaders = rest.chunks_exact(8).map(|bytes| get_u64(bytes, 0).filter(|node| *node != 0).map(NodeId));
        map.leaders.extend(leaders);
        Some(map)
    }
}
