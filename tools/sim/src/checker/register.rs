//! Claim: by their values alone, what clients wrote to a path and read there has an order that respects time.
//!
//! Indexes and terms that servers tell are not looked at, so that one that lies consistently is seen too. Each path is a
//! history of its own ([`crate::linear::path`]), judged by [`client::linear`] at the end; of each namespace the paths
//! that were touched most are judged.

mod parts;

use std::collections::BTreeMap;

use base::Nsid;
use client::linear::{Disorder, Sequential, Timed, check_within};
use meta::Query;

use self::parts::{Parts, blur, seen};
use crate::linear::history::Ask;
use crate::linear::path::{Belief, Path, Touch};
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
    use meta::{
        Answer, At, Command, CommitBatch, CommitFile, Delete, Entry, Metadata, Mkdir, Move, NodeKind, Outcome, PutMode,
        What,
    };

    use super::parts::like;
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
