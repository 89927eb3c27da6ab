//! Changes there: batches of commands, and the deletion of folders, which could take along what nobody here has seen.

use base::{Jid, TreeNode};
use meta::{
    Answer, At, Change, Command, CommitBatch, Delete, DeltaCursor, Mkdir, Move, NodeKind, Outcome, Query, Restore,
};

use super::{Engine, SyncError, join};
use crate::plan::Action;
use crate::remote_tree::RemoteTree;
use crate::tell::Event;
use crate::transfer::{Done, of_outcome};

/// Commands in one batch: far below its bounds of parts and bytes, whatever their paths.
const BATCH_PARTS: usize = 32;

impl Engine<'_> {
    /// Does them: folders to be deleted one by one, all else in batches.
    pub(super) fn change_there(&mut self, actions: Vec<Action>) -> Result<(), SyncError> {
        let is_folder = |action: &Action| matches!(action, Action::DeleteRemoteFolder { .. });
        let (folders, others): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_folder);
        for batch in others.chunks(BATCH_PARTS) {
            let parts: Vec<(&Action, Command, Event)> =
                batch.iter().filter_map(|action| self.command_of(action).map(|(a, b)| (action, a, b))).collect();
            if parts.is_empty() {
                continue;
            }
            let commands = parts.iter().map(|(_, command, _)| command.clone()).collect();
            let outcome = self.cloud.command(Command::CommitBatch(CommitBatch { atomic: false, parts: commands }))?;
            let Outcome::Batch { outcomes, .. } = outcome else {
                return Err(SyncError::Remote(format!("the cluster answered {outcome:?} to a batch")));
            };
            for ((action, _, event), outcome) in parts.into_iter().zip(&outcomes) {
                if outcome.is_ok() {
                    self.note_aside(action);
                    self.did(event);
                } else {
                    let shown = self.shown_path(action);
                    self.settle(action.subject(), &shown, of_outcome(outcome))?;
                }
            }
        }
        for action in &folders {
            if let Action::DeleteRemoteFolder { node } = action {
                self.delete_folder(action, *node)?;
            }
        }
        Ok(())
    }

    /// What steps aside there has moved here only: it is to go on from where it is.
    fn note_aside(&mut self, action: &Action) {
        if let Action::MoveRemote { node, folder, name, is_aside: true } = action
            && let Some(entry) = self.base.get(*node)
        {
            let mut entry = entry.clone();
            (entry.parent, entry.name) = (*folder, name.clone());
            self.base.put(entry);
        }
    }

    fn command_of(&self, action: &Action) -> Option<(Command, Event)> {
        let path = |node: TreeNode| self.remote.path(node).map(|path| path.trim_start_matches('/').to_owned());
        let at = |node, name: &str| At { node, path: format!("/{name}") };
        Some(match action {
            Action::MoveRemote { node, folder, name, .. } => {
                let command = Move { source: At::node(*node), target: at(*folder, name), autorename: false };
                (Command::Move(command), Event::MovedThere(path(*node)?, join(&path(*folder)?, name)))
            }
            Action::MakeRemote { local, folder } => {
                let here = self.local.get(*local)?;
                let command = Mkdir { at: at(*folder, &here.name), autorename: false };
                (Command::Mkdir(command), Event::MadeThere(self.local.relative(*local)))
            }
            Action::DeleteRemote { node, rev } => {
                let command = Delete { at: At::node(*node), parent_rev: Some(*rev) };
                (Command::Delete(command), Event::DeletedThere(path(*node)?))
            }
            _ => return None,
        })
    }

    /// Deletes a folder that is gone here, and brings back what others put into it at the last moment.
    ///
    /// A folder is deleted as it is when the command comes, not as it was when we looked. But rows of a journal are
    /// counted: if the deletion is the row right after the last one read, nothing came between.
    fn delete_folder(&mut self, action: &Action, node: TreeNode) -> Result<(), SyncError> {
        let before = self.remote.cursor.clone();
        self.feed.refresh(self.cloud, &mut self.remote)?;
        let Some(path) = self.remote.path(node) else { return Ok(()) };
        if self.remote.cursor != before && !self.is_own_progress(&before) {
            // Something changed there: perhaps in it. The plan is made anew.
            return self.settle(action.subject(), path.trim_start_matches('/'), Done::Again);
        }
        let seen = self.remote.cursor.since;
        let command = Command::Delete(Delete { at: At::node(node), parent_rev: None });
        let shown = path.trim_start_matches('/').to_owned();
        match self.cloud.command(command)? {
            Outcome::Applied(meta) => {
                if meta.jid.0 != seen.0 + 1 {
                    self.bring_back(&path, seen)?;
                }
                self.did(Event::DeletedThere(join(&shown, "")));
                Ok(())
            }
            other => self.settle(action.subject(), &shown, of_outcome(&other)),
        }
    }

    /// Nothing but what this round did itself: the last plan still holds.
    fn is_own_progress(&self, before: &DeltaCursor) -> bool {
        self.remote.cursor.since == before.since
    }

    /// Restores what is below a deleted folder and was written after `seen`.
    fn bring_back(&mut self, folder: &str, seen: Jid) -> Result<(), SyncError> {
        let mut tree = RemoteTree::new(self.remote.root);
        tree.cursor = DeltaCursor::at(seen);
        let below = format!("{}/", base::names::path_key(&self.feed.absolute(folder)));
        loop {
            let Answer::Delta { changes, cursor, has_more } = self.feed.page(self.cloud, &tree)? else {
                return Ok(());
            };
            for change in &changes {
                if let Change::Deleted { path_display } = change
                    && base::names::path_key(path_display).starts_with(&below)
                {
                    self.bring_back_file(path_display, seen)?;
                }
            }
            tree.cursor = cursor;
            if !has_more {
                return Ok(());
            }
        }
    }

    fn bring_back_file(&mut self, path: &str, seen: Jid) -> Result<(), SyncError> {
        let at = At::path(path);
        let query = Query::Revisions { at: at.clone(), before: Jid(0), limit: 1 };
        let Answer::Revisions { revisions, .. } = self.cloud.query(query)? else { return Ok(()) };
        let newest = revisions.first().filter(|meta| meta.kind == NodeKind::File && meta.rev_jid > seen);
        if let Some(newest) = newest {
            let outcome = self.cloud.command(Command::Restore(Restore { at, rev: newest.rev_jid }))?;
            let shown = self.feed.relative(path).unwrap_or_default().trim_start_matches('/').to_owned();
            if outcome.is_ok() {
                self.did(Event::Restored(shown));
            } else {
                self.tell_once(Event::Failed(shown, format!("it was deleted with its folder: {outcome:?}")));
            }
        }
        Ok(())
    }
}
