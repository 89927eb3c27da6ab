//! A subtree depth first in order of the name keys, resumable at any entry.
//!
//! A row that is not in memory ends a walk, and the walk begins anew when it is there. So whoever meets one asks for what
//! comes next too ([`Walker::look_ahead`]): a page takes a few rounds, and not one or two for each folder in it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use base::limits::{LIST_PAGE_MAX, NAME_BYTES_MAX, POSITION_BYTES_MAX};
use base::{Nsid, TreeNode};

use crate::keys::{self, Key, after};
use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::rows::{DeadRow, DirentRow, NodeRow, Op, RowValue};
use crate::store::{Cold, Rows};
use crate::tree::{Halt, Tree};

/// Names read at once from a folder that has folders in it, and the fewest read from any.
const SCAN_ROWS: usize = 64;
/// Names asked for from each folder that comes later.
const AHEAD_ROWS: usize = 32;
/// The fewest entries that a folder not read yet is taken for.
const FOLDER_ENTRIES_MIN: usize = 8;

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
    /// There are no names behind these.
    is_read: bool,
    /// The rows of so many of the names were looked for.
    rows_known: usize,
    /// Names were asked for and are not in memory.
    is_asked: bool,
    /// A folder was met in it.
    has_folders: bool,
}

impl Level {
    fn new(folder: TreeNode, display: String, position: String, is_dead: bool) -> Level {
        Level {
            folder,
            display,
            position,
            is_dead,
            last: None,
            names: VecDeque::new(),
            is_read: false,
            rows_known: 0,
            is_asked: false,
            has_folders: false,
        }
    }
}

/// What a name in a folder leads to.
#[derive(Clone, Copy)]
enum Name {
    Live(DirentRow),
    /// What was there before something vacated the name.
    Dead(DeadRow),
}

impl Name {
    /// The folder that it is now.
    fn folder(&self) -> Option<TreeNode> {
        match self {
            Name::Live(DirentRow { kind: NodeKind::Folder, node }) => Some(*node),
            _ => None,
        }
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
    /// With names that were vacated, and what is in folders that were deleted.
    pub has_dead: bool,
    /// Entries taken at most, about: so much is read at once.
    pub limit: usize,
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
    // The entry behind the last one shows that there is one.
    let mut walker = Walker { tree, walk, levels: Vec::new(), left: walk.limit + 1, visited: 0, folders: 1 };
    let mut position = String::new();
    walker.go_to_position().or_else(|Cold| walker.cold())?;
    while let Some(level) = walker.levels.last() {
        position.clone_from(&level.position);
        let Some((name_key, met)) = walker.next().or_else(|Cold| walker.cold())? else {
            walker.levels.pop();
            continue;
        };
        if !position.is_empty() {
            position.push('/');
        }
        position.push_str(&name_key);
        if position.len() > POSITION_BYTES_MAX || met.display.len() > POSITION_BYTES_MAX {
            continue;
        }
        let Met { node, row, display, goes_on } = met;
        let goes_on = goes_on.filter(|_| walk.is_recursive).map(|is_dead| (display.clone(), is_dead));
        let item = Item { node, row, display, position: &position };
        if visit(walker.tree, item)?.is_break() {
            return Ok(false);
        }
        walker.visited += 1;
        walker.left = walker.left.saturating_sub(1);
        if let Some((display, is_dead)) = goes_on {
            walker.go_down(Level::new(node, display, position.clone(), is_dead));
        }
    }
    Ok(true)
}

/// What a walk comes to at a name.
struct Met {
    node: TreeNode,
    display: String,
    row: Option<NodeRow>,
    /// It is a folder whose names are walked too; true: it was deleted.
    goes_on: Option<bool>,
}

fn meet<R: Source>(tree: &mut Tree<'_, R>, name: Name, level: &Level) -> Result<Met, Cold> {
    let display = |name: &str| [level.display.as_str(), "/", name].concat();
    match name {
        Name::Live(DirentRow { kind, node }) => {
            let row = tree.known_node(node)?;
            let goes_on = (kind == NodeKind::Folder).then_some(level.is_dead);
            Ok(Met { node, display: display(&row.name), row: (!level.is_dead).then_some(row), goes_on })
        }
        Name::Dead(DeadRow { kind, jid, node }) => {
            let vacated = tree.journal(jid)?.expect("a dead row goes with the row that vacated its name");
            // What was moved is not there any more, and with it all below it.
            let is_grave = kind == NodeKind::Folder
                && vacated.op == Op::Delete
                && tree.node(node)?.is_some_and(|row| row.is_dead() && row.last_jid == jid);
            Ok(Met { node, display: display(&vacated.old_name), row: None, goes_on: is_grave.then_some(true) })
        }
    }
}

/// A walk on its way.
struct Walker<'a, 't, R> {
    tree: &'a mut Tree<'t, R>,
    walk: &'a Walk<'a>,
    levels: Vec<Level>,
    /// Entries that may still be taken, about.
    left: usize,
    /// Entries that were taken.
    visited: usize,
    /// Folders they are in.
    folders: usize,
}

impl<R: Source> Walker<'_, '_, R> {
    fn go_down(&mut self, level: Level) {
        if let Some(above) = self.levels.last_mut() {
            above.has_folders = true;
        }
        self.levels.push(level);
        self.folders += 1;
    }

