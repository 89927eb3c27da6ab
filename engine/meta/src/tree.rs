//! Walking the tree: down a path, up to the root, over a subtree.

use base::limits::{PATH_BYTES_MAX, ROWS_PER_COMMAND_MAX};
use base::names::{components, key_of, normalize_path};
use base::{Jid, Nsid, TreeNode};

use crate::command::At;
use crate::keys;
use crate::metadata::NodeKind;
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::ROOT;
use crate::rows::{DeadRow, DirentRow, JournalRow, NODE_HIDDEN, NamespaceRow, NodeRow};
use crate::store::Cold;

/// Why a command or query ends early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    /// A row is not in memory.
    Cold,
    /// This is the answer.
    With(Outcome),
}

impl From<Cold> for Halt {
    fn from(_: Cold) -> Halt {
        Halt::Cold
    }
}

impl From<Outcome> for Halt {
    fn from(outcome: Outcome) -> Halt {
        Halt::With(outcome)
    }
}

pub(crate) const CONFLICT_FILE: Outcome = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
pub(crate) const CONFLICT_FOLDER: Outcome = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
pub(crate) const CONFLICT_ANCESTOR: Outcome = Outcome::Conflict { file: false, folder: false, file_ancestor: true };

/// Something is at the target already.
pub(crate) fn conflict_with(kind: NodeKind) -> Outcome {
    if kind == NodeKind::File { CONFLICT_FILE } else { CONFLICT_FOLDER }
}

/// A node with its row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub node: TreeNode,
    pub row: NodeRow,
}

/// Where something is or could be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    /// The deepest folder on the way that exists.
    pub parent: TreeNode,
    /// Folders to be made below it.
    pub missing: Vec<String>,
    pub name: String,
    /// What is there; `None` whenever something is missing.
    pub cur: Option<Found>,
}

/// The path of a node, by the names of its ancestors, dead ones included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodePath {
    pub display: String,
    /// Neither the node nor an ancestor is dead or hidden.
    pub is_live: bool,
    /// It is below a folder that no path leads to.
    pub is_hidden: bool,
    /// The newest journal row that names the node or a folder above it.
    pub newest: Jid,
}

/// The tree of one namespace, read from `source`.
pub(crate) struct Tree<'a, R> {
    pub source: &'a mut R,
    pub nsid: Nsid,
}

