//! What goes when nobody needs it any more: rows of the journal, deleted subtrees, blocks (docs/design/metadata.md,
//! "Trimming"). Bounded steps, proposed by the leader.

use std::collections::BTreeMap;

use base::limits::ROWS_PER_COMMAND_MAX;
use base::names::name_key;
use base::{BlockHash, Jid, TreeNode};

use crate::editor::Editor;
use crate::keys::{self, after, table};
use crate::links;
use crate::metadata::NodeKind;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::read::at_most;
use crate::rows::*;
use crate::store::{Rows, Store};
use crate::tree::{Found, Halt};
use crate::{across, copy_steps, uploads};

/// Rows of the journal that one trim walks at most.
const TRIM_ROWS_MAX: u64 = 1024;
/// Nodes that one purge removes, and rows that one sweep of blocks looks at.
const STEP_ROWS_MAX: u32 = 1024;
/// Changes that one row of the journal or one node brings at most: its own rows, and four blocks.
const ROW_CHANGES_MAX: usize = 16;
/// A block that no held revision names is forgotten after so long: more than an upload session lives.
pub(crate) const BLOCK_KEEP_MS: u64 = 8 * 24 * 60 * 60 * 1000;
/// Tables that a sweep of blocks walks, in order.
pub(crate) const SWEPT_TABLES: [u8; 7] =
    [table::BLOCK, table::LIST, table::UPLOAD, table::KEPT, table::LINK, table::COPY, table::IMPORT];

/// Sets the oldest usable cursor and walks the journal up to it.
///
/// Row s drops the revision or place that it replaced, and the dead row of the name that it vacated. It stays itself
/// while it is a revision of a file: what replaces it later, or a purge, drops it. A delete removes its file's node, or
/// queues its folder.
pub(crate) fn trim_journal<S: Store>(editor: &mut Editor<'_, '_, S>, floor: Jid) -> Result<Outcome, Halt> {
    editor.namespace.floor = floor.min(editor.namespace.head).max(editor.namespace.floor);
    let (begin, floor) = (editor.namespace.trim, editor.namespace.floor);
    let end = floor.min(Jid(begin.0 + TRIM_ROWS_MAX));
    let mut rows = Rows::new();
    let range = keys::between(keys::journal(editor.nsid, begin.next()), keys::journal(editor.nsid, end.next()));
    editor.txn.scan(range, TRIM_ROWS_MAX as u32, &mut rows)?;
    let rows: Vec<JournalRow> = rows.iter().map(|(_, value)| JournalRow::decode(value)).collect();
    assert_eq!(rows.len() as u64, end.0 - begin.0, "the journal has every row above the last one trimmed");
    warm_rows(editor, &rows)?;
    let mark = editor.mark();
    for row in &rows {
        if editor.changes_since(mark) + ROW_CHANGES_MAX > ROWS_PER_COMMAND_MAX {
            break;
        }
        let jid = editor.namespace.trim.next();
        trim_row(editor, jid, row)?;
        editor.namespace.trim = jid;
    }
    let walked = editor.namespace.trim.0 - begin.0;
    Ok(Outcome::Swept { nodes: walked as u32, has_more: editor.namespace.trim < floor })
}

/// Asks for all that these rows drop, so that one or two prefetches bring it.
fn warm_rows<S: Store>(editor: &mut Editor<'_, '_, S>, rows: &[JournalRow]) -> Result<(), Halt> {
    let (nsid, mut is_cold) = (editor.nsid, false);
    for row in rows {
        if row.prev_jid != Jid(0) {
            match editor.tree().journal(row.prev_jid) {
                Ok(before) => is_cold |= warm_content(editor, before.and_then(|before| before.content).as_ref()),
                Err(_) => is_cold = true,
            }
        }
        if row.has_vacated() {
            is_cold |= editor.txn.has(&keys::dead(nsid, row.old_parent, &name_key(&row.old_name))).is_err();
            is_cold |= editor.txn.has(&keys::node(nsid, row.node)).is_err();
        }
    }
    if is_cold { Err(Halt::Cold) } else { Ok(()) }
}

/// True when a row that counts this content's references is not in memory.
fn warm_content<S: Store>(editor: &mut Editor<'_, '_, S>, content: Option<&Content>) -> bool {
    let (nsid, Some(content)) = (editor.nsid, content) else { return false };
    if content.list != 0 {
        return editor.txn.has(&keys::list(nsid, content.list)).is_err();
    }
    content.inline.iter().fold(false, |is_cold, hash| is_cold | editor.txn.has(&keys::block(nsid, hash)).is_err())
}

