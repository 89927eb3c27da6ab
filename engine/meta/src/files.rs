//! The commands that change files and folders (docs/design/metadata.md, "Commands").

use base::Jid;
use base::limits::{AUTORENAME_TRIES_MAX, BLOCK_BYTES, ROWS_PER_COMMAND_MAX};
use base::names::{name_key, normalize_name};
use sha2::{Digest, Sha256};

use crate::autorename::candidate;
use crate::command::{
    Command, CommitBatch, CommitFile, Delete, Mkdir, Move, PresentBlock, PutMode, Restore, SetAttr, StoreAndCommit,
};
use crate::editor::{Blocks, Editor, FileContent, node_of};
use crate::keys;
use crate::metadata::{Metadata, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::ROOT;
use crate::rows::*;
use crate::store::Store;
use crate::tree::{CONFLICT_FILE, CONFLICT_FOLDER, Found, Halt, Located, conflict_with};
use crate::{staged, uploads};

/// Runs one command of files; what it wrote is taken back when it fails.
pub(crate) fn execute<S: Store>(editor: &mut Editor<'_, '_, S>, command: &Command) -> Result<Outcome, Halt> {
    match command {
        Command::CommitBatch(batch) => commit_batch(editor, batch),
        Command::BlocksPresent(blocks) => blocks_present(editor, blocks),
        Command::StoreAndCommit(both) => store_and_commit(editor, both),
        _ => execute_one(editor, command),
    }
}

/// Runs one command that succeeds or changes nothing.
fn execute_one<S: Store>(editor: &mut Editor<'_, '_, S>, command: &Command) -> Result<Outcome, Halt> {
    // A copy is bounded by its nodes.
    let rows_max = match command {
        Command::Copy(_) | Command::CopyStep(_) => usize::MAX,
        _ => ROWS_PER_COMMAND_MAX,
    };
    whole_or_nothing(editor, rows_max, |editor| match command {
        Command::CommitFile(commit) => commit_file(editor, commit),
        Command::Mkdir(mkdir) => make_folder(editor, mkdir),
        Command::Delete(delete) => delete_node(editor, delete),
        Command::Move(moved) => move_node(editor, moved),
        Command::Restore(restore) => restore_file(editor, restore),
        Command::Copy(copy) => crate::copy::copy(editor, copy),
        Command::CopyStep(step) => crate::copy_steps::step(editor, step),
        Command::SetAttr(attr) => set_attr(editor, attr),
        Command::SessionAppend(append) => uploads::append(editor, append),
        Command::SessionSeal(id) => uploads::seal(editor, *id),
        Command::SessionFinish(finish) => uploads::finish(editor, finish),
        Command::ListStage(stage) => staged::stage(editor, stage),
        _ => Err(Outcome::Unsupported.into()),
    })
}

/// Runs what succeeds and changes at most so many rows, or takes it back.
fn whole_or_nothing<'t, 'a, S: Store>(
    editor: &mut Editor<'t, 'a, S>,
    rows_max: usize,
    run: impl FnOnce(&mut Editor<'t, 'a, S>) -> Result<Outcome, Halt>,
) -> Result<Outcome, Halt> {
    let mark = editor.mark();
    let result = match run(editor) {
        Ok(_) if editor.changes_since(mark) > rows_max => Err(Outcome::TooLarge.into()),
        result => result,
    };
    match result {
        Err(Halt::With(outcome)) => {
            base::mark::hit!("meta.command.rolled_back");
            editor.rollback(mark);
            Ok(outcome)
        }
        result => result,
    }
}

fn commit_batch<S: Store>(editor: &mut Editor<'_, '_, S>, batch: &CommitBatch) -> Result<Outcome, Halt> {
    let start = editor.mark();
    let mut outcomes = Vec::with_capacity(batch.parts.len());
    let mut is_cold = false;
    for (at, part) in batch.parts.iter().enumerate() {
        let mark = editor.mark();
        let mut outcome = match execute_one(editor, part) {
            Ok(outcome) => outcome,
            // The other parts go on, so that one prefetch brings what all of them want.
            Err(_) => {
                editor.rollback(mark);
                is_cold = true;
                continue;
            }
        };
        if editor.changes_since(start) > ROWS_PER_COMMAND_MAX {
            editor.rollback(mark);
            outcome = Outcome::TooLarge;
        }
        if batch.atomic && !outcome.is_ok() && !is_cold {
            editor.rollback(start);
            base::mark::hit!("meta.batch.undone");
            return Ok(Outcome::Batch { failed: Some(at as u32), outcomes: vec![outcome] });
        }
        outcomes.push(outcome);
    }
    if is_cold { Err(Halt::Cold) } else { Ok(Outcome::Batch { failed: None, outcomes }) }
}

pub(crate) fn is_block_length(bytes: u32) -> bool {
    0 < bytes && u64::from(bytes) <= BLOCK_BYTES
}

fn blocks_present<S: Store>(editor: &mut Editor<'_, '_, S>, blocks: &[PresentBlock]) -> Result<Outcome, Halt> {
    if !blocks.iter().all(|block| is_block_length(block.bytes)) {
        return Ok(Outcome::Malformed);
    }
    let blocks = blocks.iter().zip(0..).map(|(block, at)| (at, block.hash, block.bytes, block.put_at_ms));
    let refused = editor.note_present(blocks)?;
    Ok(if refused.is_empty() { Outcome::Done } else { Outcome::NeedBlocks(refused) })
}

/// What was present becomes known whatever the put comes to: the client need not send it again.
fn store_and_commit<S: Store>(editor: &mut Editor<'_, '_, S>, both: &StoreAndCommit) -> Result<Outcome, Halt> {
    let mut present = Vec::with_capacity(both.present.len());
    for part in &both.present {
        let Some(hash) = both.commit.blocks.get(part.position as usize) else { return Ok(Outcome::Malformed) };
        if !is_block_length(part.bytes) {
            return Ok(Outcome::Malformed);
        }
        present.push((part.position, *hash, part.bytes, part.put_at_ms));
    }
    let noted = editor.note_present(present.into_iter());
    let outcome = whole_or_nothing(editor, ROWS_PER_COMMAND_MAX, |editor| commit_file(editor, &both.commit))?;
    noted?;
    Ok(outcome)
}

/// What a put does at its target, by the conflict table.
enum Verdict {
    Write,
    Unchanged,
    Conflict(Outcome),
}

fn judge(commit: &CommitFile, cur: Option<&Found>) -> Verdict {
    let Some(cur) = cur else {
        return match commit.mode {
            PutMode::Update(_) if commit.strict => Verdict::Conflict(CONFLICT_FILE),
            _ => Verdict::Write,
        };
    };
    if cur.row.kind != NodeKind::File {
        return Verdict::Conflict(CONFLICT_FOLDER);
    }
    let is_same = cur.row.content_hash == commit.content_hash && cur.row.size == commit.size;
    if is_same && !commit.strict {
        return Verdict::Unchanged;
    }
    match commit.mode {
        PutMode::Overwrite => Verdict::Write,
        PutMode::Update(rev) if rev == cur.row.rev_jid => Verdict::Write,
        PutMode::Add | PutMode::Update(_) => Verdict::Conflict(CONFLICT_FILE),
    }
}

fn commit_file<S: Store>(editor: &mut Editor<'_, '_, S>, commit: &CommitFile) -> Result<Outcome, Halt> {
    match &commit.attested {
        Some(attested) => staged::commit(editor, commit, **attested),
        None => put_named(editor, commit),
    }
}

/// A put of blocks that the command names.
pub(crate) fn put_named<S: Store>(editor: &mut Editor<'_, '_, S>, commit: &CommitFile) -> Result<Outcome, Halt> {
    put_at(editor, commit, |editor| {
        check_blocklist(editor, commit)?;
        Ok(Blocks::New(commit.blocks.clone()))
    })
}

/// A put by the conflict table; `supply` checks the content and says where its blocks are named.
pub(crate) fn put_at<'t, 'a, S: Store>(
    editor: &mut Editor<'t, 'a, S>,
    commit: &CommitFile,
    supply: impl FnOnce(&mut Editor<'t, 'a, S>) -> Result<Blocks, Halt>,
) -> Result<Outcome, Halt> {
    let Some(mut located) = editor.tree().locate(&commit.at)? else { return Err(CONFLICT_FOLDER.into()) };
    editor.check_thawed(located.parent)?;
    let mut flags = 0;
    match judge(commit, located.cur.as_ref()) {
        Verdict::Write => {}
        Verdict::Unchanged => return unchanged(editor, located.cur.as_ref()),
        Verdict::Conflict(conflict) if !commit.autorename => return Err(conflict.into()),
        Verdict::Conflict(conflict) => {
            base::mark::hit!("meta.commit.renamed");
            let label = if matches!(commit.mode, PutMode::Update(_)) { &commit.label[..] } else { "" };
            rename(editor, &mut located, label, conflict)?;
            flags = ROW_AUTORENAMED;
        }
    }
    let blocks = supply(editor)?;
    editor.check_quota(located.cur.as_ref().map_or(0, |cur| cur.row.size), commit.size)?;
    let parent = editor.make_parents(&located)?;
    let content = FileContent {
        size: commit.size,
        client_mtime_ms: commit.client_mtime_ms.unwrap_or(i64::MIN),
        hash: commit.content_hash,
        blocks,
    };
    let metadata = editor.put_file((parent, &located.name), located.cur.as_ref(), None, content, flags)?;
    Ok(Outcome::Applied(metadata))
}

/// The revision that is there already.
fn unchanged<S: Store>(editor: &mut Editor<'_, '_, S>, cur: Option<&Found>) -> Result<Outcome, Halt> {
    let cur = cur.expect("only what is there is unchanged");
    Ok(Outcome::Unchanged(cur.row.metadata(editor.nsid, cur.node)))
}

/// Takes another name, where nothing is; the conflict stands after too many tries.
pub(crate) fn rename<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    located: &mut Located,
    label: &str,
    conflict: Outcome,
) -> Result<(), Halt> {
    if !label.is_empty() && normalize_name(label).is_err() {
        return Err(Outcome::Malformed.into());
    }
    for n in 1..=AUTORENAME_TRIES_MAX {
        let Some(name) = candidate(&located.name, label, n) else { break };
        let is_free = !located.missing.is_empty() || editor.tree().dirent(located.parent, &name_key(&name))?.is_none();
        if is_free {
            base::mark::hit!("meta.autorename.taken_too", n > 1);
            base::mark::hit!("meta.autorename.found");
            located.name = name;
            located.cur = None;
            return Ok(());
        }
    }
    Err(conflict.into())
}

