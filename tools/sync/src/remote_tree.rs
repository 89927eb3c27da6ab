//! What the cluster has below the remote folder, by node, as of a cursor.

use std::collections::{BTreeMap, HashMap};

use base::names::{components, name_key};
use base::{Jid, TreeNode};
use meta::{DeltaCursor, Metadata, NodeKind};

use crate::ContentHash;

/// A file, folder or mount in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteNode {
    /// Its id.
    pub node: TreeNode,
    /// The folder it is in.
    pub parent: TreeNode,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Files: the revision.
    pub rev: Jid,
    /// Files: bytes.
    pub bytes: u64,
    /// Files: of their content.
    pub hash: ContentHash,
    /// When it was written, milliseconds since 1970.
    pub mtime_ms: i64,
}

impl RemoteNode {
    /// Of what the cluster tells.
    #[must_use]
    pub fn of(meta: &Metadata) -> RemoteNode {
        let is_file = meta.kind == NodeKind::File;
        RemoteNode {
            node: meta.node,
            parent: meta.parent,
            name: meta.name.clone(),
            kind: meta.kind,
            rev: if is_file { meta.rev_jid } else { Jid(0) },
            bytes: if is_file { meta.size } else { 0 },
            hash: if is_file { meta.content_hash } else { [0; 32] },
            mtime_ms: meta.client_mtime().unwrap_or(meta.server_mtime_ms),
        }
    }

    /// Neither file nor folder: it is left out.
    #[must_use]
    pub fn is_mount(&self) -> bool {
        self.kind == NodeKind::Mount
    }
}

/// The tree.
#[derive(Clone, Debug)]
pub struct RemoteTree {
    /// The remote folder itself.
    pub root: TreeNode,
    /// Where the journal's reader stands.
    pub cursor: DeltaCursor,
    nodes: HashMap<TreeNode, RemoteNode>,
    children: HashMap<TreeNode, BTreeMap<String, TreeNode>>,
}

impl RemoteTree {
    /// An empty folder.
    #[must_use]
    pub fn new(root: TreeNode) -> RemoteTree {
        let cursor = DeltaCursor::at(Jid(0));
        RemoteTree { root, cursor, nodes: HashMap::new(), children: HashMap::new() }
    }

    /// What a node is.
    #[must_use]
    pub fn get(&self, node: TreeNode) -> Option<&RemoteNode> {
        self.nodes.get(&node)
    }

    /// It is the root, or a folder that is there.
    #[must_use]
    pub fn is_folder(&self, node: TreeNode) -> bool {
        node == self.root || self.nodes.get(&node).is_some_and(|there| there.kind == NodeKind::Folder)
    }

    /// All nodes, in a fixed order.
    #[must_use]
    pub fn nodes(&self) -> Vec<&RemoteNode> {
        let mut nodes: Vec<&RemoteNode> = self.nodes.values().collect();
        nodes.sort_unstable_by_key(|node| node.node.0);
        nodes
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nothing is in the folder.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What is in a folder, in order of the name keys.
    pub fn children(&self, folder: TreeNode) -> impl Iterator<Item = TreeNode> + '_ {
        self.children.get(&folder).into_iter().flat_map(|children| children.values().copied())
    }

    /// What has this name key in a folder.
    #[must_use]
    pub fn child(&self, folder: TreeNode, key: &str) -> Option<TreeNode> {
        self.children.get(&folder)?.get(key).copied()
    }

    /// The path below the root, `/a/b`; `None` for what does not hang together with it.
    #[must_use]
    pub fn path(&self, node: TreeNode) -> Option<String> {
        let (mut names, mut at) = (Vec::new(), node);
        while at != self.root {
            let there = self.nodes.get(&at)?;
            names.push(there.name.as_str());
            at = there.parent;
            if names.len() > base::limits::DEPTH_MAX {
                return None;
            }
        }
        names.push("");
        names.reverse();
        Some(names.join("/"))
    }

