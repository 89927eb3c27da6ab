//! Brings parts of a folder of another namespace, and ends that.

use base::limits::{BLOCK_BYTES, COMMAND_BLOCKS_MAX, ROWS_PER_COMMAND_MAX};
use base::names::{components, name_key, normalize_name};
use base::{Acct, Jid, TreeNode};

use super::{Carried, CarriedFile, CarriedItem, CarryPlace, Import, ImportEnd, ImportEndHow, ImportInfo, stage_nonce};
use crate::access::{Access, access};
use crate::codec::{DecodeError, Put, Reader};
use crate::command::{At, CommitFile, UploadId};
use crate::copy_steps::{attach, bury_hidden};
use crate::editor::{Blocks, Editor, FileContent};
use crate::keys;
use crate::metadata::NodeKind;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::{Answer, ROOT};
use crate::rows::*;
use crate::store::Store;
use crate::tree::{Found, Halt, Tree};
use crate::trim::BLOCK_KEEP_MS;
use crate::{files, uploads};

/// An import of which no part came for so long goes: its flow has long been given up.
const IDLE_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// What the hidden folder is called until it has a place; nobody sees it.
const HIDDEN_NAME: &str = "import";

/// Table 17: `format u8, flags u8 {1 ended}, pad[6], base u64, parts u64, touched_ms u64, then the place`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ImportRow {
    /// No part comes any more; kept for eight days, so that a late one is refused.
    pub is_ended: bool,
    /// Below which folder it grows; 0 when it gave up before it began.
    pub base: TreeNode,
    /// Parts that have come.
    pub parts: u64,
    pub touched_ms: u64,
    /// Where the reader of the source stands.
    pub place: CarryPlace,
}

impl RowValue for ImportRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(u8::from(self.is_ended));
        out.zero(6);
        [self.base.0, self.parts, self.touched_ms].iter().for_each(|field| out.u64(*field));
        self.place.encode(out);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let is_ended = crate::query_codec::flag(reader)?;
        reader.zero(6)?;
        let (base, parts, touched_ms) = (TreeNode(reader.u64()?), reader.u64()?, reader.u64()?);
        Ok(ImportRow { is_ended, base, parts, touched_ms, place: CarryPlace::decode(reader)? })
    }
}

/// Takes the part that is next.
pub(crate) fn import<S: Store>(editor: &mut Editor<'_, '_, S>, import: &Import) -> Result<Outcome, Halt> {
    if import.flow == 0 {
        return Err(Outcome::Malformed.into());
    }
    let key = keys::import(editor.nsid, import.flow);
    let found: Option<ImportRow> = editor.txn.row(&key)?;
    let next = found.as_ref().map_or(0, |row| row.parts);
    if next != import.part || found.as_ref().is_some_and(|row| row.is_ended) {
        base::mark::hit!("meta.import.other_part");
        return Err(Outcome::RevMismatch.into());
    }
    let base = match found {
        Some(row) => row.base,
        None if import.is_hidden => hidden_folder(editor),
        None => ROOT,
    };
    let (start, system) = (editor.mark(), editor.acct);
    editor.acct = import.acct;
    let mut is_cold = false;
    for item in &import.items {
        let mark = editor.mark();
        match take(editor, base, import, item) {
            Ok(()) => {}
            // The others go on, so that one prefetch brings what all of them want.
            Err(Halt::Cold) => {
                editor.rollback(mark);
                is_cold = true;
            }
            refused => return refused.map(|()| Outcome::Done),
        }
    }
    editor.acct = system;
    if is_cold {
        return Err(Halt::Cold);
    }
    if editor.changes_since(start) > ROWS_PER_COMMAND_MAX {
        return Err(Outcome::TooLarge.into());
    }
    let touched_ms = editor.txn.stamp_ms;
    let row = ImportRow { is_ended: false, base, parts: next + 1, touched_ms, place: import.place.clone() };
    editor.txn.put(key, &row);
    base::mark::hit!("meta.import.part");
    Ok(Outcome::Done)
}

/// A folder that no path leads to.
fn hidden_folder<S: Store>(editor: &mut Editor<'_, '_, S>) -> TreeNode {
    let node = editor.new_node();
    let row = NodeRow {
        kind: NodeKind::Folder,
        flags: NODE_HIDDEN,
        parent: ROOT,
        last_jid: Jid(0),
        rev_jid: Jid(0),
        size: 0,
        client_mtime_ms: i64::MIN,
        server_mtime_ms: editor.txn.stamp_ms as i64,
        modified_by: editor.acct,
        content_hash: [0; 32],
        name: HIDDEN_NAME.to_owned(),
    };
    editor.put_node(node, &row);
    node
}

