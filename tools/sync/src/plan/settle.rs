//! What both sides agree on already goes into the base; what the base need not remember leaves it.

use std::collections::HashMap;

use base::names::name_key;
use base::{Jid, TreeNode};
use meta::NodeKind;

use super::matching::Here;
use super::{Planner, is_changed_there, is_moved_there, is_touched};
use crate::Kind;
use crate::base_tree::BaseEntry;
use crate::local_tree::{LOCAL_ROOT, LocalId, LocalNode};
use crate::remote_tree::RemoteNode;

/// What becomes of a folder that is gone on the other side.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fate {
    /// Something in it stays: so does it.
    pub stays: bool,
    /// Something in it is on its way out, or nobody knows yet.
    pub waits: bool,
    /// Something in it goes.
    pub goes: bool,
}

impl Fate {
    /// It goes with all in it.
    pub fn is_doomed(self) -> bool {
        !self.stays && !self.waits
    }

    /// What goes or moves has gone, and something is left.
    fn is_kept(self) -> bool {
        self.stays && !self.waits && !self.goes
    }

    fn add(&mut self, other: Fate) {
        self.stays |= other.stays;
        self.waits |= other.waits;
        self.goes |= other.goes || other.is_doomed();
    }
}

const STAYS: Fate = Fate { stays: true, waits: false, goes: false };
const WAITS: Fate = Fate { stays: false, waits: true, goes: false };
const GOES: Fate = Fate { stays: false, waits: false, goes: true };

/// Fates that are known already.
#[derive(Default)]
pub struct Fates {
    here: HashMap<LocalId, Fate>,
    there: HashMap<TreeNode, Fate>,
}