    /// `node` is `folder` or below it.
    #[must_use]
    pub fn is_within(&self, node: TreeNode, folder: TreeNode) -> bool {
        let mut at = Some(node);
        for _ in 0..=base::limits::DEPTH_MAX {
            match at {
                Some(here) if here == folder => return true,
                Some(here) => at = self.nodes.get(&here).map(|there| there.parent),
                None => return false,
            }
        }
        false
    }

    /// It is there now. What had its name is not there any more; what is in it stays.
    pub fn put(&mut self, new: RemoteNode) {
        if new.node == self.root {
            return;
        }
        self.unlink(new.node);
        let key = name_key(&new.name);
        if let Some(other) = self.child(new.parent, &key) {
            self.remove(other);
        }
        // A file has nothing below it.
        if new.kind != NodeKind::Folder {
            self.remove_children(new.node);
        }
        self.children.entry(new.parent).or_default().insert(key, new.node);
        self.nodes.insert(new.node, new);
    }

    /// It is not there any more, nor is what is in it.
    pub fn remove(&mut self, node: TreeNode) {
        self.remove_children(node);
        self.unlink(node);
        self.nodes.remove(&node);
    }

    /// Nothing is at this path below the root any more.
    pub fn remove_path(&mut self, path: &str) {
        let mut at = self.root;
        for name in components(path) {
            match self.child(at, &name_key(name)) {
                Some(node) => at = node,
                None => return,
            }
        }
        if at != self.root {
            self.remove(at);
        }
    }

    /// Every node hangs together with the root.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nodes.values().all(|node| self.is_folder(node.parent))
    }

    fn unlink(&mut self, node: TreeNode) {
        let Some(old) = self.nodes.get(&node) else { return };
        let key = name_key(&old.name);
        if let Some(siblings) = self.children.get_mut(&old.parent)
            && siblings.get(&key) == Some(&node)
        {
            siblings.remove(&key);
            if siblings.is_empty() {
                self.children.remove(&old.parent);
            }
        }
    }

    fn remove_children(&mut self, node: TreeNode) {
        let mut todo: Vec<TreeNode> = self.children.remove(&node).into_iter().flat_map(BTreeMap::into_values).collect();
        while let Some(at) = todo.pop() {
            self.nodes.remove(&at);
            todo.extend(self.children.remove(&at).into_iter().flat_map(BTreeMap::into_values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: u64, parent: u64, name: &str, kind: NodeKind) -> RemoteNode {
        let (node, parent, name) = (TreeNode(node), TreeNode(parent), name.to_owned());
        RemoteNode { node, parent, name, kind, rev: Jid(node.0), bytes: 0, hash: [0; 32], mtime_ms: 0 }
    }

    fn tree() -> RemoteTree {
        let mut tree = RemoteTree::new(TreeNode(1));
        tree.put(node(2, 1, "Dir", NodeKind::Folder));
        tree.put(node(3, 2, "file", NodeKind::File));
        tree
    }

    #[test]
    fn a_moved_folder_keeps_what_is_in_it() {
        let mut tree = tree();
        tree.put(node(2, 1, "other", NodeKind::Folder));
        assert_eq!(tree.path(TreeNode(3)).unwrap(), "/other/file");
        tree.remove_path("/DIR");
        assert_eq!(tree.len(), 2, "nothing is at the old path");
    }

    #[test]
    fn what_takes_a_name_replaces_all_that_was_there() {
        let mut tree = tree();
        tree.put(node(4, 1, "DIR", NodeKind::File));
        assert_eq!(tree.nodes().iter().map(|node| node.node.0).collect::<Vec<_>>(), [4]);
        assert!(tree.is_whole());
    }

    #[test]
    fn a_child_told_before_its_folder_waits_for_it() {
        let mut tree = RemoteTree::new(TreeNode(1));
        tree.put(node(3, 2, "file", NodeKind::File));
        assert!(!tree.is_whole());
        assert_eq!(tree.path(TreeNode(3)), None);
        tree.put(node(2, 1, "dir", NodeKind::Folder));
        assert_eq!(tree.path(TreeNode(3)).unwrap(), "/dir/file");
    }
}
