//! Upload sessions: a file that comes in many calls (docs/design/metadata.md, "Uploads").
//!
//! Blocks are known and counted as they come, in a list that the session uses until a file does. What is no whole block
//! yet is an object beside the blocks, named in the row.

use std::borrow::Cow;

use base::limits::{BLOCK_BYTES, FILE_BLOCKS_MAX};
use base::{Acct, BlockHash, Nsid};
use xxhash_rust::xxh3::xxh3_128;

use crate::command::{
    Command, CommandHeader, CommitFile, HASH_OF_SESSION, PresentBlock, SessionAppend, SessionFinish, UploadId,
};
use crate::command_codec::encode_command;
use crate::editor::{Blocks, Editor};
use crate::files;
use crate::keys::{self, Key};
use crate::list_hash::ListHash;
use crate::metadata::Metadata;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::rows::*;
use crate::store::{Cold, Store};
use crate::tree::Halt;

/// How long a session lives.
pub(crate) const UPLOAD_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The name at a position that no call has brought yet: SHA-256 of nothing, and no block is empty.
const HOLE: BlockHash = BlockHash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The session's row, if it is this account's and young enough. `None`: nothing was appended yet.
fn find<S: Store>(editor: &mut Editor<'_, '_, S>, id: UploadId) -> Result<Option<UploadRow>, Halt> {
    find_one(editor, id, false)
}

/// The row of a session, or of a staged blocklist.
pub(crate) fn find_one<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    id: UploadId,
    is_staged: bool,
) -> Result<Option<UploadRow>, Halt> {
    let is_over = id.issued_ms.saturating_add(UPLOAD_MS) <= editor.txn.stamp_ms;
    let row: Option<UploadRow> = editor.txn.row(&keys::upload(editor.nsid, id.nonce))?;
    let is_other = row.is_some_and(|row| row.acct != editor.acct || row.is_staged != is_staged);
    if is_over || id.nonce == 0 || is_other {
        return Err(Outcome::NotFound.into());
    }
    Ok(row)
}

/// A new row with an empty list, which the session uses.
pub(crate) fn begin<S: Store>(editor: &mut Editor<'_, '_, S>, id: UploadId) -> UploadRow {
    let list = editor.new_list();
    editor.txn.put(keys::list(editor.nsid, list), &ListRow { refs: 1, ..ListRow::default() });
    UploadRow {
        is_concurrent: id.is_concurrent,
        is_closed: false,
        is_staged: false,
        acct: editor.acct,
        created_ms: id.issued_ms,
        offset: 0,
        list,
        blocks: 0,
        tail_bytes: 0,
        tail: 0,
        hash: ListHash::new(),
    }
}

pub(crate) fn append<S: Store>(editor: &mut Editor<'_, '_, S>, append: &SessionAppend) -> Result<Outcome, Halt> {
    let SessionAppend { id, offset, ref blocks, tail_bytes, tail, close } = *append;
    if u64::from(tail_bytes) >= BLOCK_BYTES || !blocks.iter().all(|block| files::is_block_length(block.bytes)) {
        return Ok(Outcome::Malformed);
    }
    let found = find(editor, id)?;
    let is_new = found.is_none();
    // What is finished has no row, and its outcome is kept.
    if is_new && matches!(kept_under(editor, id)?, Some((_, Kept::Done(_)))) {
        return Ok(Outcome::NotFound);
    }
    let mut row = match found {
        Some(row) => row,
        None => begin(editor, id),
    };
    if row.is_concurrent {
        return append_anywhere(editor, append, row);
    }
    if row.is_closed {
        return Ok(Outcome::Closed);
    }
    if offset != row.offset {
        return Err(Outcome::IncorrectOffset { correct: row.offset }.into());
    }
    let bytes: u64 = blocks.iter().map(|block| u64::from(block.bytes)).sum();
    let end = u64::from(row.blocks) * BLOCK_BYTES + bytes + u64::from(tail_bytes);
    // The closing call may bring the file's last block, so that the session needs nothing more to become a file.
    let last = blocks.len().saturating_sub(1);
    let is_last = |at| close && tail_bytes == 0 && at == last;
    let is_whole = |(at, block): (usize, &PresentBlock)| u64::from(block.bytes) == BLOCK_BYTES || is_last(at);
    if !blocks.iter().enumerate().all(is_whole) || end < row.offset {
        return Err(Outcome::Malformed.into());
    }
    if u64::from(row.blocks) + blocks.len() as u64 >= FILE_BLOCKS_MAX {
        return Err(Outcome::TooLarge.into());
    }
    take_blocks(editor, &mut row, blocks)?;
    row.offset = end;
    (row.tail_bytes, row.tail, row.is_closed) = (tail_bytes, tail, close);
    editor.txn.put(keys::upload(editor.nsid, id.nonce), &row);
    Ok(Outcome::Done)
}

