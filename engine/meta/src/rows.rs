//! The values of all tables, little-endian, byte 0 is the format. Every layout has a golden.
//!
//! Rows are read from this machine's own store, which checks its bytes: a row that does not decode is a bug, and the
//! node stops.

use base::{Acct, BlockHash, Jid, Nsid, Sequence, SessionId, TreeNode};

use crate::codec::{DecodeError, Put, Reader, len16, len32};
use crate::command::{MemberRole, MemberState};
use crate::list_hash::ListHash;
use crate::metadata::{Metadata, NamespaceKind, NodeKind};

/// A table's value.
pub(crate) trait RowValue: Sized {
    fn encode(&self) -> Vec<u8>;
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
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
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.name.len());
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
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10);
        out.u8(1);
        out.u8(self.kind as u8);
        out.u64(self.node.0);
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(18);
        out.u8(1);
        out.u8(self.kind as u8);
        out.u64(self.jid.0);
        out.u64(self.node.0);
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.u8(1);
        out.zero(3);
        out.u32(self.bytes);
        out.u64(self.refs);
        out.u64(self.zero_since_ms);
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(52);
        out.u8(1);
        out.zero(3);
        out.u32(self.blocks);
        out.u32(self.refs);
        out.u64(self.size);
        out.bytes(&self.content_hash);
        out
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
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.blocks.len() * 32);
        out.u8(1);
        out.zero(7);
        self.blocks.iter().for_each(|block| out.bytes(&block.0));
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        let count = reader.left() / 32;
        let blocks = (0..count).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?;
        Ok(ListPartRow { blocks })
    }
}

/// What a journal row did; the numbers are on disk. 8 (attach) comes with its command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Put = 1,
    Mkdir = 2,
    Move = 3,
    Delete = 4,
    Mount = 5,
    Unmount = 6,
    Attr = 7,
}

/// Of [`JournalRow::flags`]: the next row belongs to the same command.
pub(crate) const ROW_CONTINUES: u8 = 1;
/// Of [`JournalRow::flags`]: the name was chosen by autorename.
pub(crate) const ROW_AUTORENAMED: u8 = 2;
/// Of [`JournalRow::flags`]: an earlier revision was put again.
pub(crate) const ROW_RESTORE: u8 = 4;
/// Block names kept inside a journal row; more are in list rows.
pub(crate) const INLINE_BLOCKS_MAX: usize = 4;

/// Where the blocks of a revision are named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Content {
    pub hash: [u8; 32],
    /// 0: inline.
    pub list: u64,
    pub blocks: u32,
    /// The names, when inline.
    pub inline: Vec<BlockHash>,
}

/// Table 04, 80 B, or 128 B with content, then name, old name and inline block names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct JournalRow {
    pub op: Op,
    pub kind: NodeKind,
    pub flags: u8,
    pub node: TreeNode,
    pub parent: TreeNode,
    pub old_parent: TreeNode,
    pub prev_jid: Jid,
    pub name_prev_jid: Jid,
    pub size: u64,
    pub client_mtime_ms: i64,
    pub stamp_ms: u64,
    pub acct: Acct,
    pub content: Option<Content>,
    pub name: String,
    pub old_name: String,
}

impl JournalRow {
    /// The name is not there any more after it.
    pub fn has_vacated(&self) -> bool {
        matches!(self.op, Op::Delete | Op::Move | Op::Unmount)
    }

    /// A folder or mount has its place by it.
    pub fn has_placed(&self) -> bool {
        matches!(self.op, Op::Move | Op::Mount) && self.kind != NodeKind::File
    }

    /// What the row tells of its node, as of the row; `None` for a delete, which does not hold it, and for an attribute,
    /// which is of an earlier revision.
    pub fn metadata(&self, nsid: Nsid, jid: Jid) -> Option<Metadata> {
        (!matches!(self.op, Op::Delete | Op::Unmount | Op::Attr)).then(|| Metadata {
            nsid,
            node: self.node,
            parent: self.parent,
            jid,
            rev_jid: jid,
            kind: self.kind,
            name: self.name.clone(),
            size: self.size,
            content_hash: self.content.as_ref().map_or([0; 32], |content| content.hash),
            client_mtime_ms: self.client_mtime_ms,
            server_mtime_ms: self.stamp_ms as i64,
            modified_by: self.acct,
        })
    }
}

