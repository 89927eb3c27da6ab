//! The bytes of commands; every kind has a golden (docs/design/metadata.md, "Commands").

use base::bytes::put_u32;
use base::limits::{COMMAND_BLOCKS_MAX, COMMAND_BYTES_MAX};
use base::{Acct, BlockHash, Jid, NodeId, NodeUuid, Nsid, Sequence, SessionId, TreeNode};

use crate::across::{Import, ImportEnd};
use crate::codec::{DecodeError, Put, Reader, len16, len32};
use crate::command::*;
use crate::group0::Group0Command;
use crate::links::LinkCommand;
use crate::metadata::{Metadata, NamespaceKind};

const FLAG_AUTORENAME: u8 = 1;
const FLAG_STRICT: u8 = 2;
const FLAG_STAGED: u8 = 4;
const FLAG_ATTESTED: u8 = 8;
const FLAG_GIVES_UP: u8 = 1;
const FLAG_PARENT_REV: u8 = 1;
const FLAG_ATOMIC: u8 = 1;
const FLAG_REMOVED: u8 = 1;
const PRESENT_PART_BYTES: usize = 16;
const PRESENT_BLOCK_BYTES: usize = 48;

/// Appends the encoding of a command.
pub fn encode_command(header: &CommandHeader, command: &Command, out: &mut Vec<u8>) {
    let start = out.len();
    out.u8(1);
    out.u8(command.kind());
    out.zero(6);
    out.u64(header.session.0);
    out.u64(header.sequence.0);
    out.u64(header.ack_below.0);
    out.u64(header.acct.0);
    out.u64(header.nsid.0);
    encode_body(command, out);
    let body = len32(out.len() - start - COMMAND_HEADER_BYTES);
    put_u32(out, start + 4, body);
}

/// The command in exactly these bytes.
///
/// Errors: [`DecodeError`]; a kind of a newer version is `Kind { what: "command", .. }`.
pub fn decode_command(bytes: &[u8]) -> Result<(CommandHeader, Command), DecodeError> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(DecodeError::TooMany("command bytes"));
    }
    let mut reader = Reader::new(bytes);
    let (header, kind, body_bytes) = decode_header(&mut reader)?;
    let body = reader.take(body_bytes)?;
    reader.end()?;
    Ok((header, decode_body(kind, body)?))
}

/// Header, kind and body length; what comes after is not looked at.
pub(crate) fn decode_header(reader: &mut Reader<'_>) -> Result<(CommandHeader, u8, usize), DecodeError> {
    match reader.u8()? {
        1 => {}
        format => return Err(DecodeError::Format(format)),
    }
    let kind = reader.u8()?;
    reader.zero(2)?;
    let body_bytes = reader.u32()? as usize;
    let header = CommandHeader {
        session: SessionId(reader.u64()?),
        sequence: Sequence(reader.u64()?),
        ack_below: Sequence(reader.u64()?),
        acct: Acct(reader.u64()?),
        nsid: Nsid(reader.u64()?),
    };
    Ok((header, kind, body_bytes))
}

