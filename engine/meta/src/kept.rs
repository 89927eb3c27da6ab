//! Outcomes kept for retries, packed: metadata is found again through its journal row.
//!
//! ```text
//! 0 u8 format=1  1 u8 flags {1 batch}  2 u16 zero  4 u32 parts  8 u64 nsid  16 u32 failed part or all ones  20 u32 zero
//! 24 parts: 0 u8 code  1 u8 form  2 u16 zero  4 u32 length  8 u64 value
//! form 0 the code is all   1 value is the jid of the metadata   2 `length` bytes of the outcome's encoding follow
//!      3 `length` positions of NeedBlocks follow, u16 each; what follows is padded to 8
//!      4 value is the jid of an attribute; node u64, jid of the revision u64, i64 client_mtime_ms follow
//! ```

use base::{Jid, Nsid, TreeNode};

use crate::codec::{DecodeError, Put, Reader, len32};
use crate::metadata::{Metadata, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::rows::Op;
use crate::store::Cold;
use crate::tree::Tree;

const FLAG_BATCH: u8 = 1;

/// The bytes to keep of an outcome.
///
/// `is_attr`: of a command that sets an attribute.
pub(crate) fn pack(nsid: Nsid, outcome: &Outcome, is_attr: bool) -> Vec<u8> {
    let mut out = Vec::new();
    pack_into(nsid, outcome, is_attr, &mut out);
    out
}

/// Appends what [`pack`] makes.
pub(crate) fn pack_into(nsid: Nsid, outcome: &Outcome, is_attr: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let (flags, failed, parts) = match outcome {
        Outcome::Batch { failed, outcomes } => (FLAG_BATCH, failed.unwrap_or(u32::MAX), &outcomes[..]),
        outcome => (0, u32::MAX, std::slice::from_ref(outcome)),
    };
    out.u8(1);
    out.u8(flags);
    out.zero(2);
    out.u32(len32(parts.len()));
    out.u64(nsid.0);
    out.u32(failed);
    out.zero(4);
    parts.iter().for_each(|part| pack_part(nsid, part, is_attr, (start, out)));
}

fn pack_part(nsid: Nsid, part: &Outcome, is_attr: bool, (start, out): (usize, &mut Vec<u8>)) {
    let (form, length, value, tail) = match part {
        // What was put in another namespace has its row there.
        Outcome::Applied(meta) | Outcome::Unchanged(meta) if meta.nsid != nsid => {
            let mut tail = Vec::new();
            part.encode(&mut tail);
            (2, tail.len(), 0, tail)
        }
        // No row of the journal tells a revision with another attribute. Files keep the row of their revision; a folder's
        // place may be trimmed, so it is kept whole.
        Outcome::Applied(meta) | Outcome::Unchanged(meta) if is_attr && meta.kind != NodeKind::File => {
            let mut tail = Vec::new();
            part.encode(&mut tail);
            (2, tail.len(), 0, tail)
        }
        Outcome::Applied(meta) | Outcome::Unchanged(meta)
            if meta.jid != meta.rev_jid && (is_attr || matches!(part, Outcome::Unchanged(_))) =>
        {
            let mut tail = Vec::with_capacity(24);
            tail.u64(meta.node.0);
            tail.u64(meta.rev_jid.0);
            tail.i64(meta.client_mtime_ms);
            (4, 24, meta.jid.0, tail)
        }
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => (1, 0, meta.jid.0, Vec::new()),
        Outcome::NeedBlocks(positions) => {
            let tail = positions.iter().flat_map(|position| (*position as u16).to_le_bytes()).collect();
            (3, positions.len(), 0, tail)
        }
        other => {
            let mut tail = Vec::new();
            other.encode(&mut tail);
            if tail.len() == 8 { (0, 0, 0, Vec::new()) } else { (2, tail.len(), 0, tail) }
        }
    };
    out.u8(part.code());
    out.u8(form);
    out.zero(2);
    out.u32(len32(length));
    out.u64(value);
    out.bytes(&tail);
    out.pad(start);
}

/// The outcome as it was given. [`Cold`] when a journal row of it is not in memory.
pub(crate) fn unpack<R: Source>(source: &mut R, bytes: &[u8]) -> Result<Outcome, Cold> {
    let broken = |error: DecodeError| -> ! { panic!("a kept outcome is broken: {error}") };
    let (parts, flags, nsid, failed) = unpack_parts(bytes).unwrap_or_else(|error| broken(error));
    let mut outcomes = Vec::with_capacity(parts.len());
    let mut tree = Tree { source, nsid };
    for part in parts {
        outcomes.push(match part {
            Part::Whole(outcome) => outcome,
            Part::Metadata { code, jid, attr } => match metadata_of(&mut tree, jid, attr)? {
                Some(metadata) if code == 1 => Outcome::Applied(metadata),
                Some(metadata) => Outcome::Unchanged(metadata),
                // The journal was trimmed beyond it: whoever did not ask for so long is told that it was done.
                None => Outcome::Acknowledged,
            },
        });
    }
    if flags & FLAG_BATCH != 0 {
        base::mark::hit!("meta.kept.batch");
        return Ok(Outcome::Batch { failed: (failed != u32::MAX).then_some(failed), outcomes });
    }
    Ok(outcomes.pop().expect("pack writes one part for what is no batch"))
}

enum Part {
    Whole(Outcome),
    Metadata { code: u8, jid: Jid, attr: Option<Attr> },
}

/// The revision whose attribute was set.
struct Attr {
    node: TreeNode,
    rev_jid: Jid,
    client_mtime_ms: i64,
}

fn unpack_parts(bytes: &[u8]) -> Result<(Vec<Part>, u8, Nsid, u32), DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != 1 {
        return Err(DecodeError::Format(bytes[0]));
    }
    let flags = reader.u8()?;
    reader.zero(2)?;
    let count = reader.u32()?;
    let nsid = Nsid(reader.u64()?);
    let failed = reader.u32()?;
    reader.zero(4)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let (code, form) = (reader.u8()?, reader.u8()?);
        reader.zero(2)?;
        let length = reader.u32()? as usize;
        let value = reader.u64()?;
        parts.push(match form {
            0 => Part::Whole(Outcome::decode(&[1, code, 0, 0, 0, 0, 0, 0])?),
            1 => Part::Metadata { code, jid: Jid(value), attr: None },
            4 => {
                let (node, rev_jid) = (TreeNode(reader.u64()?), Jid(reader.u64()?));
                let attr = Some(Attr { node, rev_jid, client_mtime_ms: reader.i64()? });
                Part::Metadata { code, jid: Jid(value), attr }
            }
            2 => Part::Whole(Outcome::decode(reader.take(length)?)?),
            _ => {
                let positions = (0..length).map(|_| reader.u16().map(u32::from)).collect::<Result<_, _>>()?;
                Part::Whole(Outcome::NeedBlocks(positions))
            }
        });
        reader.pad()?;
    }
    reader.end()?;
    Ok((parts, flags, nsid, failed))
}

