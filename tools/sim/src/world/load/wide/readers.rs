//! Readers of feeds: of the first root with what hangs in it, of one folder, of a shared namespace. They read a question
//! at a time while everything changes; in the end what they have is what a new listing shows (I9).

use std::collections::BTreeMap;

use base::names::path_key;
use base::{Acct, Jid, Nsid, Prng, TreeNode};
use client::Operation;
use meta::feed::{End, Feed, FeedCursor, Next};
use meta::{Answer, At, Change, Metadata, NodeKind, Query};

use super::super::OWNER;
use super::{GUESTS, Wide, Wish, query};

/// Readers of a run.
const READERS: usize = 4;
/// Questions of one reader after which it does not come to an end.
const QUESTIONS_MAX: u32 = 20_000;

/// What is at a path, as far as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::world) struct Thing {
    kind: NodeKind,
    nsid: Nsid,
    node: TreeNode,
    name: String,
    size: u64,
    rev: Jid,
}

impl Thing {
    fn of(meta: &Metadata) -> Thing {
        let Metadata { kind, nsid, node, ref name, size, rev_jid, .. } = *meta;
        // A folder's row says where it was placed, which a reader need not know.
        let rev = if kind == NodeKind::File { rev_jid } else { Jid(0) };
        Thing { kind, nsid, node, name: name.clone(), size, rev }
    }
}

/// One reader.
pub(in crate::world) struct Reader {
    wanted: FeedCursor,
    at: At,
    cursor: Option<FeedCursor>,
    /// The page under way.
    feed: Option<Feed>,
    pub is_asking: bool,
    tree: BTreeMap<String, Thing>,
}

impl Reader {
    fn new(wanted: FeedCursor, at: At) -> Reader {
        Reader { wanted, at, cursor: None, feed: None, is_asking: false, tree: BTreeMap::new() }
    }

    /// The next question; the page that it belongs to begins with it if none is under way.
    fn next(&mut self) -> (Nsid, Query) {
        loop {
            let feed = self.feed.get_or_insert_with(|| match &self.cursor {
                None => Feed::list(self.wanted.clone(), self.at.clone(), String::new()),
                Some(cursor) => Feed::resume(cursor.clone(), String::new()),
            });
            match feed.next() {
                Next::Ask(nsid, question) => return (nsid, question),
                Next::End(_) => self.end_page(),
            };
        }
    }

    pub(super) fn tell(&mut self, answer: Answer) {
        if let Some(feed) = &mut self.feed {
            feed.tell(answer);
            if matches!(feed.next(), Next::End(_)) {
                self.end_page();
            }
        }
    }

    /// Takes what the page told. True at the end of what there is.
    fn end_page(&mut self) -> bool {
        let Some(feed) = self.feed.take() else { return false };
        let Next::End(end) = feed.next() else { return false };
        match end {
            End::Page(page) => {
                page.changes.into_iter().for_each(|change| self.apply(change));
                self.cursor = Some(page.cursor);
                !page.has_more
            }
            // It begins anew; where even that is refused nothing is to be seen.
            _ => {
                self.tree.clear();
                self.cursor.take().is_none()
            }
        }
    }

    fn apply(&mut self, change: Change) {
        let path = match &change {
            Change::Deleted { path_display } => path_key(path_display),
            Change::Present(entry) => entry.path_lower(),
        };
        let Change::Present(entry) = change else { return self.take_out(&path) };
        if entry.meta.kind == NodeKind::File {
            self.take_out(&path);
        }
        self.tree.insert(path, Thing::of(&entry.meta));
    }

    fn take_out(&mut self, path: &str) {
        let below = format!("{path}/");
        self.tree.retain(|key, _| key != path && !key.starts_with(&below));
    }

