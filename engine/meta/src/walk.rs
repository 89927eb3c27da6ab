//! A subtree depth first in order of the name keys, resumable at any entry.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use base::limits::{NAME_BYTES_MAX, POSITION_BYTES_MAX};
use base::{Nsid, TreeNode};

use crate::keys::{self, after};
use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::rows::{DeadRow, DirentRow, NodeRow, Op, RowValue};
use crate::store::{Cold, Rows};
use crate::tree::{Halt, Tree};

/// Names read from a folder at once.
const SCAN_ROWS: u32 = 256;

/// One entry of a walk.
pub(crate) struct Item<'a> {
    pub node: TreeNode,
    /// `None`: nothing is at this path any more.
    pub row: Option<NodeRow>,
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
    /// It was deleted, or is in a folder that was.
    is_dead: bool,
    /// The last name key taken; `None` before the first.
    last: Option<String>,
    names: VecDeque<(String, Name)>,
    is_read: bool,
}

impl Level {
    fn new(folder: TreeNode, display: String, position: String, is_dead: bool) -> Level {
        Level { folder, display, position, is_dead, last: None, names: VecDeque::new(), is_read: false }
    }
}

/// What a name in a folder leads to.
#[derive(Clone, Copy)]
enum Name {
    Live(DirentRow),
    /// What was there before something vacated the name.
    Dead(DeadRow),
}

/// What to walk, and from where.
pub(crate) struct Walk<'a> {
    pub root: TreeNode,
    /// Path of the root by names.
    pub display: &'a str,
    /// After this entry; empty for all.
    pub position: &'a str,
    pub is_recursive: bool,
    /// With names that were vacated, and what is in folders that were deleted.
    pub has_dead: bool,
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
        let Some((name_key, name)) = next_name(tree, level, walk.has_dead)? else {
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
        let met = meet(tree, name, level.is_dead)?;
        let display = format!("{}/{}", level.display, met.name);
        if display.len() > POSITION_BYTES_MAX {
            continue;
        }
        let item = Item { node: met.node, row: met.row, display: display.clone(), position: &position };
        if visit(tree, item)?.is_break() {
            return Ok(false);
        }
        if walk.is_recursive
            && let Some(is_dead) = met.goes_on
        {
            levels.push(Level::new(met.node, display, position, is_dead));
        }
    }
    Ok(true)
}

/// What a walk comes to at a name.
struct Met {
    node: TreeNode,
    name: String,
    row: Option<NodeRow>,
    /// It is a folder whose names are walked too; true: it was deleted.
    goes_on: Option<bool>,
}

fn meet<R: Source>(tree: &mut Tree<'_, R>, name: Name, is_in_dead: bool) -> Result<Met, Cold> {
    match name {
        Name::Live(DirentRow { kind, node }) => {
            let row = tree.known_node(node)?;
            let goes_on = (kind == NodeKind::Folder).then_some(is_in_dead);
            Ok(Met { node, name: row.name.clone(), row: (!is_in_dead).then_some(row), goes_on })
        }
        Name::Dead(DeadRow { kind, jid, node }) => {
            let vacated = tree.journal(jid)?.expect("a dead row goes with the row that vacated its name");
            // What was moved is not there any more, and with it all below it.
            let is_grave = kind == NodeKind::Folder
                && vacated.op == Op::Delete
                && tree.node(node)?.is_some_and(|row| row.is_dead() && row.last_jid == jid);
            Ok(Met { node, name: vacated.old_name, row: None, goes_on: is_grave.then_some(true) })
        }
    }
}

/// The folders on the way to a position, each with the name after which it goes on. What is gone on the way is passed by.
fn levels_at<R: Source>(tree: &mut Tree<'_, R>, walk: &Walk<'_>) -> Result<Vec<Level>, Cold> {
    let mut levels = vec![Level::new(walk.root, walk.display.to_owned(), String::new(), false)];
    for key in walk.position.split('/').filter(|key| !key.is_empty()) {
        let level = levels.last_mut().expect("the root is there");
        level.last = Some(key.to_owned());
        let name = match tree.dirent(level.folder, key)? {
            Some(dirent) => Name::Live(dirent),
            None if walk.has_dead => match tree.dead(level.folder, key)? {
                Some(dead) => Name::Dead(dead),
                None => break,
            },
            None => break,
        };
        let met = meet(tree, name, level.is_dead)?;
        let Some(is_dead) = met.goes_on.filter(|_| walk.is_recursive) else { break };
        let display = format!("{}/{}", level.display, met.name);
        let position = if level.position.is_empty() { key.to_owned() } else { format!("{}/{key}", level.position) };
        levels.push(Level::new(met.node, display, position, is_dead));
    }
    Ok(levels)
}

fn next_name<R: Source>(
    tree: &mut Tree<'_, R>,
    level: &mut Level,
    has_dead: bool,
) -> Result<Option<(String, Name)>, Cold> {
    if level.names.is_empty() && !level.is_read {
        read_names(tree, level, has_dead)?;
    }
    Ok(level.names.pop_front())
}

/// The next names of a folder, in order of their keys; live and vacated ones beside each other.
fn read_names<R: Source>(tree: &mut Tree<'_, R>, level: &mut Level, has_dead: bool) -> Result<(), Cold> {
    let (nsid, last) = (tree.nsid, level.last.take());
    let mut scan = |key: fn(Nsid, TreeNode, &str) -> Vec<u8>| -> Result<Rows, Cold> {
        let range = keys::prefix_range(key(nsid, level.folder, ""));
        let start = match &last {
            Some(last) => after(key(nsid, level.folder, last)),
            None => range.start,
        };
        let mut rows = Rows::new();
        tree.source.scan(start..range.end, SCAN_ROWS, &mut rows)?;
        Ok(rows)
    };
    let live = scan(keys::dirent);
    let dead = if has_dead { scan(keys::dead) } else { Ok(Rows::new()) };
    let (live, dead) = (live?, dead?);
    level.is_read = live.len().max(dead.len()) < SCAN_ROWS as usize;
    level.last = last;
    let name_of =
        |key: &[u8]| String::from_utf8(key[keys::DIRENT_PREFIX_BYTES..].to_vec()).expect("name keys are UTF-8");
    // Beyond the last row of a scan that was cut there may be others.
    let cut = |rows: &Rows| rows.last().filter(|_| rows.len() == SCAN_ROWS as usize).map(|(key, _)| name_of(key));
    let end = cut(&live).into_iter().chain(cut(&dead)).min();
    let mut names: Vec<(String, Name)> =
        live.iter().map(|(key, value)| (name_of(key), Name::Live(DirentRow::decode(value)))).collect();
    if !dead.is_empty() {
        names.extend(dead.iter().map(|(key, value)| (name_of(key), Name::Dead(DeadRow::decode(value)))));
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names.retain(|(name, _)| end.as_ref().is_none_or(|end| name <= end));
    }
    let mut is_cold = false;
    for (_, name) in &names {
        // All siblings' rows in one prefetch.
        is_cold |= match name {
            Name::Live(dirent) => tree.source.has(&keys::node(nsid, dirent.node)).is_err(),
            Name::Dead(dead) => {
                tree.source.has(&keys::journal(nsid, dead.jid)).is_err()
                    | tree.source.has(&keys::node(nsid, dead.node)).is_err()
            }
        };
    }
    level.names.extend(names);
    if is_cold { Err(Cold) } else { Ok(()) }
}