    /// The folders on the way to the position, each with the name after which it goes on. What is gone on the way is
    /// passed by.
    fn go_to_position(&mut self) -> Result<(), Cold> {
        let Walk { root, display, position, is_recursive, has_dead, .. } = *self.walk;
        self.levels.push(Level::new(root, display.to_owned(), String::new(), false));
        let mut keys = position.split('/').filter(|key| !key.is_empty()).peekable();
        while let Some(key) = keys.next() {
            let level = self.levels.last_mut().expect("the root is there");
            level.last = Some(key.to_owned());
            // On the way there are folders.
            level.has_folders = keys.peek().is_some();
            let name = match self.tree.dirent(level.folder, key)? {
                Some(dirent) => Name::Live(dirent),
                None if has_dead => match self.tree.dead(level.folder, key)? {
                    Some(dead) => Name::Dead(dead),
                    None => break,
                },
                None => break,
            };
            let met = meet(self.tree, name, level)?;
            let Some(is_dead) = met.goes_on.filter(|_| is_recursive) else { break };
            let position = if level.position.is_empty() { key.to_owned() } else { format!("{}/{key}", level.position) };
            self.go_down(Level::new(met.node, met.display, position, is_dead));
        }
        Ok(())
    }

    /// What the next name of the deepest folder leads to; `None` when it has no more.
    fn next(&mut self) -> Result<Option<(String, Met)>, Cold> {
        let level = self.levels.last_mut().expect("the walk is not at its end");
        if level.names.is_empty() && !level.is_read {
            let rows = if level.has_folders { SCAN_ROWS } else { self.left.max(SCAN_ROWS) };
            read_names(self.tree, level, self.walk.has_dead, rows)?;
        }
        let Some(&(_, name)) = level.names.front() else { return Ok(None) };
        if level.rows_known == 0 {
            know_rows(self.tree, level, self.left, self.walk.is_recursive)?;
        }
        let met = meet(self.tree, name, level)?;
        level.rows_known -= 1;
        let name_key = level.names.pop_front().map(|(name_key, _)| name_key);
        level.last.clone_from(&name_key);
        Ok(name_key.map(|name_key| (name_key, met)))
    }

    /// A row is not in memory: asks for those that come next too, and ends the walk.
    fn cold<T>(&mut self) -> Result<T, Cold> {
        self.look_ahead();
        Err(Cold)
    }

