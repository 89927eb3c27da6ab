//! The bytes of queries and answers; every kind has a golden.

use base::bytes::{align_up, put_u32};
use base::limits::HAS_BLOCKS_MAX;
use base::{Acct, BlockHash, Jid, NodeId, NodeUuid, Nsid, TreeNode};

use crate::across::{self, Export, ExportPage, ImportInfo};
use crate::block_scan::{BlockPage, BlockScan};
use crate::codec::{DecodeError, Put, Reader, len16, len32};
use crate::command::{At, ServerRole};
use crate::delta::DeltaCursor;
use crate::feed_codec;
use crate::group0::{Group0Answer, Group0Query};
use crate::links::{LinkInfo, LinksOf};
use crate::metadata::Metadata;
use crate::query::{AccountInfo, AccountKey, Answer, Change, Entry, NodeInfo, Query, ServerInfo, What};

/// Writes `format, kind, zero, body_bytes` and the body, padded to 8.
fn framed(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.u8(1);
    out.u8(kind);
    out.zero(6);
    body(out);
    out.pad(start);
    let bytes = len32(out.len() - start - 8);
    put_u32(out, start + 4, bytes);
}

/// Kind and body of exactly these bytes.
fn unframed(bytes: &[u8]) -> Result<(u8, Reader<'_>), DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        1 => {}
        format => return Err(DecodeError::Format(format)),
    }
    let kind = reader.u8()?;
    reader.zero(2)?;
    let length = reader.u32()? as usize;
    let body = reader.take(length)?;
    reader.end()?;
    Ok((kind, Reader::new(body)))
}

/// `u64 node, u16 length, zero[6], bytes padded to 8`: a place, or any number with text.
fn put_text(number: u64, text: &[u8], out: &mut Vec<u8>) {
    out.u64(number);
    out.u16(len16(text.len()));
    out.zero(6);
    out.bytes(text);
    out.zero(align_up(text.len(), 8) - text.len());
}

fn text(reader: &mut Reader<'_>) -> Result<(u64, String), DecodeError> {
    let number = reader.u64()?;
    let length = reader.u16()? as usize;
    reader.zero(6)?;
    let text = reader.text(length)?;
    reader.zero(align_up(length, 8) - length)?;
    Ok((number, text))
}

pub(crate) fn put_at(at: &At, out: &mut Vec<u8>) {
    put_text(at.node.0, at.path.as_bytes(), out);
}

pub(crate) fn at(reader: &mut Reader<'_>) -> Result<At, DecodeError> {
    let (node, path) = text(reader)?;
    Ok(At { node: TreeNode(node), path })
}

/// `u8 {0 place,1 rev}, zero[7]`, then the place, or the jid.
fn put_what(what: &What, out: &mut Vec<u8>) {
    out.u8(u8::from(matches!(what, What::Rev(_))));
    out.zero(7);
    match what {
        What::At(at) => put_at(at, out),
        What::Rev(jid) => out.u64(jid.0),
    }
}

fn what(reader: &mut Reader<'_>) -> Result<What, DecodeError> {
    let kind = reader.u8()?;
    reader.zero(7)?;
    match kind {
        0 => Ok(What::At(at(reader)?)),
        1 => Ok(What::Rev(Jid(reader.u64()?))),
        number => Err(DecodeError::Kind { what: "place", number }),
    }
}

/// `u32 length, zero[4], bytes padded to 8`: bytes that have their own layout.
pub(crate) fn put_blob(bytes: &[u8], out: &mut Vec<u8>) {
    out.u32(len32(bytes.len()));
    out.zero(4);
    out.bytes(bytes);
    out.zero(align_up(bytes.len(), 8) - bytes.len());
}

pub(crate) fn blob<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = reader.u32()? as usize;
    reader.zero(4)?;
    let bytes = reader.take(length)?;
    reader.zero(align_up(length, 8) - length)?;
    Ok(bytes)
}

pub(crate) fn put_cursor(cursor: &DeltaCursor, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    cursor.encode(&mut bytes);
    put_blob(&bytes, out);
}

/// Text in a blob.
pub(crate) fn blob_text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    std::str::from_utf8(blob(reader)?).map(str::to_owned).map_err(|_| DecodeError::Text)
}

