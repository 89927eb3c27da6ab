//! Reads the next part of a folder: its names from there on, and what its files are made of.

use std::ops::ControlFlow;

use base::limits::{COMMAND_BLOCKS_MAX, LIST_PAGE_MAX};
use base::{Acct, Jid, Nsid, TreeNode};

use super::{
    Carried, CarriedFile, CarriedItem, CarryPlace, Export, ExportPage, MemberInfo, PART_BLOCKS_MAX, PART_ITEMS_MAX,
    PART_PATH_BYTES_MAX,
};
use crate::delta::{DeltaCursor, Wanted, delta};
use crate::keys::{self, after, table};
use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::query::{Answer, Change};
use crate::read::at_most;
use crate::rows::*;
use crate::scope::{Scope, path_hash};
use crate::store::Rows;
use crate::tree::{Halt, Tree};
use crate::walk::{Walk, is_position, walk};

/// A part of a folder. A mount in it is `Elsewhere`: what is shared does not go with what it hangs in.
pub(crate) fn export<R: Source>(
    tree: &mut Tree<'_, R>,
    namespace: &NamespaceRow,
    asked: &Export,
) -> Result<Answer, Halt> {
    let Some(row) = tree.node(asked.node)? else { return Ok(Answer::NotFound) };
    if row.kind != NodeKind::Folder {
        return Ok(Answer::NotFolder);
    }
    let path = tree.path_of(asked.node)?;
    if !path.is_live {
        return Ok(Answer::NotFound);
    }
    let limit = at_most(asked.limit, PART_ITEMS_MAX as u32) as usize;
    let read = match &asked.place {
        CarryPlace::Listing { position, .. } if !is_position(position) => return Ok(Answer::Malformed),
        CarryPlace::Listing { head, position } => {
            let head = if position.is_empty() { namespace.head } else { *head };
            list(tree, asked.node, (head, position), limit)?
        }
        CarryPlace::Changes(cursor) => {
            let hash = path_hash(&path.display);
            let scope = Scope { folder: asked.node, path_hash: hash, is_by_id: true, is_recursive: true };
            let wanted = Wanted { scope, limit, stops_at_mounts: false };
            match delta(tree, namespace, cursor, &wanted)? {
                Answer::Delta { changes, cursor, has_more } => {
                    changed(tree, changes, cursor, (has_more, depth(&path.display)))?
                }
                other => return Ok(other),
            }
        }
    };
    let Read { items, mount, next, has_more } = read;
    if let Some((nsid, rest)) = mount {
        base::mark::hit!("meta.export.mount");
        return Ok(Answer::Elsewhere { nsid, rest });
    }
    let since = match &next {
        CarryPlace::Listing { head, .. } => *head,
        CarryPlace::Changes(cursor) => cursor.since,
    };
    let behind = namespace.head.0.saturating_sub(since.0);
    Ok(Answer::Export(ExportPage { items, next, has_more, behind }))
}

/// What was read, before it is an answer.
struct Read {
    items: Vec<CarriedItem>,
    mount: Option<(Nsid, String)>,
    next: CarryPlace,
    has_more: bool,
}

/// Names of the listing, as many as fit a part.
fn list<R: Source>(
    tree: &mut Tree<'_, R>,
    folder: TreeNode,
    (head, position): (Jid, &str),
    limit: usize,
) -> Result<Read, Halt> {
    let mut part = Part::default();
    let mut last = String::new();
    let walked = Walk { root: folder, display: "", position, is_recursive: true, has_dead: false, limit };
    let is_end = walk(tree, &walked, |tree, item| {
        if part.is_full(limit) {
            return Ok(ControlFlow::Break(()));
        }
        item.position.clone_into(&mut last);
        let row = item.row.expect("only a walk with the dead comes to what is not there");
        part.take(tree, item.display, row);
        Ok(ControlFlow::Continue(()))
    })?;
    if part.is_cold {
        return Err(Halt::Cold);
    }
    let next = match is_end {
        true => CarryPlace::Changes(DeltaCursor::at(head)),
        false => CarryPlace::Listing { head, position: last },
    };
    Ok(Read { items: part.items, mount: part.mount, next, has_more: true })
}

