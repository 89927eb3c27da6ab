//! The base: what both sides were when they were last equal, by node of the cluster.

use std::collections::{BTreeSet, HashMap, HashSet};

use base::{Jid, TreeNode};

use crate::{ContentHash, Kind, Stamp};

/// One file or folder that is on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseEntry {
    /// Its node in the cluster.
    pub node: TreeNode,
    /// The folder it is in.
    pub parent: TreeNode,
    /// Its name there; here it may be composed in another way.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Files: the revision. Else 0.
    pub rev: Jid,
    /// Files: of their content. Else zeros.
    pub hash: ContentHash,
    /// As the cluster says, milliseconds since 1970.
    pub mtime_ms: i64,
    /// What is here.
    pub stamp: Stamp,
}

/// All of them. The root is not one of them.
#[derive(Clone, Debug)]
pub struct BaseTree {
    root: TreeNode,
    entries: HashMap<TreeNode, BaseEntry>,
    by_inode: HashMap<u64, TreeNode>,
    /// Nodes put or removed since the last [`BaseTree::take_changed`].
    changed: BTreeSet<TreeNode>,
}

impl BaseTree {
    /// Nothing is known yet of what is below this folder of the cluster.
    #[must_use]
    pub fn new(root: TreeNode) -> BaseTree {
        BaseTree { root, entries: HashMap::new(), by_inode: HashMap::new(), changed: BTreeSet::new() }
    }

    /// The remote folder itself.
    #[must_use]
    pub fn root(&self) -> TreeNode {
        self.root
    }

    /// The entry of a node.
    #[must_use]
    pub fn get(&self, node: TreeNode) -> Option<&BaseEntry> {
        self.entries.get(&node)
    }

    /// Which entry has this inode.
    #[must_use]
    pub fn by_inode(&self, inode: u64) -> Option<&BaseEntry> {
        self.entries.get(self.by_inode.get(&inode)?)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &BaseEntry> {
        self.entries.values()
    }

    /// All nodes in a fixed order.
    #[must_use]
    pub fn nodes(&self) -> Vec<TreeNode> {
        let mut nodes: Vec<TreeNode> = self.entries.keys().copied().collect();
        nodes.sort_unstable_by_key(|node| node.0);
        nodes
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Both sides are equal in this.
    pub fn put(&mut self, entry: BaseEntry) {
        if self.entries.get(&entry.node) == Some(&entry) {
            return;
        }
        self.remove(entry.node);
        self.by_inode.insert(entry.stamp.inode, entry.node);
        self.changed.insert(entry.node);
        self.entries.insert(entry.node, entry);
    }

    /// Nothing is known of it any more.
    pub fn remove(&mut self, node: TreeNode) {
        if let Some(old) = self.entries.remove(&node) {
            self.changed.insert(node);
            if self.by_inode.get(&old.stamp.inode) == Some(&node) {
                self.by_inode.remove(&old.stamp.inode);
            }
        }
    }

    /// The nodes that were put or removed since the last call, each once.
    pub fn take_changed(&mut self) -> BTreeSet<TreeNode> {
        std::mem::take(&mut self.changed)
    }

    /// All content hashes.
    #[must_use]
    pub fn hashes(&self) -> HashSet<ContentHash> {
        self.entries.values().filter(|entry| entry.kind == Kind::File).map(|entry| entry.hash).collect()
    }
}