/// Are the blocks that a put names known, of the right lengths, and what its hash says?
pub(crate) fn check_blocklist<S: Store>(editor: &mut Editor<'_, '_, S>, commit: &CommitFile) -> Result<(), Halt> {
    let count = commit.size.div_ceil(BLOCK_BYTES);
    let mut hash = Sha256::new();
    commit.blocks.iter().for_each(|block| hash.update(block.0));
    let hash: [u8; 32] = hash.finalize().into();
    if commit.blocks.len() as u64 != count || hash != commit.content_hash {
        return Err(Outcome::BadContentHash.into());
    }
    let (mut missing, mut has_bad_length, mut is_cold) = (Vec::new(), false, false);
    for (block, position) in commit.blocks.iter().zip(0u32..) {
        let is_last = u64::from(position) + 1 == count;
        let wanted = if is_last { commit.size - (count - 1) * BLOCK_BYTES } else { BLOCK_BYTES };
        match editor.txn.row::<BlockRow>(&keys::block(editor.nsid, block)) {
            Ok(None) => missing.push(position),
            Ok(Some(row)) => has_bad_length |= u64::from(row.bytes) != wanted,
            // One prefetch for all of them.
            Err(_) => is_cold = true,
        }
    }
    match (is_cold, missing.is_empty(), has_bad_length) {
        (true, ..) => Err(Halt::Cold),
        (_, false, _) => Err(Outcome::NeedBlocks(missing).into()),
        (_, _, true) => Err(Outcome::BadContentHash.into()),
        _ => Ok(()),
    }
}

