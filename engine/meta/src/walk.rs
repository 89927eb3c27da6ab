//! A subtree depth first in order of the name keys, resumable at any entry.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use base::TreeNode;
use base::limits::{NAME_BYTES_MAX, POSITION_BYTES_MAX};

use crate::keys::{self, after};
use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::rows::{DirentRow, NodeRow, RowValue};
use crate::store::{Cold, Rows};
use crate::tree::{Halt, Tree};

/// Names read from a folder at once.
const SCAN_ROWS: u32 = 256;

/// One entry of a walk.
pub(crate) struct Item<'a> {
    pub node: TreeNode,
    pub row: NodeRow,
    /// Its path by names, beginning with the walk's own.
    pub display: String,
    /// The name keys from the root of the walk, joined by `/`: where to go on after this entry.
    pub position: &'a str,
}

/// A folder on the way down.
struct Level {
    folder: TreeNode,
    display: String,
    /// Position of the folder itself; empty for the root of the walk.
    position: String,
    /// The last name key taken; `None` before the first.
    last: Option<String>,
    names: VecDeque<(String, DirentRow)>,
    is_read: bool,
}

impl Level {
    fn new(folder: TreeNode, display: String, position: String, last: Option<String>) -> Level {
        Level { folder, display, position, last, names: VecDeque::new(), is_read: false }
    }
}

/// What to walk, and from where.
pub(crate) struct Walk<'a> {
    pub root: TreeNode,
    /// Path of the root by names.
    pub display: &'a str,
    /// After this entry; empty for all.
    pub position: &'a str,
    pub is_recursive: bool,
}

/// Could this be the position of a walk? Readers bring it back, so its parts may be anything and become keys.
pub(crate) fn is_position(position: &str) -> bool {
    position.len() <= POSITION_BYTES_MAX && position.split('/').all(|key| key.len() <= NAME_BYTES_MAX)
}

/// Walks; `visit` takes an entry with `Continue`, or leaves it and ends the walk with `Break`.
/// True when the walk came to its end.
pub(crate) fn walk<R: Source>(
    tree: &mut Tree<'_, R>,
    walk: &Walk<'_>,
    mut visit: impl FnMut(&mut Tree<'_, R>, Item<'_>) -> Result<ControlFlow<()>, Halt>,
) -> Result<bool, Halt> {
    let mut levels = levels_at(tree, walk)?;
    while let Some(level) = levels.last_mut() {
        let Some((name_key, dirent)) = next_name(tree, level)? else {
            levels.pop();
            continue;
        };
        let mut position = level.position.clone();
        if !position.is_empty() {
            position.push('/');
        }
        position.push_str(&name_key);
        level.last = Some(name_key);
        if position.len() > POSITION_BYTES_MAX {
            continue;
        }
        let row = tree.known_node(dirent.node)?;
        let display = format!("{}/{}", level.display, row.name);
        if display.len() > POSITION_BYTES_MAX {
            continue;
        }
        let item = Item { node: dirent.node, row, display: display.clone(), position: &position };
        if visit(tree, item)?.is_break() {
            return Ok(false);
        }
        if walk.is_recursive && dirent.kind == NodeKind::Folder {
            levels.push(Level::new(dirent.node, display, position, None));
        }
    }
    Ok(true)
}

/// The folders on the way to a position, each with the name after which it goes on. What is gone on the way is passed by.
fn levels_at<R: Source>(tree: &mut Tree<'_, R>, walk: &Walk<'_>) -> Result<Vec<Level>, Cold> {
    let mut levels = vec![Level::new(walk.root, walk.display.to_owned(), String::new(), None)];
    for key in walk.position.split('/').filter(|key| !key.is_empty()) {
        let level = levels.last_mut().expect("the root is there");
        level.last = Some(key.to_owned());
        let Some(dirent) = tree.dirent(level.folder, key)? else { break };
        if dirent.kind != NodeKind::Folder || !walk.is_recursive {
            break;
        }
        let display = format!("{}/{}", level.display, tree.known_node(dirent.node)?.name);
        let position = if level.position.is_empty() { key.to_owned() } else { format!("{}/{key}", level.position) };
        levels.push(Level::new(dirent.node, display, position, None));
    }
    Ok(levels)
}

fn next_name<R: Source>(tree: &mut Tree<'_, R>, level: &mut Level) -> Result<Option<(String, DirentRow)>, Cold> {
    if level.names.is_empty() && !level.is_read {
        let range = keys::prefix_range(keys::dirent(tree.nsid, level.folder, ""));
        let start = match &level.last {
            Some(last) => after(keys::dirent(tree.nsid, level.folder, last)),
            None => range.start,
        };
        let mut rows = Rows::new();
        tree.source.scan(start..range.end, SCAN_ROWS, &mut rows)?;
        level.is_read = rows.len() < SCAN_ROWS as usize;
        let mut is_cold = false;
        for (key, value) in rows {
            let name_key = String::from_utf8(key[keys::DIRENT_PREFIX_BYTES..].to_vec()).expect("name keys are UTF-8");
            let dirent = DirentRow::decode(&value);
            // All siblings' rows in one prefetch.
            is_cold |= tree.source.has(&keys::node(tree.nsid, dirent.node)).is_err();
            level.names.push_back((name_key, dirent));
        }
        if is_cold {
            return Err(Cold);
        }
    }
    Ok(level.names.pop_front())
}