/// Blocks that come next: known, counted, named in the list, and in the hash.
pub(crate) fn take_blocks<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    row: &mut UploadRow,
    blocks: &[PresentBlock],
) -> Result<(), Halt> {
    let names = note(editor, blocks)?;
    set_names(editor, row.list, row.blocks, &names)?;
    names.iter().for_each(|name| row.hash.push(name));
    row.blocks += names.len() as u32;
    put_list(editor, row)
}

/// Makes blocks known and counts them. One that was put too long ago is put again by the block server.
fn note<S: Store>(editor: &mut Editor<'_, '_, S>, blocks: &[PresentBlock]) -> Result<Vec<BlockHash>, Halt> {
    if blocks.iter().any(|block| block.hash == HOLE) {
        return Err(Outcome::Malformed.into());
    }
    let present = blocks.iter().zip(0..).map(|(block, at)| (at, block.hash, block.bytes, block.put_at_ms));
    let (mut unknown, mut is_cold) = (Vec::new(), false);
    for at in editor.note_present(present)? {
        match editor.txn.has(&keys::block(editor.nsid, &blocks[at as usize].hash)) {
            Ok(is_known) if is_known => {}
            Ok(_) => unknown.push(at),
            // Not in memory is not unknown: replicas differ in what they have there.
            Err(_) => is_cold = true,
        }
    }
    if is_cold {
        return Err(Halt::Cold);
    }
    if !unknown.is_empty() {
        return Err(Outcome::NeedBlocks(unknown).into());
    }
    for block in blocks {
        let known: BlockRow = editor.txn.row(&keys::block(editor.nsid, &block.hash))?.expect("it was just noted");
        if known.bytes != block.bytes {
            return Err(Outcome::BadContentHash.into());
        }
    }
    let names: Vec<BlockHash> = blocks.iter().map(|block| block.hash).collect();
    editor.count_refs(&names)?;
    Ok(names)
}

/// Puts names into the list, with holes before them where there is nothing yet. Returns what they replaced, holes too.
fn set_names<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    list: u64,
    first: u32,
    names: &[BlockHash],
) -> Result<Vec<BlockHash>, Cold> {
    let mut replaced = Vec::with_capacity(names.len());
    let (mut at, mut names) = (first as usize, names);
    while !names.is_empty() {
        let (part, place) = (at / LIST_PART_BLOCKS, at % LIST_PART_BLOCKS);
        let count = names.len().min(LIST_PART_BLOCKS - place);
        let key = keys::list_part(editor.nsid, list, part as u32);
        let mut row: ListPartRow = editor.txn.row(&key)?.unwrap_or_default();
        if row.blocks.len() < place + count {
            row.blocks.resize(place + count, HOLE);
        }
        replaced.extend_from_slice(&row.blocks[place..place + count]);
        row.blocks[place..place + count].copy_from_slice(&names[..count]);
        editor.txn.put(key, &row);
        names = &names[count..];
        at += count;
    }
    Ok(replaced)
}

/// The list's own row, so that it can be taken apart whenever its last user goes.
fn put_list<S: Store>(editor: &mut Editor<'_, '_, S>, row: &UploadRow) -> Result<(), Halt> {
    let key = keys::list(editor.nsid, row.list);
    let mut list: ListRow = editor.txn.row(&key)?.expect("a session has its list");
    list.blocks = row.blocks;
    editor.txn.put(key, &list);
    Ok(())
}