fn trim_row<S: Store>(editor: &mut Editor<'_, '_, S>, jid: Jid, row: &JournalRow) -> Result<(), Halt> {
    let nsid = editor.nsid;
    if row.prev_jid != Jid(0) {
        drop_revision(editor, row.prev_jid)?;
    }
    if row.has_vacated() {
        let key = name_key(&row.old_name);
        if editor.tree().dead(row.old_parent, &key)?.is_some_and(|dead| dead.jid == jid) {
            editor.txn.delete(keys::dead(nsid, row.old_parent, &key));
        }
    }
    if matches!(row.op, Op::Delete | Op::Unmount) {
        let node = editor.tree().node(row.node)?;
        // A file that was restored since is its own again.
        match node.filter(|node| node.is_dead() && node.last_jid == jid).map(|node| node.kind) {
            Some(NodeKind::Folder) => editor.txn.put(keys::purge(nsid, jid, 0, row.node), &SweepRow::default()),
            Some(_) => editor.txn.delete(keys::node(nsid, row.node)),
            None => {}
        }
    }
    if row.content.is_none() {
        editor.txn.delete(keys::journal(nsid, jid));
    }
    Ok(())
}

/// Drops a row of the journal that something replaced; what it held is held once less.
fn drop_revision<S: Store>(editor: &mut Editor<'_, '_, S>, jid: Jid) -> Result<(), Halt> {
    let Some(row) = editor.tree().journal(jid)? else { return Ok(()) };
    if let Some(content) = &row.content {
        editor.release(content)?;
    }
    editor.txn.delete(keys::journal(editor.nsid, jid));
    Ok(())
}

/// A folder whose content is being removed.
struct Purged {
    jid: Jid,
    depth: u64,
    folder: TreeNode,
    row: SweepRow,
}

/// Removes deleted folders below the floor with all in them, at most `limit` nodes; the deepest first, so that whoever
/// still walks up comes to the root.
pub(crate) fn purge<S: Store>(editor: &mut Editor<'_, '_, S>, limit: u32) -> Result<Outcome, Halt> {
    let limit = at_most(limit, STEP_ROWS_MAX);
    let mark = editor.mark();
    let (mut nodes, mut steps) = (0, 0);
    while nodes < limit && steps < STEP_ROWS_MAX {
        let Some(purged) = first_purge(editor)? else { break };
        // A sweep counts out what is below first.
        if is_swept(editor, purged.jid)? {
            break;
        }
        steps += 1;
        nodes += purge_some(editor, purged, limit - nodes)?;
        if editor.changes_since(mark) + ROW_CHANGES_MAX > ROWS_PER_COMMAND_MAX {
            break;
        }
    }
    let has_more = first_purge(editor)?.is_some();
    Ok(Outcome::Swept { nodes, has_more })
}

fn first_purge<S: Store>(editor: &mut Editor<'_, '_, S>) -> Result<Option<Purged>, Halt> {
    let mut rows = Rows::new();
    editor.txn.scan(keys::purges(editor.nsid), 1, &mut rows)?;
    let Some((key, value)) = rows.first() else { return Ok(None) };
    let number = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("a purge key has four numbers"));
    let (jid, depth, folder) = (Jid(number(9)), !number(17), TreeNode(number(25)));
    Ok(Some(Purged { jid, depth, folder, row: SweepRow::decode(value) }))
}

fn is_swept<S: Store>(editor: &mut Editor<'_, '_, S>, jid: Jid) -> Result<bool, Halt> {
    let mut rows = Rows::new();
    let from = |jid| keys::sweep(editor.nsid, jid, TreeNode(0));
    let range = keys::between(from(jid), from(jid.next()));
    editor.txn.scan(range, 1, &mut rows)?;
    Ok(!rows.is_empty())
}