/// Changes with what their files are made of. A page of changes is whole: what it holds beyond a part comes in several.
fn changed<R: Source>(
    tree: &mut Tree<'_, R>,
    changes: Vec<Change>,
    cursor: DeltaCursor,
    (has_more, depth): (bool, usize),
) -> Result<Read, Halt> {
    let mut part = Part::default();
    for change in changes {
        match change {
            Change::Deleted { path_display } => {
                part.items.push(CarriedItem { path: below(&path_display, depth), what: Carried::Deleted });
            }
            Change::Present(entry) => {
                // All of them in one prefetch.
                let Ok(row) = tree.known_node(entry.meta.node) else {
                    part.is_cold = true;
                    continue;
                };
                part.take(tree, below(&entry.path_display, depth), row);
            }
        }
    }
    if part.is_cold {
        return Err(Halt::Cold);
    }
    Ok(Read { items: part.items, mount: part.mount, next: CarryPlace::Changes(cursor), has_more })
}

fn depth(display: &str) -> usize {
    base::names::components(display).count()
}

/// The path from the folder on, which is so many names deep.
fn below(display: &str, depth: usize) -> String {
    let mut from = 0;
    for _ in 0..depth {
        from += 1 + display[from + 1..].find('/').unwrap_or(display.len() - from - 1);
    }
    display[from..].to_owned()
}

/// Names of a part being gathered.
#[derive(Default)]
struct Part {
    items: Vec<CarriedItem>,
    mount: Option<(Nsid, String)>,
    blocks: usize,
    path_bytes: usize,
    is_cold: bool,
}

impl Part {
    fn is_full(&self, limit: usize) -> bool {
        self.items.len() >= limit || self.blocks >= PART_BLOCKS_MAX || self.path_bytes >= PART_PATH_BYTES_MAX
    }

    fn take<R: Source>(&mut self, tree: &mut Tree<'_, R>, path: String, row: NodeRow) {
        let what = match row.kind {
            NodeKind::Folder => Carried::Folder,
            NodeKind::Mount => {
                self.mount = Some((Nsid(row.size), path));
                return;
            }
            NodeKind::File => match file(tree, &row) {
                Ok(file) => Carried::File(file),
                Err(_) => {
                    self.is_cold = true;
                    // Counted all the same: what one prefetch brings is one part.
                    Carried::Folder
                }
            },
        };
        self.path_bytes += path.len();
        if let Carried::File(file) = &what {
            self.blocks += file.blocks.len();
        }
        self.items.push(CarriedItem { path, what });
    }
}

/// A file with its blocks, unless they are too many for a command.
fn file<R: Source>(tree: &mut Tree<'_, R>, row: &NodeRow) -> Result<CarriedFile, Halt> {
    let revision = tree.journal(row.rev_jid)?.expect("a live file keeps its content row");
    let content = revision.content.expect("a file's revision is a content row");
    let blocks = match content.list {
        0 => content.inline,
        list if content.blocks as usize <= COMMAND_BLOCKS_MAX => {
            let part: Option<ListPartRow> = tree.source.row(&keys::list_part(tree.nsid, list, 0))?;
            part.expect("a held list keeps its parts").blocks
        }
        _ => Vec::new(),
    };
    Ok(CarriedFile {
        rev: row.rev_jid,
        size: row.size,
        client_mtime_ms: row.client_mtime_ms,
        content_hash: row.content_hash,
        blocks,
    })
}

/// The members of the namespace after one of them, by number.
pub(crate) fn members<R: Source>(tree: &mut Tree<'_, R>, last: Acct) -> Result<Answer, Halt> {
    let end = keys::of_namespace(table::MEMBER, tree.nsid).end;
    let mut rows = Rows::new();
    tree.source.scan(after(keys::member(tree.nsid, last))..end, LIST_PAGE_MAX, &mut rows)?;
    let member = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let MemberRow { role, state, invited_ms, .. } = MemberRow::decode(value);
        MemberInfo { acct: Acct(crate::read::number_at(key, 9)), role, state, invited_ms }
    };
    Ok(Answer::Members(rows.iter().map(member).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_from_the_folder_on_leaves_out_as_many_names_as_the_folder_is_deep() {
        assert_eq!(below("/a/b/c", 0), "/a/b/c");
        assert_eq!(below("/a/b/c", 1), "/b/c");
        assert_eq!(below("/a/b/c", 2), "/c");
        assert_eq!(below("/ä/b", 1), "/b");
    }
}