/// Concurrent calls bring whole blocks in any order; the closing one may end in less than a block.
fn append_anywhere<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    append: &SessionAppend,
    mut row: UploadRow,
) -> Result<Outcome, Halt> {
    let SessionAppend { id, offset, ref blocks, tail_bytes, close, .. } = *append;
    let last = blocks.len().saturating_sub(1);
    let is_whole = |(at, block): (usize, &PresentBlock)| u64::from(block.bytes) == BLOCK_BYTES || (close && at == last);
    if tail_bytes != 0 || offset % BLOCK_BYTES != 0 || !blocks.iter().enumerate().all(is_whole) {
        return Err(Outcome::Malformed.into());
    }
    let first = offset / BLOCK_BYTES;
    let end = first + blocks.len() as u64;
    if end > FILE_BLOCKS_MAX {
        return Err(Outcome::TooLarge.into());
    }
    let bytes: u64 = blocks.iter().map(|block| u64::from(block.bytes)).sum();
    // After the closing call only holes before its end are filled.
    if row.is_closed && (close || offset + bytes > row.offset) {
        return Err(Outcome::Closed.into());
    }
    if close && offset + bytes < row.offset {
        return Err(Outcome::IncorrectOffset { correct: row.offset }.into());
    }
    let names = note(editor, blocks)?;
    let replaced = set_names(editor, row.list, first as u32, &names)?;
    // The same call again is harmless; other content at a place that is filled is not.
    if replaced.iter().zip(&names).any(|(before, name)| *before != HOLE && before != name) {
        return Err(Outcome::IncorrectOffset { correct: row.offset }.into());
    }
    editor.uncount_refs(&replaced)?;
    row.blocks = row.blocks.max(end as u32);
    row.offset = row.offset.max(offset + bytes);
    row.is_closed |= close;
    put_list(editor, &row)?;
    editor.txn.put(keys::upload(editor.nsid, id.nonce), &row);
    Ok(Outcome::Done)
}

/// Takes the next part of a closed concurrent session's names into the hash.
pub(crate) fn seal<S: Store>(editor: &mut Editor<'_, '_, S>, id: UploadId) -> Result<Outcome, Halt> {
    let Some(mut row) = find(editor, id)? else { return Ok(Outcome::NotFound) };
    if !row.is_closed {
        return Ok(Outcome::NotClosed);
    }
    let sealed = row.hash.names as u32;
    let part = sealed / LIST_PART_BLOCKS as u32;
    if sealed < row.blocks {
        let end = row.blocks.min((part + 1) * LIST_PART_BLOCKS as u32);
        let names: ListPartRow = editor.txn.row(&keys::list_part(editor.nsid, row.list, part))?.unwrap_or_default();
        let names = &names.blocks[(sealed as usize % LIST_PART_BLOCKS).min(names.blocks.len())..];
        if names.len() < (end - sealed) as usize || names.contains(&HOLE) {
            return Ok(Outcome::MissingData);
        }
        names.iter().for_each(|name| row.hash.push(name));
        editor.txn.put(keys::upload(editor.nsid, id.nonce), &row);
    }
    let nodes = row.hash.names as u32 - sealed;
    Ok(Outcome::Swept { nodes, has_more: (row.hash.names as u32) < row.blocks })
}

/// Puts the file. What was finished before is told again for eight days; a refusal leaves the session as it was.
///
/// A target in another namespace is noted before anybody puts the file there: nobody here can tell whether that was done,
/// so from then on the session ends in that namespace or not at all. There it is put once, under the session's id.
pub(crate) fn finish<S: Store>(editor: &mut Editor<'_, '_, S>, finish: &SessionFinish) -> Result<Outcome, Halt> {
    // The last blocks are not part of what was asked: a repeat may come when nobody can tell them any more, and is known
    // by its offset, size and place.
    let commit = finish.commit.clone();
    let asked = SessionFinish { id: finish.id, offset: finish.offset, rest: Vec::new(), commit, result: None };
    let place = place_of(editor, finish.id, &Command::SessionFinish(Box::new(asked)));
    let noted = match kept_under(editor, finish.id)? {
        Some((digest, Kept::Sent { nsid, rest })) => {
            if digest == place.digest && finish.result.is_none() {
                return Ok(Outcome::Elsewhere { nsid, rest });
            }
            Some(nsid)
        }
        Some((digest, Kept::Done(outcome))) => return Err(told_again(digest, &place, outcome).into()),
        None => None,
    };
    if let Some(result) = &finish.result {
        return end_elsewhere(editor, finish.id, (place, noted), result);
    }
    let mark = editor.mark();
    match (finish_here(editor, finish), noted) {
        (Err(Halt::With(Outcome::Elsewhere { nsid, rest })), noted) if noted.is_none_or(|noted| noted == nsid) => {
            editor.rollback(mark);
            let outcome = Outcome::Elsewhere { nsid, rest };
            keep(editor, place, &outcome);
            Ok(outcome)
        }
        (Err(Halt::With(Outcome::Elsewhere { .. })) | Ok(_), Some(_)) => {
            base::mark::hit!("meta.upload.another_target");
            Err(Outcome::NotFound.into())
        }
        (done, None) => {
            let outcome = done?;
            keep(editor, place, &outcome);
            Ok(outcome)
        }
        (refused, Some(_)) => refused,
    }
}

