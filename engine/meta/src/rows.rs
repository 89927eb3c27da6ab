//! The values of all tables, little-endian, byte 0 is the format. Every layout has a golden.
//!
//! Rows are read from this machine's own store, which checks its bytes: a row that does not decode is a bug, and the
//! node stops.

mod journal;
mod shared;
mod system;

use base::{Acct, BlockHash, Jid, Nsid, TreeNode};

pub(crate) use self::journal::*;
pub(crate) use self::shared::*;
pub(crate) use self::system::*;
use crate::codec::{DecodeError, Put, Reader, len16};
use crate::metadata::{Metadata, NamespaceKind, NodeKind};

/// A table's value.
pub(crate) trait RowValue: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Vec<u8>);
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    #[cfg(test)]
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let row = match reader.u8() {
            Ok(1) => Self::parse(&mut reader).and_then(|row| reader.end().map(|()| row)),
            Ok(format) => Err(DecodeError::Format(format)),
            Err(error) => Err(error),
        };
        row.unwrap_or_else(|error| panic!("a row of {} is broken: {error}", std::any::type_name::<Self>()))
    }
}

fn node_kind(reader: &mut Reader<'_>) -> Result<NodeKind, DecodeError> {
    NodeKind::from_u8(reader.u8()?).ok_or(DecodeError::Field("node kind"))
}

/// Table 01, 128 B.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamespaceRow {
    pub kind: NamespaceKind,
    pub flags: u16,
    pub members: u32,
    pub owner: Acct,
    pub head: Jid,
    pub floor: Jid,
    pub trim: Jid,
    pub next_node: u64,
    pub next_list: u64,
    pub next_link: u64,
    /// Files of the tree that no sweep has marked dead.
    pub live_files: u64,
    /// Their bytes.
    pub live_bytes: u64,
    pub grant_bytes: u64,
    pub created_ms: u64,
    pub auth_gen: u32,
}

impl RowValue for NamespaceRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.kind as u8);
        out.u16(self.flags);
        out.u32(self.members);
        for field in [self.owner.0, self.head.0, self.floor.0, self.trim.0, self.next_node, self.next_list] {
            out.u64(field);
        }
        for field in [self.next_link, self.live_files, self.live_bytes, self.grant_bytes, self.created_ms] {
            out.u64(field);
        }
        out.u32(self.auth_gen);
        out.zero(28);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let row = NamespaceRow {
            kind: NamespaceKind::from_u8(reader.u8()?).ok_or(DecodeError::Field("namespace kind"))?,
            flags: reader.u16()?,
            members: reader.u32()?,
            owner: Acct(reader.u64()?),
            head: Jid(reader.u64()?),
            floor: Jid(reader.u64()?),
            trim: Jid(reader.u64()?),
            next_node: reader.u64()?,
            next_list: reader.u64()?,
            next_link: reader.u64()?,
            live_files: reader.u64()?,
            live_bytes: reader.u64()?,
            grant_bytes: reader.u64()?,
            created_ms: reader.u64()?,
            auth_gen: reader.u32()?,
        };
        reader.zero(28)?;
        Ok(row)
    }
}

/// Of [`NamespaceRow::flags`]: a node in it may be frozen.
pub(crate) const NAMESPACE_FROZEN: u16 = 1;
/// Of [`NodeRow::flags`]: writes below it wait, while its row of table 15 is young enough.
pub(crate) const NODE_FROZEN: u16 = 1;
/// Of [`NodeRow::flags`]: it, or a folder above it, was deleted.
pub(crate) const NODE_DEAD: u16 = 2;
/// Of [`NodeRow::flags`]: some link shows it.
pub(crate) const NODE_LINKED: u16 = 4;
/// Of [`NodeRow::flags`]: no name leads to it, until it is attached.
pub(crate) const NODE_HIDDEN: u16 = 8;

/// Table 02, 64 B (folder, mount) or 96 B (file), then the name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeRow {
    pub kind: NodeKind,
    pub flags: u16,
    pub parent: TreeNode,
    /// The last journal row that names this node.
    pub last_jid: Jid,
    /// Files: the row of the revision. Folders and mounts: the row that placed them.
    pub rev_jid: Jid,
    pub size: u64,
    pub client_mtime_ms: i64,
    pub server_mtime_ms: i64,
    pub modified_by: Acct,
    pub content_hash: [u8; 32],
    pub name: String,
}

impl NodeRow {
    pub fn is_dead(&self) -> bool {
        self.flags & NODE_DEAD != 0
    }