pub(crate) fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    put_blob(entry.path_display.as_bytes(), out);
    entry.meta.encode(out);
}

pub(crate) fn entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let path = std::str::from_utf8(blob(reader)?).map_err(|_| DecodeError::Text)?;
    Ok(Entry { path_display: path.to_owned(), meta: Metadata::decode(reader)? })
}

/// `u32 count, zero[4]`; a count that the bytes left cannot hold is refused before anything is allocated.
pub(crate) fn count(reader: &mut Reader<'_>, least_bytes: usize, what: &'static str) -> Result<usize, DecodeError> {
    let count = reader.u32()? as usize;
    reader.zero(4)?;
    if count > reader.left() / least_bytes { Err(DecodeError::TooMany(what)) } else { Ok(count) }
}

pub(crate) fn put_count(count: usize, out: &mut Vec<u8>) {
    out.u32(len32(count));
    out.zero(4);
}

pub(crate) fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Field("flag")),
    }
}

impl Query {
    /// The number in byte 1 of the encoding.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Query::Lookup(_) => 1,
            Query::ListPage { .. } => 2,
            Query::Delta { .. } => 3,
            Query::Revisions { .. } => 4,
            Query::Blocklist { .. } => 5,
            Query::HasBlocks(_) => 6,
            Query::Head => 7,
            Query::SpaceUsage => 8,
            Query::Account(_) => 9,
            Query::Servers => 10,
            Query::Nodes => 11,
            Query::Link(_) => 24,
            Query::Group0(query) => query.kind(),
            Query::Links { .. } => 25,
            Query::DeltaIn(_) => 26,
            Query::ListAll { .. } => 27,
            Query::Mounts { .. } => 28,
            Query::Upload { .. } => 29,
            Query::BlockScan(_) => 30,
            Query::Export(_) => 31,
            Query::Import(_) => 44,
            Query::Members { .. } => 45,
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        framed(self.kind(), out, |out| match self {
            Query::Lookup(what) => put_what(what, out),
            Query::ListPage { at, recursive, position, limit } => {
                out.u8(u8::from(*recursive));
                out.zero(3);
                out.u32(*limit);
                put_at(at, out);
                put_blob(position, out);
            }
            Query::Delta { cursor, limit } => {
                out.u32(*limit);
                out.zero(4);
                put_cursor(cursor, out);
            }
            Query::Revisions { at, before, limit } => {
                out.u32(*limit);
                out.zero(4);
                out.u64(before.0);
                put_at(at, out);
            }
            Query::Blocklist { what, first } => {
                out.u32(*first);
                out.zero(4);
                put_what(what, out);
            }
            Query::HasBlocks(hashes) => {
                put_count(hashes.len(), out);
                hashes.iter().for_each(|hash| out.bytes(&hash.0));
            }
            Query::Head | Query::SpaceUsage | Query::Servers | Query::Nodes => {}
            Query::Link(link) => out.u64(*link),
            Query::Group0(query) => query.encode(out),
            Query::Links { of, after, limit } => {
                out.u64(*after);
                out.u32(*limit);
                out.zero(4);
                of.encode(out);
            }
            Query::BlockScan(scan) => scan.encode(out),
            Query::Export(export) => export.encode(out),
            Query::Import(flow) => out.u64(*flow),
            Query::Members { after } => out.u64(after.0),
            Query::Account(AccountKey::Acct(acct)) => put_text(acct.0, &[], out),
            Query::Account(AccountKey::Name(name)) => put_text(0, name.as_bytes(), out),
            Query::DeltaIn(_) | Query::ListAll { .. } | Query::Mounts { .. } | Query::Upload { .. } => {
                feed_codec::encode_query(self, out);
            }
        });
    }

    /// The query in exactly these bytes.
    ///
    /// Errors: [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Query, DecodeError> {
        let (kind, mut reader) = unframed(bytes)?;
        let reader = &mut reader;
        let query = match kind {
            1 => Query::Lookup(what(reader)?),
            2 => {
                let recursive = flag(reader)?;
                reader.zero(3)?;
                let limit = reader.u32()?;
                Query::ListPage { at: at(reader)?, recursive, position: blob(reader)?.to_vec(), limit }
            }
            3 => {
                let limit = reader.u32()?;
                reader.zero(4)?;
                Query::Delta { cursor: DeltaCursor::decode(blob(reader)?)?, limit }
            }
            4 => {
                let limit = reader.u32()?;
                reader.zero(4)?;
                Query::Revisions { before: Jid(reader.u64()?), at: at(reader)?, limit }
            }
            5 => {
                let first = reader.u32()?;
                reader.zero(4)?;
                Query::Blocklist { what: what(reader)?, first }
            }
            6 => {
                let count = count(reader, 32, "hashes")?;
                if count > HAS_BLOCKS_MAX {
                    return Err(DecodeError::TooMany("hashes"));
                }
                Query::HasBlocks((0..count).map(|_| reader.array().map(BlockHash)).collect::<Result<_, _>>()?)
            }
            7 => Query::Head,
            8 => Query::SpaceUsage,
            9 => match text(reader)? {
                (0, name) => Query::Account(AccountKey::Name(name)),
                (acct, name) if name.is_empty() => Query::Account(AccountKey::Acct(Acct(acct))),
                _ => return Err(DecodeError::Field("account")),
            },
            10 => Query::Servers,
            11 => Query::Nodes,
            24 => Query::Link(reader.u64()?),
            32..=43 => Query::Group0(Group0Query::decode(kind, reader)?),
            25 => {
                let (after, limit) = (reader.u64()?, reader.u32()?);
                reader.zero(4)?;
                Query::Links { of: LinksOf::parse(reader)?, after, limit }
            }
            26..=29 => feed_codec::decode_query(kind, reader)?,
            30 => Query::BlockScan(BlockScan::decode(reader)?),
            31 => Query::Export(Box::new(Export::decode(reader)?)),
            44 => Query::Import(reader.u64()?),
            45 => Query::Members { after: Acct(reader.u64()?) },
            number => return Err(DecodeError::Kind { what: "query", number }),
        };
        reader.pad()?;
        reader.end()?;
        Ok(query)
    }
}