impl RowValue for JournalRow {
    fn encode(&self) -> Vec<u8> {
        let inline = self.content.as_ref().map_or(0, |content| content.inline.len());
        let mut out = Vec::with_capacity(128 + self.name.len() + self.old_name.len() + inline * 32);
        out.u8(1);
        out.u8(self.op as u8);
        out.u8(self.kind as u8);
        out.u8(self.flags);
        out.u16(len16(self.name.len()));
        out.u16(len16(self.old_name.len()));
        for field in [self.node.0, self.parent.0, self.old_parent.0, self.prev_jid.0, self.name_prev_jid.0, self.size] {
            out.u64(field);
        }
        out.i64(self.client_mtime_ms);
        out.u64(self.stamp_ms);
        out.u64(self.acct.0);
        if let Some(content) = &self.content {
            out.bytes(&content.hash);
            out.u64(content.list);
            out.u32(content.blocks);
            out.zero(4);
        }
        out.bytes(self.name.as_bytes());
        out.bytes(self.old_name.as_bytes());
        if let Some(content) = &self.content {
            content.inline.iter().for_each(|block| out.bytes(&block.0));
        }
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let op = match reader.u8()? {
            1 => Op::Put,
            2 => Op::Mkdir,
            3 => Op::Move,
            4 => Op::Delete,
            5 => Op::Mount,
            6 => Op::Unmount,
            7 => Op::Attr,
            _ => return Err(DecodeError::Field("op")),
        };
        let kind = node_kind(reader)?;
        let flags = reader.u8()?;
        let (name_bytes, old_name_bytes) = (reader.u16()? as usize, reader.u16()? as usize);
        let mut row = JournalRow {
            op,
            kind,
            flags,
            node: TreeNode(reader.u64()?),
            parent: TreeNode(reader.u64()?),
            old_parent: TreeNode(reader.u64()?),
            prev_jid: Jid(reader.u64()?),
            name_prev_jid: Jid(reader.u64()?),
            size: reader.u64()?,
            client_mtime_ms: reader.i64()?,
            stamp_ms: reader.u64()?,
            acct: Acct(reader.u64()?),
            content: None,
            name: String::new(),
            old_name: String::new(),
        };
        // Content is carried by a put and by the move of a file, and by nothing else.
        let mut content = None;
        if kind == NodeKind::File && matches!(op, Op::Put | Op::Move) {
            let (hash, list, blocks) = (reader.array()?, reader.u64()?, reader.u32()?);
            reader.zero(4)?;
            content = Some(Content { hash, list, blocks, inline: Vec::new() });
        }
        row.name = reader.text(name_bytes)?;
        row.old_name = reader.text(old_name_bytes)?;
        if let Some(content) = &mut content
            && content.list == 0
        {
            content.inline = (0..content.blocks).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?;
        }
        row.content = content;
        Ok(row)
    }
}

/// Table 0E: `format u8, pad[7], then the last name key done`: a detached folder whose children are being marked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SweepRow {
    /// Empty: none yet.
    pub position: Vec<u8>,
}

impl RowValue for SweepRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.position.len());
        out.u8(1);
        out.zero(7);
        out.bytes(&self.position);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SweepRow { position: reader.take(reader.left())?.to_vec() })
    }
}

/// Table 09, 24 B: `format u8, role u8, state u8, pad[5], since_jid u64, invited_ms u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberRow {
    pub role: MemberRole,
    pub state: MemberState,
    /// The head when it joined; 0 before.
    pub since: Jid,
    pub invited_ms: u64,
}

impl RowValue for MemberRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.u8(1);
        out.u8(self.role as u8);
        out.u8(self.state as u8);
        out.zero(5);
        out.u64(self.since.0);
        out.u64(self.invited_ms);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
        let state = MemberState::from_u8(reader.u8()?).ok_or(DecodeError::Field("state"))?;
        reader.zero(5)?;
        Ok(MemberRow { role, state, since: Jid(reader.u64()?), invited_ms: reader.u64()? })
    }
}

