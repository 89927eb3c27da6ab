//! One operation taken apart: what it says of which paths.

use base::names::path_key;
use meta::{Answer, At, Command, CommitBatch, CommitFile, Metadata, NodeKind, Outcome, PutMode, Query, What};

use super::{Done, Listing, Scope, Space};
use crate::linear::path::{Belief, Touch, Was};

fn touch(was: Was, now: Option<Belief>) -> Touch {
    Touch { was, now }
}

pub(super) fn seen(belief: Belief) -> Touch {
    touch(Was::This(belief), None)
}

fn belief_of(meta: &Metadata) -> Belief {
    match meta.kind {
        NodeKind::File => Belief::File { rev: meta.rev_jid.0, content: content_of(&meta.content_hash, meta.size) },
        _ => Belief::Folder,
    }
}

fn content_of(hash: &[u8; 32], size: u64) -> u64 {
    let first = u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    (first ^ size.rotate_left(40)) | 1
}

fn name_at(path: &str) -> usize {
    path.rfind('/').map_or(0, |slash| slash + 1)
}

/// The path beside `path` under the name that was given.
fn renamed(path: &str, name: &str) -> String {
    path_key(&format!("{}{name}", &path[..name_at(path)]))
}

/// How all names begin that may be made from this one when it is taken.
pub(super) fn like(path: &str) -> String {
    let name = &path[name_at(path)..];
    let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    path_key(&path[..name_at(path) + dot]) + " ("
}

/// One operation being taken apart.
pub(super) struct Parts<'a> {
    pub space: &'a mut Space,
    pub done: Done,
}