impl Answer {
    /// The number in byte 1 of the encoding.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Answer::NotFound => 1,
            Answer::NotFile => 2,
            Answer::NotFolder => 3,
            Answer::Elsewhere { .. } => 4,
            Answer::NoAccess => 5,
            Answer::Reset => 6,
            Answer::Malformed => 7,
            Answer::TooLarge => 8,
            Answer::Entry(_) => 16,
            Answer::Page { .. } => 17,
            Answer::Delta { .. } => 18,
            Answer::Revisions { .. } => 19,
            Answer::Blocklist { .. } => 20,
            Answer::HasBlocks(_) => 21,
            Answer::Head(_) => 22,
            Answer::SpaceUsage { .. } => 23,
            Answer::Account(_) => 24,
            Answer::Servers(_) => 25,
            Answer::Nodes(_) => 26,
            Answer::Link(_) => 32,
            Answer::Group0(answer) => answer.kind(),
            Answer::Links { .. } => 33,
            Answer::All { .. } => 56,
            Answer::Mounts { .. } => 57,
            Answer::Upload(_) => 58,
            Answer::Blocks(_) => 59,
            Answer::Export(_) => 60,
            Answer::Import(_) => 61,
            Answer::Members(_) => 62,
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        framed(self.kind(), out, |out| self.encode_body(out));
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Answer::NotFound | Answer::NotFile | Answer::NotFolder | Answer::NoAccess => {}
            Answer::Reset | Answer::Malformed | Answer::TooLarge => {}
            Answer::Elsewhere { nsid, rest } => put_text(nsid.0, rest.as_bytes(), out),
            Answer::Entry(entry) => put_entry(entry, out),
            Answer::Page { entries, next, head } => {
                out.u64(head.0);
                out.u8(u8::from(next.is_some()));
                out.zero(7);
                put_blob(next.as_deref().unwrap_or(&[]), out);
                put_count(entries.len(), out);
                entries.iter().for_each(|entry| put_entry(entry, out));
            }
            Answer::Delta { changes, cursor, has_more } => {
                out.u8(u8::from(*has_more));
                out.zero(7);
                put_cursor(cursor, out);
                put_count(changes.len(), out);
                changes.iter().for_each(|change| put_change(change, out));
            }
            Answer::Revisions { deleted_ms, revisions, has_more } => {
                out.u8(u8::from(*has_more));
                out.zero(7);
                out.u64(deleted_ms.unwrap_or(u64::MAX));
                put_count(revisions.len(), out);
                revisions.iter().for_each(|meta| meta.encode(out));
            }
            Answer::Blocklist { entry, first, total, blocks } => {
                out.u32(*first);
                out.u32(*total);
                put_entry(entry, out);
                put_count(blocks.len(), out);
                for (hash, bytes) in blocks {
                    out.bytes(&hash.0);
                    out.u32(*bytes);
                    out.zero(4);
                }
            }
            Answer::HasBlocks(known) => {
                put_count(known.len(), out);
                known.iter().for_each(|known| out.u8(u8::from(*known)));
            }
            Answer::Head(jid) => out.u64(jid.0),
            Answer::SpaceUsage { live_files, live_bytes, grant_bytes, is_sweeping } => {
                let fields = [*live_files, *live_bytes, *grant_bytes, u64::from(*is_sweeping)];
                fields.iter().for_each(|field| out.u64(*field));
            }
            Answer::Account(account) => {
                out.u64(account.acct.0);
                put_text(account.root.0, account.name.as_bytes(), out);
            }
            Answer::Servers(servers) => {
                put_count(servers.len(), out);
                for server in servers {
                    out.u8(server.role as u8);
                    out.zero(7);
                    out.u64(server.last_seen_ms);
                    put_text(server.server, server.address.as_bytes(), out);
                }
            }
            Answer::Link(link) => link.encode(out),
            Answer::Group0(answer) => answer.encode(out),
            Answer::Links { links, next } => {
                out.u64(next.unwrap_or(u64::MAX));
                put_count(links.len(), out);
                links.iter().for_each(|link| link.encode(out));
            }
            Answer::Blocks(page) => page.encode(out),
            Answer::Export(page) => page.encode(out),
            Answer::Import(info) => info.encode(out),
            Answer::Members(members) => across::codec::put_members(members, out),
            Answer::Nodes(nodes) => {
                put_count(nodes.len(), out);
                for node in nodes {
                    out.u8(u8::from(node.is_removed));
                    out.zero(7);
                    out.bytes(&node.uuid.0);
                    put_text(node.node.0, node.peer_address.as_bytes(), out);
                    put_blob(node.client_address.as_bytes(), out);
                }
            }
            Answer::All { .. } | Answer::Mounts { .. } | Answer::Upload(_) => feed_codec::encode_answer(self, out),
        }
    }

    /// The answer in exactly these bytes.
    ///
    /// Errors: [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Answer, DecodeError> {
        let (kind, mut reader) = unframed(bytes)?;
        let reader = &mut reader;
        let answer = match kind {
            1 => Answer::NotFound,
            2 => Answer::NotFile,
            3 => Answer::NotFolder,
            4 => text(reader).map(|(nsid, rest)| Answer::Elsewhere { nsid: Nsid(nsid), rest })?,
            5 => Answer::NoAccess,
            6 => Answer::Reset,
            7 => Answer::Malformed,
            8 => Answer::TooLarge,
            16 => Answer::Entry(entry(reader)?),
            17 => {
                let head = Jid(reader.u64()?);
                let has_next = flag(reader)?;
                reader.zero(7)?;
                let next = blob(reader)?.to_vec();
                let count = count(reader, 120, "entries")?;
                let entries = (0..count).map(|_| entry(reader)).collect::<Result<_, _>>()?;
                Answer::Page { entries, next: has_next.then_some(next), head }
            }
            18 => {
                let has_more = flag(reader)?;
                reader.zero(7)?;
                let cursor = DeltaCursor::decode(blob(reader)?)?;
                let count = count(reader, 16, "changes")?;
                let changes = (0..count).map(|_| decode_change(reader)).collect::<Result<_, _>>()?;
                Answer::Delta { changes, cursor, has_more }
            }
            19 => {
                let has_more = flag(reader)?;
                reader.zero(7)?;
                let deleted_ms = reader.u64()?;
                let count = count(reader, 112, "revisions")?;
                let revisions = (0..count).map(|_| Metadata::decode(reader)).collect::<Result<_, _>>()?;
                Answer::Revisions { deleted_ms: (deleted_ms != u64::MAX).then_some(deleted_ms), revisions, has_more }
            }
            20 => {
                let (first, total) = (reader.u32()?, reader.u32()?);
                let entry = entry(reader)?;
                let count = count(reader, 40, "blocks")?;
                let block = |reader: &mut Reader<'_>| {
                    let block = (BlockHash(reader.array()?), reader.u32()?);
                    reader.zero(4)?;
                    Ok(block)
                };
                let blocks = (0..count).map(|_| block(reader)).collect::<Result<_, _>>()?;
                Answer::Blocklist { entry, first, total, blocks }
            }
            21 => {
                let count = count(reader, 1, "hashes")?;
                Answer::HasBlocks((0..count).map(|_| flag(reader)).collect::<Result<_, _>>()?)
            }
            22 => Answer::Head(Jid(reader.u64()?)),
            23 => Answer::SpaceUsage {
                live_files: reader.u64()?,
                live_bytes: reader.u64()?,
                grant_bytes: reader.u64()?,
                is_sweeping: reader.u64()? != 0,
            },
            24 => {
                let acct = Acct(reader.u64()?);
                let (root, name) = text(reader)?;
                Answer::Account(AccountInfo { acct, root: Nsid(root), name })
            }
            25 => {
                let count = count(reader, 32, "servers")?;
                Answer::Servers((0..count).map(|_| decode_server(reader)).collect::<Result<_, _>>()?)
            }
            26 => {
                let count = count(reader, 48, "nodes")?;
                Answer::Nodes((0..count).map(|_| decode_node(reader)).collect::<Result<_, _>>()?)
            }
            40..=51 => Answer::Group0(Group0Answer::decode(kind, reader)?),
            32 => Answer::Link(Box::new(LinkInfo::parse(reader)?)),
            33 => {
                let next = reader.u64()?;
                let count = count(reader, 176, "links")?;
                let links = (0..count).map(|_| LinkInfo::parse(reader)).collect::<Result<_, _>>()?;
                Answer::Links { links, next: (next != u64::MAX).then_some(next) }
            }
            56..=58 => feed_codec::decode_answer(kind, reader)?,
            59 => Answer::Blocks(BlockPage::decode(reader)?),
            60 => Answer::Export(ExportPage::decode(reader)?),
            61 => Answer::Import(ImportInfo::decode(reader)?),
            62 => Answer::Members(across::codec::take_members(reader)?),
            number => return Err(DecodeError::Kind { what: "answer", number }),
        };
        reader.pad()?;
        reader.end()?;
        Ok(answer)
    }
}