    /// Readers come to it, as far as it is up to this node.
    pub fn is_seen(&self) -> bool {
        self.flags & (NODE_DEAD | NODE_HIDDEN) == 0
    }

    pub fn metadata(&self, nsid: Nsid, node: TreeNode) -> Metadata {
        Metadata {
            nsid,
            node,
            parent: self.parent,
            jid: self.last_jid,
            rev_jid: self.rev_jid,
            kind: self.kind,
            name: self.name.clone(),
            size: self.size,
            content_hash: self.content_hash,
            client_mtime_ms: self.client_mtime_ms,
            server_mtime_ms: self.server_mtime_ms,
            modified_by: self.modified_by,
        }
    }
}

impl RowValue for NodeRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.kind as u8);
        out.u16(self.flags);
        out.u16(len16(self.name.len()));
        out.zero(2);
        for field in [self.parent.0, self.last_jid.0, self.rev_jid.0, self.size] {
            out.u64(field);
        }
        out.i64(self.client_mtime_ms);
        out.i64(self.server_mtime_ms);
        out.u64(self.modified_by.0);
        if self.kind == NodeKind::File {
            out.bytes(&self.content_hash);
        }
        out.bytes(self.name.as_bytes());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = node_kind(reader)?;
        let flags = reader.u16()?;
        let name_bytes = reader.u16()? as usize;
        reader.zero(2)?;
        let mut row = NodeRow {
            kind,
            flags,
            parent: TreeNode(reader.u64()?),
            last_jid: Jid(reader.u64()?),
            rev_jid: Jid(reader.u64()?),
            size: reader.u64()?,
            client_mtime_ms: reader.i64()?,
            server_mtime_ms: reader.i64()?,
            modified_by: Acct(reader.u64()?),
            content_hash: [0; 32],
            name: String::new(),
        };
        if kind == NodeKind::File {
            row.content_hash = reader.array()?;
        }
        row.name = reader.text(name_bytes)?;
        Ok(row)
    }
}

/// Table 03: `format u8, kind u8, node u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirentRow {
    pub kind: NodeKind,
    pub node: TreeNode,
}

impl RowValue for DirentRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.kind as u8);
        out.u64(self.node.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(DirentRow { kind: node_kind(reader)?, node: TreeNode(reader.u64()?) })
    }
}

/// Table 05: `format u8, kind u8, jid u64, node u64`: the row that vacated the name last, and what was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DeadRow {
    pub kind: NodeKind,
    pub jid: Jid,
    pub node: TreeNode,
}

impl RowValue for DeadRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.kind as u8);
        out.u64(self.jid.0);
        out.u64(self.node.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(DeadRow { kind: node_kind(reader)?, jid: Jid(reader.u64()?), node: TreeNode(reader.u64()?) })
    }
}

/// Table 06, 24 B. `refs`: positions naming it in inline lists of held content rows, and in list rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct BlockRow {
    pub bytes: u32,
    pub refs: u64,
    pub zero_since_ms: u64,
}

impl RowValue for BlockRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(3);
        out.u32(self.bytes);
        out.u64(self.refs);
        out.u64(self.zero_since_ms);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(3)?;
        Ok(BlockRow { bytes: reader.u32()?, refs: reader.u64()?, zero_since_ms: reader.u64()? })
    }
}

/// Table 07, 52 B. `refs`: held content rows that use the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ListRow {
    pub blocks: u32,
    pub refs: u32,
    pub size: u64,
    pub content_hash: [u8; 32],
}

impl RowValue for ListRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(3);
        out.u32(self.blocks);
        out.u32(self.refs);
        out.u64(self.size);
        out.bytes(&self.content_hash);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(3)?;
        Ok(ListRow { blocks: reader.u32()?, refs: reader.u32()?, size: reader.u64()?, content_hash: reader.array()? })
    }
}

/// Table 08: `format u8, pad[7]`, then up to 1024 block names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ListPartRow {
    pub blocks: Vec<BlockHash>,
}

/// Block names in one list part.
pub(crate) const LIST_PART_BLOCKS: usize = 1024;

impl RowValue for ListPartRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        self.blocks.iter().for_each(|block| out.bytes(&block.0));
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        let count = reader.left() / 32;
        let blocks = (0..count).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?;
        Ok(ListPartRow { blocks })
    }
}

/// Table 0E: `format u8, pad[7], then the last name key done`: a detached folder whose children are being marked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SweepRow {
    /// Empty: none yet.
    pub position: Vec<u8>,
}

impl RowValue for SweepRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.bytes(&self.position);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SweepRow { position: reader.take(reader.left())?.to_vec() })
    }
}
