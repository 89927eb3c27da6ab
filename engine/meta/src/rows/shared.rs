//! Rows of members, uploads, freezes, and of what a step came to.

use base::{Acct, Jid, TreeNode};

use super::RowValue;
use crate::codec::{DecodeError, Put, Reader};
use crate::command::{MemberRole, MemberState};
use crate::list_hash::ListHash;

/// Table 09, 24 B: `format u8, role u8, state u8, pad, member_gen u32, since_jid u64, invited_ms u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberRow {
    pub role: MemberRole,
    pub state: MemberState,
    /// The head when it joined; 0 before.
    pub since: Jid,
    pub invited_ms: u64,
    /// Tells this membership from an earlier one of the account: the namespace's `auth_gen` when it was invited.
    pub member_gen: u32,
}

impl RowValue for MemberRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.role as u8);
        out.u8(self.state as u8);
        out.zero(1);
        out.u32(self.member_gen);
        out.u64(self.since.0);
        out.u64(self.invited_ms);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
        let state = MemberState::from_u8(reader.u8()?).ok_or(DecodeError::Field("state"))?;
        reader.zero(1)?;
        let member_gen = reader.u32()?;
        Ok(MemberRow { role, state, since: Jid(reader.u64()?), invited_ms: reader.u64()?, member_gen })
    }
}

/// Table 0B, 128 B, as drawn in docs/design/metadata.md, "Uploads".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UploadRow {
    pub is_concurrent: bool,
    pub is_closed: bool,
    /// It is a blocklist for a put to come, not a session.
    pub is_staged: bool,
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
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(u8::from(self.is_concurrent) | u8::from(self.is_closed) << 1 | u8::from(self.is_staged) << 2);
        out.zero(6);
        [self.acct.0, self.created_ms, self.offset, self.list].iter().for_each(|field| out.u64(*field));
        out.u32(self.blocks);
        out.u32(self.tail_bytes);
        out.u64(self.tail);
        out.u32(self.hash.names as u32);
        out.zero(4);
        self.hash.state.iter().for_each(|word| out.u32(*word));
        out.bytes(&self.hash.rest);
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
        let (is_concurrent, is_closed, is_staged) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        Ok(UploadRow {
            is_concurrent,
            is_closed,
            is_staged,
            acct,
            created_ms,
            offset,
            list,
            blocks,
            tail_bytes,
            tail,
            hash,
        })
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
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.bytes(&self.digest);
        out.u64(self.stamp_ms);
        out.bytes(&self.outcome);
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
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        [self.flow, self.since_ms, self.renewed_ms].iter().for_each(|field| out.u64(*field));
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(FreezeRow { flow: reader.u64()?, since_ms: reader.u64()?, renewed_ms: reader.u64()? })
    }
}

/// Table 16: `format u8, pad[7], source u64, hidden u64, touched_ms u64, digest[16], then the last position copied`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CopyRow {
    pub source: TreeNode,
    /// The folder below which the copy grows.
    pub hidden: TreeNode,
    pub touched_ms: u64,
    /// Of what was asked.
    pub digest: [u8; 16],
    /// Name keys from the source to the last node that was copied.
    pub position: String,
}

impl RowValue for CopyRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        [self.source.0, self.hidden.0, self.touched_ms].iter().for_each(|field| out.u64(*field));
        out.bytes(&self.digest);
        out.bytes(self.position.as_bytes());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        let (source, hidden) = (TreeNode(reader.u64()?), TreeNode(reader.u64()?));
        let (touched_ms, digest) = (reader.u64()?, reader.array()?);
        Ok(CopyRow { source, hidden, touched_ms, digest, position: reader.text(reader.left())? })
    }
}
