//! What clients do: operations chosen against what is believed to be there: names that live, that were just deleted, new
//! ones. Nothing is prepared ahead.

mod known;
mod rare;
mod uploads;
pub(super) mod wide;

use base::{Acct, Jid, Nsid, Prng};
use client::Operation;
use meta::{
    At, Command, CommitFile, Delete, DeltaCursor, Mkdir, Move, NamespaceKind, PresentPart, PutMode, Query,
    StoreAndCommit, What,
};
use sha2::{Digest as _, Sha256};

use crate::draw::{Stream, log_between, prng};

/// Whose files.
pub(super) const OWNER: Acct = Acct(1);
/// Names kept per namespace.
const NAMES_MAX: usize = 64;
/// When blocks were put, by the clock of a block server that is slow and yet believed.
const PUT_AT_MS: u64 = 1_700_000_000_000;
/// Room of a namespace, but where it is to run out.
const GRANT_BYTES: u64 = 1 << 40;

/// What is believed of a namespace.
#[derive(Default)]
struct Names {
    live: Vec<String>,
    folders: Vec<String>,
    deleted: Vec<String>,
    next: u32,
}

/// The generator, shared by all clients.
pub(super) struct Load {
    pub namespaces: Vec<Nsid>,
    names: Vec<Names>,
    told: Vec<rare::Told>,
    contents: u64,
    /// When blocks were put, by the clocks of block servers.
    put_at_ms: u64,
    /// Time leaps: clients upload in sessions too.
    has_uploads: bool,
    uploads: Vec<uploads::Upload>,
    wall_ms: u64,
    /// Room of the namespace that has little, and its place in the list.
    scarce: Option<(usize, u64)>,
    /// In a run that asks for everything.
    pub wide: Option<wide::Wide>,
}

/// What an operation will have done if it is done.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    None,
    File(usize, String),
    Folder(usize, String),
    Gone(usize, String),
    Moved(usize, String, String),
    /// Queries whose answers say what may be asked for next.
    Delta(usize),
    Page(usize, String),
    Revisions(usize, String),
    /// One of those beside the load.
    Wide(wide::Wish),
}

/// Does the run of this seed ask for everything?
pub(super) fn is_wide(seed: u64) -> bool {
    wide::draw(seed)
}

impl Load {
    /// Where time leaps, blocks were put just now whenever that is.
    pub fn new(seed: u64, groups: u32, has_leaps: bool, is_wide: bool) -> Load {
        // Two namespaces for each group, so that groups are shared and every group is used.
        let mut namespaces = Vec::new();
        let mut next = 10_000_000_000 + seed % 1000;
        for group in 0..groups {
            for _ in 0..2 {
                while base::group_of(Nsid(next), groups).0 != group {
                    next += 1;
                }
                namespaces.push(Nsid(next));
                next += 1;
            }
        }
        let names = namespaces.iter().map(|_| Names::default()).collect();
        let told = namespaces.iter().map(|_| rare::Told::default()).collect();
        let mut dice = prng(seed, Stream::Load, 1 << 33, 0);
        let scarce = (dice.below(4) == 0).then(|| (1, log_between(&mut dice, 100_000, 2_000_000)));
        let put_at_ms = if has_leaps { u64::MAX } else { PUT_AT_MS };
        let (uploads, wall_ms) = (Vec::new(), PUT_AT_MS);
        let wide = is_wide.then(|| wide::Wide::new(next, groups));
        let has_uploads = has_leaps;
        Load { namespaces, names, told, contents: 0, put_at_ms, has_uploads, uploads, wall_ms, scarce, wide }
    }