/// Table 0B, 128 B, as drawn in docs/design/metadata.md, "Uploads".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UploadRow {
    pub is_concurrent: bool,
    pub is_closed: bool,
    pub acct: Acct,
    pub created_ms: u64,
    /// Bytes so far; of a concurrent session, the end of what came furthest.
    pub offset: u64,
    pub list: u64,
    /// Positions of the list, holes included.
    pub blocks: u32,
    /// Bytes after the last whole block, and the object that has them.
    pub tail_bytes: u32,
    pub tail: u64,
    /// Over the first `names` of the list.
    pub hash: ListHash,
}

impl RowValue for UploadRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.u8(1);
        out.u8(u8::from(self.is_concurrent) | u8::from(self.is_closed) << 1);
        out.zero(6);
        [self.acct.0, self.created_ms, self.offset, self.list].iter().for_each(|field| out.u64(*field));
        out.u32(self.blocks);
        out.u32(self.tail_bytes);
        out.u64(self.tail);
        out.u32(self.hash.names as u32);
        out.zero(4);
        self.hash.state.iter().for_each(|word| out.u32(*word));
        out.bytes(&self.hash.rest);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        reader.zero(6)?;
        let (acct, created_ms) = (Acct(reader.u64()?), reader.u64()?);
        let (offset, list) = (reader.u64()?, reader.u64()?);
        let (blocks, tail_bytes, tail) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let names = u64::from(reader.u32()?);
        reader.zero(4)?;
        let mut state = [0; 8];
        for word in &mut state {
            *word = reader.u32()?;
        }
        let hash = ListHash { state, rest: reader.array()?, names };
        let (is_concurrent, is_closed) = (flags & 1 != 0, flags & 2 != 0);
        Ok(UploadRow { is_concurrent, is_closed, acct, created_ms, offset, list, blocks, tail_bytes, tail, hash })
    }
}

/// Table 0C: `format u8, pad[7], digest[16] of the arguments, stamp_ms u64, packed outcome`: a step that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeptRow {
    pub digest: [u8; 16],
    pub stamp_ms: u64,
    pub outcome: Vec<u8>,
}

impl RowValue for KeptRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.outcome.len());
        out.u8(1);
        out.zero(7);
        out.bytes(&self.digest);
        out.u64(self.stamp_ms);
        out.bytes(&self.outcome);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        let (digest, stamp_ms) = (reader.array()?, reader.u64()?);
        Ok(KeptRow { digest, stamp_ms, outcome: reader.take(reader.left())?.to_vec() })
    }
}

/// Table 15, 32 B: `format u8, pad[7], flow u64, since_ms u64, renewed_ms u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FreezeRow {
    pub flow: u64,
    pub since_ms: u64,
    pub renewed_ms: u64,
}

impl RowValue for FreezeRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.u8(1);
        out.zero(7);
        [self.flow, self.since_ms, self.renewed_ms].iter().for_each(|field| out.u64(*field));
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(FreezeRow { flow: reader.u64()?, since_ms: reader.u64()?, renewed_ms: reader.u64()? })
    }
}

/// Table 10, 56 B.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SessionRow {
    pub acct: Acct,
    pub nonce: [u8; 16],
    pub ack_below: Sequence,
    pub last_stamp_ms: u64,
    /// The highest sequence executed.
    pub high: Sequence,
}

impl RowValue for SessionRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56);
        out.u8(1);
        out.zero(7);
        out.u64(self.acct.0);
        out.bytes(&self.nonce);
        out.u64(self.ack_below.0);
        out.u64(self.last_stamp_ms);
        out.u64(self.high.0);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SessionRow {
            acct: Acct(reader.u64()?),
            nonce: reader.array()?,
            ack_below: Sequence(reader.u64()?),
            last_stamp_ms: reader.u64()?,
            high: Sequence(reader.u64()?),
        })
    }
}

/// Table 10 at session 0, 24 B: how many sessions the group has, and where the search for idle ones stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SessionsRow {
    pub count: u64,
    pub looked_at: SessionId,
}

impl RowValue for SessionsRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.u8(1);
        out.zero(7);
        out.u64(self.count);
        out.u64(self.looked_at.0);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SessionsRow { count: reader.u64()?, looked_at: SessionId(reader.u64()?) })
    }
}