    /// Asks for the names and rows that the rest of the page will want, as far as can be told. How much a folder holds
    /// nobody knows before it is read: it is taken for as much as those that were walked, and a little of it is asked for.
    fn look_ahead(&mut self) {
        let entries = (self.visited / self.folders).max(FOLDER_ENTRIES_MIN);
        let Walk { has_dead, is_recursive, .. } = *self.walk;
        while self.left > 0
            && let Some(level) = self.levels.last_mut()
        {
            if level.names.is_empty() && !level.is_read && !level.is_asked {
                let is_begun = level.last.is_some() && !level.has_folders;
                let rows = if is_begun { self.left.max(SCAN_ROWS) } else { AHEAD_ROWS };
                // Cold or not, they are asked for now.
                let _ = read_names(self.tree, level, has_dead, rows);
            }
            if level.rows_known == 0 {
                let _ = know_rows(self.tree, level, self.left, is_recursive);
            }
            let Some((_, name)) = level.names.pop_front() else {
                if !level.is_read {
                    self.left = self.left.saturating_sub(entries);
                }
                self.levels.pop();
                continue;
            };
            level.rows_known -= 1;
            // It is not read further than this.
            level.is_asked = true;
            self.left -= 1;
            if let Some(node) = name.folder().filter(|_| is_recursive) {
                let is_dead = level.is_dead;
                self.levels.push(Level::new(node, String::new(), String::new(), is_dead));
            }
        }
    }
}

/// The next names of a folder, in order of their keys; live and vacated ones beside each other.
fn read_names<R: Source>(tree: &mut Tree<'_, R>, level: &mut Level, has_dead: bool, rows: usize) -> Result<(), Cold> {
    let (nsid, rows_max) = (tree.nsid, rows.min(LIST_PAGE_MAX as usize));
    let mut scan = |key: fn(Nsid, TreeNode, &str) -> Key| -> Result<Rows, Cold> {
        let range = keys::prefix_range(key(nsid, level.folder, ""));
        let start = match &level.last {
            Some(last) => after(key(nsid, level.folder, last)),
            None => range.start,
        };
        let mut rows = Rows::new();
        tree.source.scan(start..range.end, rows_max as u32, &mut rows)?;
        Ok(rows)
    };
    let live = scan(keys::dirent);
    let dead = if has_dead { scan(keys::dead) } else { Ok(Rows::new()) };
    level.is_asked = live.is_err() || dead.is_err();
    let (live, dead) = (live?, dead?);
    level.is_read = live.len().max(dead.len()) < rows_max;
    let is_live_cut = live.len() == rows_max;
    let name_of = |mut key: Vec<u8>| {
        key.drain(..keys::DIRENT_PREFIX_BYTES);
        String::from_utf8(key).expect("name keys are UTF-8")
    };
    level.names.extend(live.into_iter().map(|(key, value)| (name_of(key), Name::Live(DirentRow::decode(&value)))));
    if !dead.is_empty() {
        // Beyond the last row of a scan that was cut there may be others.
        let live_end = level.names.back().filter(|_| is_live_cut).map(|(name, _)| name.clone());
        let dead_end = dead.last().filter(|_| dead.len() == rows_max).map(|(key, _)| name_of(key.clone()));
        let end = live_end.into_iter().chain(dead_end).min();
        level.names.extend(dead.into_iter().map(|(key, value)| (name_of(key), Name::Dead(DeadRow::decode(&value)))));
        level.names.make_contiguous().sort_by(|(one, _), (other, _)| one.cmp(other));
        level.names.retain(|(name, _)| end.as_ref().is_none_or(|end| name <= end));
    }
    Ok(())
}

/// Looks for the rows of the names that come next, of about as many entries as are left, so that one prefetch brings all.
fn know_rows<R: Source>(
    tree: &mut Tree<'_, R>,
    level: &mut Level,
    left: usize,
    is_recursive: bool,
) -> Result<(), Cold> {
    let (nsid, mut left) = (tree.nsid, left.max(1));
    let (mut is_cold, mut known) = (false, 0);
    for (_, name) in level.names.iter().take(LIST_PAGE_MAX as usize) {
        is_cold |= match name {
            Name::Live(dirent) => tree.source.has(&keys::node(nsid, dirent.node)).is_err(),
            Name::Dead(dead) => {
                tree.source.has(&keys::journal(nsid, dead.jid)).is_err()
                    | tree.source.has(&keys::node(nsid, dead.node)).is_err()
            }
        };
        known += 1;
        // What is in a folder comes before the next name.
        let entries = if is_recursive && name.folder().is_some() { FOLDER_ENTRIES_MIN } else { 1 };
        left = left.saturating_sub(entries);
        if left == 0 {
            break;
        }
    }
    level.rows_known = known;
    if is_cold { Err(Cold) } else { Ok(()) }
}