    pub fn found(&self, at: usize) -> Operation {
        let scarce = self.scarce.filter(|(place, _)| *place == at);
        let grant_bytes = scarce.map_or(GRANT_BYTES, |(_, bytes)| bytes);
        let command = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes };
        Operation::Command { acct: Acct(0), nsid: self.namespaces[at], command }
    }

    /// The next operation of a client.
    pub fn next(&mut self, dice: &mut Prng) -> (Operation, Effect) {
        // Earlier namespaces are busier.
        let count = self.namespaces.len() as u64;
        let at = dice.below(dice.clone().below(count) + 1) as usize;
        let nsid = self.namespaces[at];
        let command = |command| Operation::Command { acct: OWNER, nsid, command };
        let query = |query| Operation::Query { acct: OWNER, nsid, query };
        let path = self.path(at, dice);
        if self.has_uploads && dice.below(10) == 0 {
            return self.upload(at, path, dice);
        }
        if dice.below(24) == 0 {
            return self.rare(at, path, dice);
        }
        match dice.below(100) {
            0..20 => {
                let mkdir = Mkdir { at: At::path(&path), autorename: dice.below(8) == 0 };
                (command(Command::Mkdir(mkdir)), Effect::Folder(at, path))
            }
            20..50 => {
                let commit = self.file(&path, dice);
                (command(commit), Effect::File(at, path))
            }
            50..62 => {
                let target = self.path(at, dice);
                let into = if dice.below(6) == 0 { format!("{path}/inside") } else { target };
                let part = Move { source: At::path(&path), target: At::path(&into), autorename: dice.below(8) == 0 };
                (command(Command::Move(part)), Effect::Moved(at, path, into))
            }
            62..75 => {
                let delete = Delete { at: At::path(&path), parent_rev: None };
                (command(Command::Delete(delete)), Effect::Gone(at, path))
            }
            75..85 => (query(Query::Lookup(What::At(At::path(&path)))), Effect::None),
            85..91 => {
                let root = if dice.below(2) == 0 { String::new() } else { path };
                let list = Query::ListPage {
                    at: At::path(&root),
                    recursive: dice.below(2) == 0,
                    position: Vec::new(),
                    limit: 20,
                };
                (query(list), Effect::None)
            }
            91..95 => (query(Query::Head), Effect::None),
            95..98 => {
                let cursor = DeltaCursor::at(Jid(dice.below(50)));
                (query(Query::Delta { cursor, limit: 10 }), Effect::Delta(at))
            }
            _ => (query(Query::SpaceUsage), Effect::None),
        }
    }

    /// Something to watch.
    pub fn watch(&self, dice: &mut Prng) -> Operation {
        let nsid = self.namespaces[dice.below(self.namespaces.len() as u64) as usize];
        Operation::Watch { acct: OWNER, nsid, since: Jid(0) }
    }

    fn path(&mut self, at: usize, dice: &mut Prng) -> String {
        let names = &mut self.names[at];
        let pick = |list: &Vec<String>, dice: &mut Prng| list[dice.below(list.len() as u64) as usize].clone();
        match dice.below(10) {
            0..7 if !names.live.is_empty() => pick(&names.live, dice),
            7..9 if !names.deleted.is_empty() => pick(&names.deleted, dice),
            _ => {
                names.next += 1;
                let parent = if names.folders.is_empty() || dice.below(2) == 0 {
                    String::new()
                } else {
                    pick(&names.folders, dice)
                };
                let parent = if parent.len() > 60 { String::new() } else { parent };
                format!("{parent}/name {}", names.next)
            }
        }
    }

    fn file(&mut self, path: &str, dice: &mut Prng) -> Command {
        let mode = match dice.below(10) {
            0..5 => PutMode::Overwrite,
            5..9 => PutMode::Add,
            _ => PutMode::Update(Jid(dice.below(40))),
        };
        self.contents += 1;
        let commit = CommitFile { at: At::path(path), mode, autorename: dice.below(4) == 0, ..CommitFile::default() };
        if dice.below(4) == 0 {
            return Command::CommitFile(CommitFile { content_hash: Sha256::digest([]).into(), ..commit });
        }
        // Content that no other put has: what is read tells which put it came from.
        let name = rare::block(self.contents, 0);
        let bytes = 1 + dice.below(100_000);
        let commit =
            CommitFile { size: bytes, content_hash: Sha256::digest(name.0).into(), blocks: vec![name], ..commit };
        let present = vec![PresentPart { position: 0, bytes: bytes as u32, put_at_ms: self.put_at_ms }];
        Command::StoreAndCommit(StoreAndCommit { commit, present })
    }

    /// An operation was done.
    pub fn learn(&mut self, effect: Effect) {
        let add = |list: &mut Vec<String>, path: String| {
            if !list.contains(&path) {
                if list.len() >= NAMES_MAX {
                    list.remove(0);
                }
                list.push(path);
            }
        };
        match effect {
            Effect::None | Effect::Delta(_) | Effect::Page(..) | Effect::Revisions(..) | Effect::Wide(_) => {}
            Effect::File(at, path) => add(&mut self.names[at].live, path),
            Effect::Folder(at, path) => {
                add(&mut self.names[at].folders, path.clone());
                add(&mut self.names[at].live, path);
            }
            Effect::Gone(at, path) => {
                let names = &mut self.names[at];
                names.live.retain(|name| *name != path);
                names.folders.retain(|name| *name != path);
                add(&mut names.deleted, path);
            }
            Effect::Moved(at, path, into) => {
                self.learn(Effect::Gone(at, path));
                add(&mut self.names[at].live, into);
            }
        }
    }
}