/// Tables 0A, 12 and 21: `format u8, pad[7], a number`: the node of a mount, the session of a nonce, the account of a
/// name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NumberRow(pub u64);

impl RowValue for NumberRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.u8(1);
        out.zero(7);
        out.u64(self.0);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(NumberRow(reader.u64()?))
    }
}

/// Table 29 at `counters`, 24 B: the next ids that group 0 hands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CountersRow {
    pub next_acct: u64,
    pub next_nsid: u64,
}

impl Default for CountersRow {
    fn default() -> CountersRow {
        CountersRow { next_acct: 1, next_nsid: 10_000_000_000 }
    }
}

impl RowValue for CountersRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.u8(1);
        out.zero(7);
        out.u64(self.next_acct);
        out.u64(self.next_nsid);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(CountersRow { next_acct: reader.u64()?, next_nsid: reader.u64()? })
    }
}

/// Table 20: `format u8, state u8, name_len u16, token_gen u32, root u64, allocated u64, created_ms u64, name`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AccountRow {
    /// 1 active.
    pub state: u8,
    pub token_gen: u32,
    pub root: Nsid,
    /// Bytes of all its grants; 0 while nothing limits them.
    pub allocated: u64,
    pub created_ms: u64,
    pub name: String,
}

impl RowValue for AccountRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.name.len());
        out.u8(1);
        out.u8(self.state);
        out.u16(len16(self.name.len()));
        out.u32(self.token_gen);
        out.u64(self.root.0);
        out.u64(self.allocated);
        out.u64(self.created_ms);
        out.bytes(self.name.as_bytes());
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let state = reader.u8()?;
        let name_bytes = reader.u16()? as usize;
        Ok(AccountRow {
            state,
            token_gen: reader.u32()?,
            root: Nsid(reader.u64()?),
            allocated: reader.u64()?,
            created_ms: reader.u64()?,
            name: reader.text(name_bytes)?,
        })
    }
}

/// Table 22: `format u8, kind u8, state u8, pad[5], owner u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectoryRow {
    pub kind: NamespaceKind,
    /// 1 active.
    pub state: u8,
    pub owner: Acct,
}

impl RowValue for DirectoryRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.u8(1);
        out.u8(self.kind as u8);
        out.u8(self.state);
        out.zero(5);
        out.u64(self.owner.0);
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = NamespaceKind::from_u8(reader.u8()?).ok_or(DecodeError::Field("namespace kind"))?;
        let state = reader.u8()?;
        reader.zero(5)?;
        Ok(DirectoryRow { kind, state, owner: Acct(reader.u64()?) })
    }
}

/// Table 2B: `format u8, role u8, address_len u16, pad[4], last_seen_ms u64, address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerRow {
    pub role: u8,
    pub last_seen_ms: u64,
    pub address: String,
}

impl RowValue for ServerRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.address.len());
        out.u8(1);
        out.u8(self.role);
        out.u16(len16(self.address.len()));
        out.zero(4);
        out.u64(self.last_seen_ms);
        out.bytes(self.address.as_bytes());
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = reader.u8()?;
        let length = reader.u16()? as usize;
        reader.zero(4)?;
        Ok(ServerRow { role, last_seen_ms: reader.u64()?, address: reader.text(length)? })
    }
}

/// Table 2C: `format u8, flags u8 {1 removed}, peer_len u16, client_len u32, uuid[16], peer address, client address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClusterNodeRow {
    pub is_removed: bool,
    pub uuid: [u8; 16],
    pub peer_address: String,
    pub client_address: String,
}

impl RowValue for ClusterNodeRow {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.peer_address.len() + self.client_address.len());
        out.u8(1);
        out.u8(u8::from(self.is_removed));
        out.u16(len16(self.peer_address.len()));
        out.u32(len32(self.client_address.len()));
        out.bytes(&self.uuid);
        out.bytes(self.peer_address.as_bytes());
        out.bytes(self.client_address.as_bytes());
        out
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let is_removed = reader.u8()? != 0;
        let (peer, client) = (reader.u16()? as usize, reader.u32()? as usize);
        let uuid = reader.array()?;
        Ok(ClusterNodeRow { is_removed, uuid, peer_address: reader.text(peer)?, client_address: reader.text(client)? })
    }
}
