//! Readers of a feed over a root, what hangs in it, or one folder of either: they list at any time, with any page size,
//! resume as late as they like, across trims and between the questions of one page, and end with what a listing tells.
//!
//! `FEEDS_SEED` begins elsewhere, `FEEDS_RUNS` and `FEEDS_STEPS` ask for more. A failure says the seed and the step.

mod world;

use std::collections::BTreeMap;

use base::names::path_key;
use base::{Acct, Jid, Nsid, Prng, TreeNode};
use meta::feed::{End, Feed, FeedCursor, Next};
use meta::*;
use world::{GROUP, NSID, OWNER, Replica, above, payload, pick, random_path, store};

const SHARER: Acct = Acct(50);
const NO_STEP: Step = Step { flow: 0, step: 0 };

/// What is at a path, as far as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Thing {
    kind: NodeKind,
    nsid: Nsid,
    node: TreeNode,
    name: String,
    rev: Jid,
}

impl Thing {
    fn of(meta: &Metadata) -> Thing {
        let rev = if meta.kind == NodeKind::File { meta.rev_jid } else { Jid(0) };
        Thing { kind: meta.kind, nsid: meta.nsid, node: meta.node, name: meta.name.clone(), rev }
    }
}

type Tree = BTreeMap<String, Thing>;

/// A root with namespaces that hang in it or do not.
struct Server {
    replica: Replica,
    prng: Prng,
    shared: Vec<Nsid>,
    /// The member was removed, and the unmount that goes with it is still to come.
    pending: Vec<Nsid>,
    revs: Vec<(Nsid, Jid)>,
    /// Copies of which more steps may come.
    copies: Vec<(Nsid, CopyStep)>,
    next_copy: u64,
}

impl Server {
    fn new(seed: u64) -> Server {
        let mut server = Server {
            replica: Replica::new(),
            prng: Prng::new(seed),
            shared: Vec::new(),
            pending: Vec::new(),
            revs: Vec::new(),
            copies: Vec::new(),
            next_copy: 1,
        };
        let count = server.prng.below(4);
        for n in 0..count {
            let nsid = Nsid(NSID.0 + 1 + n);
            let init = Command::NamespaceInit { kind: NamespaceKind::Shared, owner: SHARER, grant_bytes: 1 << 30 };
            assert_eq!(server.run(nsid, init), Outcome::Done);
            server.shared.push(nsid);
        }
        server
    }

    fn run(&mut self, nsid: Nsid, command: Command) -> Outcome {
        let header = CommandHeader { nsid, ..CommandHeader::default() };
        trace(|| format!("{nsid} {command:?}"));
        let outcome = self.replica.apply(&payload(&[(header, command)])).remove(0);
        trace(|| format!("  {outcome:?}"));
        if let Outcome::Applied(meta) = &outcome
            && meta.kind == NodeKind::File
        {
            self.revs.push((nsid, meta.rev_jid));
        }
        outcome
    }

    fn ask(&self, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        let mut bytes = Vec::new();
        question.encode(&mut bytes);
        assert_eq!(Query::decode(&bytes).as_ref(), Ok(question));
        let answer =
            query(&self.replica.store, GROUP, acct, nsid, question, &mut Vec::new()).expect("all is in memory");
        bytes.clear();
        answer.encode(&mut bytes);
        assert_eq!(Answer::decode(&bytes).as_ref(), Ok(&answer));
        answer
    }