fn encode_body(command: &Command, out: &mut Vec<u8>) {
    let start = out.len();
    match command {
        Command::CommitFile(commit) => encode_commit(commit, &[], out),
        Command::StoreAndCommit(both) => encode_commit(&both.commit, &both.present, out),
        Command::CommitBatch(batch) => encode_batch(batch, out),
        Command::Mkdir(mkdir) => {
            out.u8(u8::from(mkdir.autorename));
            out.zero(1);
            out.u16(len16(mkdir.at.path.len()));
            out.zero(4);
            out.u64(mkdir.at.node.0);
            out.bytes(mkdir.at.path.as_bytes());
        }
        Command::Delete(delete) => {
            out.u8(u8::from(delete.parent_rev.is_some()));
            out.zero(1);
            out.u16(len16(delete.at.path.len()));
            out.zero(4);
            out.u64(delete.at.node.0);
            out.u64(delete.parent_rev.unwrap_or_default().0);
            out.bytes(delete.at.path.as_bytes());
        }
        Command::Move(moved) => encode_pair(&moved.source, &moved.target, moved.autorename, out),
        Command::Copy(copy) => encode_pair(&copy.source, &copy.target, copy.autorename, out),
        // 0 u64 id  8 u8 flags {1 gives up}  9 zero[3]  12 u32 limit  16 as a Copy
        Command::CopyStep(step) => {
            out.u64(step.id);
            out.u8(u8::from(step.gives_up) * FLAG_GIVES_UP);
            out.zero(3);
            out.u32(step.limit);
            encode_pair(&step.source, &step.target, step.autorename, out);
        }
        Command::Import(import) => import.encode(out),
        Command::ImportEnd(end) => end.encode(out),
        Command::SetAttr(attr) => {
            out.zero(2);
            out.u16(len16(attr.at.path.len()));
            out.zero(4);
            out.u64(attr.at.node.0);
            out.i64(attr.client_mtime_ms.unwrap_or(i64::MIN));
            out.bytes(attr.at.path.as_bytes());
        }
        Command::Restore(restore) => {
            out.zero(2);
            out.u16(len16(restore.at.path.len()));
            out.zero(4);
            out.u64(restore.at.node.0);
            out.u64(restore.rev.0);
            out.bytes(restore.at.path.as_bytes());
        }
        Command::BlocksPresent(blocks) => encode_blocks_present(blocks, out),
        Command::SessionAppend(append) => {
            encode_upload_id(append.id, append.close, out);
            out.u64(append.offset);
            out.u64(append.tail);
            out.u32(append.tail_bytes);
            out.zero(4);
            encode_blocks_present(&append.blocks, out);
        }
        Command::SessionSeal(id) => encode_upload_id(*id, false, out),
        Command::SessionFinish(finish) => {
            encode_upload_id(finish.id, finish.result.is_some(), out);
            out.u64(finish.offset);
            encode_blocks_present(&finish.rest, out);
            encode_commit(&finish.commit, &[], out);
            if let Some(result) = &finish.result {
                result.encode(out);
            }
        }
        Command::ListStage(stage) => {
            encode_upload_id(stage.id, false, out);
            out.u32(stage.part);
            out.zero(4);
            encode_blocks_present(&stage.blocks, out);
        }
        Command::NamespaceInit { kind, owner, grant_bytes } => {
            out.u8(*kind as u8);
            out.zero(7);
            out.u64(owner.0);
            out.u64(*grant_bytes);
        }
        Command::Sweep { limit } | Command::Purge { limit } | Command::BlockSweep { limit } => out.u32(*limit),
        Command::MemberPut(put) => {
            encode_step(put.step, &[put.acct.0], out);
            out.u8(put.role as u8);
            out.u8(put.state as u8);
        }
        Command::MemberRemove { step, acct } => encode_step(*step, &[acct.0], out),
        Command::Transfer(transfer) => {
            encode_step(transfer.step, &[transfer.from.0, transfer.to.0, transfer.grant_bytes], out);
        }
        Command::Mount(mount) => {
            encode_step(mount.step, &[mount.target.0, mount.at.node.0], out);
            out.u8(u8::from(mount.autorename));
            out.zero(1);
            out.u16(len16(mount.at.path.len()));
            out.zero(4);
            out.bytes(mount.at.path.as_bytes());
        }
        Command::MountSwap(swap) => {
            encode_step(swap.step, &[swap.node.0, swap.target.0, swap.flow, swap.since_ms], out)
        }
        Command::Unmount { step, target } => encode_step(*step, &[target.0], out),
        Command::Freeze(freeze) | Command::Thaw(freeze) => {
            out.u64(freeze.flow);
            out.u64(freeze.node.0);
        }
        Command::GrantRaise { step, owner, bytes } => encode_step(*step, &[owner.0, *bytes], out),
        Command::GrantLower { step, bytes } => encode_step(*step, &[*bytes], out),
        Command::JournalTrim { floor } => out.u64(floor.0),
        Command::Register { nonce } => out.bytes(nonce),
        Command::AccountPut { name } => {
            out.u16(len16(name.len()));
            out.zero(6);
            out.bytes(name.as_bytes());
        }
        Command::Link(link) => link.encode_body(out),
        Command::Group0(command) => command.encode_body(out),
        Command::ServerPut(server) => {
            out.u8(server.role as u8);
            out.zero(1);
            out.u16(len16(server.address.len()));
            out.zero(4);
            out.u64(server.server);
            out.bytes(server.address.as_bytes());
        }
        Command::NodePut(node) => {
            out.u8(u8::from(node.is_removed));
            out.zero(1);
            out.u16(len16(node.peer_address.len()));
            out.u16(len16(node.client_address.len()));
            out.zero(2);
            out.u64(node.node.0);
            out.bytes(&node.uuid.0);
            out.bytes(node.peer_address.as_bytes());
            out.bytes(node.client_address.as_bytes());
        }
    }
    out.pad(start);
}