pub(crate) fn put_change(change: &Change, out: &mut Vec<u8>) {
    out.u8(u8::from(matches!(change, Change::Deleted { .. })));
    out.zero(7);
    match change {
        Change::Present(entry) => put_entry(entry, out),
        Change::Deleted { path_display } => put_blob(path_display.as_bytes(), out),
    }
}

pub(crate) fn decode_change(reader: &mut Reader<'_>) -> Result<Change, DecodeError> {
    let is_deleted = flag(reader)?;
    reader.zero(7)?;
    if !is_deleted {
        return Ok(Change::Present(entry(reader)?));
    }
    let path = std::str::from_utf8(blob(reader)?).map_err(|_| DecodeError::Text)?;
    Ok(Change::Deleted { path_display: path.to_owned() })
}

fn decode_server(reader: &mut Reader<'_>) -> Result<ServerInfo, DecodeError> {
    let role = ServerRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
    reader.zero(7)?;
    let last_seen_ms = reader.u64()?;
    let (server, address) = text(reader)?;
    Ok(ServerInfo { server, role, last_seen_ms, address })
}

fn decode_node(reader: &mut Reader<'_>) -> Result<NodeInfo, DecodeError> {
    let is_removed = flag(reader)?;
    reader.zero(7)?;
    let uuid = NodeUuid(reader.array()?);
    let (node, peer_address) = text(reader)?;
    let client_address = std::str::from_utf8(blob(reader)?).map_err(|_| DecodeError::Text)?.to_owned();
    Ok(NodeInfo { node: NodeId(node), uuid, is_removed, peer_address, client_address })
}
