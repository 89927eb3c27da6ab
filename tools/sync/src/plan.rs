//! What is to be done: three trees are compared, and nothing is touched.
//!
//! An entry of the base is found here by its inode (a file only if it is otherwise unchanged) or else at its place, and
//! there by its node. So each side of it is gone, moved, changed, or as it was:
//!
//! ```text
//!                     there: as it was   moved             changed            gone
//! here: as it was     -                  move here         get                delete here
//!       moved         move there         there wins        move, then get     put as new
//!       changed       put                move here, put    conflicted copy    put as new
//!       gone          delete there       get as new        get as new         forget
//! ```
//!
//! Deleted against edited or moved keeps what was edited or moved. A folder goes when all in it goes.
//! One plan never has two steps that depend on each other in one phase; the engine does the first phase that has any and
//! asks again. So whatever is blocked now is looked at again once what blocks it is done; a circle of names is broken by
//! one name that steps aside.

mod decide;
mod matching;
mod settle;

use std::collections::HashSet;

use base::{Jid, TreeNode};

use crate::base_tree::{BaseEntry, BaseTree};
use crate::local_tree::{LocalId, LocalNode, LocalTree};
use crate::name::LOCAL_NAME_BYTES_MAX;
use crate::remote_tree::{RemoteNode, RemoteTree};
use crate::{Kind, Stamp};
use matching::Matching;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read a file here, to tell whether it changed.
    Hash(LocalId),
    /// Move or rename what is here.
    MoveLocal {
        /// What.
        local: LocalId,
        /// Which entry of the base.
        node: TreeNode,
        /// Into which folder.
        folder: LocalId,
        /// Its new name.
        name: String,
        /// It only steps aside for a moment.
        is_aside: bool,
    },
    /// Move or rename what is there.
    MoveRemote {
        /// What.
        node: TreeNode,
        /// Into which folder.
        folder: TreeNode,
        /// Its new name.
        name: String,
        /// It only steps aside for a moment.
        is_aside: bool,
    },
    /// Make a folder here.
    MakeLocal {
        /// The folder there.
        node: TreeNode,
        /// Into which folder.
        folder: LocalId,
    },
    /// Make a folder there.
    MakeRemote {
        /// The folder here.
        local: LocalId,
        /// Into which folder.
        folder: TreeNode,
    },
    /// Give what is here the name of a conflicted copy.
    Conflict {
        /// What.
        local: LocalId,
    },
    /// Put a file.
    Put {
        /// The file here.
        local: LocalId,
        /// Into which folder.
        folder: TreeNode,
        /// The revision that it replaces, of which node.
        over: Option<(TreeNode, Jid)>,
    },
    /// Get a file.
    Get {
        /// The file there.
        node: TreeNode,
        /// Into which folder.
        folder: LocalId,
        /// What it replaces here.
        over: Option<LocalId>,
    },
    /// Delete a file here.
    DeleteLocal {
        /// The file.
        local: LocalId,
        /// Which entry of the base.
        node: TreeNode,
    },
    /// Delete a folder here, once nothing is in it.
    RemoveFolder {
        /// The folder.
        local: LocalId,
        /// Which entry of the base.
        node: TreeNode,
    },
    /// Delete a file there, if it is still this revision.
    DeleteRemote {
        /// The file.
        node: TreeNode,
        /// Its revision.
        rev: Jid,
    },
    /// Delete a folder there with all in it.
    DeleteRemoteFolder {
        /// The folder.
        node: TreeNode,
    },
}

impl Action {
    /// What goes before what: a lower phase is done first, all of it before the plan is made anew.
    #[must_use]
    pub fn phase(&self) -> u8 {
        match self {
            Action::Hash(_) => 0,
            Action::MoveLocal { is_aside: false, .. } | Action::MoveRemote { is_aside: false, .. } => 1,
            Action::MakeLocal { .. } | Action::MakeRemote { .. } => 2,
            Action::Conflict { .. } => 3,
            Action::Put { .. } | Action::Get { .. } => 4,
            Action::DeleteLocal { .. }
            | Action::RemoveFolder { .. }
            | Action::DeleteRemote { .. }
            | Action::DeleteRemoteFolder { .. } => 5,
            Action::MoveLocal { .. } | Action::MoveRemote { .. } => 6,
        }
    }

