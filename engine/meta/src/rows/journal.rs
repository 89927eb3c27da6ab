//! Rows of the journal, and what a revision is made of.

use base::{Acct, BlockHash, Jid, Nsid, TreeNode};

use super::{RowValue, node_kind};
use crate::codec::{DecodeError, Put, Reader, len16};
use crate::metadata::{Metadata, NodeKind};

/// What a journal row did; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Put = 1,
    Mkdir = 2,
    Move = 3,
    Delete = 4,
    Mount = 5,
    Unmount = 6,
    Attr = 7,
    Attach = 8,
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
        matches!(self.op, Op::Move | Op::Mount | Op::Attach) && self.kind != NodeKind::File
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
    fn encode(&self, out: &mut Vec<u8>) {
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
            8 => Op::Attach,
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