/// `0 u64 nonce  8 u64 issued_ms  16 u8 flags {1 concurrent,2 close, or a result follows}  17 zero[7]`
fn encode_upload_id(id: UploadId, close: bool, out: &mut Vec<u8>) {
    out.u64(id.nonce);
    out.u64(id.issued_ms);
    out.u8(u8::from(id.is_concurrent) | u8::from(close) << 1);
    out.zero(7);
}

/// The id, and whether the second flag is set; only an append and a finish have it.
fn decode_upload_id(reader: &mut Reader<'_>, known: u8) -> Result<(UploadId, bool), DecodeError> {
    let (nonce, issued_ms) = (reader.u64()?, reader.u64()?);
    let flags = flags(reader, known)?;
    reader.zero(7)?;
    Ok((UploadId { nonce, issued_ms, is_concurrent: flags & 1 != 0 }, flags & 2 != 0))
}

/// `0 u32 count  8 blocks: hash[32], u32 bytes, zero[4], u64 put_at_ms`
fn encode_blocks_present(blocks: &[PresentBlock], out: &mut Vec<u8>) {
    out.u32(len32(blocks.len()));
    out.zero(4);
    for block in blocks {
        out.bytes(&block.hash.0);
        out.u32(block.bytes);
        out.zero(4);
        out.u64(block.put_at_ms);
    }
}

/// `0 u64 flow  8 u32 step  12 u32 zero  16 the fields, u64 each`
fn encode_step(step: Step, fields: &[u64], out: &mut Vec<u8>) {
    out.u64(step.flow);
    out.u32(step.step);
    out.zero(4);
    fields.iter().for_each(|field| out.u64(*field));
}

fn decode_step(reader: &mut Reader<'_>) -> Result<Step, DecodeError> {
    let step = Step { flow: reader.u64()?, step: reader.u32()? };
    reader.zero(4)?;
    Ok(step)
}

/// The steps of flows, kinds 16 to 23, 27 and 28.
fn decode_flow_step(kind: u8, reader: &mut Reader<'_>) -> Result<Command, DecodeError> {
    if let 22 | 23 = kind {
        let freeze = Freeze { flow: reader.u64()?, node: TreeNode(reader.u64()?) };
        return Ok(if kind == 22 { Command::Freeze(freeze) } else { Command::Thaw(freeze) });
    }
    let step = decode_step(reader)?;
    Ok(match kind {
        16 => {
            let acct = Acct(reader.u64()?);
            let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
            let state = MemberState::from_u8(reader.u8()?).ok_or(DecodeError::Field("state"))?;
            Command::MemberPut(MemberPut { step, acct, role, state })
        }
        17 => Command::MemberRemove { step, acct: Acct(reader.u64()?) },
        18 => {
            let (from, to) = (Acct(reader.u64()?), Acct(reader.u64()?));
            Command::Transfer(Transfer { step, from, to, grant_bytes: reader.u64()? })
        }
        19 => {
            let (target, node) = (Nsid(reader.u64()?), TreeNode(reader.u64()?));
            let autorename = flags(reader, FLAG_AUTORENAME)? != 0;
            reader.zero(1)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            Command::Mount(Mount { step, target, at: At { node, path: reader.text(length)? }, autorename })
        }
        20 => {
            let (node, target) = (TreeNode(reader.u64()?), Nsid(reader.u64()?));
            Command::MountSwap(MountSwap { step, node, target, flow: reader.u64()?, since_ms: reader.u64()? })
        }
        21 => Command::Unmount { step, target: Nsid(reader.u64()?) },
        27 => Command::GrantRaise { step, owner: Acct(reader.u64()?), bytes: reader.u64()? },
        28 => Command::GrantLower { step, bytes: reader.u64()? },
        number => return Err(DecodeError::Kind { what: "command", number }),
    })
}

/// `0 u8 flags {1 autorename}  2 u16 source_len  4 u16 target_len  8 u64 source node  16 u64 target node  24 the paths`
fn encode_pair(source: &At, target: &At, autorename: bool, out: &mut Vec<u8>) {
    out.u8(u8::from(autorename));
    out.zero(1);
    out.u16(len16(source.path.len()));
    out.u16(len16(target.path.len()));
    out.zero(2);
    out.u64(source.node.0);
    out.u64(target.node.0);
    out.bytes(source.path.as_bytes());
    out.bytes(target.path.as_bytes());
}