impl<R: Source> Tree<'_, R> {
    pub fn namespace(&mut self) -> Result<Option<NamespaceRow>, Cold> {
        self.source.row(&keys::namespace(self.nsid))
    }

    pub fn node(&mut self, node: TreeNode) -> Result<Option<NodeRow>, Cold> {
        self.source.row(&keys::node(self.nsid, node))
    }

    /// A node that another row names.
    pub fn known_node(&mut self, node: TreeNode) -> Result<NodeRow, Cold> {
        Ok(self.node(node)?.expect("rows name only nodes that have a row"))
    }

    pub fn dirent(&mut self, parent: TreeNode, name_key: &str) -> Result<Option<DirentRow>, Cold> {
        let row = self.source.row(&keys::dirent(self.nsid, parent, name_key));
        if row.is_err() {
            // Whoever puts something under a free name asks for its dead row next: one prefetch brings both.
            let _ = self.source.has(&keys::dead(self.nsid, parent, name_key));
        }
        row
    }

    pub fn dead(&mut self, parent: TreeNode, name_key: &str) -> Result<Option<DeadRow>, Cold> {
        self.source.row(&keys::dead(self.nsid, parent, name_key))
    }

    pub fn journal(&mut self, jid: Jid) -> Result<Option<JournalRow>, Cold> {
        self.source.row(&keys::journal(self.nsid, jid))
    }

    /// Walks up from `node`; `each` sees every node on the way, itself first. Ends at the root, or when `each` says so.
    pub fn walk_up(&mut self, node: TreeNode, mut each: impl FnMut(TreeNode, &NodeRow) -> bool) -> Result<(), Halt> {
        let mut at = node;
        for _ in 0..ROWS_PER_COMMAND_MAX {
            let row = self.known_node(at)?;
            if !each(at, &row) || at == ROOT {
                return Ok(());
            }
            at = row.parent;
        }
        Err(Outcome::TooLarge.into())
    }

    /// Is `node` the same as `above`, or somewhere below it?
    pub fn is_at_or_below(&mut self, node: TreeNode, above: TreeNode) -> Result<bool, Halt> {
        let mut is_below = false;
        self.walk_up(node, |node, _| {
            is_below |= node == above;
            !is_below
        })?;
        Ok(is_below)
    }

    pub fn is_live(&mut self, node: TreeNode) -> Result<bool, Halt> {
        let mut is_live = true;
        self.walk_up(node, |_, row| {
            is_live &= row.is_seen();
            is_live
        })?;
        Ok(is_live)
    }

    pub fn path_of(&mut self, node: TreeNode) -> Result<NodePath, Halt> {
        let mut names = Vec::new();
        let (mut is_live, mut is_hidden, mut newest) = (true, false, Jid(0));
        self.walk_up(node, |at, row| {
            newest = newest.max(row.last_jid);
            is_live &= row.is_seen();
            is_hidden |= row.flags & NODE_HIDDEN != 0;
            if at != ROOT {
                names.push(row.name.clone());
            }
            true
        })?;
        let mut display = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            display.push('/');
            display.push_str(name);
        }
        Ok(NodePath { display, is_live, is_hidden, newest })
    }

    /// The live node where a path begins. `NotFound` when it is not live.
    fn base(&mut self, node: TreeNode) -> Result<Found, Halt> {
        let node = if node.0 == 0 { ROOT } else { node };
        let Some(row) = self.node(node)? else { return Err(Outcome::NotFound.into()) };
        if node != ROOT && !self.is_live(node)? {
            return Err(Outcome::NotFound.into());
        }
        Ok(Found { node, row })
    }

    /// What is at a place: `NotFound` when nothing is, `Elsewhere` behind a mount.
    pub fn find(&mut self, at: &At) -> Result<Found, Halt> {
        let path = normalize_path(&at.path).map_err(|_| Outcome::Malformed)?;
        let mut found = self.base(at.node)?;
        let mut rest: &str = &path;
        for name in components(&path) {
            match found.row.kind {
                NodeKind::Folder => {}
                NodeKind::File => return Err(Outcome::NotFound.into()),
                NodeKind::Mount => return Err(elsewhere(&found.row, rest)),
            }
            rest = &rest[1 + name.len()..];
            let Some(dirent) = self.dirent(found.node, &key_of(name))? else { return Err(Outcome::NotFound.into()) };
            found = Found { node: dirent.node, row: self.known_node(dirent.node)? };
        }
        Ok(found)
    }

    /// Where something could be put: `None` for the root itself. A file on the way is a conflict, a mount `Elsewhere`.
    pub fn locate(&mut self, at: &At) -> Result<Option<Located>, Halt> {
        let path = normalize_path(&at.path).map_err(|_| Outcome::Malformed)?;
        let mut names = components(&path);
        let Some(name) = names.next_back() else {
            if at.node.0 == 0 || at.node == ROOT {
                return Ok(None);
            }
            let cur = self.base(at.node)?;
            let (parent, name) = (cur.row.parent, cur.row.name.clone());
            return Ok(Some(Located { parent, missing: Vec::new(), name, cur: Some(cur) }));
        };
        let mut rest: &str = &path;
        let mut parent = ROOT;
        // A namespace that is there has its root, which is a folder.
        if at.node.0 != 0 && at.node != ROOT {
            let base = self.base(at.node)?;
            parent = base.node;
            match base.row.kind {
                NodeKind::Folder => {}
                NodeKind::File => return Err(CONFLICT_ANCESTOR.into()),
                NodeKind::Mount => return Err(elsewhere(&base.row, rest)),
            }
        }
        let mut missing = Vec::new();
        for component in names {
            rest = &rest[1 + component.len()..];
            if !missing.is_empty() {
                missing.push(component.to_owned());
                continue;
            }
            match self.dirent(parent, &key_of(component))? {
                None => missing.push(component.to_owned()),
                Some(dirent) => match dirent.kind {
                    NodeKind::Folder => parent = dirent.node,
                    NodeKind::File => return Err(CONFLICT_ANCESTOR.into()),
                    NodeKind::Mount => return Err(elsewhere(&self.known_node(dirent.node)?, rest)),
                },
            }
        }
        let mut cur = None;
        if missing.is_empty()
            && let Some(dirent) = self.dirent(parent, &key_of(name))?
        {
            cur = Some(Found { node: dirent.node, row: self.known_node(dirent.node)? });
        }
        Ok(Some(Located { parent, missing, name: name.to_owned(), cur }))
    }

    /// What is live at a path text from the root; texts that are longer than any path are walked too.
    pub fn live_at(&mut self, display: &str) -> Result<Option<DirentRow>, Cold> {
        let mut at = DirentRow { kind: NodeKind::Folder, node: ROOT };
        for name in components(display) {
            if at.kind != NodeKind::Folder {
                return Ok(None);
            }
            match self.dirent(at.node, &key_of(name))? {
                Some(dirent) => at = dirent,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

fn elsewhere(mount: &NodeRow, rest: &str) -> Halt {
    assert!(rest.len() <= PATH_BYTES_MAX, "the rest of a path is no longer than the path");
    Outcome::Elsewhere { nsid: Nsid(mount.size), rest: rest.to_owned() }.into()
}
