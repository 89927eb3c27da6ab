//! Which entry of the base is which file or folder here.

use std::collections::{HashMap, HashSet};

use base::TreeNode;
use base::names::name_key;

use crate::Kind;
use crate::base_tree::{BaseEntry, BaseTree};
use crate::local_tree::{LOCAL_ROOT, LocalId, LocalTree};

/// Where an entry of the base is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Here {
    /// This is it.
    At(LocalId),
    /// It is not there any more.
    Gone,
    /// Something that stays out has its place, or its folder cannot be read: nobody can tell.
    Unknown,
}

/// Both ways.
#[derive(Default, Debug)]
pub struct Matching {
    here: HashMap<TreeNode, Here>,
    nodes: HashMap<LocalId, TreeNode>,
}

impl Matching {
    /// Finds each entry.
    pub fn of(base: &BaseTree, local: &LocalTree) -> Matching {
        let mut matching = Matching::default();
        let mut seen = HashSet::new();
        for node in base.nodes() {
            matching.find(node, base, local, &mut seen);
        }
        matching
    }

    /// Where it is here; what the base does not know is gone.
    pub fn here(&self, node: TreeNode) -> Here {
        self.here.get(&node).copied().unwrap_or(Here::Gone)
    }

    /// Which entry it is; `root` for the root itself.
    pub fn node(&self, local: LocalId, root: TreeNode) -> Option<TreeNode> {
        if local == LOCAL_ROOT { Some(root) } else { self.nodes.get(&local).copied() }
    }

    /// The folder here that is this folder there.
    pub fn folder(&self, node: TreeNode, root: TreeNode) -> Option<LocalId> {
        match self.here(node) {
            _ if node == root => Some(LOCAL_ROOT),
            Here::At(local) => Some(local),
            Here::Gone | Here::Unknown => None,
        }
    }

    /// This is that.
    pub fn claim(&mut self, node: TreeNode, local: LocalId) {
        self.here.insert(node, Here::At(local));
        self.nodes.insert(local, node);
    }

    /// The folders above come first: what is in them is looked for there.
    fn find(&mut self, node: TreeNode, base: &BaseTree, local: &LocalTree, seen: &mut HashSet<TreeNode>) {
        let Some(entry) = base.get(node) else { return };
        if !seen.insert(node) {
            return;
        }
        self.find(entry.parent, base, local, seen);
        let above = match self.here.get(&entry.parent) {
            Some(above) => *above,
            // The root alone is no entry; what hangs below an entry that was forgotten is below nothing.
            None if entry.parent == base.root() => Here::At(LOCAL_ROOT),
            None => Here::Gone,
        };
        let found = self.candidate(entry, above, base, local);
        match found {
            Some(local) => self.claim(node, local),
            None => drop(self.here.insert(node, absent(entry, above, local))),
        }
    }

    fn candidate(&self, entry: &BaseEntry, above: Here, base: &BaseTree, local: &LocalTree) -> Option<LocalId> {
        let is_kind = |id: &LocalId| local.get(*id).is_some_and(|node| node.kind == entry.kind);
        let is_free = |id: &LocalId| !self.nodes.contains_key(id);
        let at_place = match above {
            Here::At(folder) => local.child(folder, &name_key(&entry.name)).filter(is_kind).filter(is_free),
            Here::Gone | Here::Unknown => None,
        };
        let stamp = |id: LocalId| local.get(id).map(|node| node.stamp).unwrap_or_default();
        if let Some(id) = at_place
            && stamp(id).inode == entry.stamp.inode
        {
            return Some(id);
        }
        // A file that is somewhere else and was written too could be another one that got its inode.
        let is_it = |id: &&LocalId| entry.kind == Kind::Folder || stamp(**id).is_same_content(&entry.stamp);
        let by_inode = local.by_inode(entry.stamp.inode).iter().find(|id| is_kind(id) && is_free(id) && is_it(id));
        if let Some(id) = by_inode {
            return Some(*id);
        }
        // Many programs write a new file and rename it over the old one.
        at_place.filter(|id| {
            let owner = base.by_inode(stamp(*id).inode).filter(|owner| owner.node != entry.node);
            !owner.is_some_and(|owner| {
                owner.kind == entry.kind && (owner.kind == Kind::Folder || stamp(*id).is_same_content(&owner.stamp))
            })
        })
    }
}

fn absent(entry: &BaseEntry, above: Here, local: &LocalTree) -> Here {
    match above {
        Here::At(folder) => {
            let is_open = local
                .get(folder)
                .is_some_and(|folder| folder.is_unread || folder.left.contains_key(&name_key(&entry.name)));
            if is_open { Here::Unknown } else { Here::Gone }
        }
        other => other,
    }
}