    /// Reads to the end of what there is. `None`: there is none.
    fn drain(&mut self, mut ask: impl FnMut(Acct, Nsid, &Query) -> Answer) -> Option<()> {
        for _ in 0..QUESTIONS_MAX {
            let (nsid, question) = self.next();
            let answer = ask(self.wanted.acct, nsid, &question);
            let feed = self.feed.as_mut()?;
            feed.tell(answer);
            if matches!(feed.next(), Next::End(_)) && self.end_page() {
                return Some(());
            }
        }
        None
    }

    /// Comes to its end, and has what one has that lists now. What hangs in the root and is `lost` is not compared.
    ///
    /// Errors: what is otherwise, in words.
    fn check(&mut self, lost: &[Nsid], mut ask: impl FnMut(Acct, Nsid, &Query) -> Answer) -> Result<(), String> {
        let mut new = Reader::new(FeedCursor { limit: 2000, ..self.wanted.clone() }, self.at.clone());
        for reader in [&mut *self, &mut new] {
            // Again: a listing is followed by what changed meanwhile, and a page that was under way began before.
            let ended = reader.drain(&mut ask).and_then(|()| reader.drain(&mut ask));
            ended.ok_or_else(|| format!("a reader of {:?} reads for ever at {:?}", reader.at, reader.cursor))?;
        }
        let is_lost = |tree: &BTreeMap<String, Thing>, path: &str| {
            let hides = |(mount, thing): (&String, &Thing)| {
                let is_gone = thing.kind == NodeKind::Mount && lost.contains(&Nsid(thing.size));
                is_gone && path.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            tree.iter().any(hides)
        };
        let other = self.tree.iter().find(|(path, thing)| {
            new.tree.get(*path) != Some(thing) && !is_lost(&new.tree, path) && !is_lost(&self.tree, path)
        });
        let missing = new.tree.keys().find(|path| !self.tree.contains_key(*path) && !is_lost(&new.tree, path));
        match (other, missing) {
            (None, None) => Ok(()),
            (other, missing) => Err(format!(
                "a reader of {:?} has {other:?} and not {missing:?}, against a listing; it stands at {:?}",
                self.at, self.cursor
            )),
        }
    }
}

impl Wide {
    /// The next question of a reader.
    pub(super) fn read(&mut self, root: Nsid, dice: &mut Prng) -> (Operation, Wish) {
        if self.readers.len() < READERS && dice.below(4) == 0 {
            let reader = self.new_reader(root, dice);
            self.readers.push(reader);
        }
        let free: Vec<usize> = (0..self.readers.len()).filter(|at| !self.readers[*at].is_asking).collect();
        if free.is_empty() {
            return (query(OWNER, root, Query::Mounts { after: Nsid(0) }), Wish::Nothing);
        }
        let at = free[dice.below(free.len() as u64) as usize];
        let reader = &mut self.readers[at];
        reader.is_asking = true;
        let (nsid, question) = reader.next();
        (query(reader.wanted.acct, nsid, question), Wish::Reader(at))
    }

    fn new_reader(&mut self, root: Nsid, dice: &mut Prng) -> Reader {
        let (nsid, acct) = match dice.below(6) {
            0 => (self.shared[dice.below(2) as usize], GUESTS[dice.below(2) as usize]),
            1 => (self.shared[dice.below(2) as usize], OWNER),
            _ => (root, OWNER),
        };
        let limit = 1 + dice.below(9) as u16;
        let mut wanted = Feed::wanted(acct, nsid, limit);
        (wanted.is_recursive, wanted.has_mounted) = (dice.below(6) > 0, dice.below(6) > 0);
        let folders = self.folders.iter().filter(|folder| folder.0 == nsid && dice.below(4) == 0);
        let at = folders.map(|folder| At::node(folder.2)).next().unwrap_or_default();
        Reader::new(wanted, at)
    }

    /// All readers, once nothing changes any more. The first that is not where a listing is.
    pub fn check_readers(&mut self, mut ask: impl FnMut(Acct, Nsid, &Query) -> Answer) -> Result<(), String> {
        let Wide { readers, lost, .. } = self;
        readers.iter_mut().try_for_each(|reader| reader.check(lost, &mut ask))
    }
}
