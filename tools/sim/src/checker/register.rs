//! Claim: by their values alone, what clients wrote to a path and read there has an order that respects time.
//!
//! Indexes and terms that servers tell are not looked at, so that one that lies consistently is seen too. Each path is a
//! history of its own ([`crate::linear::path`]), judged by [`crate::linear::wgl`] at the end; of each namespace the paths
//! that were touched most are judged.

use std::collections::BTreeMap;

use base::Nsid;
use base::names::path_key;
use meta::{Answer, At, Command, CommitBatch, CommitFile, Metadata, NodeKind, Outcome, PutMode, Query, What};

use crate::linear::history::Ask;
use crate::linear::path::{Belief, Path, Touch, Was};
use crate::linear::wgl::{Disorder, Sequential, Timed, check_within};
use crate::observe::{Asked, Checker, Ended, Event, Time, Violation, Wants};

const NAME: &str = "register";
/// Paths of each namespace that are judged.
const PATHS_MAX: usize = 20;
/// Configurations of one path after which it is given up.
const CONFIGURATIONS_MAX: usize = 4_000;

/// One operation that says something of paths.
#[derive(Clone, Copy)]
struct Done {
    id: u64,
    invoked: u64,
    /// None: it may take effect at any time after, or never.
    returned: Option<u64>,
}

/// Which paths an operation says something of.
enum Scope {
    /// All below it.
    Below(String),
    /// All that begin so: where a new name may have been made.
    Like(String),
}

/// What a listing showed.
struct Listing {
    root: String,
    is_recursive: bool,
    /// There is nothing else.
    is_whole: bool,
    entries: BTreeMap<String, Belief>,
}

/// What was done in one namespace.
#[derive(Default)]
struct Space {
    at: BTreeMap<String, Vec<(Done, Touch)>>,
    wide: Vec<(Scope, Done, Touch)>,
    listings: Vec<(Done, Listing)>,
    /// Something was done that is not understood here.
    is_lost: bool,
}

/// On its way.
struct Pending {
    invoked: u64,
    nsid: Nsid,
    ask: Ask,
}

/// See the claim above.
#[derive(Default)]
pub struct Register {
    pending: BTreeMap<u64, Pending>,
    spaces: BTreeMap<Nsid, Space>,
}

fn touch(was: Was, now: Option<Belief>) -> Touch {
    Touch { was, now }
}