    fn list(&self, nsid: Nsid) -> Vec<Entry> {
        let question = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 0 };
        match self.ask(OWNER, nsid, &question) {
            Answer::Page { entries, next: None, .. } => entries,
            Answer::NoAccess => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    /// All that the owner of the root sees below it, or below another namespace.
    fn truth(&self, nsid: Nsid) -> Tree {
        let mut tree = Tree::new();
        for entry in self.list(nsid) {
            let path = entry.path_lower();
            if entry.meta.kind == NodeKind::Mount {
                for inner in self.list(Nsid(entry.meta.size)) {
                    tree.insert(format!("{path}{}", inner.path_lower()), Thing::of(&inner.meta));
                }
            }
            tree.insert(path, Thing::of(&entry.meta));
        }
        tree
    }

    /// The path of something in a namespace.
    fn existing(&mut self, nsid: Nsid) -> String {
        let entries = self.list(nsid);
        if entries.is_empty() { random_path(&mut self.prng, 2) } else { pick(&mut self.prng, &entries).path_lower() }
    }

    fn place(&mut self, nsid: Nsid) -> String {
        match self.prng.below(4) {
            0 => random_path(&mut self.prng, 3),
            1 => self.existing(nsid),
            _ => format!("{}{}", self.existing(nsid), random_path(&mut self.prng, 1)),
        }
    }

    fn simple(&mut self, nsid: Nsid) -> Command {
        if self.list(nsid).len() > 120 {
            return world::delete(&self.existing(nsid));
        }
        let autorename = self.prng.one_in(4);
        match self.prng.below(20) {
            0..=4 => {
                let (path, size) = (self.place(nsid), self.prng.below(4));
                store(CommitFile { autorename, ..world::file(&path, size, PutMode::Overwrite) })
            }
            5..=8 => Command::Mkdir(Mkdir { at: At::path(&self.place(nsid)), autorename }),
            9..=12 => world::delete(&self.existing(nsid)),
            13..=17 => {
                let (source, target) = (At::path(&self.existing(nsid)), At::path(&self.place(nsid)));
                Command::Move(Move { source, target, autorename })
            }
            18 => Command::SetAttr(SetAttr {
                at: At::path(&self.existing(nsid)),
                client_mtime_ms: Some(self.prng.below(100) as i64),
            }),
            _ => {
                let (source, target) = (At::path(&self.existing(nsid)), At::path(&self.place(nsid)));
                Command::Copy(Copy { source, target, autorename })
            }
        }
    }

    /// A file takes the place of a folder or mount, or the other way round.
    fn replace(&mut self, nsid: Nsid) -> Vec<Command> {
        let path = self.existing(nsid);
        let leave = if self.prng.one_in(2) { world::delete(&path) } else { world::rename(&path, &self.place(nsid)) };
        let come = match self.prng.below(3) {
            0 => world::put(&path, 3, PutMode::Add),
            1 => world::mkdir(&path),
            _ => world::mkdir(&format!("{path}/in it")),
        };
        vec![leave, come]
    }

    fn member(&mut self, nsid: Nsid, state: MemberState) {
        let put = MemberPut { step: NO_STEP, acct: OWNER, role: MemberRole::Editor, state };
        assert_eq!(self.run(nsid, Command::MemberPut(put)), Outcome::Done);
    }

    fn unmount(&mut self, target: Nsid) {
        self.run(NSID, Command::Unmount { step: NO_STEP, target });
        self.pending.retain(|nsid| *nsid != target);
    }

    /// Something about what hangs where.
    fn share(&mut self) {
        let target = *pick(&mut self.prng, &self.shared);
        if self.pending.contains(&target) {
            return self.unmount(target);
        }
        match self.prng.below(8) {
            0 => self.unmount(target),
            1 => {
                let removed = self.run(target, Command::MemberRemove { step: NO_STEP, acct: OWNER });
                if removed == Outcome::Done {
                    self.pending.push(target);
                }
            }
            _ => {
                self.member(target, MemberState::Invited);
                self.member(target, MemberState::Joined);
                let at = At::path(&self.place(NSID));
                self.run(NSID, Command::Mount(Mount { step: NO_STEP, target, at, autorename: true }));
            }
        }
    }

    fn trim(&mut self, nsid: Nsid) {
        let Answer::Head(head) = self.ask(Acct(0), nsid, &Query::Head) else { panic!("it has a head") };
        let floor = Jid(self.prng.below(head.0 + 1));
        for command in [
            Command::Sweep { limit: 0 },
            Command::JournalTrim { floor },
            Command::Purge { limit: 3 },
            Command::BlockSweep { limit: 0 },
        ] {
            while matches!(self.run(nsid, command.clone()), Outcome::Swept { has_more: true, .. }) {}
        }
    }

    /// A step of a copy, a new one or one under way; some are given up.
    fn copy(&mut self, nsid: Nsid) {
        if self.copies.is_empty() || self.prng.one_in(3) {
            let (source, target) = (At::path(&self.existing(nsid)), At::path(&self.place(nsid)));
            let (autorename, limit) = (self.prng.one_in(2), 1 + self.prng.below(4) as u32);
            self.copies
                .push((nsid, CopyStep { id: self.next_copy, source, target, autorename, gives_up: false, limit }));
            self.next_copy += 1;
        }
        let at = self.prng.below(self.copies.len() as u64) as usize;
        let (nsid, step) = self.copies[at].clone();
        let gives_up = self.prng.one_in(10);
        match self.run(nsid, Command::CopyStep(CopyStep { gives_up, ..step.clone() })) {
            Outcome::Swept { has_more: true, .. } => {}
            Outcome::Applied(_) | Outcome::Done => drop(self.copies.remove(at)),
            _ if self.prng.one_in(2) => {}
            _ => {
                self.run(nsid, Command::CopyStep(CopyStep { gives_up: true, ..step }));
                self.copies.remove(at);
            }
        }
    }

    fn step(&mut self) {
        let nsid = match self.prng.below(3) {
            0 if !self.shared.is_empty() => *pick(&mut self.prng, &self.shared),
            _ => NSID,
        };
        match self.prng.below(24) {
            0..=3 if !self.shared.is_empty() => self.share(),
            4 | 5 => {
                for command in self.replace(nsid) {
                    self.run(nsid, command);
                }
            }
            6 => {
                let is_part =
                    |part: &Command| matches!(part, Command::Mkdir(_) | Command::Delete(_) | Command::Move(_));
                let parts: Vec<Command> = (0..4).map(|_| self.simple(nsid)).filter(is_part).collect();
                if !parts.is_empty() {
                    self.run(nsid, Command::CommitBatch(CommitBatch { atomic: false, parts }));
                }
            }
            7 => drop(self.run(nsid, Command::Sweep { limit: 2 })),
            8 if self.prng.one_in(4) => self.trim(nsid),
            9 if !self.revs.is_empty() => {
                let (nsid, rev) = *pick(&mut self.prng, &self.revs);
                let at = At::path(&self.place(nsid));
                self.run(nsid, Command::Restore(Restore { at, rev }));
            }
            10..=12 => self.copy(nsid),
            _ => {
                let command = self.simple(nsid);
                self.run(nsid, command);
            }
        }
    }
}

/// A reader of one feed.
#[derive(Clone)]
struct Client {
    wanted: FeedCursor,
    at: At,
    prefix: String,
    cursor: Option<FeedCursor>,
    tree: Tree,
    /// Keeps what is below a path when a file comes there.
    is_keeper: bool,
    resets: u64,
}

impl Client {
    fn new(server: &mut Server) -> Client {
        let prng = &mut server.prng;
        let mut wanted = Feed::wanted(OWNER, NSID, 1);
        (wanted.is_recursive, wanted.has_mounted) = (!prng.one_in(5), !prng.one_in(6));
        (wanted.has_deleted, wanted.key_id) = (prng.one_in(4), prng.below(9) as u8);
        let (is_keeper, kind) = (prng.one_in(3), prng.below(5));
        let (mut at, mut prefix) = (At::path(""), String::new());
        if kind == 0 && !server.shared.is_empty() {
            (wanted.nsid, prefix) = (*pick(&mut server.prng, &server.shared), "/where/it is".to_owned());
        }
        if kind == 1 {
            let path = server.existing(NSID);
            at = match server.ask(OWNER, NSID, &Query::Lookup(What::At(At::path(&path)))) {
                Answer::Entry(entry) if server.prng.one_in(2) => At::node(entry.meta.node),
                _ => At::path(&path),
            };
        }
        Client { wanted, at, prefix, cursor: None, tree: Tree::new(), is_keeper, resets: 0 }
    }