fn take<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    base: TreeNode,
    import: &Import,
    item: &CarriedItem,
) -> Result<(), Halt> {
    let mut names: Vec<&str> = components(&item.path).collect();
    let is_joined = names.iter().map(|name| name.len() + 1).sum::<usize>() == item.path.len();
    if !is_joined || names.iter().any(|name| normalize_name(name).map_or(true, |normal| normal != **name)) {
        return Err(Outcome::Malformed.into());
    }
    let Some(name) = names.pop() else { return Err(Outcome::Malformed.into()) };
    match &item.what {
        Carried::Deleted => {
            if let Some(found) = find(editor, base, &names, name)? {
                base::mark::hit!("meta.import.deleted");
                files::write_delete(editor, found)?;
            }
            Ok(())
        }
        Carried::Folder => {
            let parent = folder_at(editor, base, &names)?;
            take_folder(editor, parent, name).map(drop)
        }
        Carried::File(file) => {
            let parent = folder_at(editor, base, &names)?;
            take_file(editor, (parent, name), import, file)
        }
    }
}

fn child<S: Store>(editor: &mut Editor<'_, '_, S>, parent: TreeNode, name: &str) -> Result<Option<Found>, Halt> {
    let Some(dirent) = editor.tree().dirent(parent, &name_key(name))? else { return Ok(None) };
    Ok(Some(Found { node: dirent.node, row: editor.tree().known_node(dirent.node)? }))
}

/// What is there, if anything is.
fn find<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    base: TreeNode,
    names: &[&str],
    name: &str,
) -> Result<Option<Found>, Halt> {
    let mut at = base;
    for name in names {
        match child(editor, at, name)? {
            Some(Found { node, row }) if row.kind == NodeKind::Folder => at = node,
            _ => return Ok(None),
        }
    }
    child(editor, at, name)
}

/// The folder at these names; what is missing is made.
fn folder_at<S: Store>(editor: &mut Editor<'_, '_, S>, base: TreeNode, names: &[&str]) -> Result<TreeNode, Halt> {
    let mut at = base;
    for name in names {
        at = match child(editor, at, name)? {
            Some(Found { node, row }) if row.kind == NodeKind::Folder => node,
            _ => take_folder(editor, at, name)?,
        };
    }
    Ok(at)
}

/// A folder of this very name: one that is there keeps what is in it.
fn take_folder<S: Store>(editor: &mut Editor<'_, '_, S>, parent: TreeNode, name: &str) -> Result<TreeNode, Halt> {
    match child(editor, parent, name)? {
        Some(found) if found.row.kind == NodeKind::Folder && found.row.name == name => return Ok(found.node),
        Some(found) if found.row.kind == NodeKind::Folder => {
            let node = found.node;
            files::write_move(editor, &found, (parent, name), true, 0)?;
            return Ok(node);
        }
        Some(found) => drop(files::write_delete(editor, found)?),
        None => {}
    }
    Ok(editor.make_folder(parent, name, 0)?.node)
}

fn take_file<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    (parent, name): (TreeNode, &str),
    import: &Import,
    file: &CarriedFile,
) -> Result<(), Halt> {
    let mut cur = child(editor, parent, name)?;
    if let Some(found) = cur.take_if(|found| found.row.kind != NodeKind::File) {
        files::write_delete(editor, found)?;
    }
    let mtime = |ms: i64| (ms, file.size, file.content_hash);
    if let Some(Found { row, .. }) = &cur
        && (row.client_mtime_ms, row.size, row.content_hash) == mtime(file.client_mtime_ms)
        && row.name == name
    {
        return Ok(());
    }
    editor.check_quota(cur.as_ref().map_or(0, |cur| cur.row.size), file.size)?;
    let commit = CommitFile {
        at: At::node(parent),
        size: file.size,
        content_hash: file.content_hash,
        blocks: file.blocks.clone(),
        ..CommitFile::default()
    };
    let content = |blocks| FileContent {
        size: file.size,
        client_mtime_ms: file.client_mtime_ms,
        hash: file.content_hash,
        blocks,
    };
    if !file.is_staged() {
        note_blocks(editor, import.read_ms, file)?;
        files::check_blocklist(editor, &commit)?;
        editor.put_file((parent, name), cur.as_ref(), None, content(Blocks::New(commit.blocks)), 0)?;
        return Ok(());
    }
    base::mark::hit!("meta.import.staged");
    let nonce = stage_nonce(import.flow, file.rev);
    let id = UploadId { nonce, issued_ms: import.read_ms, is_concurrent: false };
    let acct = std::mem::replace(&mut editor.acct, Acct(0));
    let row = uploads::find_one(editor, id, true)?;
    editor.acct = acct;
    let Some(row) = row else { return Err(Outcome::RevMismatch.into()) };
    let blocks = uploads::complete(editor, row, &commit, &[])?;
    let metadata = editor.put_file((parent, name), cur.as_ref(), None, content(blocks), 0)?;
    uploads::end(editor, id, &row, &Outcome::Applied(metadata))
}