fn decode_pair(reader: &mut Reader<'_>) -> Result<(At, At, bool), DecodeError> {
    let autorename = flags(reader, FLAG_AUTORENAME)? != 0;
    reader.zero(1)?;
    let (source, target) = (reader.u16()? as usize, reader.u16()? as usize);
    reader.zero(2)?;
    let (from, to) = (TreeNode(reader.u64()?), TreeNode(reader.u64()?));
    let source = At { node: from, path: reader.text(source)? };
    let target = At { node: to, path: reader.text(target)? };
    Ok((source, target, autorename))
}

/// ```text
///  0 u8 mode {0 add,1 overwrite,2 update}  1 u8 flags {1 autorename,2 strict,4 staged,8 attested}  2 u16 path_len  4 u16 label_len
///  6 u16 present_count  8 u32 blocks  12 u32 zero  16 u64 update_jid  24 u64 size  32 i64 client_mtime_ms
/// 40 u64 parent node   48 content_hash[32]  80 path, label, block names, present parts (position, bytes, put_at_ms), attested: the id
/// ```
fn encode_commit(commit: &CommitFile, present: &[PresentPart], out: &mut Vec<u8>) {
    let (mode, update) = match commit.mode {
        PutMode::Add => (0, 0),
        PutMode::Overwrite => (1, 0),
        PutMode::Update(jid) => (2, jid.0),
    };
    out.u8(mode);
    let attested =
        commit.attested.as_ref().map_or(0, |attested| FLAG_ATTESTED | (u8::from(attested.is_staged) * FLAG_STAGED));
    out.u8(attested | (u8::from(commit.autorename) * FLAG_AUTORENAME) | (u8::from(commit.strict) * FLAG_STRICT));
    out.u16(len16(commit.at.path.len()));
    out.u16(len16(commit.label.len()));
    out.u16(len16(present.len()));
    out.u32(len32(commit.blocks.len()));
    out.zero(4);
    out.u64(update);
    out.u64(commit.size);
    out.i64(commit.client_mtime_ms.unwrap_or(i64::MIN));
    out.u64(commit.at.node.0);
    out.bytes(&commit.content_hash);
    out.bytes(commit.at.path.as_bytes());
    out.bytes(commit.label.as_bytes());
    commit.blocks.iter().for_each(|block| out.bytes(&block.0));
    for part in present {
        out.u32(part.position);
        out.u32(part.bytes);
        out.u64(part.put_at_ms);
    }
    if let Some(attested) = &commit.attested {
        encode_upload_id(attested.id, false, out);
    }
}

/// `0 u8 flags {1 atomic}  2 u16 count  8 parts: u8 kind, zero[3], u32 body_bytes, body`
fn encode_batch(batch: &CommitBatch, out: &mut Vec<u8>) {
    out.u8(u8::from(batch.atomic));
    out.zero(1);
    out.u16(len16(batch.parts.len()));
    out.zero(4);
    for part in &batch.parts {
        let start = out.len();
        out.u8(part.kind());
        out.zero(7);
        encode_body(part, out);
        let body = len32(out.len() - start - 8);
        put_u32(out, start + 4, body);
    }
}

