//! Where one request's time went: the tail of a reply that was asked for by [`EXPLAIN`] in the request's flags.
//!
//! ```text
//! 0 u8 version (1)   1 u8 class   2 u8 stages   3 u8 flags   4 u16 core   6 u16 commands of the entry
//! 8 u32 group       12 u32 zero  16 u64 node   24 u64 closed_by, 0 none   32 u64 index
//! 40 stages x u32 nanoseconds, in the order of the class
//! ```
//! The stages are those of [`OpClass::stages`] from the first on; what comes after the reply was written is not known yet.

use base::bytes::{get_u16, get_u32, get_u64};
use base::stages::{OpClass, Stage};
use base::{CoreId, GroupId, LogIndex, NodeId};

/// In a request's flags: the reply is to end with an [`Explanation`].
pub const EXPLAIN: u8 = 1;
/// In an explanation's flags: answered from the cache.
pub const CACHE_HIT: u8 = 1;
/// A quorum had the entry before this node's own disk.
pub const COMMITTED_BEFORE_SYNC: u8 = 2;
/// The request came to another core.
pub const MAILBOX_HOP: u8 = 4;
/// Rows had to be fetched.
pub const ROWS_FETCHED: u8 = 8;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 40;

/// How long a stage took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// How long. Units: nanoseconds.
    pub ns: u32,
}

/// Where one request's time went in the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What it was.
    pub class: OpClass,
    /// [`CACHE_HIT`] and the others.
    pub flags: u8,
    /// The core that did it.
    pub core: CoreId,
    /// Commands in its entry; 1 for a read.
    pub commands: u16,
    /// Its group.
    pub group: GroupId,
    /// The node that did it.
    pub node: NodeId,
    /// Whose disk completed the quorum; 0 for a read.
    pub closed_by: NodeId,
    /// A write: its entry. A read: the applied index that it saw.
    pub index: LogIndex,
    /// In order. Their sum is the time from the request's bytes to the reply's.
    pub stages: Vec<StageTime>,
}

impl Explanation {
    /// Nanoseconds from the request's bytes to the reply's.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.stages.iter().map(|time| u64::from(time.ns)).sum()
    }

    /// Bytes of its encoding.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        FIXED_BYTES + 4 * self.stages.len()
    }

    /// Appends the tail.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let stages = u8::try_from(self.stages.len()).expect("there are 16 stages");
        out.extend_from_slice(&[VERSION, self.class as u8, stages, self.flags]);
        out.extend_from_slice(&self.core.0.to_le_bytes());
        out.extend_from_slice(&self.commands.to_le_bytes());
        out.extend_from_slice(&self.group.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        [self.node.0, self.closed_by.0, self.index.0]
            .iter()
            .for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
        self.stages.iter().for_each(|time| out.extend_from_slice(&time.ns.to_le_bytes()));
    }

    /// Reads a tail; `None` for bytes of another version, or that are none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Explanation> {
        let [version, class, count, flags] = *bytes.first_chunk()?;
        let class = OpClass::from_u8(class).filter(|_| version == VERSION)?;
        let order = class.stages().get(..usize::from(count))?;
        if bytes.len() != FIXED_BYTES + 4 * order.len() || get_u32(bytes, 12) != Some(0) {
            return None;
        }
        let times = order.iter().zip(bytes[FIXED_BYTES..].chunks_exact(4));
        Some(Explanation {
            class,
            flags,
            core: CoreId(get_u16(bytes, 4)?),
            commands: get_u16(bytes, 6)?,
            group: GroupId(get_u32(bytes, 8)?),
            node: NodeId(get_u64(bytes, 16)?),
            closed_by: NodeId(get_u64(bytes, 24)?),
            index: LogIndex(get_u64(bytes, 32)?),
            stages: times.filter_map(|(stage, ns)| Some(StageTime { stage: *stage, ns: get_u32(ns, 0)? })).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Explanation {
        let stages = OpClass::Put.stages()[..10].iter().zip(1..);
        Explanation {
            class: OpClass::Put,
            flags: COMMITTED_BEFORE_SYNC,
            core: CoreId(1),
            commands: 24,
            group: GroupId(37),
            node: NodeId(1),
            closed_by: NodeId(3),
            index: LogIndex(88_123),
            stages: stages.map(|(stage, ns)| StageTime { stage: *stage, ns }).collect(),
        }
    }

    #[test]
    fn the_tail_is_as_documented() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let golden = "01000a0201001800250000000000000001000000000000000300000000000000\
                      3b58010000000000\
                      0100000002000000030000000400000005000000060000000700000008000000090000000a000000";
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(bytes.len(), sample().encoded_bytes());
        assert_eq!(Explanation::parse(&bytes), Some(sample()));
        assert_eq!(sample().total_ns(), 55);
    }

    #[test]
    fn bytes_that_are_no_tail_are_refused() {
        let mut good = Vec::new();
        sample().encode(&mut good);
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Explanation::parse(&bytes)
        };
        // Version, class, more stages than there are, fewer than there is room for, a field that must be zero.
        for (at, value) in [(0, 2), (1, 8), (2, 12), (2, 9), (12, 1)] {
            assert_eq!(changed(at, value), None, "byte {at} is {value}");
        }
        (0..good.len()).for_each(|end| assert_eq!(Explanation::parse(&good[..end]), None, "{end} bytes"));
    }
}
