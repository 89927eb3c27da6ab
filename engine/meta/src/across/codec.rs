//! The bytes of exports and imports.
//!
//! ```text
//! place   0 u8 {0 listing,1 changes}  1 zero[7]  8 u64 head or 0   16 blob: the position, or the cursor
//! item    0 u8 {0 deleted,1 folder,2 file}  1 zero[3]  4 u32 blocks   8 blob: the path
//!         of a file  u64 rev  u64 size  i64 client_mtime_ms  content_hash[32]  block names, 32 B each
//! export  0 u64 node   8 u32 limit  12 zero[4]  16 place
//! page    0 u8 has_more  1 zero[7]  8 u64 behind  16 place  then u32 count, zero[4], items
//! import  0 u64 flow  8 u64 part  16 u64 acct  24 u64 read_ms  32 u8 {1 hidden}  33 zero[7]  40 place  then items as above
//! end     0 u64 flow  8 u32 step  12 zero[4]  16 u8 {0 stay,1 attach,2 give up}  17 u8 {1 autorename}  18 zero[6]  24 u64 acct
//!         32 place of the tree, of an attach only
//! state   0 u64 parts  8 u8 is_ended  9 zero[7]  16 place
//! member  0 u64 acct  8 u8 role  9 u8 state  10 zero[6]  16 u64 invited_ms
//! ```

use base::limits::COMMAND_BLOCKS_MAX;
use base::{Acct, BlockHash, Jid, TreeNode};

use super::*;
use crate::codec::{DecodeError, Put, Reader, len32};
use crate::command::{MemberRole, MemberState};
use crate::query_codec::{at, blob, blob_text, count, flag, put_at, put_blob, put_count};

const ITEM_BYTES: usize = 16;
const MEMBER_BYTES: usize = 24;

impl CarryPlace {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, head, bytes) = match self {
            CarryPlace::Listing { head, position } => (0, *head, position.clone().into_bytes()),
            CarryPlace::Changes(cursor) => {
                let mut bytes = Vec::new();
                cursor.encode(&mut bytes);
                (1, Jid(0), bytes)
            }
        };
        out.u8(kind);
        out.zero(7);
        out.u64(head.0);
        put_blob(&bytes, out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<CarryPlace, DecodeError> {
        let is_changes = flag(reader)?;
        reader.zero(7)?;
        let head = Jid(reader.u64()?);
        match (is_changes, head) {
            (false, head) => Ok(CarryPlace::Listing { head, position: blob_text(reader)? }),
            (true, Jid(0)) => Ok(CarryPlace::Changes(DeltaCursor::decode(blob(reader)?)?)),
            _ => Err(DecodeError::Field("place")),
        }
    }
}

fn put_item(item: &CarriedItem, out: &mut Vec<u8>) {
    let (kind, blocks) = match &item.what {
        Carried::Deleted => (0, 0),
        Carried::Folder => (1, 0),
        Carried::File(file) => (2, file.blocks.len()),
    };
    out.u8(kind);
    out.zero(3);
    out.u32(len32(blocks));
    put_blob(item.path.as_bytes(), out);
    if let Carried::File(file) = &item.what {
        out.u64(file.rev.0);
        out.u64(file.size);
        out.i64(file.client_mtime_ms);
        out.bytes(&file.content_hash);
        file.blocks.iter().for_each(|block| out.bytes(&block.0));
    }
}

fn item(reader: &mut Reader<'_>) -> Result<CarriedItem, DecodeError> {
    let kind = reader.u8()?;
    reader.zero(3)?;
    let blocks = reader.u32()? as usize;
    let path = blob_text(reader)?;
    if blocks > COMMAND_BLOCKS_MAX || (kind != 2 && blocks > 0) {
        return Err(DecodeError::TooMany("blocks"));
    }
    let what = match kind {
        0 => Carried::Deleted,
        1 => Carried::Folder,
        2 => Carried::File(CarriedFile {
            rev: Jid(reader.u64()?),
            size: reader.u64()?,
            client_mtime_ms: reader.i64()?,
            content_hash: reader.array()?,
            blocks: (0..blocks).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?,
        }),
        number => return Err(DecodeError::Kind { what: "item", number }),
    };
    Ok(CarriedItem { path, what })
}

fn put_items(items: &[CarriedItem], out: &mut Vec<u8>) {
    put_count(items.len(), out);
    items.iter().for_each(|item| put_item(item, out));
}

