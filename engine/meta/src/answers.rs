//! Answers by path for a cache: under which key, how new, and which of them an entry has changed.
//!
//! An answer by path is made of the dirents on the way and of the node's row and those above it. So what an entry wrote
//! into these two tables tells which answers are over: those of single paths while only files came, changed and went, and
//! all of a namespace as soon as a folder or a mount did.

use base::limits::DEPTH_MAX;
use base::names::{key_of, normalize_path};
use base::{Acct, GroupId, Jid, Nsid, TreeNode};

use crate::access::{Access, access};
use crate::batch::RowBatch;
use crate::command::At;
use crate::keys::table;
use crate::metadata::NodeKind;
use crate::outcome::Outcome;
use crate::overlay::View;
use crate::query::{Answer, ROOT};
use crate::read::{entry_at, refusal};
use crate::rows::{DeadRow, DirentRow, NodeRow, RowValue as _};
use crate::store::{Cold, Store, Want};
use crate::tree::{Halt, Tree};

/// The answer to [`crate::Query::Lookup`] by path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// As the query would answer.
    pub answer: Answer,
    /// The newest row of the journal that shaped it: the last one that names the node or one above it; where nothing is,
    /// the head. Never less for the same path later. `None`: not to be cached.
    pub as_of: Option<Jid>,
}

/// Answers a lookup by path, as [`crate::query()`] does, with how new the answer is.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn point<S: Store>(
    store: &S,
    group: GroupId,
    (acct, nsid): (Acct, Nsid),
    path: &str,
    wants: &mut Vec<Want>,
) -> Result<Point, Cold> {
    let mut view = View { store, group, wants };
    let mut tree = Tree { source: &mut view, nsid };
    let Some(namespace) = tree.namespace()? else {
        let answer = if acct == Acct(0) { Answer::NotFound } else { Answer::NoAccess };
        return Ok(Point { answer, as_of: None });
    };
    if access(tree.source, nsid, &namespace, acct)? < Access::Read {
        return Ok(Point { answer: Answer::NoAccess, as_of: None });
    }
    match entry_at(&mut tree, &At::path(path)) {
        Ok((entry, newest)) => Ok(Point { answer: Answer::Entry(entry), as_of: Some(newest) }),
        Err(Halt::With(outcome)) => {
            let as_of = (outcome == Outcome::NotFound).then_some(namespace.head);
            Ok(Point { answer: refusal(outcome), as_of })
        }
        Err(Halt::Cold) => Err(Cold),
    }
}

/// May the account be told of what is in the namespace?
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn may_read<S: Store>(
    store: &S,
    group: GroupId,
    (acct, nsid): (Acct, Nsid),
    wants: &mut Vec<Want>,
) -> Result<bool, Cold> {
    if acct == Acct(0) {
        return Ok(true);
    }
    let mut view = View { store, group, wants };
    let namespace = Tree { source: &mut view, nsid }.namespace()?;
    Ok(match namespace {
        Some(namespace) => access(&mut view, nsid, &namespace, acct)? >= Access::Read,
        None => false,
    })
}

/// Appends the key of a path, by which answers are cached: its names as they are compared, each behind a `/`; nothing for
/// the root. False for what is no path.
pub fn path_key(path: &str, out: &mut Vec<u8>) -> bool {
    let Ok(path) = normalize_path(path) else { return false };
    // Of a path as of a name: `/` stays what it is.
    out.extend_from_slice(key_of(&path).as_bytes());
    true
}

/// Answers that an entry has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed<'a> {
    /// Of one path, by its [`path_key`].
    Path(Nsid, &'a [u8]),
    /// Of the whole namespace.
    Namespace(Nsid),
}

/// Tells which answers by path the rows of an entry have changed, once the store has them: at least those.
pub fn changed<S: Store>(store: &S, group: GroupId, batch: &RowBatch, mut each: impl FnMut(Changed<'_>)) {
    let mut told: Option<Nsid> = None;
    let mut paths = Paths::default();
    for (key, value) in batch.iter().skip_while(|(key, _)| key[0] < table::NODE) {
        if key[0] > table::DIRENT {
            break;
        }
        let nsid = Nsid(number(key, 1));
        if told == Some(nsid) {
            continue;
        }
        let parent = match (key[0], value) {
            (table::NODE, Some(value)) => file_of(NodeRow::decode(value)),
            (table::DIRENT, value) if is_of_file(batch, key, value) => {
                Some((TreeNode(number(key, 9)), String::from_utf8(key[17..].to_vec()).expect("names in keys are text")))
            }
            _ => None,
        };
        let path = parent.and_then(|(parent, name)| paths.of(store, group, nsid, parent, &name));
        match path {
            Some(path) => each(Changed::Path(nsid, path)),
            None => {
                each(Changed::Namespace(nsid));
                // Rows of both tables are apart: a namespace may be told twice, which is no harm.
                told = Some(nsid);
            }
        }
    }
}

/// Where a file is; `None` for what has something below it.
fn file_of(row: NodeRow) -> Option<(TreeNode, String)> {
    (row.kind == NodeKind::File).then(|| (row.parent, key_of(&row.name).into_owned()))
}

/// Did a file come to this name, or go from it? What went is told by the dead row that it left.
fn is_of_file(batch: &RowBatch, key: &[u8], value: Option<&[u8]>) -> bool {
    match value {
        Some(value) => DirentRow::decode(value).kind == NodeKind::File,
        None => {
            let mut dead = key.to_vec();
            dead[0] = table::DEAD;
            let row = batch.get(&dead).flatten();
            row.is_some_and(|row| DeadRow::decode(row).kind == NodeKind::File)
        }
    }
}

fn number(key: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(key[at..at + 8].try_into().expect("keys of these tables have two fields"))
}

/// The keys of paths below the folder that was asked for last.
#[derive(Default)]
struct Paths {
    folder: Option<(Nsid, TreeNode)>,
    folder_bytes: usize,
    key: Vec<u8>,
}

impl Paths {
    /// The key of `name` in a folder; `None` when that cannot be said without waiting for rows.
    fn of<S: Store>(&mut self, store: &S, group: GroupId, nsid: Nsid, folder: TreeNode, name: &str) -> Option<&[u8]> {
        if self.folder != Some((nsid, folder)) {
            self.folder = None;
            self.key.clear();
            let names = names_above(store, group, nsid, folder)?;
            names.iter().rev().for_each(|name| push_name(name, &mut self.key));
            (self.folder, self.folder_bytes) = (Some((nsid, folder)), self.key.len());
        }
        self.key.truncate(self.folder_bytes);
        push_name(name, &mut self.key);
        Some(&self.key)
    }
}

fn push_name(name_key: &str, out: &mut Vec<u8>) {
    out.push(b'/');
    out.extend_from_slice(name_key.as_bytes());
}

/// The name keys from a folder up to the root. `None` when a row is not in memory, or is gone.
fn names_above<S: Store>(store: &S, group: GroupId, nsid: Nsid, folder: TreeNode) -> Option<Vec<String>> {
    let mut wants = Vec::new();
    let mut view = View { store, group, wants: &mut wants };
    let mut tree = Tree { source: &mut view, nsid };
    let (mut names, mut at) = (Vec::new(), folder);
    while at != ROOT {
        let row = tree.node(at).ok()??;
        names.push(key_of(&row.name).into_owned());
        at = row.parent;
        if names.len() > DEPTH_MAX {
            return None;
        }
    }
    Some(names)
}