    fn apply(&mut self, change: Change) {
        let path = match &change {
            Change::Deleted { path_display } => path_key(path_display),
            Change::Present(entry) => entry.path_lower(),
        };
        let there = self.tree.get(&path).map(|thing| thing.kind);
        let Change::Present(entry) = change else { return self.take_out(&path) };
        for parent in above(&path) {
            if self.tree.get(parent).is_none_or(|thing| thing.kind == NodeKind::File) {
                let meta = Metadata { kind: NodeKind::Folder, name: "not told yet".to_owned(), ..entry.meta.clone() };
                self.tree.insert(parent.to_owned(), Thing::of(&meta));
            }
        }
        // Whoever keeps children keeps those of folders.
        if entry.meta.kind == NodeKind::File && (!self.is_keeper || there == Some(NodeKind::Mount)) {
            self.take_out(&path);
        }
        self.tree.insert(path, Thing::of(&entry.meta));
    }

    fn take_out(&mut self, path: &str) {
        let below = format!("{path}/");
        self.tree.retain(|key, _| key != path && !key.starts_with(&below));
    }

    /// One page; between its questions the server may go on. True at the end of what there is.
    fn read(&mut self, server: &mut Server, limit: u16, is_disturbed: bool) -> bool {
        let is_listing = self.cursor.as_ref().is_none_or(|cursor| {
            cursor.place.as_ref().is_some_and(|place| place.kind == meta::feed::PlaceKind::Paging)
        });
        let mut feed = match &self.cursor {
            None => Feed::list(FeedCursor { limit, ..self.wanted.clone() }, self.at.clone(), self.prefix.clone()),
            Some(cursor) => Feed::resume(FeedCursor { limit, ..cursor.clone() }, self.prefix.clone()),
        };
        let mut asked = 0;
        let end = loop {
            match feed.next() {
                Next::Ask(nsid, question) => {
                    if is_disturbed && server.prng.one_in(8) {
                        server.step();
                    }
                    feed.tell(server.ask(OWNER, nsid, &question));
                }
                Next::End(end) => break end,
            }
            asked += 1;
            assert!(asked < 1000, "a feed asks for ever");
        };
        match end {
            End::Page(page) => {
                trace(|| format!("{:?} told {:#?} at {:?}", self.wanted, page.changes, page.cursor.heads));
                assert!(page.changes.len() <= usize::from(limit), "{} entries of {limit}", page.changes.len());
                let before = self.cursor.replace(page.cursor.clone());
                let before = before.map(|before| FeedCursor { limit, ..before });
                assert!(!page.has_more || before != Some(page.cursor.clone()), "no progress at {:?}", page.cursor);
                let mut bytes = Vec::new();
                page.cursor.encode(&mut bytes);
                assert_eq!(FeedCursor::decode(&bytes), Ok(page.cursor));
                page.changes.into_iter().for_each(|change| self.apply(change));
                !page.has_more && !is_listing
            }
            End::Reset | End::NotFound | End::NotFolder | End::NoAccess | End::Elsewhere { .. } => {
                self.resets += 1;
                self.tree.clear();
                self.cursor.take().is_none()
            }
            other => panic!("{other:?}"),
        }
    }