fn items(reader: &mut Reader<'_>) -> Result<Vec<CarriedItem>, DecodeError> {
    let count = count(reader, ITEM_BYTES, "items")?;
    (0..count).map(|_| item(reader)).collect()
}

impl Export {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u64(self.node.0);
        out.u32(self.limit);
        out.zero(4);
        self.place.encode(out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Export, DecodeError> {
        let (node, limit) = (TreeNode(reader.u64()?), reader.u32()?);
        reader.zero(4)?;
        Ok(Export { node, limit, place: CarryPlace::decode(reader)? })
    }
}

impl ExportPage {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u8(u8::from(self.has_more));
        out.zero(7);
        out.u64(self.behind);
        self.next.encode(out);
        put_items(&self.items, out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ExportPage, DecodeError> {
        let has_more = flag(reader)?;
        reader.zero(7)?;
        let (behind, next) = (reader.u64()?, CarryPlace::decode(reader)?);
        Ok(ExportPage { items: items(reader)?, next, has_more, behind })
    }
}

impl Import {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        [self.flow, self.part, self.acct.0, self.read_ms].iter().for_each(|field| out.u64(*field));
        out.u8(u8::from(self.is_hidden));
        out.zero(7);
        self.place.encode(out);
        put_items(&self.items, out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Import, DecodeError> {
        let (flow, part, acct, read_ms) = (reader.u64()?, reader.u64()?, Acct(reader.u64()?), reader.u64()?);
        let is_hidden = flag(reader)?;
        reader.zero(7)?;
        let place = CarryPlace::decode(reader)?;
        Ok(Import { flow, part, acct, read_ms, is_hidden, place, items: items(reader)? })
    }
}

impl ImportEnd {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u64(self.step.flow);
        out.u32(self.step.step);
        out.zero(4);
        let (kind, autorename, acct) = match &self.how {
            ImportEndHow::Stay => (0, false, Acct(0)),
            ImportEndHow::Attach { autorename, acct, .. } => (1, *autorename, *acct),
            ImportEndHow::GiveUp => (2, false, Acct(0)),
        };
        out.u8(kind);
        out.u8(u8::from(autorename));
        out.zero(6);
        out.u64(acct.0);
        if let ImportEndHow::Attach { at, .. } = &self.how {
            put_at(at, out);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ImportEnd, DecodeError> {
        let step = Step { flow: reader.u64()?, step: reader.u32()? };
        reader.zero(4)?;
        let (kind, autorename) = (reader.u8()?, flag(reader)?);
        reader.zero(6)?;
        let acct = Acct(reader.u64()?);
        let how = match kind {
            1 => ImportEndHow::Attach { at: at(reader)?, autorename, acct },
            0 | 2 if autorename || acct != Acct(0) => return Err(DecodeError::Field("end of an import")),
            0 => ImportEndHow::Stay,
            2 => ImportEndHow::GiveUp,
            number => return Err(DecodeError::Kind { what: "end of an import", number }),
        };
        Ok(ImportEnd { step, how })
    }
}

impl ImportInfo {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u64(self.parts);
        out.u8(u8::from(self.is_ended));
        out.zero(7);
        self.place.encode(out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ImportInfo, DecodeError> {
        let (parts, is_ended) = (reader.u64()?, flag(reader)?);
        reader.zero(7)?;
        Ok(ImportInfo { parts, is_ended, place: CarryPlace::decode(reader)? })
    }
}

pub(crate) fn put_members(members: &[MemberInfo], out: &mut Vec<u8>) {
    put_count(members.len(), out);
    for member in members {
        out.u64(member.acct.0);
        out.u8(member.role as u8);
        out.u8(member.state as u8);
        out.zero(6);
        out.u64(member.invited_ms);
    }
}

pub(crate) fn take_members(reader: &mut Reader<'_>) -> Result<Vec<MemberInfo>, DecodeError> {
    let count = count(reader, MEMBER_BYTES, "members")?;
    let member = |reader: &mut Reader<'_>| {
        let acct = Acct(reader.u64()?);
        let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
        let state = MemberState::from_u8(reader.u8()?).ok_or(DecodeError::Field("state"))?;
        reader.zero(6)?;
        Ok(MemberInfo { acct, role, state, invited_ms: reader.u64()? })
    };
    (0..count).map(|_| member(reader)).collect()
}
