//! Clients that list at any time and then follow the journal, page by page and as late as they like, end with the tree
//! that the server has.

mod world;

use base::{Jid, Prng};
use meta::*;
use world::*;

/// What a client reads next.
#[derive(Clone, Debug)]
enum Next {
    Page { position: Vec<u8>, first_head: Option<Jid> },
    Delta(DeltaCursor),
}

#[derive(Clone, Debug)]
struct Client {
    next: Next,
    tree: Tree,
}

impl Client {
    /// One that lists first.
    fn lister() -> Client {
        Client { next: Next::Page { position: Vec::new(), first_head: None }, tree: Tree::new() }
    }

    /// One that follows the journal from its birth.
    fn follower() -> Client {
        Client { next: Next::Delta(DeltaCursor::at(Jid(0))), tree: Tree::new() }
    }

    /// Reads one page; true when the client has all there is.
    fn read(&mut self, replica: &Replica, server: &Tree, limit: u32) -> bool {
        match &self.next {
            Next::Page { position, first_head } => {
                let (entries, next, head) = replica.page(position, limit);
                let head = first_head.unwrap_or(head);
                entries.into_iter().for_each(|entry| apply_change(&mut self.tree, &Change::Present(entry)));
                self.next = match next {
                    Some(position) => Next::Page { position, first_head: Some(head) },
                    None => Next::Delta(DeltaCursor::at(head)),
                };
                false
            }
            Next::Delta(cursor) => {
                let (changes, after, has_more) = replica.delta(cursor, limit);
                assert!(limit == 0 || changes.len() <= limit as usize, "{} changes of {limit}", changes.len());
                assert!(!has_more || after != *cursor, "a page made no progress at {cursor:?}");
                for change in &changes {
                    assert_true_now(change, server);
                    apply_change(&mut self.tree, change);
                }
                let mut bytes = Vec::new();
                after.encode(&mut bytes);
                self.next = Next::Delta(DeltaCursor::decode(&bytes).expect("a cursor decodes"));
                !has_more
            }
        }
    }

    /// Reads to the end; small pages tell what one large page tells.
    fn drain(&mut self, replica: &Replica, server: &Tree, limit: u32) {
        let mut whole = None;
        let mut told = Vec::new();
        for _ in 0..10_000 {
            if let Next::Delta(cursor) = &self.next {
                whole.get_or_insert_with(|| replica.delta(cursor, 0));
                told.extend(replica.delta(cursor, limit).0);
            }
            if self.read(replica, server, limit) {
                let (changes, _, has_more) = whole.expect("a client ends with a Delta");
                assert!(!has_more && told == changes, "pages of {limit} tell {told:#?} instead of {changes:#?}");
                let Next::Delta(cursor) = &self.next else { panic!("a listing does not end a client's reading") };
                let again = replica.delta(cursor, limit);
                assert_eq!(again, (Vec::new(), cursor.clone(), false), "the end of the journal stays the end");
                return;
            }
        }
        panic!("a client reads for ever at {:?}", self.next);
    }
}

/// What a Delta tells is so at this moment; a file is never told as deleted beside itself.
fn assert_true_now(change: &Change, server: &Tree) {
    match change {
        Change::Present(entry) => {
            assert_eq!(server.get(&entry.path_lower()), Some(&Thing::of(&entry.meta)), "{}", entry.path_display);
        }
        Change::Deleted { path_display } => {
            let there = server.get(&base::names::path_key(path_display));
            assert!(there.is_none_or(|there| there.is_folder), "{path_display} is a file, and was told as deleted");
        }
    }
}

/// Commands over what is there, with a liking for names that were left.
struct Author {
    prng: Prng,
    vacated: Vec<String>,
    revs: Vec<(String, Jid)>,
}

impl Author {
    fn live(&mut self, server: &Tree) -> String {
        random_key(&mut self.prng, server).unwrap_or_else(|| random_path(&mut self.prng, 2))
    }

    /// A place for something: anywhere, in a folder that is there, or where something was.
    fn place(&mut self, server: &Tree) -> String {
        match self.prng.below(6) {
            0 | 1 => random_path(&mut self.prng, 4),
            2 | 3 if !self.vacated.is_empty() => pick(&mut self.prng, &self.vacated).clone(),
            2 | 3 => random_path(&mut self.prng, 2),
            4 => self.live(server),
            _ => format!("{}{}", self.live(server), random_path(&mut self.prng, 2)),
        }
    }

    /// The same key in another case, where the name has one.
    fn recased(&mut self, path: &str) -> String {
        let (parents, name) = path.split_at(path.len() - name_of(path).len());
        let name = if self.prng.one_in(2) { name.to_uppercase() } else { name.replace('b', "B").replace('i', "İ") };
        format!("{parents}{name}")
    }

    fn put(&mut self, path: &str, server: &Tree) -> Command {
        let mode = match self.prng.below(4) {
            0 => PutMode::Add,
            1 => PutMode::Update(server.get(&base::names::path_key(path)).map_or(Jid(0), |there| there.rev)),
            _ => PutMode::Overwrite,
        };
        let mut commit = file(path, self.prng.below(4), mode);
        commit.autorename = self.prng.one_in(5);
        store(commit)
    }

