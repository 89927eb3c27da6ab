//! Copies inside one namespace: content is shared, nothing of it moves (docs/design/metadata.md, "Commands").

use base::TreeNode;

use crate::command::Copy;
use crate::editor::{Blocks, Editor, FileContent};
use crate::files;
use crate::keys;
use crate::metadata::{Metadata, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::ROOT;
use crate::rows::*;
use crate::store::{Rows, Store};
use crate::tree::{CONFLICT_FOLDER, Found, Halt, conflict_with};

/// Nodes of one copy.
pub(crate) const COPY_NODES_MAX: usize = 1024;

/// A node to be copied, with the content row of a file.
struct Copied {
    found: Found,
    content: Option<JournalRow>,
    /// Places in the list of all, in order of the name keys.
    children: Vec<usize>,
}

/// One row per node, parents before children, in order of the name keys.
pub(crate) fn copy<S: Store>(editor: &mut Editor<'_, '_, S>, copy: &Copy) -> Result<Outcome, Halt> {
    let source = editor.tree().find(&copy.source)?;
    if source.node == ROOT {
        return Err(Outcome::IntoItself.into());
    }
    let Some(mut located) = editor.tree().locate(&copy.target)? else { return Err(CONFLICT_FOLDER.into()) };
    if source.row.kind == NodeKind::Folder && editor.tree().is_at_or_below(located.parent, source.node)? {
        return Err(Outcome::IntoItself.into());
    }
    editor.check_thawed(located.parent)?;
    let mut flags = 0;
    if let Some(cur) = &located.cur {
        let conflict = conflict_with(cur.row.kind);
        if !copy.autorename {
            return Err(conflict.into());
        }
        files::rename(editor, &mut located, "", conflict)?;
        flags = ROW_AUTORENAMED;
    }
    let all = subtree(editor, source)?;
    let bytes = all.iter().map(|copied| copied.found.row.size).sum();
    editor.check_quota(0, bytes)?;
    let parent = editor.make_parents(&located)?;
    let top = write_one(editor, &all[0], (parent, &located.name), flags)?;
    let mut waiting: Vec<(usize, TreeNode)> = all[0].children.iter().rev().map(|child| (*child, top.node)).collect();
    while let Some((at, parent)) = waiting.pop() {
        let name = &all[at].found.row.name;
        let written = write_one(editor, &all[at], (parent, name), 0)?;
        waiting.extend(all[at].children.iter().rev().map(|child| (*child, written.node)));
    }
    Ok(Outcome::Applied(top))
}

fn write_one<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    copied: &Copied,
    place: (TreeNode, &str),
    flags: u8,
) -> Result<Metadata, Halt> {
    write_node(editor, &copied.found.row, copied.content.as_ref(), place, flags)
}

/// A folder, or a file with the content of its revision.
pub(crate) fn write_node<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    row: &NodeRow,
    revision: Option<&JournalRow>,
    place: (TreeNode, &str),
    flags: u8,
) -> Result<Metadata, Halt> {
    let Some(revision) = revision else { return Ok(editor.make_folder(place.0, place.1, flags)?) };
    let content = revision.content.clone().expect("a file's revision is a content row");
    let content = FileContent {
        size: row.size,
        client_mtime_ms: row.client_mtime_ms,
        hash: content.hash,
        blocks: Blocks::Held(content),
    };
    editor.put_file(place, None, None, content, flags)
}

/// The node with all below it; level by level, so that one prefetch brings all of a level.
fn subtree<S: Store>(editor: &mut Editor<'_, '_, S>, source: Found) -> Result<Vec<Copied>, Halt> {
    let mut all = vec![Copied { found: source, content: None, children: Vec::new() }];
    let mut level = 0..1;
    while !level.is_empty() {
        let mut is_cold = false;
        for at in level.clone() {
            let row = &all[at].found.row;
            match row.kind {
                NodeKind::Folder => {}
                // What is shared is not copied with what it hangs in.
                NodeKind::Mount => return Err(Outcome::NestedShare.into()),
                NodeKind::File => {
                    let jid = row.rev_jid;
                    match editor.tree().journal(jid) {
                        Ok(row) => all[at].content = Some(row.expect("a live file keeps its content row")),
                        Err(_) => is_cold = true,
                    }
                    continue;
                }
            }
            let range = keys::prefix_range(keys::dirent(editor.nsid, all[at].found.node, ""));
            let mut rows = Rows::new();
            if editor.txn.scan(range, COPY_NODES_MAX as u32, &mut rows).is_err() {
                is_cold = true;
                continue;
            }
            if all.len() + rows.len() > COPY_NODES_MAX {
                return Err(Outcome::TooLarge.into());
            }
            for (_, value) in rows {
                let node = DirentRow::decode(&value).node;
                let Ok(row) = editor.tree().known_node(node) else {
                    is_cold = true;
                    continue;
                };
                let child = all.len();
                all[at].children.push(child);
                all.push(Copied { found: Found { node, row }, content: None, children: Vec::new() });
            }
        }
        if is_cold {
            return Err(Halt::Cold);
        }
        level = level.end..all.len();
    }
    Ok(all)
}