impl Parts<'_> {
    fn at(&mut self, key: &str, touch: Touch) {
        // Two things about one path by one operation would be two operations: the path is not judged around it then.
        let list = self.space.at.entry(key.to_owned()).or_default();
        match list.last_mut() {
            Some((last, before)) if last.id == self.done.id => *before = blur(),
            _ => list.push((self.done, touch)),
        }
    }

    fn wide(&mut self, scope: Scope, touch: Touch) {
        self.space.wide.push((scope, self.done, touch));
    }

    fn below(&mut self, key: &str, now: Belief) {
        self.wide(Scope::Below(key.to_owned()), touch(Was::Anything, Some(now)));
    }

    /// All folders above are there, or were made.
    fn parents(&mut self, key: &str) {
        for (slash, _) in key.match_indices('/').filter(|(slash, _)| *slash > 0) {
            self.at(&key[..slash], touch(Was::NoFile, Some(Belief::Folder)));
        }
    }

    fn conflict(&mut self, key: &str, outcome: &Outcome) {
        let there = match outcome {
            Outcome::Conflict { file: true, .. } => Belief::FILE,
            Outcome::Conflict { folder: true, .. } => Belief::Folder,
            Outcome::Conflict { file_ancestor: true, .. } => Belief::Absent,
            _ => return,
        };
        self.at(key, seen(there));
    }

    /// Something came to be at `path`, or, its name being taken, beside it.
    fn made(&mut self, path: &str, was: Was, now: &Metadata) -> String {
        let (key, into) = (path_key(path), renamed(path, &now.name));
        if into == key {
            self.at(&into, touch(was, Some(belief_of(now))));
        } else {
            self.at(&key, touch(Was::Present, None));
            self.at(&into, touch(Was::This(Belief::Absent), Some(belief_of(now))));
        }
        self.parents(&into);
        into
    }

    /// Something may have come to be at `path`, or beside it.
    fn may_be_made(&mut self, path: &str, was: Was, now: Belief, autorename: bool) {
        let key = path_key(path);
        self.at(&key, touch(was, Some(now)));
        self.parents(&key);
        if autorename {
            self.wide(Scope::Like(like(path)), blur());
        }
    }

    fn put(&mut self, commit: &CommitFile, outcome: Option<&Outcome>) {
        let path = &commit.at.path;
        let was = match commit.mode {
            PutMode::Add => Was::This(Belief::Absent),
            PutMode::Overwrite => Was::NoFolder,
            PutMode::Update(rev) => Was::AbsentOrRev(rev.0),
        };
        match outcome {
            Some(Outcome::Applied(meta)) => drop(self.made(path, was, meta)),
            Some(Outcome::Unchanged(meta)) => self.at(&path_key(path), seen(belief_of(meta))),
            Some(other) => self.conflict(&path_key(path), other),
            None => {
                let content = content_of(&commit.content_hash, commit.size);
                self.may_be_made(path, was, Belief::File { rev: 0, content }, commit.autorename);
            }
        }
    }

    fn mkdir(&mut self, path: &str, autorename: bool, outcome: Option<&Outcome>) {
        let was = Was::This(Belief::Absent);
        match outcome {
            Some(Outcome::Applied(meta)) => drop(self.made(path, was, meta)),
            Some(other) => self.conflict(&path_key(path), other),
            None => self.may_be_made(path, was, Belief::Folder, autorename),
        }
    }

    fn delete(&mut self, path: &str, outcome: Option<&Outcome>) {
        let key = path_key(path);
        let was = match outcome {
            Some(Outcome::Applied(meta)) => Was::This(belief_of(meta)),
            Some(Outcome::NotFound) => return self.at(&key, seen(Belief::Absent)),
            Some(_) => return,
            None => Was::Present,
        };
        self.at(&key, touch(was, Some(Belief::Absent)));
        self.below(&key, Belief::Absent);
    }

    /// What was at `from` came to be at `into`: at `to`, or, that name being taken, beside it.
    fn arrived(&mut self, from: &str, to: &str, into: &str, now: Belief) {
        if into != to && to != from {
            self.at(to, touch(Was::Present, None));
        }
        self.at(into, touch(Was::This(Belief::Absent), Some(now)));
        self.parents(into);
        if now == Belief::Folder {
            self.below(into, Belief::Anything);
        }
    }

    fn rename(&mut self, source: &str, target: &str, autorename: bool, outcome: Option<&Outcome>) {
        let (from, to) = (path_key(source), path_key(target));
        match outcome {
            Some(Outcome::Applied(meta)) => {
                let now = belief_of(meta);
                // It has a new revision now, and had another one before.
                let was = match now {
                    Belief::File { content, .. } => Belief::File { rev: 0, content },
                    other => other,
                };
                let into = renamed(target, &meta.name);
                if into == from {
                    return self.at(&from, touch(Was::This(was), Some(now)));
                }
                self.at(&from, touch(Was::This(was), Some(Belief::Absent)));
                self.below(&from, Belief::Absent);
                self.arrived(&from, &to, &into, now);
            }
            Some(Outcome::NotFound) => self.at(&from, seen(Belief::Absent)),
            Some(other) => self.conflict(&to, other),
            None => {
                self.at(&from, touch(Was::Present, Some(if from == to { Belief::Anything } else { Belief::Absent })));
                self.below(&from, if from == to { Belief::Anything } else { Belief::Absent });
                if from != to {
                    self.at(&to, touch(Was::Anything, Some(Belief::Anything)));
                    self.below(&to, Belief::Anything);
                    self.parents(&to);
                }
                if autorename {
                    self.wide(Scope::Like(like(target)), blur());
                }
            }
        }
    }

    /// An earlier revision is put again: its content is known to whoever is told of it.
    fn restore(&mut self, path: &str, outcome: Option<&Outcome>) {
        match outcome {
            Some(Outcome::Applied(meta)) => drop(self.made(path, Was::NoFolder, meta)),
            Some(Outcome::Unchanged(meta)) => self.at(&path_key(path), seen(belief_of(meta))),
            // It is the revision that was not found: that says nothing of the path.
            Some(other) => self.conflict(&path_key(path), other),
            None => self.may_be_made(path, Was::NoFolder, Belief::FILE, false),
        }
    }

    /// Something may have come to be at a path, or beside it, or not.
    fn maybe(&mut self, path: &str, autorename: bool) {
        let key = path_key(path);
        self.at(&key, blur());
        key.match_indices('/').filter(|(slash, _)| *slash > 0).for_each(|(slash, _)| self.at(&key[..slash], blur()));
        if autorename {
            self.wide(Scope::Like(like(path)), blur());
        }
    }

    fn attribute(&mut self, path: &str, outcome: Option<&Outcome>) {
        match outcome {
            Some(Outcome::Applied(meta) | Outcome::Unchanged(meta)) => self.at(&path_key(path), seen(belief_of(meta))),
            Some(Outcome::NotFound) => self.at(&path_key(path), seen(Belief::Absent)),
            _ => {}
        }
    }

    fn copy(&mut self, source: &str, target: &str, autorename: bool, outcome: Option<&Outcome>) {
        let (from, to) = (path_key(source), path_key(target));
        match outcome {
            Some(Outcome::Applied(meta)) => {
                self.at(&from, touch(Was::Present, None));
                let now = belief_of(meta);
                let into = renamed(target, &meta.name);
                self.arrived(&from, &to, &into, now);
            }
            Some(Outcome::NotFound) => self.at(&from, seen(Belief::Absent)),
            Some(other) => self.conflict(&to, other),
            None => {
                self.maybe(target, autorename);
                self.below(&to, Belief::Anything);
            }
        }
    }

    /// The parts in order; what several of them touch is not judged around it. One that failed as a whole did nothing.
    fn batch(&mut self, batch: &CommitBatch, outcome: Option<&Outcome>) {
        match outcome {
            Some(Outcome::Batch { failed: None, outcomes }) => {
                batch.parts.iter().zip(outcomes).for_each(|(part, outcome)| self.command(part, Some(outcome)));
            }
            Some(_) => {}
            None => batch.parts.iter().for_each(|part| self.command(part, None)),
        }
    }

    pub fn command(&mut self, command: &Command, outcome: Option<&Outcome>) {
        let is_plain = |at: &At| at.node.0 == 0;
        match command {
            Command::NamespaceInit { .. } | Command::Sweep { .. } | Command::BlocksPresent(_) => {}
            Command::SessionAppend(_) | Command::SessionSeal(_) | Command::ListStage(_) => {}
            Command::Link(_) | Command::MemberPut(_) | Command::MemberRemove { .. } | Command::Transfer(_) => {}
            Command::Freeze(_) | Command::Thaw(_) | Command::GrantRaise { .. } | Command::GrantLower { .. } => {}
            Command::Group0(_) | Command::AccountPut { .. } | Command::ServerPut(_) | Command::NodePut(_) => {}
            // What was done long ago may be told again.
            Command::SessionFinish(finish) if is_plain(&finish.commit.at) => {
                self.maybe(&finish.commit.at.path, finish.commit.autorename);
            }
            Command::CommitFile(commit) if commit.attested.is_some() && is_plain(&commit.at) => {
                self.maybe(&commit.at.path, commit.autorename);
            }
            Command::StoreAndCommit(both) if both.commit.attested.is_some() && is_plain(&both.commit.at) => {
                self.maybe(&both.commit.at.path, both.commit.autorename);
            }
            Command::Mount(mount) if is_plain(&mount.at) => self.maybe(&mount.at.path, mount.autorename),
            // Somewhere something went, or came.
            Command::Unmount { .. } | Command::MountSwap(_) | Command::CopyStep(_) => {
                self.wide(Scope::Below(String::new()), blur());
            }
            Command::SetAttr(attr) if is_plain(&attr.at) => self.attribute(&attr.at.path, outcome),
            Command::Copy(copy) if is_plain(&copy.source) && is_plain(&copy.target) => {
                self.copy(&copy.source.path, &copy.target.path, copy.autorename, outcome);
            }
            Command::CommitBatch(batch) => self.batch(batch, outcome),
            Command::Restore(restore) if is_plain(&restore.at) => self.restore(&restore.at.path, outcome),
            Command::CommitFile(commit) if is_plain(&commit.at) => self.put(commit, outcome),
            Command::StoreAndCommit(both) if is_plain(&both.commit.at) => self.put(&both.commit, outcome),
            Command::Mkdir(mkdir) if is_plain(&mkdir.at) => self.mkdir(&mkdir.at.path, mkdir.autorename, outcome),
            Command::Delete(delete) if is_plain(&delete.at) => self.delete(&delete.at.path, outcome),
            Command::Move(moved) if is_plain(&moved.source) && is_plain(&moved.target) => {
                self.rename(&moved.source.path, &moved.target.path, moved.autorename, outcome);
            }
            _ => self.space.is_lost = true,
        }
    }

    pub fn query(&mut self, query: &Query, answer: &Answer) {
        match (query, answer) {
            (Query::Lookup(What::At(at)), answer) if at.node.0 == 0 => match answer {
                Answer::Entry(entry) => self.at(&path_key(&at.path), seen(belief_of(&entry.meta))),
                Answer::NotFound => self.at(&path_key(&at.path), seen(Belief::Absent)),
                _ => {}
            },
            (Query::ListPage { at, recursive, position, .. }, Answer::Page { entries, next, .. }) if at.node.0 == 0 => {
                let listing = Listing {
                    root: path_key(&at.path),
                    is_recursive: *recursive,
                    is_whole: position.is_empty() && next.is_none(),
                    entries: entries.iter().map(|entry| (entry.path_lower(), belief_of(&entry.meta))).collect(),
                };
                self.space.listings.push((self.done, listing));
            }
            _ => {}
        }
    }
}

/// Anything may be there now.
pub(super) fn blur() -> Touch {
    touch(Was::Anything, Some(Belief::Anything))
}