/// The blocks are known from here on, on the word of who read them where they are.
fn note_blocks<S: Store>(editor: &mut Editor<'_, '_, S>, read_ms: u64, file: &CarriedFile) -> Result<(), Halt> {
    if file.blocks.len() > COMMAND_BLOCKS_MAX || file.size.div_ceil(BLOCK_BYTES) != file.blocks.len() as u64 {
        return Err(Outcome::BadContentHash.into());
    }
    let bytes = |at: u32| (file.size - u64::from(at) * BLOCK_BYTES).min(BLOCK_BYTES) as u32;
    let present = file.blocks.iter().zip(0..).map(|(hash, at)| (at, *hash, bytes(at), read_ms));
    let mut is_cold = false;
    for at in editor.note_present(present)? {
        // Read too long ago: only what is known here anyway may be named.
        match editor.txn.has(&keys::block(editor.nsid, &file.blocks[at as usize])) {
            Ok(true) => {}
            Ok(false) => return Err(Outcome::RevMismatch.into()),
            Err(_) => is_cold = true,
        }
    }
    if is_cold { Err(Halt::Cold) } else { Ok(()) }
}

/// Ends an import. One that never began ends too: no part comes after.
pub(crate) fn end<S: Store>(editor: &mut Editor<'_, '_, S>, end: &ImportEnd) -> Result<Outcome, Halt> {
    let key = keys::import(editor.nsid, end.step.flow);
    let found: Option<ImportRow> = editor.txn.row(&key)?;
    let hidden = found.as_ref().filter(|row| !row.is_ended && row.base != ROOT).map(|row| row.base);
    let outcome = match (&end.how, hidden) {
        (ImportEndHow::Attach { at, autorename, acct }, Some(hidden)) => {
            let namespace = editor.namespace;
            if access(editor.txn, editor.nsid, &namespace, *acct)? != Access::Write {
                return Err(Outcome::NoAccess.into());
            }
            editor.acct = *acct;
            base::mark::hit!("meta.import.attached");
            attach(editor, at, *autorename, hidden)?
        }
        (ImportEndHow::Attach { .. }, None) => return Err(Outcome::NotFound.into()),
        (ImportEndHow::GiveUp, Some(hidden)) => {
            base::mark::hit!("meta.import.given_up");
            bury_hidden(editor, hidden)?;
            Outcome::Done
        }
        _ => Outcome::Done,
    };
    let (base, parts) = found.as_ref().map_or((TreeNode(0), 0), |row| (row.base, row.parts));
    let touched_ms = editor.txn.stamp_ms;
    let place = found.map(|row| row.place).unwrap_or_default();
    editor.txn.put(key, &ImportRow { is_ended: true, base, parts, touched_ms, place });
    Ok(outcome)
}

/// How far an import has come.
pub(crate) fn state<R: Source>(tree: &mut Tree<'_, R>, flow: u64) -> Result<Answer, Halt> {
    let row: Option<ImportRow> = tree.source.row(&keys::import(tree.nsid, flow))?;
    Ok(row.map_or(Answer::NotFound, |row| {
        Answer::Import(ImportInfo { parts: row.parts, is_ended: row.is_ended, place: row.place })
    }))
}

/// It ended long ago, or its parts stopped coming.
pub(crate) fn is_over(row: &ImportRow, stamp_ms: u64) -> bool {
    let keep = if row.is_ended { BLOCK_KEEP_MS } else { IDLE_MS };
    row.touched_ms.saturating_add(keep) <= stamp_ms
}

/// The row of an import that is over goes; what it brought and nobody attached goes with it.
pub(crate) fn sweep<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], row: &ImportRow) -> Result<(), Halt> {
    if !row.is_ended && row.base != ROOT {
        bury_hidden(editor, row.base)?;
    }
    editor.txn.delete(key);
    Ok(())
}