fn make_folder<S: Store>(editor: &mut Editor<'_, '_, S>, mkdir: &Mkdir) -> Result<Outcome, Halt> {
    let Some(mut located) = editor.tree().locate(&mkdir.at)? else { return Err(CONFLICT_FOLDER.into()) };
    editor.check_thawed(located.parent)?;
    let mut flags = 0;
    if let Some(cur) = &located.cur {
        let conflict = conflict_with(cur.row.kind);
        if !mkdir.autorename {
            return Err(conflict.into());
        }
        rename(editor, &mut located, "", conflict)?;
        flags = ROW_AUTORENAMED;
    }
    let parent = editor.make_parents(&located)?;
    Ok(Outcome::Applied(editor.make_folder(parent, &located.name, flags)?))
}

/// O(1) for a folder of any size: it is detached, a sweep accounts for what was in it.
fn delete_node<S: Store>(editor: &mut Editor<'_, '_, S>, delete: &Delete) -> Result<Outcome, Halt> {
    let found = editor.tree().find(&delete.at)?;
    if found.node == ROOT {
        return Err(Outcome::NoAccess.into());
    }
    let is_file = found.row.kind == NodeKind::File;
    if delete.parent_rev.is_some_and(|rev| !is_file || rev != found.row.rev_jid) {
        return Err(Outcome::RevMismatch.into());
    }
    editor.check_thawed(found.node)?;
    Ok(Outcome::Applied(write_delete(editor, found)?))
}

