//! Ids and positions. Each is a newtype, so that an index never meets an offset by accident.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A member of the cluster; 0 is no node. Never used twice, also not after a lost disk.
    NodeId, u64
);
id!(
    /// A Raft group: the unit of order. `group = mix64(nsid) % groups`.
    GroupId, u32
);
id!(
    /// A core, equally a shard: `core = group % cores`, the same on every node.
    CoreId, u16
);
id!(
    /// A Raft term; 0 is before the first election.
    Term, u64
);
id!(
    /// The place of an entry in a group's log, 1-based; 0 is before the first entry.
    LogIndex, u64
);
id!(
    /// A core's count of group commits; equal to the log's `frame_seq`.
    SyncEpoch, u64
);
id!(
    /// A namespace: one user's root or one shared folder.
    Nsid, u64
);
id!(
    /// A place in a namespace's journal, dense from 1; 0 is before the first row.
    Jid, u64
);
id!(
    /// An account; 0 is the system itself.
    Acct, u64
);
id!(
    /// A row of the tree inside its namespace (file, folder or mount); 1 is the root, 0 is none.
    TreeNode, u64
);
id!(
    /// A client's exactly-once session in one group; 0 is none.
    SessionId, u64
);
id!(
    /// The place of a command in its session, dense from 1.
    Sequence, u64
);

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl Jid {
    /// The jid after this one.
    #[must_use]
    pub fn next(self) -> Jid {
        Jid(self.0 + 1)
    }
}

/// The 128-bit identity of a cluster, drawn once by `dropstone format --new-id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

/// The 128-bit identity of one data directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct NodeUuid(pub [u8; 16]);

/// The name of a block: SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct BlockHash(pub [u8; 32]);

/// An id was not the hex digits it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {wanted} hex digits, got {got:?}")]
pub struct ParseHexError {
    /// Digits wanted.
    pub wanted: usize,
    /// What was given.
    pub got: String,
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let bad = || ParseHexError { wanted: N * 2, got: text.to_owned() };
    if text.len() != N * 2 || !text.is_ascii() {
        return Err(bad());
    }
    let mut out = [0u8; N];
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |d: u8| (d as char).to_digit(16).ok_or_else(bad);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Ok(out)
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = ParseHexError;
            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                parse_hex::<$bytes>(text).map($name)
            }
        }
    };
}
hex_id!(ClusterId, 16);
hex_id!(NodeUuid, 16);
hex_id!(BlockHash, 32);

/// The group that owns a namespace: `mix64(nsid) % groups`. Fixed for ever: keys on disk depend on it.
#[must_use]
pub fn group_of(nsid: Nsid, groups: u32) -> GroupId {
    GroupId((crate::mix64(nsid.0) % u64::from(groups)) as u32)
}

/// The place among `places` of hubs that hears of a namespace: `mix64(nsid) % places`.
#[must_use]
pub fn place_of(nsid: Nsid, places: u16) -> u16 {
    (crate::mix64(nsid.0) % u64::from(places.max(1))) as u16
}

/// The core that owns a group: `group % cores`.
#[must_use]
pub fn core_of(group: GroupId, cores: u16) -> CoreId {
    CoreId((group.0 % u32::from(cores)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_ids_round_trip_and_refuse_other_text() {
        let hash = BlockHash([0xab; 32]);
        assert_eq!(hash.to_string().parse::<BlockHash>(), Ok(hash));
        assert!("zz".repeat(32).parse::<BlockHash>().is_err());
        assert!("ab".parse::<BlockHash>().is_err());
        assert!("é".repeat(32).parse::<BlockHash>().is_err());
    }

    #[test]
    fn groups_of_namespaces_are_pinned() {
        let groups: Vec<u32> = (0..8).map(|i| group_of(Nsid(10_000_000_000 + i), 256).0).collect();
        assert_eq!(groups, PINNED_GROUPS);
    }
    const PINNED_GROUPS: [u32; 8] = [201, 184, 184, 218, 99, 217, 230, 202];
}