    /// What it is about, so that one that failed can be left out.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Action::Hash(local)
            | Action::Conflict { local }
            | Action::MakeRemote { local, .. }
            | Action::Put { local, .. }
            | Action::DeleteLocal { local, .. }
            | Action::RemoveFolder { local, .. }
            | Action::MoveLocal { local, .. } => Subject::Local(*local),
            Action::MoveRemote { node, .. }
            | Action::MakeLocal { node, .. }
            | Action::Get { node, .. }
            | Action::DeleteRemote { node, .. }
            | Action::DeleteRemoteFolder { node } => Subject::Node(*node),
        }
    }
}

/// What an action is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// Something here.
    Local(LocalId),
    /// Something there.
    Node(TreeNode),
}

/// What is to be done.
#[derive(Default, Debug)]
pub struct Plan {
    /// In order of phases.
    pub actions: Vec<Action>,
    /// What of the cluster stays out, as paths, and why.
    pub left_out: Vec<(String, String)>,
}

/// Compares. The base learns what both sides agree on already; nothing else changes.
///
/// `held`: what failed and is not tried again now; it does not keep a circle from being broken.
pub fn plan(base: &mut BaseTree, local: &LocalTree, remote: &RemoteTree, held: &HashSet<Subject>) -> Plan {
    let (skipped, left_out) = skipped(local, remote);
    let mut planner = Planner { base, local, remote, skipped, matching: Matching::default() };
    loop {
        planner.matching = Matching::of(planner.base, local);
        if !planner.settle() {
            break;
        }
    }
    let mut actions = planner.decide(held);
    actions.sort_by_key(Action::phase);
    Plan { actions, left_out }
}

/// The trees, and what is known of them so far.
struct Planner<'a> {
    base: &'a mut BaseTree,
    local: &'a LocalTree,
    remote: &'a RemoteTree,
    /// What of the cluster stays out.
    skipped: HashSet<TreeNode>,
    matching: Matching,
}

impl Planner<'_> {
    /// What is there, unless it stays out.
    fn there(&self, node: TreeNode) -> Option<&RemoteNode> {
        self.remote.get(node)
    }

    fn is_moved_here(&self, entry: &BaseEntry, local: &LocalNode) -> bool {
        self.matching.node(local.parent, self.remote.root) != Some(entry.parent) || local.name != entry.name
    }
}

fn is_moved_there(entry: &BaseEntry, there: &RemoteNode) -> bool {
    there.parent != entry.parent || there.name != entry.name
}

/// Perhaps written: its stamp is another.
fn is_touched(entry: &BaseEntry, stamp: Stamp) -> bool {
    entry.kind == Kind::File && entry.stamp != stamp
}

fn is_changed_there(entry: &BaseEntry, there: &RemoteNode) -> bool {
    entry.kind == Kind::File && there.hash != entry.hash
}

/// What of the cluster stays out, with all below it, and what of that its owner should know.
fn skipped(local: &LocalTree, remote: &RemoteTree) -> (HashSet<TreeNode>, Vec<(String, String)>) {
    let (mut skipped, mut told) = (HashSet::new(), Vec::new());
    let mut todo = vec![(remote.root, String::new(), false)];
    while let Some((folder, path, is_out)) = todo.pop() {
        for child in remote.children(folder) {
            let Some(node) = remote.get(child) else { continue };
            let path = if path.is_empty() { node.name.clone() } else { format!("{path}/{}", node.name) };
            let is_folder = node.kind == meta::NodeKind::Folder;
            let why = match () {
                () if is_out || local.ignore.holds(&path, is_folder) => Some(None),
                () if node.is_mount() => Some(Some("it is a shared folder; sync it into a folder of its own")),
                () if node.name.len() > LOCAL_NAME_BYTES_MAX => {
                    Some(Some("its name is too long for a file here; rename it"))
                }
                () => None,
            };
            if let Some(Some(why)) = why {
                told.push((path.clone(), why.to_owned()));
            }
            if why.is_some() {
                skipped.insert(child);
            }
            if is_folder {
                todo.push((child, path, why.is_some()));
            }
        }
    }
    told.sort();
    (skipped, told)
}
