//! Changes here: moves, folders, conflicted copies, deletions.

use std::fs;
use std::io;

use base::names::name_key;

use super::{Engine, join, now_ms};
use crate::local_tree::LocalId;
use crate::plan::Action;
use crate::tell::Event;
use crate::transfer::{Done, of_io};
use crate::{disk, name};

impl Engine<'_> {
    /// Does them in order: what is deeper is removed first.
    pub(super) fn change_here(&mut self, mut actions: Vec<Action>) {
        actions.sort_by_key(|action| match action {
            Action::RemoveFolder { local, .. } => self.local.relative(*local).split('/').count().wrapping_neg(),
            _ => 0,
        });
        for action in actions {
            let shown = self.shown_path(&action);
            let done = match &action {
                Action::MoveLocal { local, node, folder, name, is_aside } => {
                    self.move_here(*local, *folder, name).map(|(from, to)| {
                        if !is_aside {
                            self.note_moved(*node);
                        }
                        Some(Event::MovedHere(from, to))
                    })
                }
                Action::MakeLocal { node, folder } => self.make_here(*node, *folder),
                Action::Conflict { local } => self.set_aside(*local),
                Action::DeleteLocal { local, node } => self.delete_here(*local).map(|path| {
                    self.base.remove(*node);
                    Some(Event::DeletedHere(path))
                }),
                Action::RemoveFolder { local, node } => self.remove_here(*local).map(|path| {
                    self.base.remove(*node);
                    Some(Event::DeletedHere(join(&path, "")))
                }),
                _ => Ok(None),
            };
            match done {
                Ok(event) => event.into_iter().for_each(|event| self.did(event)),
                Err(error) => {
                    self.mark_around(&action);
                    // Neither says that nobody answers, which is the only error.
                    let done = of_io(&error);
                    let _: Result<(), _> = self.settle(action.subject(), &shown, done);
                }
            }
        }
    }

    /// What the action is about, for people.
    pub(super) fn shown_path(&self, action: &Action) -> String {
        match action.subject() {
            crate::plan::Subject::Local(local) => self.local.relative(local),
            crate::plan::Subject::Node(node) => {
                self.remote.path(node).map_or_else(String::new, |path| path.trim_start_matches('/').to_owned())
            }
        }
    }

    /// Both ends of what did not go as planned are read again.
    fn mark_around(&mut self, action: &Action) {
        if let Action::MoveLocal { folder, .. } | Action::MakeLocal { folder, .. } = action {
            self.dirty.insert(*folder);
        }
    }

    fn move_here(&mut self, local: LocalId, folder: LocalId, name: &str) -> io::Result<(String, String)> {
        let node = self.local.get(local).ok_or_else(disk::changed)?;
        let (stamp, parent) = (node.stamp, node.parent);
        let shown = self.local.relative(local);
        let target = self.local.path(folder).join(name);
        disk::move_if(&self.local.path(local), &target, stamp)?;
        self.dirty.extend([parent, folder]);
        self.unsynced.extend([self.local.path(parent), self.local.path(folder)]);
        Ok((shown, join(&self.local.relative(folder), name)))
    }

    /// It is where the cluster has it, so that an edit of it is found there.
    fn note_moved(&mut self, node: base::TreeNode) {
        if let (Some(entry), Some(there)) = (self.base.get(node), self.remote.get(node)) {
            let mut entry = entry.clone();
            (entry.parent, entry.name) = (there.parent, there.name.clone());
            self.base.put(entry);
        }
    }

    fn make_here(&mut self, node: base::TreeNode, folder: LocalId) -> io::Result<Option<Event>> {
        let there = self.remote.get(node).ok_or_else(disk::changed)?;
        let path = self.local.path(folder).join(&there.name);
        let shown = join(&self.local.relative(folder), &there.name);
        fs::create_dir(&path)?;
        self.dirty.insert(folder);
        self.unsynced.insert(self.local.path(folder));
        Ok(Some(Event::MadeHere(shown)))
    }

    /// What is here gives way to what is there, and keeps its content under the name of a conflicted copy.
    fn set_aside(&mut self, local: LocalId) -> io::Result<Option<Event>> {
        let node = self.local.get(local).ok_or_else(disk::changed)?;
        let folder = node.parent;
        let there = self.matching_folder(folder);
        let is_free = |name: &str| {
            let key = name_key(name);
            self.local.child(folder, &key).is_none()
                && there.is_none_or(|there| self.remote.child(there, &key).is_none())
                && fs::symlink_metadata(self.local.path(folder).join(name)).is_err()
        };
        let date = name::date(now_ms());
        let name = name::conflicted(&node.name, &self.options.host, &date, is_free);
        let name = name.ok_or_else(|| io::Error::other("there are too many conflicted copies of it; remove some"))?;
        let (from, to) = self.move_here(local, folder, &name)?;
        Ok(Some(Event::Conflict(from, to)))
    }

    /// The folder there that a folder here was synced with.
    fn matching_folder(&self, folder: LocalId) -> Option<base::TreeNode> {
        if folder == crate::local_tree::LOCAL_ROOT {
            return Some(self.remote.root);
        }
        self.base.by_inode(self.local.get(folder)?.stamp.inode).map(|entry| entry.node)
    }

    fn delete_here(&mut self, local: LocalId) -> io::Result<String> {
        let node = self.local.get(local).ok_or_else(disk::changed)?;
        let (stamp, parent) = (node.stamp, node.parent);
        let shown = self.local.relative(local);
        disk::delete_if(&self.local.path(local), stamp)?;
        self.dirty.insert(parent);
        Ok(shown)
    }

    fn remove_here(&mut self, local: LocalId) -> io::Result<String> {
        let parent = self.local.get(local).ok_or_else(disk::changed)?.parent;
        let shown = self.local.relative(local);
        // Only an empty folder goes.
        fs::remove_dir(self.local.path(local))?;
        self.dirty.insert(parent);
        Ok(shown)
    }

    /// As [`Engine::settle`] for what is done here.
    pub(super) fn again_here(&mut self, action: &Action, shown: &str) {
        let _: Result<(), _> = self.settle(action.subject(), shown, Done::Again);
    }
}