/// Removes the next few files of a folder, up to a folder in it, which comes first then; or the folder itself.
fn purge_some<S: Store>(editor: &mut Editor<'_, '_, S>, purged: Purged, wanted: u32) -> Result<u32, Halt> {
    let (nsid, Purged { jid, depth, folder, mut row }) = (editor.nsid, purged);
    let key = keys::purge(nsid, jid, depth, folder);
    let range = keys::prefix_range(keys::dirent(nsid, folder, ""));
    let start =
        if row.position.is_empty() { range.start.clone() } else { after([&range.start, &row.position[..]].concat()) };
    // Some hundred at once: each may change a dozen rows.
    let mut children = Rows::new();
    editor.txn.scan(start..range.end, wanted.min(256), &mut children)?;
    if children.is_empty() {
        let node = editor.tree().known_node(folder)?;
        if depth > 0 {
            editor.txn.delete(keys::dirent(nsid, node.parent, &name_key(&node.name)));
        }
        editor.txn.delete(keys::node(nsid, folder));
        editor.txn.delete(key);
        return Ok(1);
    }
    let children: Vec<(Vec<u8>, DirentRow)> =
        children.into_iter().map(|(key, value)| (key, DirentRow::decode(&value))).collect();
    let nodes = warm_children(editor, &children)?;
    let mut done = 0;
    for ((child_key, _), child) in children.iter().zip(nodes) {
        if child.row.kind == NodeKind::Folder {
            editor.txn.put(keys::purge(nsid, jid, depth + 1, child.node), &SweepRow::default());
            break;
        }
        if child.row.kind == NodeKind::File {
            drop_revision(editor, child.row.rev_jid)?;
        }
        editor.txn.delete(keys::node(nsid, child.node));
        editor.txn.delete(child_key.clone());
        child_key[keys::DIRENT_PREFIX_BYTES..].clone_into(&mut row.position);
        done += 1;
    }
    editor.txn.put(key, &row);
    Ok(done)
}

fn warm_children<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    children: &[(Vec<u8>, DirentRow)],
) -> Result<Vec<Found>, Halt> {
    let (mut nodes, mut is_cold) = (Vec::with_capacity(children.len()), false);
    for (_, dirent) in children {
        let Ok(row) = editor.tree().known_node(dirent.node) else {
            is_cold = true;
            continue;
        };
        if row.kind == NodeKind::File {
            match editor.tree().journal(row.rev_jid) {
                Ok(content) => is_cold |= warm_content(editor, content.and_then(|row| row.content).as_ref()),
                Err(_) => is_cold = true,
            }
        }
        nodes.push(Found { node: dirent.node, row });
    }
    if is_cold { Err(Halt::Cold) } else { Ok(nodes) }
}

/// Looks at the next `limit` rows of blocks and blocklists, in a circle, and drops what has been of no use for long.
pub(crate) fn sweep_blocks<S: Store>(editor: &mut Editor<'_, '_, S>, limit: u32) -> Result<Outcome, Halt> {
    let limit = at_most(limit, STEP_ROWS_MAX);
    let place = keys::block_sweep(editor.nsid);
    let begin = editor.txn.row::<SweepRow>(&place)?.unwrap_or_default().position;
    let mark = editor.mark();
    let mut position = begin.clone();
    let (mut looked, mut dropped, mut is_cut) = (0, 0, false);
    for table in SWEPT_TABLES {
        let range = keys::of_namespace(table, editor.nsid);
        if position >= range.end || looked == limit {
            continue;
        }
        let start = if position < range.start { range.start } else { after(position.clone()) };
        let mut rows = Rows::new();
        editor.txn.scan(start..range.end, limit - looked, &mut rows)?;
        if table == table::LINK && links::warm(editor.txn, editor.nsid, &rows) {
            return Err(Halt::Cold);
        }
        for (key, value) in rows {
            is_cut = editor.changes_since(mark) + LIST_PART_BLOCKS + ROW_CHANGES_MAX > ROWS_PER_COMMAND_MAX;
            if is_cut {
                break;
            }
            let is_dropped = match table {
                table::BLOCK => sweep_block(editor, &key, &value),
                table::UPLOAD => sweep_upload(editor, &key, &value)?,
                table::KEPT => sweep_kept(editor, &key, &value),
                table::LINK => sweep_link(editor, &key, &value)?,
                table::COPY => sweep_copy(editor, &key, &value)?,
                table::IMPORT => sweep_import(editor, &key, &value)?,
                _ => sweep_list(editor, &key, &value)?,
            };
            // A list with parts left is where the next step goes on.
            is_cut = is_dropped == Dropped::InPart;
            if is_cut {
                break;
            }
            looked += 1;
            dropped += u32::from(is_dropped == Dropped::Whole);
            position = key;
        }
        if is_cut {
            break;
        }
    }
    let has_more = is_cut || looked == limit;
    match has_more {
        true if position != begin => editor.txn.put(place, &SweepRow { position }),
        false if !begin.is_empty() => editor.txn.delete(place),
        _ => {}
    }
    Ok(Outcome::Swept { nodes: dropped, has_more })
}

/// What a sweep did to a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropped {
    No,
    InPart,
    Whole,
}

fn is_block_due(row: &BlockRow, stamp_ms: u64) -> bool {
    row.refs == 0 && row.zero_since_ms.saturating_add(BLOCK_KEEP_MS) <= stamp_ms
}

