//! Puts of what another namespace has: finishes of upload sessions that live elsewhere, and copies between namespaces
//! (docs/design/metadata.md, "Uploads").
//!
//! A server attests the blocks, which the other namespace holds. A list too long for one command is staged part by part,
//! in a row as upload sessions have it, until a put takes it over; one that nobody takes ends as a session does.

use base::limits::{BLOCK_BYTES, FILE_BLOCKS_MAX};

use crate::command::{Attested, Command, CommitFile, ListStage};
use crate::editor::Editor;
use crate::files;
use crate::keys;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::rows::*;
use crate::store::Store;
use crate::tree::Halt;
use crate::uploads;

/// Takes the next part of a list; the same part again is harmless.
pub(crate) fn stage<S: Store>(editor: &mut Editor<'_, '_, S>, stage: &ListStage) -> Result<Outcome, Halt> {
    let ListStage { id, part, ref blocks } = *stage;
    if !editor.is_server {
        return Err(Outcome::NoAccess.into());
    }
    let Some((last, whole)) = blocks.split_last() else { return Err(Outcome::Malformed.into()) };
    if !files::is_block_length(last.bytes) || whole.iter().any(|block| u64::from(block.bytes) != BLOCK_BYTES) {
        return Err(Outcome::Malformed.into());
    }
    let found = uploads::find_one(editor, id, true)?;
    // What was put has no row, and its outcome is kept.
    if found.is_none() && editor.txn.has(&keys::kept_upload(editor.nsid, id.nonce, editor.acct))? {
        return Err(Outcome::NotFound.into());
    }
    let mut row = match found {
        Some(row) => row,
        None => UploadRow { is_staged: true, ..uploads::begin(editor, id) },
    };
    let first = u64::from(part) * LIST_PART_BLOCKS as u64;
    if first < u64::from(row.blocks) {
        base::mark::hit!("meta.stage.again");
        let staged: Option<ListPartRow> = editor.txn.row(&keys::list_part(editor.nsid, row.list, part))?;
        let is_same = staged.is_some_and(|staged| staged.blocks.iter().eq(blocks.iter().map(|block| &block.hash)));
        return if is_same { Ok(Outcome::Done) } else { Err(Outcome::IncorrectOffset { correct: row.offset }.into()) };
    }
    if row.is_closed || first > u64::from(row.blocks) {
        return Err(Outcome::IncorrectOffset { correct: row.offset }.into());
    }
    if first + blocks.len() as u64 > FILE_BLOCKS_MAX {
        return Err(Outcome::TooLarge.into());
    }
    uploads::take_blocks(editor, &mut row, blocks)?;
    row.offset += whole.len() as u64 * BLOCK_BYTES + u64::from(last.bytes);
    row.is_closed = blocks.len() < LIST_PART_BLOCKS || u64::from(last.bytes) < BLOCK_BYTES;
    editor.txn.put(keys::upload(editor.nsid, id.nonce), &row);
    Ok(Outcome::Done)
}

/// A put on the word of a server, done once under its id.
pub(crate) fn commit<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    commit: &CommitFile,
    attested: Attested,
) -> Result<Outcome, Halt> {
    if !editor.is_server {
        return Err(Outcome::NoAccess.into());
    }
    let kept = uploads::not_done_yet(editor, attested.id, &Command::CommitFile(commit.clone()))?;
    let row = uploads::find_one(editor, attested.id, true)?;
    let outcome = match (attested.is_staged, row) {
        (false, None) => files::put_named(editor, commit)?,
        (true, Some(row)) => {
            base::mark::hit!("meta.stage.taken");
            let outcome = files::put_at(editor, commit, |editor| uploads::complete(editor, row, commit, &[]))?;
            uploads::end(editor, attested.id, &row, &outcome)?;
            outcome
        }
        (true, None) => return Err(Outcome::NotFound.into()),
        // One put has one list.
        (false, Some(_)) => return Err(Outcome::Malformed.into()),
    };
    uploads::keep(editor, kept, &outcome);
    Ok(outcome)
}