/// The put in the session's own namespace.
fn finish_here<S: Store>(editor: &mut Editor<'_, '_, S>, finish: &SessionFinish) -> Result<Outcome, Halt> {
    let id = finish.id;
    let row = match find(editor, id)? {
        Some(row) => row,
        None if finish.offset == 0 && !id.is_concurrent => begin(editor, id),
        None => return Err(Outcome::NotFound.into()),
    };
    if finish.offset != row.offset {
        return Err(Outcome::IncorrectOffset { correct: row.offset }.into());
    }
    if row.is_concurrent {
        if !row.is_closed {
            return Err(Outcome::NotClosed.into());
        }
        if !finish.rest.is_empty() {
            return Err(Outcome::Malformed.into());
        }
        if row.hash.names as u32 != row.blocks {
            return Err(Outcome::MissingData.into());
        }
    }
    // A closed session may still lack the block that its tail becomes, and nothing else.
    if !row.is_concurrent && row.is_closed && row.tail_bytes == 0 && !finish.rest.is_empty() {
        return Err(Outcome::Closed.into());
    }
    let commit = &with_hash(&finish.commit, &row, &finish.rest);
    let outcome = files::put_at(editor, commit, |editor| complete(editor, row, commit, &finish.rest))?;
    end(editor, id, &row, &outcome)?;
    Ok(outcome)
}

/// The put with the hash of what the session has, where it names none.
fn with_hash<'a>(commit: &'a CommitFile, row: &UploadRow, rest: &[PresentBlock]) -> Cow<'a, CommitFile> {
    if commit.content_hash != HASH_OF_SESSION {
        return Cow::Borrowed(commit);
    }
    base::mark::hit!("meta.upload.own_hash");
    let mut hash = row.hash;
    rest.iter().for_each(|block| hash.push(&block.hash));
    Cow::Owned(CommitFile { content_hash: hash.finish(), ..commit.clone() })
}

/// What is kept under an id.
enum Kept {
    /// A session's finish leads there, and may have been done there.
    Sent {
        nsid: Nsid,
        rest: String,
    },
    Done(Outcome),
}

/// With the digest of what was asked.
fn kept_under<S: Store>(editor: &mut Editor<'_, '_, S>, id: UploadId) -> Result<Option<([u8; 16], Kept)>, Halt> {
    let key = keys::kept_upload(editor.nsid, id.nonce, editor.acct);
    let Some(row) = editor.txn.row::<KeptRow>(&key)? else { return Ok(None) };
    let kept = match crate::kept::unpack(editor.txn, &row.outcome)? {
        Outcome::Elsewhere { nsid, rest } => Kept::Sent { nsid, rest },
        outcome => Kept::Done(outcome),
    };
    Ok(Some((row.digest, kept)))
}

/// What was done is told to who asks for the same.
fn told_again(digest: [u8; 16], asked: &KeptPlace, outcome: Outcome) -> Outcome {
    if digest == asked.digest { outcome } else { Outcome::NotFound }
}

/// Where the outcome of a put under an id is kept, and the digest of what was asked.
pub(crate) struct KeptPlace {
    key: Key,
    pub(crate) digest: [u8; 16],
}

/// A place to keep the outcome; what was done before ends the command with its outcome, or with `NotFound` when
/// something else was asked.
pub(crate) fn not_done_yet<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    id: UploadId,
    command: &Command,
) -> Result<KeptPlace, Halt> {
    let place = place_of(editor, id, command);
    match kept_under(editor, id)? {
        None => Ok(place),
        Some((digest, Kept::Done(outcome))) => Err(told_again(digest, &place, outcome).into()),
        // A session of this namespace has the id.
        Some((_, Kept::Sent { .. })) => Err(Outcome::NotFound.into()),
    }
}

fn place_of<S: Store>(editor: &Editor<'_, '_, S>, id: UploadId, command: &Command) -> KeptPlace {
    let mut bytes = Vec::new();
    encode_command(&CommandHeader { nsid: editor.nsid, ..CommandHeader::default() }, command, &mut bytes);
    let (key, digest) = (keys::kept_upload(editor.nsid, id.nonce, editor.acct), xxh3_128(&bytes).to_le_bytes());
    KeptPlace { key, digest }
}

