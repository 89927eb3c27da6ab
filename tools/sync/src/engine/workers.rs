//! Files on their way: several at once, and what came of them noted as it comes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use meta::{At, PutMode};

use super::{Engine, Pace, SyncError};
use crate::Kind;
use crate::base_tree::BaseEntry;
use crate::local_tree::LocalId;
use crate::plan::Action;
use crate::remote_tree::RemoteNode;
use crate::tell::Event;
use crate::transfer::{Done, Job, Work};

impl Engine<'_> {
    /// Does them all, or as many as the cluster answers for.
    pub(super) fn transfer(&mut self, actions: Vec<Action>) -> Result<(), SyncError> {
        let jobs: Vec<Job> = actions.into_iter().filter_map(|action| self.job(action)).collect();
        let (cloud, tell, stop) = (self.cloud, self.tell, self.stop);
        let is_moving = jobs.iter().any(|job| !matches!(job.work, Work::Hash { .. }));
        tell.begin(jobs.len(), jobs.iter().map(|job| job.bytes).sum());
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, results) = channel();
        let jobs = &jobs;
        let mut failed = Ok(());
        std::thread::scope(|scope| {
            for worker in 0..self.options.workers.min(jobs.len()) {
                let (sender, next, is_over) = (sender.clone(), &next, &is_over);
                scope.spawn(move || {
                    // A file without blocks needs no line.
                    let mut line = if is_moving { cloud.line(worker).ok() } else { None };
                    while !is_over.load(Ordering::Relaxed)
                        && !stop.load(Ordering::Relaxed)
                        && let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if sender.send((job, job.run(cloud, &mut line, tell))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut pace = Pace::new();
            for (job, done) in results {
                let settled = self.note(job, done);
                let saved = if pace.is_due() { self.save(false) } else { Ok(()) };
                if let Err(error) = settled.and(saved) {
                    is_over.store(true, Ordering::Relaxed);
                    failed = Err(error);
                }
            }
        });
        tell.end();
        failed
    }

    /// All that a worker needs to know; `None` for what has gone since.
    fn job(&self, action: Action) -> Option<Job> {
        let shown = self.shown_path(&action);
        let (bytes, work) = match &action {
            Action::Hash(local) => (self.local.get(*local)?.stamp.bytes, Work::Hash { path: self.local.path(*local) }),
            Action::Put { local, folder, over } => {
                let here = self.local.get(*local)?;
                let (name, mode, old_hash) = match over {
                    Some((node, rev)) => {
                        let name = self.remote.get(*node)?.name.clone();
                        (name, PutMode::Update(*rev), self.base.get(*node).map(|entry| entry.hash))
                    }
                    None => (here.name.clone(), PutMode::Add, None),
                };
                let at = At { node: *folder, path: format!("/{name}") };
                (here.stamp.bytes, Work::Put { path: self.local.path(*local), at, mode, old_hash })
            }
            Action::Get { node, folder, over } => {
                let RemoteNode { rev, bytes, hash, mtime_ms, name, .. } = self.remote.get(*node)?.clone();
                let over = over.and_then(|local| Some((self.local.path(local), self.local.get(local)?.stamp)));
                let target =
                    over.as_ref().map_or_else(|| self.local.path(*folder).join(name), |(path, _)| path.clone());
                (bytes, Work::Get { rev, hash, mtime_ms, target, over })
            }
            _ => return None,
        };
        Some(Job { action, shown, bytes, work })
    }

    fn note(&mut self, job: &Job, done: Done) -> Result<(), SyncError> {
        match (&job.action, done) {
            (Action::Hash(local) | Action::Put { local, .. }, Done::Hashed(stamp, hash)) => {
                self.local.set_hash(*local, stamp, hash);
            }
            (Action::Put { local, .. }, Done::Put(stamp, hash, meta)) => {
                self.local.set_hash(*local, stamp, hash);
                let there = RemoteNode::of(&meta);
                self.base.put(BaseEntry { stamp, ..file_entry(&there) });
                self.remote.put(there);
                self.did(Event::Put(job.shown.clone()));
            }
            (Action::Get { node, folder, over }, Done::Got(stamp)) => {
                let folder = over.and_then(|over| self.local.get(over).map(|here| here.parent)).unwrap_or(*folder);
                self.dirty.insert(folder);
                self.unsynced.insert(self.folder_path(folder));
                if let Some(there) = self.remote.get(*node) {
                    self.base.put(BaseEntry { stamp, ..file_entry(there) });
                }
                self.did(Event::Got(job.shown.clone()));
            }
            (action, Done::Again) => {
                if let Action::Get { folder, over, .. } = action {
                    self.dirty.insert(*folder);
                    self.dirty.extend(over.and_then(|over| self.local.get(over).map(|here| here.parent)));
                }
                self.again_here(action, &job.shown);
            }
            (action, done) => self.settle(action.subject(), &job.shown, done)?,
        }
        Ok(())
    }

    fn folder_path(&self, folder: LocalId) -> PathBuf {
        self.local.path(folder)
    }
}

fn file_entry(there: &RemoteNode) -> BaseEntry {
    BaseEntry {
        node: there.node,
        parent: there.parent,
        name: there.name.clone(),
        kind: Kind::File,
        rev: there.rev,
        hash: there.hash,
        mtime_ms: there.mtime_ms,
        stamp: crate::Stamp::default(),
    }
}
