//! Copies of folders of any size (docs/design/metadata.md, "Commands"): step by step below a hidden folder, which no path
//! leads to, then one row attaches the whole. A refusal leaves the copy as it was; whoever has it gives up, or its steps
//! stop coming, and it goes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use base::TreeNode;

use crate::command::{At, Command, CopyStep, UploadId};
use crate::copy::{COPY_NODES_MAX, write_node};
use crate::editor::{Editor, node_of};
use crate::files;
use crate::keys;
use crate::metadata::NodeKind;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::ROOT;
use crate::read::at_most;
use crate::rows::*;
use crate::store::Store;
use crate::tree::{CONFLICT_FOLDER, Halt, Located, conflict_with};
use crate::uploads;
use crate::walk::{Walk, walk};

/// A copy without a step for so long goes.
const COPY_IDLE_MS: u64 = 24 * 60 * 60 * 1000;

/// Copies the next nodes: `Swept` while there are more, then what the whole came to, which is told again for eight days.
pub(crate) fn step<S: Store>(editor: &mut Editor<'_, '_, S>, step: &CopyStep) -> Result<Outcome, Halt> {
    if step.id == 0 {
        return Err(Outcome::Malformed.into());
    }
    let asked = Command::CopyStep(CopyStep { gives_up: false, limit: 0, ..step.clone() });
    let id = UploadId { nonce: step.id, ..UploadId::default() };
    let kept = uploads::not_done_yet(editor, id, &asked)?;
    let digest = kept.digest;
    let key = keys::copy(editor.nsid, editor.acct, step.id);
    let found: Option<CopyRow> = editor.txn.row(&key)?;
    if found.as_ref().is_some_and(|row| row.digest != digest) || (step.gives_up && found.is_none()) {
        return Err(Outcome::NotFound.into());
    }
    let mut row = match found {
        Some(row) if step.gives_up => {
            base::mark::hit!("meta.copy.given_up");
            abandon(editor, &row)?;
            editor.txn.delete(key);
            return Ok(Outcome::Done);
        }
        Some(row) => row,
        None => begin(editor, step, digest)?,
    };
    let (nodes, has_more) = copy_some(editor, &mut row, at_most(step.limit, COPY_NODES_MAX as u32))?;
    if has_more {
        base::mark::hit!("meta.copy.step");
        row.touched_ms = editor.txn.stamp_ms;
        editor.txn.put(key, &row);
        return Ok(Outcome::Swept { nodes, has_more });
    }
    let outcome = attach(editor, &step.target, step.autorename, row.hidden)?;
    editor.txn.delete(key);
    uploads::keep(editor, kept, &outcome);
    Ok(outcome)
}

/// The hidden folder; what can be refused at once is.
fn begin<S: Store>(editor: &mut Editor<'_, '_, S>, step: &CopyStep, digest: [u8; 16]) -> Result<CopyRow, Halt> {
    let source = editor.tree().find(&step.source)?;
    if source.row.kind != NodeKind::Folder {
        return Err(Outcome::NotFolder.into());
    }
    if source.node == ROOT {
        return Err(Outcome::IntoItself.into());
    }
    let (located, _) = free_place(editor, &step.target, step.autorename)?;
    if editor.tree().is_at_or_below(located.parent, source.node)? {
        return Err(Outcome::IntoItself.into());
    }
    let hidden = editor.new_node();
    let row = NodeRow {
        flags: NODE_HIDDEN,
        parent: ROOT,
        last_jid: base::Jid(0),
        rev_jid: base::Jid(0),
        server_mtime_ms: editor.txn.stamp_ms as i64,
        modified_by: editor.acct,
        ..source.row
    };
    editor.put_node(hidden, &row);
    let touched_ms = editor.txn.stamp_ms;
    Ok(CopyRow { source: source.node, hidden, touched_ms, digest, position: String::new() })
}

/// Where the copy will be, under another name if need be, and the flags of its row.
fn free_place<S: Store>(editor: &mut Editor<'_, '_, S>, target: &At, autorename: bool) -> Result<(Located, u8), Halt> {
    let Some(mut located) = editor.tree().locate(target)? else { return Err(CONFLICT_FOLDER.into()) };
    editor.check_thawed(located.parent)?;
    let Some(cur) = &located.cur else { return Ok((located, 0)) };
    let conflict = conflict_with(cur.row.kind);
    if !autorename {
        return Err(conflict.into());
    }
    files::rename(editor, &mut located, "", conflict)?;
    Ok((located, ROW_AUTORENAMED))
}

/// A node to be copied.
struct Copied {
    position: String,
    row: NodeRow,
    revision: Option<JournalRow>,
}