fn decode_body(kind: u8, body: &[u8]) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(body);
    let reader = &mut reader;
    let command = match kind {
        1 => {
            let (commit, present) = decode_commit(reader)?;
            if !present.is_empty() {
                return Err(DecodeError::Field("present_count"));
            }
            Command::CommitFile(commit)
        }
        2 => Command::CommitBatch(decode_batch(reader)?),
        3 => {
            let autorename = flags(reader, FLAG_AUTORENAME)? != 0;
            reader.zero(1)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            let node = TreeNode(reader.u64()?);
            Command::Mkdir(Mkdir { at: At { node, path: reader.text(length)? }, autorename })
        }
        4 => {
            let has_rev = flags(reader, FLAG_PARENT_REV)? != 0;
            reader.zero(1)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            let node = TreeNode(reader.u64()?);
            let rev = Jid(reader.u64()?);
            let at = At { node, path: reader.text(length)? };
            Command::Delete(Delete { at, parent_rev: has_rev.then_some(rev) })
        }
        5 => {
            let (source, target, autorename) = decode_pair(reader)?;
            Command::Move(Move { source, target, autorename })
        }
        6 => {
            let (source, target, autorename) = decode_pair(reader)?;
            Command::Copy(Copy { source, target, autorename })
        }
        8 => {
            reader.zero(2)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            let node = TreeNode(reader.u64()?);
            let mtime = reader.i64()?;
            let at = At { node, path: reader.text(length)? };
            Command::SetAttr(SetAttr { at, client_mtime_ms: (mtime != i64::MIN).then_some(mtime) })
        }
        7 => {
            reader.zero(2)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            let node = TreeNode(reader.u64()?);
            let rev = Jid(reader.u64()?);
            Command::Restore(Restore { at: At { node, path: reader.text(length)? }, rev })
        }
        9 => Command::BlocksPresent(decode_blocks_present(reader)?),
        10 => {
            let (commit, present) = decode_commit(reader)?;
            Command::StoreAndCommit(StoreAndCommit { commit, present })
        }
        11 => {
            let (id, close) = decode_upload_id(reader, 3)?;
            let (offset, tail, tail_bytes) = (reader.u64()?, reader.u64()?, reader.u32()?);
            reader.zero(4)?;
            let blocks = decode_blocks_present(reader)?;
            Command::SessionAppend(SessionAppend { id, offset, blocks, tail_bytes, tail, close })
        }
        12 => Command::SessionSeal(decode_upload_id(reader, 1)?.0),
        13 => {
            let (id, has_result) = decode_upload_id(reader, 3)?;
            let offset = reader.u64()?;
            let rest = decode_blocks_present(reader)?;
            let (commit, present) = decode_commit(reader)?;
            if !present.is_empty() {
                return Err(DecodeError::Field("present_count"));
            }
            let result = if has_result { Some(Metadata::decode(reader)?) } else { None };
            Command::SessionFinish(Box::new(SessionFinish { id, offset, rest, commit, result }))
        }
        14 => {
            let ((id, _), part) = (decode_upload_id(reader, 1)?, reader.u32()?);
            reader.zero(4)?;
            Command::ListStage(ListStage { id, part, blocks: decode_blocks_present(reader)? })
        }
        15 => {
            let kind = reader.u8()?;
            let kind = NamespaceKind::from_u8(kind).ok_or(DecodeError::Field("namespace kind"))?;
            reader.zero(7)?;
            Command::NamespaceInit { kind, owner: Acct(reader.u64()?), grant_bytes: reader.u64()? }
        }
        16..=23 | 27 | 28 => decode_flow_step(kind, reader)?,
        24..=26 => Command::Link(Box::new(LinkCommand::decode_body(kind, reader)?)),
        29 => Command::JournalTrim { floor: Jid(reader.u64()?) },
        30 => Command::Sweep { limit: reader.u32()? },
        31 => Command::Purge { limit: reader.u32()? },
        32 => Command::BlockSweep { limit: reader.u32()? },
        33 => Command::Register { nonce: reader.array()? },
        40 => {
            let (id, gives_up) = (reader.u64()?, flags(reader, FLAG_GIVES_UP)? != 0);
            reader.zero(3)?;
            let limit = reader.u32()?;
            let (source, target, autorename) = decode_pair(reader)?;
            Command::CopyStep(CopyStep { id, source, target, autorename, gives_up, limit })
        }
        41 => Command::Import(Box::new(Import::decode(reader)?)),
        42 => Command::ImportEnd(Box::new(ImportEnd::decode(reader)?)),
        64 => {
            let length = reader.u16()? as usize;
            reader.zero(6)?;
            Command::AccountPut { name: reader.text(length)? }
        }
        65..=78 | 81 | 82 => Command::Group0(Box::new(Group0Command::decode_body(kind, reader)?)),
        79 => {
            let role = ServerRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
            reader.zero(1)?;
            let length = reader.u16()? as usize;
            reader.zero(4)?;
            Command::ServerPut(ServerPut { role, server: reader.u64()?, address: reader.text(length)? })
        }
        80 => {
            let is_removed = flags(reader, FLAG_REMOVED)? != 0;
            reader.zero(1)?;
            let (peer, client) = (reader.u16()? as usize, reader.u16()? as usize);
            reader.zero(2)?;
            let (node, uuid) = (NodeId(reader.u64()?), NodeUuid(reader.array()?));
            let (peer_address, client_address) = (reader.text(peer)?, reader.text(client)?);
            Command::NodePut(NodePut { node, uuid, peer_address, client_address, is_removed })
        }
        number => return Err(DecodeError::Kind { what: "command", number }),
    };
    reader.pad()?;
    reader.end()?;
    Ok(command)
}