/// A name goes, with all below it.
pub(crate) fn write_delete<S: Store>(editor: &mut Editor<'_, '_, S>, found: Found) -> Result<Metadata, Halt> {
    let mut row = editor.blank_row(Op::Delete, found.row.kind, found.node);
    row.old_parent = found.row.parent;
    found.row.name.clone_into(&mut row.old_name);
    row.prev_jid = found.row.rev_jid;
    row.name_prev_jid = found.row.rev_jid;
    row.size = found.row.size;
    if found.row.last_jid != found.row.rev_jid {
        // An attribute was set since: the revision's row does not tell it.
        row.client_mtime_ms = found.row.client_mtime_ms;
    }
    let jid = editor.append(&row)?;
    let gone = found.node;
    let node = editor.bury(found, jid);
    match node.kind {
        NodeKind::File => {
            editor.namespace.live_files -= 1;
            editor.namespace.live_bytes -= node.size;
        }
        NodeKind::Folder => {
            editor.txn.put(keys::sweep(editor.nsid, jid, gone), &SweepRow::default());
            base::mark::hit!("meta.delete.folder");
            editor.has_detached = true;
        }
        NodeKind::Mount => {}
    }
    Ok(node.metadata(editor.nsid, gone))
}

/// O(1) for a folder of any size: one name changes its place.
fn move_node<S: Store>(editor: &mut Editor<'_, '_, S>, moved: &Move) -> Result<Outcome, Halt> {
    let source = editor.tree().find(&moved.source)?;
    if source.node == ROOT {
        return Err(Outcome::IntoItself.into());
    }
    let Some(mut located) = editor.tree().locate(&moved.target)? else { return Err(CONFLICT_FOLDER.into()) };
    editor.check_thawed(source.node)?;
    editor.check_thawed(located.parent)?;
    if source.row.kind == NodeKind::Folder && editor.tree().is_at_or_below(located.parent, source.node)? {
        base::mark::hit!("meta.move.into_itself");
        return Err(Outcome::IntoItself.into());
    }
    let mut flags = 0;
    let is_recased = located.cur.as_ref().is_some_and(|cur| cur.node == source.node && located.name != source.row.name);
    if let Some(cur) = &located.cur
        && !is_recased
    {
        let conflict = conflict_with(cur.row.kind);
        if !moved.autorename {
            return Err(conflict.into());
        }
        rename(editor, &mut located, "", conflict)?;
        flags = ROW_AUTORENAMED;
    }
    let parent = editor.make_parents(&located)?;
    base::mark::hit!("meta.move.recased", is_recased);
    write_move(editor, &source, (parent, &located.name), is_recased, flags)
}

