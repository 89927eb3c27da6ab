//! The bytes of what readers of whole trees ask and are told; every kind has a golden.

use base::{BlockHash, Jid, Nsid, TreeNode};

use crate::codec::{DecodeError, Put, Reader};
use crate::command::UploadId;
use crate::delta::DeltaCursor;
use crate::query::{Answer, DeltaIn, MountPlace, Query, UploadState};
use crate::query_codec::{at, blob, count, decode_change, flag, put_at, put_blob, put_change, put_count, put_cursor};
use crate::scope::Scope;

const SCOPE_BY_ID: u8 = 1;
const SCOPE_RECURSIVE: u8 = 2;
const STOPS_AT_MOUNTS: u8 = 4;

/// The body of kinds 26 to 29.
pub(crate) fn encode_query(query: &Query, out: &mut Vec<u8>) {
    match query {
        // 0 u32 limit  4 u8 flags {1 by id,2 recursive,4 stops at mounts}  5 zero[3]  8 u64 folder  16 path_hash[8]  24 cursor
        Query::DeltaIn(asked) => {
            let scope = asked.scope;
            out.u32(asked.limit);
            let flags = [
                (scope.is_by_id, SCOPE_BY_ID),
                (scope.is_recursive, SCOPE_RECURSIVE),
                (asked.stops_at_mounts, STOPS_AT_MOUNTS),
            ];
            out.u8(flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag));
            out.zero(3);
            out.u64(scope.folder.0);
            out.bytes(&scope.path_hash);
            put_cursor(&asked.cursor, out);
        }
        // As ListPage.
        Query::ListAll { at, recursive, position, limit } => {
            out.u8(u8::from(*recursive));
            out.zero(3);
            out.u32(*limit);
            put_at(at, out);
            put_blob(position, out);
        }
        Query::Mounts { after } => out.u64(after.0),
        // 0 u64 nonce  8 u64 issued_ms  16 u8 concurrent  17 zero[3]  20 u32 first
        Query::Upload { id, first } => {
            out.u64(id.nonce);
            out.u64(id.issued_ms);
            out.u8(u8::from(id.is_concurrent));
            out.zero(3);
            out.u32(*first);
        }
        _ => unreachable!("the caller has the other kinds"),
    }
}

pub(crate) fn decode_query(kind: u8, reader: &mut Reader<'_>) -> Result<Query, DecodeError> {
    Ok(match kind {
        26 => {
            let limit = reader.u32()?;
            let flags = reader.u8()?;
            if flags & !(SCOPE_BY_ID | SCOPE_RECURSIVE | STOPS_AT_MOUNTS) != 0 {
                return Err(DecodeError::Field("flags"));
            }
            reader.zero(3)?;
            let scope = Scope {
                folder: TreeNode(reader.u64()?),
                path_hash: reader.array()?,
                is_by_id: flags & SCOPE_BY_ID != 0,
                is_recursive: flags & SCOPE_RECURSIVE != 0,
            };
            let (cursor, stops_at_mounts) = (DeltaCursor::decode(blob(reader)?)?, flags & STOPS_AT_MOUNTS != 0);
            Query::DeltaIn(Box::new(DeltaIn { scope, cursor, limit, stops_at_mounts }))
        }
        27 => {
            let recursive = flag(reader)?;
            reader.zero(3)?;
            let limit = reader.u32()?;
            Query::ListAll { at: at(reader)?, recursive, position: blob(reader)?.to_vec(), limit }
        }
        28 => Query::Mounts { after: Nsid(reader.u64()?) },
        _ => {
            let (nonce, issued_ms, is_concurrent) = (reader.u64()?, reader.u64()?, flag(reader)?);
            reader.zero(3)?;
            Query::Upload { id: UploadId { nonce, issued_ms, is_concurrent }, first: reader.u32()? }
        }
    })
}

/// The body of kinds 56 to 58.
pub(crate) fn encode_answer(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::All { changes, next, head } => {
            out.u64(head.0);
            out.u8(u8::from(next.is_some()));
            out.zero(7);
            put_blob(next.as_deref().unwrap_or(&[]), out);
            put_count(changes.len(), out);
            changes.iter().for_each(|change| put_change(change, out));
        }
        Answer::Mounts { mounts, next } => {
            out.u64(next.unwrap_or_default().0);
            put_count(mounts.len(), out);
            for mount in mounts {
                out.u64(mount.target.0);
                out.u64(mount.node.0);
                put_blob(mount.path_display.as_bytes(), out);
            }
        }
        // 0 u8 closed  1 zero[3]  4 u32 tail_bytes  8 u64 offset  16 u64 tail  24 u32 total  28 u32 first  32 the blocks
        Answer::Upload(state) => {
            out.u8(u8::from(state.is_closed));
            out.zero(3);
            out.u32(state.tail_bytes);
            out.u64(state.offset);
            out.u64(state.tail);
            out.u32(state.total);
            out.u32(state.first);
            put_count(state.blocks.len(), out);
            for (hash, bytes) in &state.blocks {
                out.bytes(&hash.0);
                out.u32(*bytes);
                out.zero(4);
            }
        }
        _ => unreachable!("the caller has the other kinds"),
    }
}

pub(crate) fn decode_answer(kind: u8, reader: &mut Reader<'_>) -> Result<Answer, DecodeError> {
    Ok(match kind {
        56 => {
            let (head, has_next) = (Jid(reader.u64()?), flag(reader)?);
            reader.zero(7)?;
            let next = blob(reader)?.to_vec();
            let count = count(reader, 16, "changes")?;
            let changes = (0..count).map(|_| decode_change(reader)).collect::<Result<_, _>>()?;
            Answer::All { changes, next: has_next.then_some(next), head }
        }
        57 => {
            let next = Nsid(reader.u64()?);
            let count = count(reader, 24, "mounts")?;
            let mounts = (0..count).map(|_| decode_mount(reader)).collect::<Result<_, _>>()?;
            Answer::Mounts { mounts, next: (next.0 != 0).then_some(next) }
        }
        _ => {
            let is_closed = flag(reader)?;
            reader.zero(3)?;
            let (tail_bytes, offset, tail) = (reader.u32()?, reader.u64()?, reader.u64()?);
            let (total, first) = (reader.u32()?, reader.u32()?);
            let count = count(reader, 40, "blocks")?;
            let blocks = (0..count).map(|_| decode_block(reader)).collect::<Result<_, _>>()?;
            Answer::Upload(UploadState { is_closed, offset, tail_bytes, tail, total, first, blocks })
        }
    })
}

fn decode_mount(reader: &mut Reader<'_>) -> Result<MountPlace, DecodeError> {
    let (target, node) = (Nsid(reader.u64()?), TreeNode(reader.u64()?));
    let path = std::str::from_utf8(blob(reader)?).map_err(|_| DecodeError::Text)?;
    Ok(MountPlace { target, node, path_display: path.to_owned() })
}

fn decode_block(reader: &mut Reader<'_>) -> Result<(BlockHash, u32), DecodeError> {
    let block = (BlockHash(reader.array()?), reader.u32()?);
    reader.zero(4)?;
    Ok(block)
}
