//! The steps that the comparison calls for.

use std::collections::HashSet;

use base::TreeNode;
use base::names::name_key;
use meta::NodeKind;

use super::matching::Here;
use super::settle::Fates;
use super::{Action, Planner, Subject, is_changed_there, is_moved_there, is_touched};
use crate::Kind;
use crate::base_tree::BaseEntry;
use crate::local_tree::{LOCAL_ROOT, LocalId, LocalNode};
use crate::name::aside;
use crate::remote_tree::RemoteNode;

/// What has been decided so far.
#[derive(Default)]
struct Decided {
    actions: Vec<Action>,
    conflicts: HashSet<LocalId>,
    /// Moves whose place is taken, or whose folder is not there yet: used if nothing else can be done.
    blocked: Vec<Action>,
}

impl Decided {
    fn conflict(&mut self, local: LocalId) {
        if self.conflicts.insert(local) {
            self.actions.push(Action::Conflict { local });
        }
    }
}

impl Planner<'_> {
    /// All steps; those that could only break a circle come only when there are no others.
    pub fn decide(&self, held: &HashSet<Subject>) -> Vec<Action> {
        let mut decided = Decided::default();
        let mut fates = Fates::default();
        for node in self.base.nodes() {
            let Some(entry) = self.base.get(node) else { continue };
            match (self.matching.here(node), self.there(node)) {
                (Here::At(local), Some(there)) => {
                    let Some(here) = self.local.get(local) else { continue };
                    self.decide_place(entry, (local, here), there, &mut decided);
                    self.decide_content(entry, (local, here), there, &mut decided);
                }
                (Here::At(local), None) => self.decide_gone_there(entry, local, &mut fates, &mut decided),
                (Here::Gone, Some(there)) => self.decide_gone_here(entry, there, &mut fates, &mut decided),
                (Here::Gone | Here::Unknown, _) => {}
            }
        }
        self.decide_new_there(&mut decided);
        self.decide_new_here(&mut decided);
        decided.actions.retain(|action| !held.contains(&action.subject()));
        if decided.actions.is_empty()
            && let Some(action) = decided.blocked.into_iter().find(|action| !held.contains(&action.subject()))
        {
            return vec![action];
        }
        decided.actions
    }

    fn decide_place(
        &self,
        entry: &BaseEntry,
        (local, here): (LocalId, &LocalNode),
        there: &RemoteNode,
        decided: &mut Decided,
    ) {
        if is_moved_there(entry, there) {
            self.move_here(entry.node, (local, here), there, decided);
        } else if self.is_moved_here(entry, here) {
            self.move_there(entry.node, (local, here), there, decided);
        }
    }

    /// It was moved there, or in both places: there wins.
    fn move_here(
        &self,
        node: TreeNode,
        (local, here): (LocalId, &LocalNode),
        there: &RemoteNode,
        decided: &mut Decided,
    ) {
        let Some(folder) = self.matching.folder(there.parent, self.remote.root) else {
            // The folder is new there, or comes back: it is made first. If its name is taken by this, it steps aside.
            return self.step_aside_here(node, (local, here), here.parent, decided);
        };
        let name = there.name.clone();
        if self.local.is_within(folder, local) {
            return self.step_aside_here(node, (local, here), here.parent, decided);
        }
        let Some(occupant) = self.occupant_here(folder, &there.name, local) else {
            decided.actions.push(Action::MoveLocal { local, node, folder, name, is_aside: false });
            return;
        };
        let owner = self.matching.node(occupant, self.remote.root).and_then(|node| self.base.get(node));
        match owner {
            // New here, where there has something else.
            None => decided.conflict(occupant),
            Some(owner) => match self.there(owner.node) {
                Some(its) if is_moved_there(owner, its) => self.step_aside_here(node, (local, here), folder, decided),
                // Moved here to where there has something else.
                Some(_) => decided.conflict(occupant),
                // It goes, unless it is kept, and then it is new.
                None => {}
            },
        }
    }

    fn step_aside_here(
        &self,
        node: TreeNode,
        (local, here): (LocalId, &LocalNode),
        folder: LocalId,
        decided: &mut Decided,
    ) {
        let is_free = |name: &str| {
            let key = name_key(name);
            self.local.child(folder, &key).is_none()
                && self.local.get(folder).is_some_and(|folder| !folder.left.contains_key(&key))
        };
        if let Some(name) = aside(&here.name, is_free) {
            decided.blocked.push(Action::MoveLocal { local, node, folder, name, is_aside: true });
        }
    }

    /// It was moved here only.
    fn move_there(
        &self,
        node: TreeNode,
        (local, here): (LocalId, &LocalNode),
        there: &RemoteNode,
        decided: &mut Decided,
    ) {
        let root = self.remote.root;
        let folder = self.matching.node(here.parent, root).filter(|folder| self.remote.is_folder(*folder));
        let Some(folder) = folder else {
            return self.step_aside_there(node, there, there.parent, decided);
        };
        if self.remote.is_within(folder, node) {
            // Here it is inside what is inside it there: there wins.
            if let Some(back) = self.matching.folder(there.parent, root) {
                let name = there.name.clone();
                decided.blocked.push(Action::MoveLocal { local, node, folder: back, name, is_aside: true });
            }
            return;
        }
        let occupant = self.remote.child(folder, &name_key(&here.name)).filter(|occupant| *occupant != node);
        let Some(occupant) = occupant else {
            let name = here.name.clone();
            decided.actions.push(Action::MoveRemote { node, folder, name, is_aside: false });
            return;
        };
        match self.base.get(occupant) {
            // New there, or staying out: what came here gives way.
            None => decided.conflict(local),
            Some(owner) => match (self.matching.here(occupant), self.there(occupant)) {
                (_, Some(its)) if is_moved_there(owner, its) => decided.conflict(local),
                (Here::At(_) | Here::Gone, _) => self.step_aside_there(node, there, folder, decided),
                (Here::Unknown, _) => {}
            },
        }
    }

    fn step_aside_there(&self, node: TreeNode, there: &RemoteNode, folder: TreeNode, decided: &mut Decided) {
        if let Some(name) = aside(&there.name, |name| self.remote.child(folder, &name_key(name)).is_none()) {
            decided.blocked.push(Action::MoveRemote { node, folder, name, is_aside: true });
        }
    }

    fn decide_content(
        &self,
        entry: &BaseEntry,
        (local, here): (LocalId, &LocalNode),
        there: &RemoteNode,
        decided: &mut Decided,
    ) {
        let parent = self.matching.folder(entry.parent, self.remote.root);
        match (is_touched(entry, here.stamp), is_changed_there(entry, there)) {
            (false, false) => {}
            (true, true) if here.hash.is_none() => decided.actions.push(Action::Hash(local)),
            (true, true) => decided.conflict(local),
            (true, false) => {
                let over = Some((there.node, there.rev));
                decided.actions.push(Action::Put { local, folder: there.parent, over });
            }
            (false, true) => {
                let folder = parent.unwrap_or(here.parent);
                decided.actions.push(Action::Get { node: there.node, folder, over: Some(local) });
            }
        }
    }

    fn decide_gone_there(&self, entry: &BaseEntry, local: LocalId, fates: &mut Fates, decided: &mut Decided) {
        let Some(here) = self.local.get(local) else { return };
        let node = entry.node;
        match entry.kind {
            Kind::File if is_touched(entry, here.stamp) => decided.actions.push(Action::Hash(local)),
            Kind::File => decided.actions.push(Action::DeleteLocal { local, node }),
            Kind::Folder => {
                let fate = self.fate_here(local, fates);
                // Once all in it has gone, also what stays out, it goes.
                if fate.is_doomed() && !fate.goes && here.left.is_empty() {
                    decided.actions.push(Action::RemoveFolder { local, node });
                }
            }
        }
    }

    fn decide_gone_here(&self, entry: &BaseEntry, there: &RemoteNode, fates: &mut Fates, decided: &mut Decided) {
        let goes_with_folder = self.base.get(there.parent).is_some_and(|above| {
            self.matching.here(above.node) == Here::Gone
                && self.there(above.node).is_some_and(|its| !is_moved_there(above, its))
                && self.fate_there(above.node, fates).is_doomed()
        });
        match entry.kind {
            _ if goes_with_folder => {}
            Kind::File => decided.actions.push(Action::DeleteRemote { node: entry.node, rev: there.rev }),
            Kind::Folder if self.fate_there(entry.node, fates).is_doomed() => {
                decided.actions.push(Action::DeleteRemoteFolder { node: entry.node });
            }
            Kind::Folder => {}
        }
    }

    fn decide_new_there(&self, decided: &mut Decided) {
        let root = self.remote.root;
        for there in self.remote.nodes() {
            let is_new = self.base.get(there.node).is_none() && !self.skipped.contains(&there.node);
            let is_there = there.parent == root || self.base.get(there.parent).is_some();
            let Some(folder) = self.matching.folder(there.parent, root).filter(|_| is_new && is_there) else {
                continue;
            };
            let Some(occupant) = self.occupant_here(folder, &there.name, LOCAL_ROOT) else {
                let is_left_out = self
                    .local
                    .get(folder)
                    .is_none_or(|folder| folder.is_unread || folder.left.contains_key(&name_key(&there.name)));
                if !is_left_out {
                    let node = there.node;
                    decided.actions.push(match there.kind {
                        NodeKind::File => Action::Get { node, folder, over: None },
                        _ => Action::MakeLocal { node, folder },
                    });
                }
                continue;
            };
            self.decide_same_name(occupant, there, decided);
        }
    }

    /// Something new there has the name of something here.
    fn decide_same_name(&self, occupant: LocalId, there: &RemoteNode, decided: &mut Decided) {
        let Some(here) = self.local.get(occupant) else { return };
        match self.matching.node(occupant, self.remote.root).and_then(|node| self.base.get(node)) {
            None => {
                let are_files = here.kind == Kind::File && there.kind == NodeKind::File;
                if are_files && here.hash.is_none() && here.stamp.bytes == there.bytes {
                    decided.actions.push(Action::Hash(occupant));
                } else {
                    decided.conflict(occupant);
                }
            }
            Some(owner) => match self.there(owner.node) {
                // It leaves this place by a step of its own.
                Some(its) if is_moved_there(owner, its) => {}
                Some(_) => decided.conflict(occupant),
                None => {}
            },
        }
    }

    fn decide_new_here(&self, decided: &mut Decided) {
        let root = self.remote.root;
        for local in self.local.ids() {
            let Some(here) = self.local.get(local) else { continue };
            if self.matching.node(local, root).is_some() {
                continue;
            }
            let folder = self.matching.node(here.parent, root).filter(|folder| self.remote.is_folder(*folder));
            let Some(folder) = folder else { continue };
            let is_only_left = !here.left.is_empty() && self.local.children(local).next().is_none();
            if here.kind == Kind::Folder && is_only_left {
                continue;
            }
            let Some(occupant) = self.remote.child(folder, &name_key(&here.name)) else {
                decided.actions.push(match here.kind {
                    Kind::Folder => Action::MakeRemote { local, folder },
                    Kind::File => Action::Put { local, folder, over: None },
                });
                continue;
            };
            let Some(owner) = self.base.get(occupant) else { continue };
            if self.there(occupant).is_some_and(|its| is_moved_there(owner, its)) {
                decided.conflict(local);
            }
        }
    }

    /// What has this name in a folder here, but for `own`; the root has no name.
    fn occupant_here(&self, folder: LocalId, name: &str, own: LocalId) -> Option<LocalId> {
        self.local.child(folder, &name_key(name)).filter(|occupant| *occupant != own)
    }
}
