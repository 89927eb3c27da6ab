//! Answers for a cache: by path, by node, and the head of a journal; how new each is, and which of them an entry changed.
//!
//! An answer by path is made of the dirents on the way and of the node's row and those above it, one by node of these rows
//! alone. So what an entry wrote into these two tables tells which answers are over: those of single paths and nodes
//! while only files came, changed and went, and all of a namespace as soon as a folder or a mount did. A head is over with
//! each new row of its namespace. Who may read is told by that row's owner and kind, and by the rows of members.

use base::limits::DEPTH_MAX;
use base::names::{key_of, normalize_path};
use base::{Acct, GroupId, Jid, Nsid, TreeNode};

use crate::access::{Access, access};
use crate::batch::RowBatch;
use crate::command::{At, MemberState};
use crate::keys::{self, table};
use crate::metadata::{NamespaceKind, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::{Source as _, View};
use crate::query::{Answer, ROOT};
use crate::read::{entry_at, refusal};
use crate::rows::{DeadRow, DirentRow, MemberRow, NamespaceRow, NodeRow, RowValue as _};
use crate::store::{Cold, Store, Want};
use crate::tree::{Halt, Tree};

/// The answer to [`crate::Query::Lookup`] by path or by node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// As the query would answer.
    pub answer: Answer,
    /// The newest row of the journal that shaped it: the last one that names the node or one above it; where nothing is,
    /// the head. Never less for the same path later. `None`: not to be cached.
    pub as_of: Option<Jid>,
}

/// Answers a lookup by path or by node, as [`crate::query()`] does, with how new the answer is.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn point<S: Store>(
    store: &S,
    group: GroupId,
    (acct, nsid): (Acct, Nsid),
    at: &At,
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
    match entry_at(&mut tree, at) {
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

/// What a namespace's own row says of who may read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// May always.
    pub owner: Acct,
    /// Members who joined may too ([`has_joined`]).
    pub is_shared: bool,
}

impl Rights {
    fn of(row: &NamespaceRow) -> Rights {
        Rights { owner: row.owner, is_shared: row.kind == NamespaceKind::Shared }
    }
}

/// The rights of a namespace; `None` where there is none.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn rights<S: Store>(store: &S, group: GroupId, nsid: Nsid, wants: &mut Vec<Want>) -> Result<Option<Rights>, Cold> {
    let mut view = View { store, group, wants };
    Ok(Tree { source: &mut view, nsid }.namespace()?.map(|row| Rights::of(&row)))
}

/// Is the account a member of a shared namespace who joined?
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn has_joined<S: Store>(
    store: &S,
    group: GroupId,
    (acct, nsid): (Acct, Nsid),
    wants: &mut Vec<Want>,
) -> Result<bool, Cold> {
    let mut view = View { store, group, wants };
    let member: Option<MemberRow> = view.row(&keys::member(nsid, acct))?;
    Ok(member.is_some_and(|member| member.state == MemberState::Joined))
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
    /// Of one node.
    Node(Nsid, TreeNode),
    /// By path and by node, of the whole namespace.
    Namespace(Nsid),
    /// The head of the journal; and what the rights are now, which may be as they were. `None`: it is gone.
    Head(Nsid, Option<Rights>),
    /// Whether an account has joined.
    Member(Nsid, Acct),
}

/// Tells which answers the rows of an entry have changed, once the store has them: at least those. Of a namespace that is
/// not `wanted`, because nothing of it is cached, nothing is told, and nothing is looked up.
pub fn changed<S: Store>(
    store: &S,
    group: GroupId,
    batch: &RowBatch,
    wanted: impl Fn(Nsid) -> bool,
    mut each: impl FnMut(Changed<'_>),
) {
    let (mut told, mut asked): (Option<Nsid>, Option<(Nsid, bool)>) = (None, None);
    let mut paths = Paths::default();
    for (key, value) in batch.iter().take_while(|(key, _)| key[0] <= table::MEMBER) {
        if !matches!(key[0], table::NAMESPACE | table::NODE | table::DIRENT | table::MEMBER) {
            continue;
        }
        let nsid = Nsid(number(key, 1));
        if asked.is_none_or(|(asked, _)| asked != nsid) {
            asked = Some((nsid, wanted(nsid)));
        }
        let is_wanted = asked.is_some_and(|(_, is_wanted)| is_wanted);
        match key[0] {
            _ if !is_wanted => continue,
            table::NAMESPACE => {
                each(Changed::Head(nsid, value.map(|value| Rights::of(&NamespaceRow::decode(value)))));
                continue;
            }
            table::MEMBER => {
                each(Changed::Member(nsid, Acct(number(key, 9))));
                continue;
            }
            _ if told == Some(nsid) => continue,
            _ => {}
        }
        if key[0] == table::NODE {
            each(Changed::Node(nsid, TreeNode(number(key, 9))));
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
