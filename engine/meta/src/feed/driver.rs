//! Which question goes next to which namespace, and what its answer does to the cursor.

use std::collections::BTreeMap;

use base::names::path_key;
use base::{Acct, Nsid, TreeNode};

use super::page::Entries;
use super::{End, FeedCursor, PlaceKind};
use crate::command::At;
use crate::delta::{DeltaCursor, Expansion};
use crate::metadata::NodeKind;
use crate::query::{Answer, Change, DeltaIn, Entry, Query, ROOT, What};
use crate::scope::path_hash;

/// What a feed wants now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Ask this namespace, and [`Feed::tell`] the answer.
    Ask(Nsid, Query),
    /// Nothing more.
    End(End),
}

/// What is being asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The folder, at first by what the reader said.
    Folder(At),
    /// What hangs there, after this target.
    Mounts(Nsid),
    /// Where the root of the subtree under way is now.
    PlaceRoot,
    /// Heads alone, of the namespace at this place in the list; no entries.
    Heads(usize),
    /// The next part of a mounted namespace.
    Inside(Inside),
    /// The next part of the listing.
    Paging,
    /// Changes of the namespace at this place in the list.
    Delta(usize),
    End(End),
}

/// A mounted namespace that is being told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Inside {
    pub target: Nsid,
    /// After this entry.
    pub position: String,
    /// The position of the mount in the place under way; `None`: the place is the namespace itself.
    pub mount: Option<String>,
}

/// One call: a page of the feed of a folder.
pub struct Feed {
    pub(super) cursor: FeedCursor,
    /// Before every path.
    pub(super) prefix: String,
    /// Of the folder, in its namespace.
    pub(super) display: String,
    /// Where the mounts in scope were seen last, in the folder's namespace.
    pub(super) mounts: BTreeMap<Nsid, String>,
    /// The part of the place's position that is in the folder's namespace.
    pub(super) position: String,
    pub(super) entries: Entries,
    step: Step,
    /// Only the heads are wanted.
    pub(super) is_latest: bool,
    /// The changes of this namespace are told to their end before the others are looked at from the first on.
    pub(super) is_out_of_order: bool,
}

impl Feed {
    /// Lists a folder from its beginning. `cursor`: what is wanted; its folder, heads and place are found out. `at`: the
    /// folder in `cursor.nsid`. `prefix`: where that namespace hangs for the reader, empty for a root.
    #[must_use]
    pub fn list(cursor: FeedCursor, at: At, prefix: String) -> Feed {
        Feed::begin(cursor, at, prefix, false)
    }

    /// The cursor that [`Feed::list`] would end with if nothing changed meanwhile; no entries.
    #[must_use]
    pub fn latest(cursor: FeedCursor, at: At, prefix: String) -> Feed {
        Feed::begin(cursor, at, prefix, true)
    }

    fn begin(cursor: FeedCursor, at: At, prefix: String, is_latest: bool) -> Feed {
        let is_by_id = at.node.0 > ROOT.0;
        let cursor = FeedCursor { is_by_id, heads: Vec::new(), place: None, ..cursor };
        Feed::new(cursor, prefix, at, is_latest)
    }

    /// The page after a cursor.
    #[must_use]
    pub fn resume(cursor: FeedCursor, prefix: String) -> Feed {
        let folder = At::node(cursor.folder);
        Feed::new(cursor, prefix, folder, false)
    }

    fn new(cursor: FeedCursor, prefix: String, at: At, is_latest: bool) -> Feed {
        // A root is where it is.
        let is_root = at.path.is_empty() && at.node.0 <= ROOT.0;
        let mut feed = Feed {
            entries: Entries::new(cursor.limit),
            cursor,
            prefix,
            display: String::new(),
            mounts: BTreeMap::new(),
            position: String::new(),
            step: Step::Folder(at),
            is_latest,
            is_out_of_order: false,
        };
        if is_root {
            feed.step = feed.with_folder(ROOT, String::new());
        }
        feed
    }

    /// A cursor for a folder of which nothing is known yet: what [`Feed::list`] begins with.
    #[must_use]
    pub fn wanted(acct: Acct, nsid: Nsid, limit: u16) -> FeedCursor {
        FeedCursor {
            is_recursive: true,
            has_deleted: false,
            has_mounted: true,
            is_by_id: false,
            is_by_link: false,
            limit,
            key_id: 0,
            acct,
            nsid,
            folder: ROOT,
            path_hash: path_hash(""),
            heads: Vec::new(),
            place: None,
        }
    }

    /// The next question, or the end.
    #[must_use]
    pub fn next(&self) -> Next {
        let own = self.cursor.nsid;
        let (nsid, query) = match &self.step {
            Step::End(end) => return Next::End(end.clone()),
            Step::Folder(at) => (own, Query::Lookup(What::At(at.clone()))),
            Step::Mounts(after) => (own, Query::Mounts { after: *after }),
            Step::PlaceRoot => {
                let node = self.cursor.place.as_ref().map_or(ROOT, |place| place.node);
                (own, Query::Lookup(What::At(At::node(node))))
            }
            Step::Heads(at) => (self.cursor.heads.get(*at).map_or(own, |head| head.0), Query::Head),
            Step::Inside(inside) => (inside.target, self.list_query(ROOT, &inside.position)),
            Step::Paging => (own, self.list_query(self.cursor.folder, &self.position)),
            Step::Delta(at) => (self.cursor.heads[*at].0, self.delta_query(*at)),
        };
        Next::Ask(nsid, query)
    }