    fn drain(&mut self, server: &mut Server, limit: u16) {
        for _ in 0..20_000 {
            if self.read(server, limit, false) {
                return;
            }
        }
        panic!("a client reads for ever at {:?}", self.cursor);
    }

    /// What it should have now, beside the folders on the way to what it reads.
    fn check(&self, server: &Server, context: &str) {
        let Some(cursor) = &self.cursor else { return assert_eq!(self.tree, Tree::new(), "{context}") };
        let scope = match server.ask(OWNER, cursor.nsid, &Query::Lookup(What::At(At::node(cursor.folder)))) {
            Answer::Entry(entry) => entry.path_lower(),
            _ => String::new(),
        };
        let below = format!("{scope}/");
        let mut tree = server.truth(cursor.nsid);
        if !cursor.has_mounted {
            tree.retain(|_, thing| thing.nsid == cursor.nsid && thing.kind != NodeKind::Mount);
        }
        let is_in =
            |path: &str| path.strip_prefix(&below).is_some_and(|rest| cursor.is_recursive || !rest.contains('/'));
        let wanted: Tree = tree
            .into_iter()
            .filter(|(path, _)| is_in(path))
            .map(|(path, it)| (format!("{}{path}", self.prefix), it))
            .collect();
        let mut found = self.tree.clone();
        let base = format!("{}{scope}", self.prefix);
        found.retain(|path, _| base != *path && !base.starts_with(&format!("{path}/")));
        assert_eq!(found, wanted, "{context}: {:?} at {cursor:?}", self.at);
    }
}

fn run(seed: u64, steps: u64) -> (u64, u64) {
    let mut server = Server::new(seed);
    let mut prng = Prng::new(!seed);
    let (mut clients, mut resets, mut latest): (Vec<Client>, u64, u64) = (Vec::new(), 0, 0);
    for step in 0..steps {
        let context = format!("FEEDS_SEED={seed}, step {step}");
        server.step();
        server.replica.check();
        let count = clients.len() as u64;
        match prng.below(10) {
            0 | 1 if count < 6 => clients.push(Client::new(&mut server)),
            2 if (1..6).contains(&count) => clients.push(pick(&mut prng, &clients).clone()),
            3..=6 if count > 0 => {
                let at = prng.below(count) as usize;
                clients[at].read(&mut server, 1 + prng.below(5) as u16, true);
            }
            7 if count > 0 && server.pending.is_empty() => {
                let at = prng.below(count) as usize;
                clients[at].drain(&mut server, 1 + prng.below(5) as u16);
                clients[at].check(&server, &context);
            }
            8 if prng.one_in(4) => latest += u64::from(check_latest(&mut server, &context)),
            9 if count == 6 => drop(clients.remove(0)),
            _ => {}
        }
    }
    while let Some(target) = server.pending.first().copied() {
        server.unmount(target);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        client.drain(&mut server, 1 + prng.below(7) as u16);
        client.check(&server, &format!("FEEDS_SEED={seed}, client {at} at the end"));
        resets += client.resets;
    }
    (resets, latest)
}

/// The cursor without a listing is the one that a listing ends with.
fn check_latest(server: &mut Server, context: &str) -> bool {
    let mut client = Client::new(server);
    let mut ends = Vec::new();
    for feed in [
        Feed::latest(client.wanted.clone(), client.at.clone(), String::new()),
        Feed::list(FeedCursor { limit: 2000, ..client.wanted.clone() }, client.at.clone(), String::new()),
    ] {
        let mut feed = feed;
        ends.push(loop {
            match feed.next() {
                Next::Ask(nsid, question) => feed.tell(server.ask(OWNER, nsid, &question)),
                Next::End(end) => break end,
            }
        });
    }
    client.cursor = None;
    match (&ends[0], &ends[1]) {
        (End::Page(latest), End::Page(listed)) => {
            assert!(latest.changes.is_empty() && !latest.has_more && !listed.has_more, "{context}");
            assert_eq!(FeedCursor { limit: 2000, ..latest.cursor.clone() }, listed.cursor, "{context}");
            true
        }
        (one, other) => {
            assert_eq!(one, other, "{context}");
            false
        }
    }
}

/// `FEEDS_TRACE` tells what happens, for one seed and few steps.
fn trace(what: impl FnOnce() -> String) {
    if std::env::var_os("FEEDS_TRACE").is_some() {
        eprintln!("{}", what());
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[test]
fn readers_of_feeds_converge_over_mounts_scopes_and_trims() {
    let (first, runs) = (number("FEEDS_SEED", 0), number("FEEDS_RUNS", 60));
    let (mut resets, mut latest) = (0, 0);
    for seed in first..first + runs {
        let (more_resets, more_latest) = run(seed, number("FEEDS_STEPS", 150));
        resets += more_resets;
        latest += more_latest;
    }
    assert!(runs < 60 || (resets > 10 && latest > 40), "{resets} resets and {latest} latest cursors were met");
}