/// What the outcome of journal row `jid` told; `None` if that row was trimmed. A delete told the revision that it removed.
fn metadata_of<R: Source>(tree: &mut Tree<'_, R>, jid: Jid, attr: Option<Attr>) -> Result<Option<Metadata>, Cold> {
    if let Some(Attr { node, rev_jid, client_mtime_ms }) = attr {
        let row = tree.node(node)?.filter(|row| row.rev_jid == rev_jid);
        let metadata = match row {
            Some(row) => Some(row.metadata(tree.nsid, node)),
            None => tree.journal(rev_jid)?.and_then(|row| row.metadata(tree.nsid, rev_jid)),
        };
        return Ok(metadata.map(|metadata| Metadata { jid, client_mtime_ms, ..metadata }));
    }
    let Some(row) = tree.journal(jid)? else { return Ok(None) };
    if let Some(metadata) = row.metadata(tree.nsid, jid) {
        return Ok(Some(metadata));
    }
    assert!(matches!(row.op, Op::Delete | Op::Unmount), "every other row holds its node");
    // The row that placed a folder may be trimmed long before the folder is deleted; its node stays until the delete is.
    if let Some(node) = tree.node(row.node)?
        && node.last_jid == jid
    {
        return Ok(Some(node.metadata(tree.nsid, row.node)));
    }
    let Some(before) = tree.journal(row.prev_jid)? else { return Ok(None) };
    let mut metadata = before.metadata(tree.nsid, row.prev_jid).expect("it put or placed the node");
    metadata.jid = jid;
    if row.client_mtime_ms != i64::MIN {
        metadata.client_mtime_ms = row.client_mtime_ms;
    }
    Ok(Some(metadata))
}