    fn list_query(&self, folder: TreeNode, position: &str) -> Query {
        let (at, position, limit) = (At::node(folder), position.as_bytes().to_vec(), self.entries.left());
        let recursive = self.cursor.is_recursive;
        if self.cursor.has_deleted {
            Query::ListAll { at, recursive, position, limit }
        } else {
            Query::ListPage { at, recursive, position, limit }
        }
    }

    fn delta_query(&self, at: usize) -> Query {
        let (nsid, since) = self.cursor.heads[at];
        let is_own = at == 0;
        let place = self.cursor.place.as_ref().filter(|place| place.nsid == nsid && (is_own || place.node != ROOT));
        let expansion = place.map(|place| Expansion {
            is_deleted: place.kind == PlaceKind::ExpandingDeleted,
            root: place.node,
            position: if is_own { &self.position } else { &place.position }.as_bytes().to_vec(),
        });
        let (cursor, limit) = (DeltaCursor { since, expansion }, self.entries.left());
        if !is_own {
            return Query::Delta { cursor, limit };
        }
        let stops_at_mounts = self.cursor.is_recursive && self.cursor.has_mounted;
        Query::DeltaIn(Box::new(DeltaIn { scope: self.cursor.scope(), cursor, limit, stops_at_mounts }))
    }

    /// The answer to the question of [`Feed::next`].
    pub fn tell(&mut self, answer: Answer) {
        let step = std::mem::replace(&mut self.step, Step::End(End::Malformed));
        self.step = match (step, answer) {
            (Step::Folder(_), Answer::Entry(entry)) => self.take_folder(entry),
            (Step::Mounts(_), Answer::Mounts { mounts, next }) => {
                let below = format!("{}/", path_key(&self.display));
                let mounts = mounts.into_iter().map(|mount| (mount.target, mount.path_display));
                self.mounts.extend(mounts.filter(|(_, path)| path_key(path).starts_with(&below)));
                next.map_or_else(|| self.with_mounts(), Step::Mounts)
            }
            (Step::PlaceRoot, Answer::Entry(entry)) => self.enter_place(&entry.path_display),
            // It went meanwhile; the machine will not go on with it.
            (Step::PlaceRoot, Answer::NotFound) => self.work(),
            (Step::Heads(at), Answer::Head(head)) => self.take_head(at, head),
            (Step::Heads(at), Answer::NoAccess | Answer::NotFound) if at > 0 => {
                self.cursor.heads.remove(at);
                self.heads_from(at)
            }
            (Step::Inside(inside), Answer::Page { entries, next, head }) => {
                self.take_inside(inside, entries.into_iter().map(Change::Present).collect(), next, head)
            }
            (Step::Inside(inside), Answer::All { changes, next, head }) => {
                self.take_inside(inside, changes, next, head)
            }
            (Step::Inside(inside), Answer::NoAccess | Answer::NotFound) => {
                self.lose(inside.target);
                self.leave(inside)
            }
            (Step::Paging, Answer::Page { entries, next, head }) => {
                self.take_page(entries.into_iter().map(Change::Present).collect(), next, head)
            }
            (Step::Paging, Answer::All { changes, next, head }) => self.take_page(changes, next, head),
            (Step::Delta(0), Answer::Delta { changes, cursor, has_more }) => self.take_own(changes, cursor, has_more),
            (Step::Delta(at), Answer::Delta { changes, cursor, has_more }) => {
                self.take_mounted(at, changes, cursor, has_more)
            }
            (Step::Delta(at), Answer::NoAccess | Answer::NotFound) if at > 0 => {
                base::mark::hit!("meta.feed.no_access");
                self.lose(self.cursor.heads[at].0);
                self.delta_at(at)
            }
            (_, answer) => Step::End(refusal(answer)),
        };
    }

    fn take_folder(&mut self, entry: Entry) -> Step {
        let Entry { path_display, meta } = entry;
        match meta.kind {
            NodeKind::Folder => {}
            NodeKind::File => return Step::End(End::NotFolder),
            NodeKind::Mount => return Step::End(End::Elsewhere { nsid: Nsid(meta.size), rest: String::new() }),
        }
        let hash = path_hash(&path_display);
        if !self.cursor.heads.is_empty() && hash != self.cursor.path_hash {
            return Step::End(if self.cursor.is_by_id { End::Reset } else { End::NotFound });
        }
        self.with_folder(meta.node, path_display)
    }

    fn with_folder(&mut self, folder: TreeNode, display: String) -> Step {
        self.cursor.folder = folder;
        self.cursor.path_hash = path_hash(&display);
        self.display = display;
        let is_under_way = self.cursor.place.is_some() || self.cursor.heads.len() > 1;
        match self.has_mounts() && is_under_way {
            true => Step::Mounts(Nsid(0)),
            false if self.is_latest => Step::Heads(0),
            false => self.with_mounts(),
        }
    }

    /// What hangs in the folder is told too.
    pub(super) fn has_mounts(&self) -> bool {
        self.cursor.is_recursive && self.cursor.has_mounted
    }
}

/// How a call ends with an answer that tells nothing.
fn refusal(answer: Answer) -> End {
    match answer {
        Answer::NotFound => End::NotFound,
        Answer::NotFile | Answer::NotFolder => End::NotFolder,
        Answer::NoAccess => End::NoAccess,
        Answer::Reset => End::Reset,
        Answer::TooLarge => End::TooLarge,
        Answer::Elsewhere { nsid, rest } => End::Elsewhere { nsid, rest },
        // What was answered is not what was asked.
        _ => End::Malformed,
    }
}