fn seen(belief: Belief) -> Touch {
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
fn like(path: &str) -> String {
    let name = &path[name_at(path)..];
    let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    path_key(&path[..name_at(path) + dot]) + " ("
}

/// One operation being taken apart.
struct Parts<'a> {
    space: &'a mut Space,
    done: Done,
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
                if into != to && to != from {
                    self.at(&to, touch(Was::Present, None));
                }
                self.at(&into, touch(Was::This(Belief::Absent), Some(now)));
                self.parents(&into);
                if now == Belief::Folder {
                    self.below(&into, Belief::Anything);
                }
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

    fn command(&mut self, command: &Command, outcome: Option<&Outcome>) {
        let is_plain = |at: &At| at.node.0 == 0;
        match command {
            Command::NamespaceInit { .. } | Command::Sweep { .. } | Command::BlocksPresent(_) => {}
            Command::SessionAppend(_) => {}
            Command::SessionFinish(finish) if is_plain(&finish.commit.at) => self.put(&finish.commit, outcome),
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

    fn query(&mut self, query: &Query, answer: &Answer) {
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
fn blur() -> Touch {
    touch(Was::Anything, Some(Belief::Anything))
}

fn is_below(key: &str, root: &str) -> bool {
    key.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

impl Listing {
    /// What it says of a path.
    fn says(&self, key: &str) -> Option<Touch> {
        let is_in = is_below(key, &self.root) && (self.is_recursive || !key[self.root.len() + 1..].contains('/'));
        if !is_in {
            return None;
        }
        match self.entries.get(key) {
            Some(belief) => Some(seen(*belief)),
            None => self.is_whole.then(|| seen(Belief::Absent)),
        }
    }
}

impl Space {
    /// All that is said of one path, an operation at a time.
    fn history(&self, key: &str) -> Vec<Timed<(u64, Touch)>> {
        let mut all: BTreeMap<u64, (Done, Touch)> = BTreeMap::new();
        let mut add = |done: &Done, touch: Touch| {
            all.entry(done.id).and_modify(|(_, both)| *both = blur()).or_insert((*done, touch));
        };
        self.at.get(key).into_iter().flatten().for_each(|(done, touch)| add(done, *touch));
        for (scope, done, touch) in &self.wide {
            let is_in = match scope {
                Scope::Below(root) => is_below(key, root),
                Scope::Like(begin) => key.starts_with(begin.as_str()),
            };
            if is_in {
                add(done, *touch);
            }
        }
        for (done, listing) in &self.listings {
            if let Some(touch) = listing.says(key) {
                add(done, touch);
            }
        }
        let timed = |(done, touch): (Done, Touch)| Timed {
            invoked: done.invoked,
            returned: done.returned,
            operation: (done.id, touch),
        };
        all.into_values().map(timed).collect()
    }

    fn check(&self, nsid: Nsid) -> Result<(), Violation> {
        if self.is_lost {
            return Ok(());
        }
        let mut keys: Vec<(usize, &String)> = self.at.iter().map(|(key, list)| (list.len(), key)).collect();
        keys.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        for (_, key) in keys.into_iter().take(PATHS_MAX) {
            let mut history = self.history(key);
            if let Err(Disorder::None { stuck }) = check_within(&Numbered, &mut history, CONFIGURATIONS_MAX) {
                let near = &history[stuck.saturating_sub(4)..(stuck + 3).min(history.len())];
                let tell = |timed: &Timed<(u64, Touch)>| {
                    let (id, Touch { was, now }) = timed.operation;
                    format!("\n  operation {id}, {} to {:?}: was {was:?}, now {now:?}", timed.invoked, timed.returned)
                };
                let near: String = near.iter().map(tell).collect();
                let what = format!(
                    "namespace {nsid}, path {key}: no order of {} operations fits; the best one fails at operation {}:{near}",
                    history.len(),
                    history[stuck].operation.0
                );
                return Err(Violation { checker: NAME, what });
            }
        }
        Ok(())
    }
}

/// [`Path`], of operations that carry their number.
struct Numbered;

impl Sequential for Numbered {
    type State = Belief;
    type Operation = (u64, Touch);

    fn first(&self) -> Belief {
        Path.first()
    }

    fn step(&self, state: &Belief, operation: &(u64, Touch)) -> Option<Belief> {
        Path.step(state, &operation.1)
    }
}

impl Register {
    fn note_return(&mut self, at: u64, operation: u64, ended: &Ended<'_>) {
        let Some(Pending { invoked, nsid, ask }) = self.pending.remove(&operation) else { return };
        let (returned, outcome, answer) = match ended {
            Ended::Outcome(outcome, _) => (Some(at), Some(*outcome), None),
            Ended::Answer(answer, _) => (Some(at), None, Some(*answer)),
            Ended::Unknown => (None, None, None),
            Ended::NotDone => return,
        };
        let done = Done { id: operation, invoked, returned };
        let mut parts = Parts { space: self.spaces.entry(nsid).or_default(), done };
        match (&ask, answer) {
            (Ask::Write(command), _) => parts.command(command, outcome),
            (Ask::Read(query), Some(answer)) => parts.query(query, answer),
            (Ask::Read(_), None) => {}
        }
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        // What is still open may have been done.
        let open: Vec<u64> = self.pending.keys().copied().collect();
        open.into_iter().for_each(|operation| self.note_return(0, operation, &Ended::Unknown));
        self.spaces.iter().try_for_each(|(nsid, space)| space.check(*nsid))
    }
}

impl Checker for Register {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NONE
    }

    fn observe(&mut self, at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Invoke { operation, nsid, asked, .. } => {
                let ask = match asked {
                    Asked::Write(command) => Ask::Write(Box::new(command.clone())),
                    Asked::Read { query, is_stale_allowed: false } => match query {
                        Query::Lookup(_) | Query::ListPage { .. } => Ask::Read(Box::new(query.clone())),
                        _ => return Ok(()),
                    },
                    Asked::Read { .. } => return Ok(()),
                };
                self.pending.insert(operation, Pending { invoked: at.0, nsid, ask });
            }
            Event::Return { operation, ref ended } => self.note_return(at.0, operation, ended),
            Event::End => return self.check_end(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, Jid, LogIndex, NodeId, Term, TreeNode};
    use meta::{Delete, Entry, Mkdir, Move};

    use super::*;
    use crate::checker::testing::{GROUP, Seen, fires};
    use crate::observe::{Path as ReadPath, Token};

    const NSID: Nsid = Nsid(7);

    fn token() -> Token {
        // What it says does not matter here.
        let (index, term, node) = (LogIndex(1), Term(1), NodeId(1));
        Token { group: GROUP, index, term, place: 0, path: ReadPath::ReadIndex, node }
    }

    fn file(name: &str, rev: u64, content: u8) -> Metadata {
        Metadata { kind: NodeKind::File, rev_jid: Jid(rev), content_hash: [content; 32], ..folder(name, rev) }
    }

    fn folder(name: &str, jid: u64) -> Metadata {
        Metadata {
            nsid: NSID,
            node: TreeNode(1),
            parent: TreeNode(0),
            jid: Jid(jid),
            rev_jid: Jid(jid),
            kind: NodeKind::Folder,
            name: name.to_owned(),
            size: 0,
            content_hash: [0; 32],
            client_mtime_ms: i64::MIN,
            server_mtime_ms: 0,
            modified_by: Acct(1),
        }
    }

    /// A client's history: each step is asked and answered at the times given.
    #[derive(Default)]
    struct History {
        checker: Register,
        next: u64,
    }

    impl History {
        fn invoke(&mut self, at: u64, asked: Asked<'_>) -> u64 {
            self.next += 1;
            let event = Event::Invoke { operation: self.next, client: 1, acct: Acct(1), nsid: NSID, asked };
            self.checker.observe(Time(at), &event).unwrap();
            self.next
        }

        fn end(&mut self, at: u64, operation: u64, ended: Ended<'_>) {
            self.checker.observe(Time(at), &Event::Return { operation, ended }).unwrap();
        }

        fn write(&mut self, (from, to): (u64, u64), command: &Command, outcome: Option<Outcome>) {
            let operation = self.invoke(from, Asked::Write(command));
            let outcome = outcome.as_ref();
            self.end(to, operation, outcome.map_or(Ended::Unknown, |outcome| Ended::Outcome(outcome, token())));
        }

        fn put(&mut self, times: (u64, u64), path: &str, content: u8, outcome: Option<Outcome>) {
            let mode = PutMode::Overwrite;
            let commit = CommitFile { at: At::path(path), mode, content_hash: [content; 32], ..CommitFile::default() };
            self.write(times, &Command::CommitFile(commit), outcome);
        }

        fn rename(&mut self, times: (u64, u64), source: &str, target: &str, outcome: Option<Outcome>) {
            let moved = Move { source: At::path(source), target: At::path(target), autorename: false };
            self.write(times, &Command::Move(moved), outcome);
        }

        fn lookup(&mut self, (from, to): (u64, u64), path: &str, there: Option<Metadata>) {
            let query = Query::Lookup(What::At(At::path(path)));
            let operation = self.invoke(from, Asked::Read { query: &query, is_stale_allowed: false });
            let answer = there.map_or(Answer::NotFound, |meta| Answer::Entry(entry(path, meta)));
            self.end(to, operation, Ended::Answer(&answer, token()));
        }

        fn list(&mut self, (from, to): (u64, u64), entries: Vec<Entry>) {
            let query = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 20 };
            let operation = self.invoke(from, Asked::Read { query: &query, is_stale_allowed: false });
            let answer = Answer::Page { entries, next: None, head: Jid(1) };
            self.end(to, operation, Ended::Answer(&answer, token()));
        }

        fn judge(&mut self) -> Seen {
            self.checker.observe(Time(1_000), &Event::End)
        }
    }

    fn entry(path: &str, meta: Metadata) -> Entry {
        Entry { path_display: path.to_owned(), meta }
    }

    fn applied(meta: Metadata) -> Option<Outcome> {
        Some(Outcome::Applied(meta))
    }

    #[test]
    fn a_good_history_with_unknown_and_concurrent_writes_fits() {
        let mut history = History::default();
        history.put((10, 20), "/a/b", 1, applied(file("b", 2, 1)));
        // Unknown: seen only after another read did not.
        history.put((21, 22), "/a/b", 9, None);
        history.lookup((30, 31), "/a/b", Some(file("b", 2, 1)));
        history.lookup((40, 41), "/A/b", Some(file("b", 3, 9)));
        // Beside each other.
        history.put((50, 70), "/a/b", 4, applied(file("b", 4, 4)));
        history.lookup((55, 60), "/a/b", Some(file("b", 3, 9)));
        history.list((71, 72), vec![entry("/a", folder("a", 1)), entry("/a/b", file("b", 4, 4))]);
        history.rename((80, 81), "/a", "/c", applied(folder("c", 5)));
        history.lookup((90, 91), "/a/b", None);
        history.lookup((90, 91), "/c/b", Some(file("b", 4, 4)));
        let delete = Command::Delete(Delete { at: At::path("/c"), parent_rev: None });
        history.write((92, 93), &delete, applied(folder("c", 6)));
        history.lookup((94, 95), "/c/b", None);
        history.judge().unwrap();
    }

    #[test]
    fn a_stale_read_is_seen_whatever_index_the_server_claims() {
        let mut history = History::default();
        history.put((10, 20), "/a", 1, applied(file("a", 1, 1)));
        history.put((21, 30), "/a", 2, applied(file("a", 2, 2)));
        history.lookup((31, 32), "/a", Some(file("a", 1, 1)));
        fires(NAME, history.judge());
    }

    #[test]
    fn a_write_that_was_acknowledged_and_is_gone_is_seen() {
        let mut history = History::default();
        history.put((10, 20), "/a", 1, applied(file("a", 1, 1)));
        history.list((30, 31), Vec::new());
        fires(NAME, history.judge());
    }

    #[test]
    fn values_that_come_back_and_are_seen_in_two_orders_do_not_fit() {
        let mut history = History::default();
        history.put((10, 90), "/a", 1, applied(file("a", 1, 1)));
        history.put((10, 90), "/a", 2, applied(file("a", 2, 2)));
        history.lookup((20, 30), "/a", Some(file("a", 1, 1)));
        history.lookup((40, 50), "/a", Some(file("a", 2, 2)));
        history.lookup((60, 70), "/a", Some(file("a", 1, 1)));
        fires(NAME, history.judge());
    }

    #[test]
    fn what_a_moved_folder_leaves_behind_is_seen() {
        let mut history = History::default();
        history.put((10, 20), "/a/b", 1, applied(file("b", 2, 1)));
        history.rename((30, 40), "/a", "/c", applied(folder("c", 3)));
        history.lookup((50, 60), "/a/b", Some(file("b", 2, 1)));
        fires(NAME, history.judge());
    }

    #[test]
    fn two_swaps_of_one_revision_do_not_fit() {
        let update = |content| {
            let commit = CommitFile { at: At::path("/a"), mode: PutMode::Update(Jid(1)), ..CommitFile::default() };
            Command::CommitFile(CommitFile { content_hash: [content; 32], ..commit })
        };
        let mut history = History::default();
        history.put((10, 20), "/a", 1, applied(file("a", 1, 1)));
        history.write((30, 50), &update(2), applied(file("a", 2, 2)));
        history.write((30, 50), &update(3), applied(file("a", 3, 3)));
        fires(NAME, history.judge());
    }

    fn restored(history: &mut History, times: (u64, u64), path: &str, rev: u64, outcome: Option<Outcome>) {
        let restore = Command::Restore(meta::Restore { at: At::path(path), rev: Jid(rev) });
        history.write(times, &restore, outcome);
    }

    #[test]
    fn an_earlier_revision_comes_back_as_a_new_one() {
        let mut history = History::default();
        history.put((10, 20), "/a", 1, applied(file("a", 1, 1)));
        history.put((21, 30), "/a", 2, applied(file("a", 2, 2)));
        restored(&mut history, (31, 40), "/a", 9, Some(Outcome::NotFound));
        restored(&mut history, (41, 50), "/a", 1, applied(file("a", 3, 1)));
        history.lookup((51, 52), "/a", Some(file("a", 3, 1)));
        restored(&mut history, (53, 60), "/a", 2, None);
        history.lookup((61, 62), "/a", Some(file("a", 4, 2)));
        history.judge().unwrap();
        history.lookup((63, 64), "/a", Some(file("a", 3, 1)));
        fires(NAME, history.judge());
    }

    #[test]
    fn parts_of_a_batch_count_by_themselves_and_none_when_it_failed() {
        let mkdir = |path: &str| Command::Mkdir(Mkdir { at: At::path(path), autorename: false });
        let batch = Command::CommitBatch(CommitBatch { atomic: true, parts: vec![mkdir("/a"), mkdir("/b")] });
        let taken = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
        let done = [folder("a", 1), folder("b", 2)].map(Outcome::Applied).to_vec();
        let mut history = History::default();
        let failed = Outcome::Batch { failed: Some(1), outcomes: vec![taken] };
        history.write((10, 11), &batch, Some(failed));
        history.lookup((12, 13), "/a", None);
        history.write((20, 21), &batch, Some(Outcome::Batch { failed: None, outcomes: done }));
        history.lookup((22, 23), "/b", Some(folder("b", 2)));
        history.judge().unwrap();
        history.lookup((24, 25), "/a", None);
        fires(NAME, history.judge());
    }

    #[test]
    fn a_name_that_was_taken_may_have_become_another_one() {
        let mut history = History::default();
        let mkdir = Command::Mkdir(Mkdir { at: At::path("/a"), autorename: true });
        history.write((10, 11), &mkdir, applied(folder("a", 1)));
        history.write((20, 21), &mkdir, None);
        history.lookup((30, 31), "/a (1)", Some(folder("a (1)", 2)));
        history.write((40, 41), &mkdir, applied(folder("a (2)", 3)));
        history.lookup((50, 51), "/a (2)", Some(folder("a (2)", 3)));
        history.judge().unwrap();
        assert_eq!((like("/x/b.txt"), like("/x/.b")), ("/x/b (".to_owned(), "/x/.b (".to_owned()));
    }
}