pub(crate) fn write_move<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    source: &Found,
    (parent, name): (base::TreeNode, &str),
    is_recased: bool,
    flags: u8,
) -> Result<Outcome, Halt> {
    let mut row = editor.blank_row(Op::Move, source.row.kind, source.node);
    row.flags = flags;
    row.parent = parent;
    row.old_parent = source.row.parent;
    row.prev_jid = source.row.rev_jid;
    row.size = source.row.size;
    row.client_mtime_ms = source.row.client_mtime_ms;
    name.clone_into(&mut row.name);
    source.row.name.clone_into(&mut row.old_name);
    if source.row.kind == NodeKind::File {
        let before = editor.tree().journal(source.row.rev_jid)?.expect("a live file keeps its content row");
        let content = before.content.expect("a file's revision is a content row");
        base::mark::hit!("meta.move.file");
        editor.hold_again(&content)?;
        row.content = Some(content);
    }
    row.name_prev_jid = if is_recased { source.row.rev_jid } else { editor.take_name(parent, name)? };
    let jid = editor.append(&row)?;
    let metadata = row.metadata(editor.nsid, jid).expect("a move row holds its node");
    let linked = source.row.flags & NODE_LINKED;
    editor.put_node(source.node, &NodeRow { flags: linked, ..node_of(&metadata) });
    if !is_recased {
        editor.vacate_name(source, jid);
        editor.put_dirent(parent, name, source.row.kind, source.node);
    }
    Ok(Outcome::Applied(metadata))
}

/// The same revision with another attribute: readers are told, histories are not.
fn set_attr<S: Store>(editor: &mut Editor<'_, '_, S>, attr: &SetAttr) -> Result<Outcome, Halt> {
    let Found { node, row: mut node_row } = editor.tree().find(&attr.at)?;
    if node == ROOT {
        return Err(Outcome::NoAccess.into());
    }
    if attr.client_mtime_ms.is_none_or(|mtime| mtime == node_row.client_mtime_ms) {
        return Ok(Outcome::Unchanged(node_row.metadata(editor.nsid, node)));
    }
    editor.check_thawed(node)?;
    node_row.client_mtime_ms = attr.client_mtime_ms.expect("it was just looked at");
    let mut row = editor.blank_row(Op::Attr, node_row.kind, node);
    row.parent = node_row.parent;
    row.size = node_row.size;
    row.client_mtime_ms = node_row.client_mtime_ms;
    node_row.name.clone_into(&mut row.name);
    node_row.last_jid = editor.append(&row)?;
    editor.put_node(node, &node_row);
    Ok(Outcome::Applied(node_row.metadata(editor.nsid, node)))
}

fn restore_file<S: Store>(editor: &mut Editor<'_, '_, S>, restore: &Restore) -> Result<Outcome, Halt> {
    let row = match restore.rev {
        Jid(0) => None,
        rev => editor.tree().journal(rev)?,
    };
    let Some(row) = row else { return Err(Outcome::NotFound.into()) };
    let Some(content) = row.content else { return Err(Outcome::InvalidRev.into()) };
    let Some(located) = editor.tree().locate(&restore.at)? else { return Err(CONFLICT_FOLDER.into()) };
    editor.check_thawed(located.parent)?;
    let cur = located.cur.as_ref();
    if let Some(cur) = cur {
        if cur.row.kind != NodeKind::File {
            return Err(CONFLICT_FOLDER.into());
        }
        if cur.row.content_hash == content.hash && cur.row.size == row.size {
            return unchanged(editor, Some(cur));
        }
    }
    editor.check_quota(cur.map_or(0, |cur| cur.row.size), row.size)?;
    let revived =
        if cur.is_none() && located.missing.is_empty() { own_dead_node(editor, &located, row.node)? } else { None };
    let parent = editor.make_parents(&located)?;
    let content = FileContent {
        size: row.size,
        client_mtime_ms: row.client_mtime_ms,
        hash: content.hash,
        blocks: Blocks::Held(content),
    };
    base::mark::hit!("meta.restore.revived", revived.is_some());
    let place = (parent, &located.name[..]);
    Ok(Outcome::Applied(editor.put_file(place, cur, revived.as_ref(), content, ROW_RESTORE)?))
}

/// The node of the revision, if it is the file that was deleted last at this very place.
fn own_dead_node<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    located: &Located,
    node: base::TreeNode,
) -> Result<Option<Found>, Halt> {
    let Some(dead) = editor.tree().dead(located.parent, &name_key(&located.name))? else { return Ok(None) };
    if dead.node != node || dead.kind != NodeKind::File {
        return Ok(None);
    }
    let row = editor.tree().known_node(node)?;
    let is_its_place = row.is_dead() && row.last_jid == dead.jid && row.parent == located.parent;
    Ok(is_its_place.then_some(Found { node, row }))
}