/// Keeps the outcome of a put that was done.
pub(crate) fn keep<S: Store>(editor: &mut Editor<'_, '_, S>, place: KeptPlace, outcome: &Outcome) {
    let outcome = crate::kept::pack(editor.nsid, outcome, false);
    editor.txn.put(place.key, &KeptRow { digest: place.digest, stamp_ms: editor.txn.stamp_ms, outcome });
}

/// The row goes; a list that no file took goes with it.
pub(crate) fn end<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    id: UploadId,
    row: &UploadRow,
    outcome: &Outcome,
) -> Result<(), Halt> {
    if matches!(outcome, Outcome::Unchanged(_)) {
        drop_list(editor, row)?;
    }
    editor.txn.delete(keys::upload(editor.nsid, id.nonce));
    Ok(())
}

/// Nobody uses the list.
fn drop_list<S: Store>(editor: &mut Editor<'_, '_, S>, row: &UploadRow) -> Result<(), Halt> {
    if editor.release_list(row.list)?.blocks == 0 {
        editor.txn.delete(keys::list(editor.nsid, row.list));
    }
    Ok(())
}

/// The file is in another namespace, on the word of the server that put it there.
fn end_elsewhere<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    id: UploadId,
    (kept, noted): (KeptPlace, Option<Nsid>),
    result: &Metadata,
) -> Result<Outcome, Halt> {
    if !editor.is_server {
        return Err(Outcome::NoAccess.into());
    }
    if result.nsid == editor.nsid {
        return Err(Outcome::Malformed.into());
    }
    // It was sent elsewhere, where it may be too.
    if noted.is_some_and(|noted| noted != result.nsid) {
        base::mark::hit!("meta.upload.another_result");
        return Err(Outcome::NotFound.into());
    }
    base::mark::hit!("meta.upload.ended_elsewhere");
    if let Some(row) = find(editor, id)? {
        drop_list(editor, &row)?;
        editor.txn.delete(keys::upload(editor.nsid, id.nonce));
    }
    let outcome = Outcome::Applied(result.clone());
    keep(editor, kept, &outcome);
    Ok(outcome)
}

/// The session's list with the last blocks, as a file's content.
pub(crate) fn complete<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    mut row: UploadRow,
    commit: &CommitFile,
    rest: &[PresentBlock],
) -> Result<Blocks, Halt> {
    let count = u64::from(row.blocks) + rest.len() as u64;
    let is_count = commit.size.div_ceil(BLOCK_BYTES) == count && commit.size >= row.offset;
    let last = rest.len().saturating_sub(1);
    let is_length = |(at, block): (usize, &PresentBlock)| {
        let is_last = at == last;
        let wanted = if is_last { commit.size - (count - 1) * BLOCK_BYTES } else { BLOCK_BYTES };
        u64::from(block.bytes) == wanted
    };
    let is_end = !rest.is_empty() || commit.size == row.offset;
    if !is_count || !is_end || !commit.blocks.is_empty() || !rest.iter().enumerate().all(is_length) {
        return Err(Outcome::BadContentHash.into());
    }
    if count > FILE_BLOCKS_MAX {
        return Err(Outcome::TooLarge.into());
    }
    take_blocks(editor, &mut row, rest)?;
    if row.hash.finish() != commit.content_hash {
        return Err(Outcome::BadContentHash.into());
    }
    let key = keys::list(editor.nsid, row.list);
    if row.blocks == 0 {
        editor.txn.delete(key);
        return Ok(Blocks::New(Vec::new()));
    }
    // The content row takes over what the session held.
    let list = ListRow { blocks: row.blocks, refs: 1, size: commit.size, content_hash: commit.content_hash };
    editor.txn.put(key, &list);
    let content = Content { hash: commit.content_hash, list: row.list, blocks: row.blocks, inline: Vec::new() };
    Ok(Blocks::Taken(content))
}

/// True when the session is over: nobody can use it, so its list may go.
pub(crate) fn is_over(row: &UploadRow, stamp_ms: u64) -> bool {
    row.created_ms.saturating_add(UPLOAD_MS) <= stamp_ms
}

/// Names that count: not the holes of a concurrent session.
pub(crate) fn is_name(name: &BlockHash) -> bool {
    *name != HOLE
}

/// The second half of a kept result's id: never that of a step, whose low half is zeros.
pub(crate) fn kept_half(acct: Acct) -> u64 {
    acct.0 << 1 | 1
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_hole_has_the_name_of_nothing() {
        assert_eq!(HOLE.0, <[u8; 32]>::from(Sha256::digest([])));
    }
}