impl Planner<'_> {
    /// One round; true when the base changed in a way that shows more.
    pub fn settle(&mut self) -> bool {
        let mut has_changed = false;
        let mut fates = Fates::default();
        for node in self.base.nodes() {
            let Some(entry) = self.base.get(node) else { continue };
            let new = if self.skipped.contains(&node) {
                None
            } else {
                match (self.matching.here(node), self.there(node)) {
                    (Here::Unknown, _) => continue,
                    (Here::At(local), Some(there)) => {
                        let Some(here) = self.local.get(local) else { continue };
                        Some(self.agreed(entry, here, there))
                    }
                    (Here::At(local), None) => self.keeps_gone_there(entry, local, &mut fates).then(|| entry.clone()),
                    (Here::Gone, Some(there)) => self.keeps_gone_here(entry, there, &mut fates).then(|| entry.clone()),
                    (Here::Gone, None) => None,
                }
            };
            match new {
                Some(new) if new == *entry => {}
                Some(new) => {
                    has_changed = true;
                    self.base.put(new);
                }
                None => {
                    has_changed = true;
                    self.base.remove(node);
                }
            }
        }
        // With the matching of this round, so only once nothing of it has changed.
        has_changed || self.adopt()
    }

    /// The entry with what both sides have in common.
    fn agreed(&self, entry: &BaseEntry, here: &LocalNode, there: &RemoteNode) -> BaseEntry {
        let mut new = entry.clone();
        if entry.kind == Kind::Folder {
            new.stamp = here.stamp;
        } else {
            if there.hash == entry.hash {
                (new.rev, new.mtime_ms) = (there.rev, there.mtime_ms);
            }
            if is_touched(entry, here.stamp) && here.hash == Some(there.hash) {
                (new.hash, new.rev, new.mtime_ms) = (there.hash, there.rev, there.mtime_ms);
                new.stamp = here.stamp;
            } else if is_touched(entry, here.stamp) && here.hash == Some(entry.hash) {
                new.stamp = here.stamp;
            }
        }
        let parent = self.matching.node(here.parent, self.remote.root);
        if parent == Some(there.parent) && here.name == there.name {
            (new.parent, new.name) = (there.parent, there.name.clone());
        }
        new
    }

    /// Whether the base needs to remember something that is gone there: what was moved or written here is new.
    fn keeps_gone_there(&self, entry: &BaseEntry, local: LocalId, fates: &mut Fates) -> bool {
        let Some(here) = self.local.get(local) else { return true };
        if self.is_moved_here(entry, here) {
            return false;
        }
        match entry.kind {
            Kind::File => !(is_touched(entry, here.stamp) && here.hash.is_some_and(|hash| hash != entry.hash)),
            Kind::Folder => {
                let fate = self.fate_here(local, fates);
                let is_only_left = fate.is_doomed() && !fate.goes && !here.left.is_empty();
                !fate.is_kept() && !is_only_left
            }
        }
    }

    /// The same for something that is gone here.
    fn keeps_gone_here(&self, entry: &BaseEntry, there: &RemoteNode, fates: &mut Fates) -> bool {
        if is_moved_there(entry, there) || is_changed_there(entry, there) {
            return false;
        }
        entry.kind == Kind::File || !self.fate_there(entry.node, fates).is_kept()
    }

    /// What becomes of a folder here that is gone there.
    pub fn fate_here(&self, folder: LocalId, fates: &mut Fates) -> Fate {
        if let Some(fate) = fates.here.get(&folder) {
            return *fate;
        }
        let mut fate = Fate::default();
        if self.local.get(folder).is_some_and(|node| node.is_unread) {
            fate = Fate { stays: true, waits: true, goes: false };
        }
        for child in self.local.children(folder) {
            let of_child = self.fate_of_child_here(child, fates);
            fate.add(of_child);
        }
        fates.here.insert(folder, fate);
        fate
    }

    fn fate_of_child_here(&self, child: LocalId, fates: &mut Fates) -> Fate {
        let Some(here) = self.local.get(child) else { return WAITS };
        let entry = self.matching.node(child, self.remote.root).and_then(|node| self.base.get(node));
        let Some(entry) = entry else { return STAYS };
        match self.there(entry.node) {
            Some(there) if is_moved_there(entry, there) => WAITS,
            Some(_) if self.is_moved_here(entry, here) => STAYS,
            Some(_) => WAITS,
            None if self.is_moved_here(entry, here) || is_touched(entry, here.stamp) => WAITS,
            None if entry.kind == Kind::File => GOES,
            None => self.fate_here(child, fates),
        }
    }

    /// What becomes of a folder there that is gone here.
    pub fn fate_there(&self, folder: TreeNode, fates: &mut Fates) -> Fate {
        if let Some(fate) = fates.there.get(&folder) {
            return *fate;
        }
        let mut fate = Fate::default();
        for child in self.remote.children(folder) {
            let of_child = self.fate_of_child_there(child, fates);
            fate.add(of_child);
        }
        fates.there.insert(folder, fate);
        fate
    }

    fn fate_of_child_there(&self, child: TreeNode, fates: &mut Fates) -> Fate {
        let (Some(there), Some(entry)) = (self.there(child), self.base.get(child)) else { return STAYS };
        match self.matching.here(child) {
            Here::Unknown => STAYS,
            Here::At(_) if is_moved_there(entry, there) => STAYS,
            Here::At(_) => WAITS,
            Here::Gone if is_moved_there(entry, there) || is_changed_there(entry, there) => WAITS,
            Here::Gone if entry.kind == Kind::File => GOES,
            Here::Gone => self.fate_there(child, fates),
        }
    }

    /// What is new on both sides and equal: folders of one name, files of one content. Top down.
    fn adopt(&mut self) -> bool {
        let mut has_changed = false;
        let root = self.remote.root;
        let mut todo = vec![(LOCAL_ROOT, root)];
        while let Some((folder, parent)) = todo.pop() {
            for node in self.remote.children(parent) {
                if self.skipped.contains(&node) {
                    continue;
                }
                let Some(there) = self.remote.get(node) else { continue };
                if self.base.get(node).is_some() {
                    continue;
                }
                let Some(local) = self.local.child(folder, &name_key(&there.name)) else { continue };
                if self.matching.node(local, root).is_some() {
                    continue;
                }
                let Some(here) = self.local.get(local) else { continue };
                let kind = match (here.kind, there.kind) {
                    (Kind::Folder, NodeKind::Folder) => Kind::Folder,
                    (Kind::File, NodeKind::File) if here.hash == Some(there.hash) => Kind::File,
                    _ => continue,
                };
                self.base.put(entry_of(there, kind, here));
                self.matching.claim(node, local);
                has_changed = true;
            }
            for node in self.remote.children(parent) {
                let is_folder = self.remote.is_folder(node) && self.base.get(node).is_some();
                if let (true, Here::At(local)) = (is_folder, self.matching.here(node)) {
                    todo.push((local, node));
                }
            }
        }
        has_changed
    }
}

/// Both sides are equal in this.
pub fn entry_of(there: &RemoteNode, kind: Kind, here: &LocalNode) -> BaseEntry {
    BaseEntry {
        node: there.node,
        parent: there.parent,
        name: there.name.clone(),
        kind,
        rev: if kind == Kind::File { there.rev } else { Jid(0) },
        hash: there.hash,
        mtime_ms: there.mtime_ms,
        stamp: here.stamp,
    }
}