/// Copies nodes after the position; how many, and whether there are more. Each file is copied as it is now.
fn copy_some<S: Store>(editor: &mut Editor<'_, '_, S>, copy: &mut CopyRow, limit: u32) -> Result<(u32, bool), Halt> {
    if editor.tree().node(copy.source)?.is_none() || !editor.tree().is_live(copy.source)? {
        return Err(Outcome::NotFound.into());
    }
    let (some, is_end) = next_nodes(editor, copy, limit as usize)?;
    let mut parents = BTreeMap::from([(String::new(), Some(copy.hidden))]);
    for Copied { position, row, revision } in &some {
        let (above, _) = position.rsplit_once('/').unwrap_or(("", position));
        // What was a file when it was copied is a folder now: what is in it came later.
        let Some(parent) = folder_at(editor, &mut parents, above)? else { continue };
        editor.check_quota(0, row.size)?;
        write_node(editor, row, revision.as_ref(), (parent, &row.name), 0)?;
    }
    if let Some(last) = some.last() {
        copy.position.clone_from(&last.position);
    }
    Ok((some.len() as u32, !is_end))
}

/// The next nodes of the source, with what files are made of; true when those are all.
fn next_nodes<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    copy: &CopyRow,
    limit: usize,
) -> Result<(Vec<Copied>, bool), Halt> {
    let position = copy.position.as_str();
    let walked = Walk { root: copy.source, display: "", position, is_recursive: true, has_dead: false, limit };
    let (mut some, mut has_mount) = (Vec::new(), false);
    let is_end = walk(&mut editor.tree(), &walked, |_, item| {
        if some.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(row) = item.row {
            has_mount |= row.kind == NodeKind::Mount;
            some.push(Copied { position: item.position.to_owned(), row, revision: None });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if has_mount {
        // What is shared is not copied with what it hangs in.
        return Err(Outcome::NestedShare.into());
    }
    let mut is_cold = false;
    for copied in some.iter_mut().filter(|copied| copied.row.kind == NodeKind::File) {
        // All of them in one prefetch.
        match editor.tree().journal(copied.row.rev_jid) {
            Ok(row) => copied.revision = Some(row.expect("a live file keeps its content row")),
            Err(_) => is_cold = true,
        }
    }
    if is_cold { Err(Halt::Cold) } else { Ok((some, is_end)) }
}

/// The folder of the copy at this position, if it is one.
fn folder_at<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    known: &mut BTreeMap<String, Option<TreeNode>>,
    position: &str,
) -> Result<Option<TreeNode>, Halt> {
    let (mut begin, mut at) = (0, known[""]);
    while let Some(parent) = at.filter(|_| begin < position.len()) {
        let end = position[begin..].find('/').map_or(position.len(), |slash| begin + slash);
        at = match known.get(&position[..end]) {
            Some(folder) => *folder,
            None => {
                let dirent = editor.tree().dirent(parent, &position[begin..end])?;
                let folder = dirent.filter(|dirent| dirent.kind == NodeKind::Folder).map(|dirent| dirent.node);
                known.insert(position[..end].to_owned(), folder);
                folder
            }
        };
        begin = end + 1;
    }
    Ok(at)
}

/// The whole is seen from here on.
pub(crate) fn attach<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    target: &At,
    autorename: bool,
    hidden: TreeNode,
) -> Result<Outcome, Halt> {
    let (located, flags) = free_place(editor, target, autorename)?;
    let parent = editor.make_parents(&located)?;
    let mut row = editor.blank_row(Op::Attach, NodeKind::Folder, hidden);
    row.flags = flags;
    row.parent = parent;
    row.name_prev_jid = editor.take_name(parent, &located.name)?;
    row.name = located.name;
    let jid = editor.append(&row)?;
    let metadata = row.metadata(editor.nsid, jid).expect("an attach row holds its node");
    editor.put_node(hidden, &node_of(&metadata));
    editor.put_dirent(parent, &row.name, NodeKind::Folder, hidden);
    Ok(Outcome::Applied(metadata))
}

/// What was copied goes as a deleted folder does; nobody has seen it, so nobody is told.
pub(crate) fn abandon<S: Store>(editor: &mut Editor<'_, '_, S>, copy: &CopyRow) -> Result<(), Halt> {
    bury_hidden(editor, copy.hidden)
}

/// A hidden folder goes with all below it; what was never seen is told to nobody.
pub(crate) fn bury_hidden<S: Store>(editor: &mut Editor<'_, '_, S>, hidden: TreeNode) -> Result<(), Halt> {
    let mut node = editor.tree().known_node(hidden)?;
    let mut row = editor.blank_row(Op::Delete, NodeKind::Folder, hidden);
    node.name.clone_into(&mut row.old_name);
    let jid = editor.append(&row)?;
    node.flags |= NODE_DEAD;
    node.last_jid = jid;
    editor.put_node(hidden, &node);
    editor.txn.put(keys::sweep(editor.nsid, jid, hidden), &SweepRow::default());
    editor.has_detached = true;
    Ok(())
}

/// Its steps stopped coming.
pub(crate) fn is_over(copy: &CopyRow, stamp_ms: u64) -> bool {
    copy.touched_ms.saturating_add(COPY_IDLE_MS) <= stamp_ms
}