fn is_kept_due(row: &KeptRow, stamp_ms: u64) -> bool {
    row.stamp_ms.saturating_add(BLOCK_KEEP_MS) <= stamp_ms
}

/// Would a sweep at that time drop something of this row, which is of a swept table?
pub(crate) fn is_row_due(key: &[u8], value: &[u8], stamp_ms: u64) -> bool {
    match key[0] {
        table::BLOCK => is_block_due(&BlockRow::decode(value), stamp_ms),
        table::UPLOAD => uploads::is_over(&UploadRow::decode(value), stamp_ms),
        table::KEPT => is_kept_due(&KeptRow::decode(value), stamp_ms),
        table::LINK => links::LinkRow::decode(value).settings.is_over(stamp_ms.saturating_sub(BLOCK_KEEP_MS)),
        table::COPY => copy_steps::is_over(&CopyRow::decode(value), stamp_ms),
        table::IMPORT => across::is_over(&across::ImportRow::decode(value), stamp_ms),
        _ => ListRow::decode(value).refs == 0,
    }
}

fn sweep_block<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Dropped {
    if !is_block_due(&BlockRow::decode(value), editor.txn.stamp_ms) {
        return Dropped::No;
    }
    editor.txn.delete(key);
    Dropped::Whole
}

/// A session that is over lets go of its list, which the next round takes apart.
fn sweep_upload<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Result<Dropped, Halt> {
    let row = UploadRow::decode(value);
    if !uploads::is_over(&row, editor.txn.stamp_ms) {
        return Ok(Dropped::No);
    }
    editor.release_list(row.list)?;
    editor.txn.delete(key);
    Ok(Dropped::Whole)
}

/// Nobody repeats a step after so long.
fn sweep_kept<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Dropped {
    if !is_kept_due(&KeptRow::decode(value), editor.txn.stamp_ms) {
        return Dropped::No;
    }
    editor.txn.delete(key);
    Dropped::Whole
}

/// A link that shows nothing for good.
fn sweep_link<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Result<Dropped, Halt> {
    let is_dropped = links::sweep(editor.txn, editor.nsid, &editor.namespace, (key, value), BLOCK_KEEP_MS)?;
    Ok(if is_dropped { Dropped::Whole } else { Dropped::No })
}

/// A copy of which no step came for long goes, with what it has made.
fn sweep_copy<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Result<Dropped, Halt> {
    let row = CopyRow::decode(value);
    if !copy_steps::is_over(&row, editor.txn.stamp_ms) {
        return Ok(Dropped::No);
    }
    copy_steps::abandon(editor, &row)?;
    editor.txn.delete(key);
    Ok(Dropped::Whole)
}

/// An import that ended long ago, or of which no part came for long, with what it brought.
fn sweep_import<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Result<Dropped, Halt> {
    let row = across::ImportRow::decode(value);
    if !across::is_over(&row, editor.txn.stamp_ms) {
        return Ok(Dropped::No);
    }
    across::sweep(editor, key, &row)?;
    Ok(Dropped::Whole)
}

/// A list of which no held revision is made lets go of its last part's blocks, part by part; then it goes itself.
fn sweep_list<S: Store>(editor: &mut Editor<'_, '_, S>, key: &[u8], value: &[u8]) -> Result<Dropped, Halt> {
    let mut row = ListRow::decode(value);
    if row.refs > 0 {
        return Ok(Dropped::No);
    }
    let number = u64::from_be_bytes(key[9..17].try_into().expect("a list's key ends with its number"));
    // A session may have ended before its first block.
    let part = row.blocks.saturating_sub(1) / LIST_PART_BLOCKS as u32;
    let part_key = keys::list_part(editor.nsid, number, part);
    let names: ListPartRow = editor.txn.row(&part_key)?.unwrap_or_default();
    editor.uncount_refs(&names.blocks)?;
    editor.txn.delete(part_key);
    row.blocks = part * LIST_PART_BLOCKS as u32;
    if row.blocks > 0 {
        editor.txn.put(key, &row);
        return Ok(Dropped::InPart);
    }
    editor.txn.delete(key);
    Ok(Dropped::Whole)
}

/// Every block once, with how often it is named.
pub(crate) fn counted<'a>(blocks: impl Iterator<Item = &'a BlockHash>) -> BTreeMap<&'a BlockHash, u64> {
    let mut refs = BTreeMap::new();
    blocks.for_each(|hash| *refs.entry(hash).or_default() += 1);
    refs
}