    fn simple(&mut self, server: &Tree) -> Command {
        match self.prng.below(20) {
            0..=4 => {
                let path = self.place(server);
                self.put(&path, server)
            }
            5..=7 => mkdir(&self.place(server)),
            8..=11 => {
                let path = self.live(server);
                self.vacated.push(path.clone());
                delete(&path)
            }
            12..=17 => {
                let source = self.live(server);
                let target = if self.prng.one_in(4) { self.recased(&source) } else { self.place(server) };
                self.vacated.push(source.clone());
                let autorename = self.prng.one_in(4);
                Command::Move(Move { source: At::path(&source), target: At::path(&target), autorename })
            }
            _ if self.revs.is_empty() => mkdir(&random_path(&mut self.prng, 3)),
            _ => {
                let (path, rev) = pick(&mut self.prng, &self.revs).clone();
                let path = if self.prng.one_in(2) { path } else { self.place(server) };
                Command::Restore(Restore { at: At::path(&path), rev })
            }
        }
    }

    fn commands(&mut self, server: &Tree) -> Vec<Command> {
        match self.prng.below(16) {
            // Two names change places.
            0 => {
                let (one, other) = (self.live(server), self.live(server));
                vec![rename(&one, "/swap"), rename(&other, &one), rename("/swap", &other)]
            }
            1 => {
                let is_file =
                    |part: &Command| matches!(part, Command::Mkdir(_) | Command::Delete(_) | Command::Move(_));
                let parts: Vec<Command> = (0..5).map(|_| self.simple(server)).filter(is_file).collect();
                if parts.is_empty() {
                    return vec![mkdir(&self.place(server))];
                }
                vec![Command::CommitBatch(CommitBatch { atomic: self.prng.one_in(4), parts })]
            }
            2 => vec![Command::Sweep { limit: self.prng.below(4) as u32 }],
            _ => vec![self.simple(server)],
        }
    }

    /// A file replaces what was a folder at this path a moment ago, or a folder a file.
    fn replace(&mut self, server: &Tree) -> Vec<Command> {
        let path = self.live(server);
        let is_folder = server.get(&path).is_some_and(|there| there.is_folder);
        let leave = if self.prng.one_in(2) { delete(&path) } else { rename(&path, &self.place(server)) };
        let come = if is_folder { put(&path, 3, PutMode::Add) } else { mkdir(&format!("{path}/in it")) };
        vec![leave, come]
    }
}

fn run(seed: u64, steps: u64) {
    let mut replica = Replica::new();
    let mut author = Author { prng: Prng::new(seed), vacated: Vec::new(), revs: Vec::new() };
    let mut prng = Prng::new(!seed);
    let mut server = Tree::new();
    let mut clients = vec![Client::follower()];
    for step in 0..steps {
        let commands = if prng.one_in(12) { author.replace(&server) } else { author.commands(&server) };
        for command in &commands {
            if let Outcome::Applied(meta) = replica.system(command)
                && meta.kind == NodeKind::File
            {
                author.revs.push((format!("/{}", meta.name), meta.rev_jid));
            }
        }
        server = replica.listing(0);
        match prng.below(10) {
            0 if clients.len() < 8 => clients.push(Client::lister()),
            // The same state and cursor, kept and resumed at another time.
            1 if clients.len() < 8 => clients.push(pick(&mut prng, &clients).clone()),
            2..=6 => {
                let at = prng.below(clients.len() as u64) as usize;
                clients[at].read(&replica, &server, 1 + prng.below(5) as u32);
            }
            7 => {
                let at = prng.below(clients.len() as u64) as usize;
                clients[at].drain(&replica, &server, prng.below(6) as u32);
                assert_eq!(clients[at].tree, server, "seed {seed}, step {step}: a client does not converge");
            }
            _ => {}
        }
    }
    for (at, client) in clients.iter_mut().enumerate() {
        client.drain(&replica, &server, 1 + prng.below(7) as u32);
        assert_eq!(client.tree, server, "seed {seed}: client {at} does not converge");
    }
    assert_eq!(replica.listing(1 + prng.below(3) as u32), server, "seed {seed}: a listing depends on its pages");
    replica.check();
}

#[test]
fn clients_converge_from_any_cursor_with_any_page_size() {
    for seed in 0..200 {
        run(seed, 60);
    }
}

#[test]
fn clients_converge_over_a_long_history() {
    for seed in 10_000..10_008 {
        run(seed, 400);
    }
}

#[test]
fn a_folder_that_only_changes_case_is_not_told_as_deleted() {
    let mut replica = Replica::new();
    for command in [put("/a/b.txt", 1, PutMode::Add), rename("/a", "/A")] {
        assert!(replica.system(&command).is_ok());
    }
    let (changes, _, has_more) = replica.delta(&DeltaCursor::at(Jid(2)), 0);
    assert!(!has_more && changes.iter().all(|change| matches!(change, Change::Present(_))), "{changes:#?}");
    let paths: Vec<String> = replica.page(&[], 0).0.into_iter().map(|entry| entry.path_display).collect();
    assert_eq!(paths, ["/A", "/A/b.txt"]);
}
