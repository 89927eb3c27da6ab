//! The first 80 bytes of a peer connection, both ways (docs/design/raft.md 15).
//!
//! ```text
//!  0 u32 magic "DSPH"      4 u16 version_min     6 u16 version_max    8 u64 features     16 [16] cluster_id
//! 32 [16] node_uuid       48 u64 node_id        56 u64 incarnation   64 u16 core         66 u16 cores
//! 68 u32 groups           72 u32 config_hash    76 u32 crc32c of 0..76
//! ```

use base::bytes::{get_array, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::{ClusterId, CoreId, NodeId, NodeUuid};

use crate::hello::{HelloError, check_versions, checked, seal};

/// Bytes of a peer's hello.
pub const PEER_HELLO_BYTES: usize = 80;
/// First four bytes of a peer's hello.
pub const PEER_HELLO_MAGIC: u32 = u32::from_le_bytes(*b"DSPH");

/// Feature bits of a peer's hello: what both sides have set may be sent.
pub mod peer_feature {
    /// It takes messages with the hashes of states (kind 17).
    pub const STATE_HASH: u64 = 1;
    /// All that this release has.
    pub const ALL: u64 = STATE_HASH;
}

/// What a node says first to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerHello {
    /// The lowest version spoken.
    pub version_min: u16,
    /// The highest version spoken; both sides speak the smaller of the two.
    pub version_max: u16,
    /// Feature bits ([`peer_feature`]); unknown ones are ignored.
    pub features: u64,
    /// The cluster; another one is refused.
    pub cluster_id: ClusterId,
    /// The identity of the speaker's data directory.
    pub node_uuid: NodeUuid,
    /// The speaker.
    pub node_id: NodeId,
    /// Its incarnation.
    pub incarnation: u64,
    /// The core that speaks, equally the core spoken to.
    pub core: CoreId,
    /// Cores of the cluster's nodes.
    pub cores: u16,
    /// Groups of the cluster.
    pub groups: u32,
    /// Of the cluster's configuration; another one is refused.
    pub config_hash: u32,
}

impl PeerHello {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PEER_HELLO_BYTES] {
        let mut out = [0; PEER_HELLO_BYTES];
        put_u32(&mut out, 0, PEER_HELLO_MAGIC);
        put_u16(&mut out, 4, self.version_min);
        put_u16(&mut out, 6, self.version_max);
        put_u64(&mut out, 8, self.features);
        out[16..32].copy_from_slice(&self.cluster_id.0);
        out[32..48].copy_from_slice(&self.node_uuid.0);
        put_u64(&mut out, 48, self.node_id.0);
        put_u64(&mut out, 56, self.incarnation);
        put_u16(&mut out, 64, self.core.0);
        put_u16(&mut out, 66, self.cores);
        put_u32(&mut out, 68, self.groups);
        put_u32(&mut out, 72, self.config_hash);
        seal(&mut out);
        out
    }

    /// Parses the hello at the start of `bytes`; more may follow it.
    ///
    /// Errors: [`HelloError`]. Whether cluster, cores, groups and configuration are the own ones is the caller's to judge.
    pub fn parse(bytes: &[u8]) -> Result<PeerHello, HelloError> {
        let bytes = checked(bytes, PEER_HELLO_MAGIC, PEER_HELLO_BYTES)?;
        let short = HelloError::Field("length");
        let hello = PeerHello {
            version_min: get_u16(bytes, 4).ok_or(short)?,
            version_max: get_u16(bytes, 6).ok_or(short)?,
            features: get_u64(bytes, 8).ok_or(short)?,
            cluster_id: ClusterId(get_array(bytes, 16).ok_or(short)?),
            node_uuid: NodeUuid(get_array(bytes, 32).ok_or(short)?),
            node_id: NodeId(get_u64(bytes, 48).ok_or(short)?),
            incarnation: get_u64(bytes, 56).ok_or(short)?,
            core: CoreId(get_u16(bytes, 64).ok_or(short)?),
            cores: get_u16(bytes, 66).ok_or(short)?,
            groups: get_u32(bytes, 68).ok_or(short)?,
            config_hash: get_u32(bytes, 72).ok_or(short)?,
        };
        check_versions(hello.version_min, hello.version_max)?;
        if hello.node_id == NodeId(0) {
            return Err(HelloError::Field("node id"));
        }
        if hello.cores == 0 || hello.core.0 >= hello.cores {
            return Err(HelloError::Field("core"));
        }
        if hello.groups == 0 {
            return Err(HelloError::Field("group count"));
        }
        Ok(hello)
    }
}