/// A flags byte with no bits but `known`.
fn flags(reader: &mut Reader<'_>, known: u8) -> Result<u8, DecodeError> {
    let flags = reader.u8()?;
    if flags & !known == 0 { Ok(flags) } else { Err(DecodeError::Field("flags")) }
}

fn decode_commit(reader: &mut Reader<'_>) -> Result<(CommitFile, Vec<PresentPart>), DecodeError> {
    let mode = reader.u8()?;
    let flags = flags(reader, FLAG_AUTORENAME | FLAG_STRICT | FLAG_STAGED | FLAG_ATTESTED)?;
    let (is_staged, is_attested) = (flags & FLAG_STAGED != 0, flags & FLAG_ATTESTED != 0);
    if is_staged && !is_attested {
        return Err(DecodeError::Field("flags"));
    }
    let (path, label, present) = (reader.u16()? as usize, reader.u16()? as usize, reader.u16()? as usize);
    let blocks = reader.u32()? as usize;
    if blocks > COMMAND_BLOCKS_MAX || present > COMMAND_BLOCKS_MAX {
        return Err(DecodeError::TooMany("blocks"));
    }
    reader.zero(4)?;
    let update = reader.u64()?;
    let mode = match (mode, update) {
        (0, 0) => PutMode::Add,
        (1, 0) => PutMode::Overwrite,
        (2, jid) => PutMode::Update(Jid(jid)),
        _ => return Err(DecodeError::Field("mode")),
    };
    let size = reader.u64()?;
    let mtime = reader.i64()?;
    let node = TreeNode(reader.u64()?);
    let content_hash = reader.array()?;
    let at = At { node, path: reader.text(path)? };
    let label = reader.text(label)?;
    let blocks = (0..blocks).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?;
    if present > reader.left() / PRESENT_PART_BYTES {
        return Err(DecodeError::TooMany("present parts"));
    }
    let present = (0..present)
        .map(|_| Ok(PresentPart { position: reader.u32()?, bytes: reader.u32()?, put_at_ms: reader.u64()? }))
        .collect::<Result<_, _>>()?;
    let attested =
        if is_attested { Some(Box::new(Attested { id: decode_upload_id(reader, 1)?.0, is_staged })) } else { None };
    let commit = CommitFile {
        at,
        mode,
        autorename: flags & FLAG_AUTORENAME != 0,
        strict: flags & FLAG_STRICT != 0,
        label,
        size,
        client_mtime_ms: (mtime != i64::MIN).then_some(mtime),
        content_hash,
        blocks,
        attested,
    };
    Ok((commit, present))
}

fn decode_blocks_present(reader: &mut Reader<'_>) -> Result<Vec<PresentBlock>, DecodeError> {
    let count = reader.u32()? as usize;
    reader.zero(4)?;
    if count > COMMAND_BLOCKS_MAX || count > reader.left() / PRESENT_BLOCK_BYTES {
        return Err(DecodeError::TooMany("blocks"));
    }
    let block = |reader: &mut Reader<'_>| {
        let (hash, bytes) = (BlockHash(reader.array()?), reader.u32()?);
        reader.zero(4)?;
        Ok(PresentBlock { hash, bytes, put_at_ms: reader.u64()? })
    };
    (0..count).map(|_| block(reader)).collect()
}

fn decode_batch(reader: &mut Reader<'_>) -> Result<CommitBatch, DecodeError> {
    let atomic = flags(reader, FLAG_ATOMIC)? != 0;
    reader.zero(1)?;
    let count = reader.u16()? as usize;
    reader.zero(4)?;
    if count == 0 || count > BATCH_PARTS_MAX {
        return Err(DecodeError::TooMany("parts"));
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = reader.u8()?;
        reader.zero(3)?;
        let body = reader.u32()? as usize;
        if !matches!(kind, 1 | 3 | 4 | 5 | 13) {
            return Err(DecodeError::Kind { what: "batch part", number: kind });
        }
        parts.push(decode_body(kind, reader.take(body)?)?);
    }
    Ok(CommitBatch { atomic, parts })
}
