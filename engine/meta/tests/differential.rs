//! Random commands to the machine and to a naive one (docs/design/metadata.md): every outcome, the whole tree, every
//! revision and what readers of the journal make of it are equal after each, and the invariants hold.
//!
//! `cargo test` runs some thousands; `cargo xtask models` a million. `DIFFERENTIAL_SEED` begins elsewhere.

mod naive;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use base::names::path_key;
use base::{Acct, BlockHash, Jid, Nsid, Prng, Sequence, SessionId, TreeNode};
use meta::*;
use naive::Naive;
use world::{Answers, NAMES, NSID, OWNER, Replica, STAMP_MS, content_hash, payload, pick};

const GRANT_BYTES: u64 = 60 << 20;
/// A root, and what may hang in it.
const NSIDS: [Nsid; 3] = [NSID, Nsid(NSID.0 + 1), Nsid(NSID.0 + 2)];
const BLOCK_BYTES: u64 = 4 << 20;
/// Commands to one pair of machines; then a new pair begins, so that a step stays cheap.
const COMMANDS_PER_RUN: u64 = 500;

/// A reader of a journal, and what it makes of it.
type Reader = (DeltaCursor, BTreeMap<String, Metadata>);

struct Run {
    prng: Prng,
    replica: Replica,
    /// Of the namespace that is the turn.
    naive: Naive,
    /// The others, with their readers.
    others: Vec<(Naive, Reader)>,
    session: SessionId,
    sequence: u64,
    /// Commands whose outcomes are kept, for a second sending.
    sent: Vec<(CommandHeader, Command, Outcome)>,
    /// A reader of the journal, and what it makes of it.
    reader: Reader,
    stamp_ms: u64,
    /// Codes of the outcomes so far.
    codes: BTreeSet<u8>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut replica = Replica::empty();
        let mut others = Vec::new();
        for (nsid, n) in NSIDS.into_iter().zip(0..) {
            let kind = if n == 0 { NamespaceKind::Root } else { NamespaceKind::Shared };
            let init = Command::NamespaceInit { owner: OWNER, kind, grant_bytes: GRANT_BYTES };
            let header = CommandHeader { nsid, ..CommandHeader::default() };
            assert_eq!(replica.apply(&payload(&[(header, init)])), [Outcome::Done]);
            let mut naive = Naive::new(nsid, GRANT_BYTES);
            naive.is_root = n == 0;
            others.push((naive, (DeltaCursor::at(Jid(0)), BTreeMap::new())));
        }
        let (naive, reader) = others.remove(0);
        let session = replica.register(OWNER, 1);
        let mut prng = Prng::new(seed);
        replica.store.set_cold(prng.one_in(4));
        replica.answers = Some(Answers::new());
        Run {
            prng,
            replica,
            naive,
            others,
            session,
            sequence: 0,
            sent: Vec::new(),
            reader,
            stamp_ms: STAMP_MS,
            codes: BTreeSet::new(),
        }
    }

    fn step(&mut self, context: &str) {
        let tick_ms = match self.prng.below(100) {
            0 => 3 * 24 * 60 * 60 * 1000,
            1 | 2 => 40 * 60 * 1000,
            _ => 100,
        };
        self.stamp_ms += self.prng.below(3) * tick_ms;
        self.turn();
        let (acct, command) = self.command_of_anyone();
        let header = if acct == OWNER {
            self.sequence += 1;
            let header = world::header(self.session, self.sequence);
            CommandHeader { ack_below: self.ack_below(), nsid: self.naive.nsid, ..header }
        } else {
            CommandHeader { nsid: self.naive.nsid, ..CommandHeader::default() }
        };
        self.naive.now_ms = self.stamp_ms;
        let wanted = match &command {
            Command::Link(link) => {
                let found = match &**link {
                    LinkCommand::Create { at, .. } => match self.naive.node_at(at) {
                        Ok(ROOT) if self.naive.nsid == NSID => Err(Outcome::Malformed),
                        found => found,
                    },
                    _ => Err(Outcome::NotFound),
                };
                self.naive.links.run(link, found, self.stamp_ms)
            }
            command => self.naive.run(acct, command),
        };
        let outcome = self.apply(header, &command);
        assert_eq!(outcome, wanted, "{context}: {command:?}");
        self.codes.insert(outcome.code());
        if let Outcome::Batch { outcomes, .. } = &outcome {
            self.codes.extend(outcomes.iter().map(Outcome::code));
        }
        if acct == OWNER {
            self.sent.push((header, command, outcome));
        }
        self.again(context);
        self.compare(context);
        if self.prng.one_in(20) {
            self.run_to_its_end(|limit| Command::Sweep { limit });
            self.naive.sweep();
            if self.prng.one_in(2) {
                self.trim(context);
            }
        }
        if self.prng.one_in(8) {
            self.read_on(context);
        }
        if self.prng.one_in(16) {
            self.replica.store.checkpoint();
        }
        if self.prng.one_in(25) {
            self.compare_revisions(context);
        }
    }

    /// Another namespace, or the same.
    fn turn(&mut self) {
        let at = self.prng.below(2 * self.others.len() as u64) as usize;
        if let Some((naive, reader)) = self.others.get_mut(at) {
            std::mem::swap(naive, &mut self.naive);
            std::mem::swap(reader, &mut self.reader);
        }
    }

    fn ask(&self, question: &Query) -> Answer {
        self.replica.ask_in(OWNER, self.naive.nsid, question)
    }

    fn head(&self, nsid: Nsid) -> Jid {
        match self.replica.ask_in(OWNER, nsid, &Query::Head) {
            Answer::Head(head) => head,
            other => panic!("no head: {other:?}"),
        }
    }

    /// A command of the system, as often as it says that there is more, in steps of any size.
    fn run_to_its_end(&mut self, command: impl Fn(u32) -> Command) {
        for _ in 0..100_000 {
            let limit = self.prng.below(5) as u32;
            let header = CommandHeader { nsid: self.naive.nsid, ..CommandHeader::default() };
            match self.apply(header, &command(limit)) {
                Outcome::Swept { has_more: true, .. } => self.replica.check(),
                Outcome::Swept { has_more: false, .. } => return,
                other => panic!("{other:?}"),
            }
        }
        panic!("{:?} does not come to its end", command(0));
    }

    fn trim(&mut self, context: &str) {
        let floor = Jid(self.prng.below(self.naive.head + 1));
        // A reader that is behind would have to list anew.
        while self.reader.0.since < floor || self.reader.0.expansion.is_some() {
            self.read_on(context);
        }
        self.run_to_its_end(|_| Command::JournalTrim { floor });
        self.run_to_its_end(|limit| Command::Purge { limit });
        self.naive.trim(floor);
        self.run_to_its_end(|limit| Command::BlockSweep { limit });
        self.naive.sweep_blocks();
        self.naive.links.sweep(self.stamp_ms);
        self.compare(context);
        self.compare_revisions(context);
        if floor > Jid(1) {
            let question = Query::Delta { cursor: DeltaCursor::at(Jid(floor.0 - 1)), limit: 0 };
            assert_eq!(self.ask(&question), Answer::Reset, "{context}: a cursor below the floor");
        }
        // What was trimmed is not told again.
        self.sent.clear();
    }

    fn apply(&mut self, header: CommandHeader, command: &Command) -> Outcome {
        self.replica.apply_at(&payload(&[(header, command.clone())]), self.stamp_ms).remove(0)
    }

    fn ack_below(&mut self) -> Sequence {
        let below = self.prng.below(self.sequence + 1);
        if self.prng.one_in(30) {
            self.sent.retain(|(header, ..)| header.sequence.0 >= below);
            return Sequence(below);
        }
        Sequence(0)
    }

    /// I11: what was executed before is told again and changes nothing.
    fn again(&mut self, context: &str) {
        if self.sent.is_empty() || !self.prng.one_in(6) {
            return;
        }
        let (header, command, outcome) = pick(&mut self.prng, &self.sent).clone();
        let head = self.head(header.nsid);
        assert_eq!(self.apply(header, &command), outcome, "{context}: {} again", header.sequence);
        assert_eq!(self.head(header.nsid), head, "{context}: a repeated command wrote a row");
    }

    fn compare(&mut self, context: &str) {
        assert_eq!(self.head(self.naive.nsid), Jid(self.naive.head), "{context}: jids are dense");
        let (mut listed, mut position) = (BTreeMap::new(), Vec::new());
        loop {
            let question = Query::ListPage { at: At::path(""), recursive: true, position, limit: 0 };
            let Answer::Page { entries, next, .. } = self.ask(&question) else { panic!("{context}: no page") };
            listed.extend(entries.into_iter().map(|entry| (entry.path_lower(), entry.meta)));
            let Some(next) = next else { break };
            position = next;
        }
        assert_eq!(listed, self.naive.tree, "{context}");
        self.compare_links(context);
        let asked: Vec<BlockHash> = (0..CONTENTS).map(block_of).collect();
        let known = asked.iter().map(|hash| self.naive.known.contains_key(hash)).collect();
        assert_eq!(self.ask(&Query::HasBlocks(asked)), Answer::HasBlocks(known), "{context}");
        self.replica.check();
    }

    fn compare_links(&mut self, context: &str) {
        let (mut listed, mut after) = (Vec::new(), 0);
        let limit = self.prng.below(4) as u32;
        loop {
            let question = Query::Links { of: LinksOf::Account(OWNER), after, limit };
            let Answer::Links { links, next } = self.ask(&question) else { panic!("{context}: no links") };
            for info in links {
                let path = info.entry.path_lower();
                if info.entry.meta.node != ROOT {
                    assert_eq!(self.naive.tree.get(&path), Some(&info.entry.meta), "{context}: {path}");
                }
                listed.push((info.link, info.entry.meta.node, info.settings));
            }
            let Some(next) = next else { break };
            after = next;
        }
        assert_eq!(listed, self.naive.links.shown(&self.naive.tree, self.stamp_ms), "{context}");
    }

    /// I9: a reader that applies what the journal tells comes to the tree that is there.
    fn read_on(&mut self, context: &str) {
        for _ in 0..100_000 {
            let limit = 1 + self.prng.below(9) as u32;
            let question = Query::Delta { cursor: self.reader.0.clone(), limit };
            let Answer::Delta { changes, cursor, has_more } = self.ask(&question) else {
                panic!("{context}: no delta")
            };
            for change in changes {
                let (path, meta) = match change {
                    Change::Present(entry) => (entry.path_lower(), Some(entry.meta)),
                    Change::Deleted { path_display } => (path_key(&path_display), None),
                };
                if meta.as_ref().is_none_or(|meta| meta.kind == NodeKind::File) {
                    let below = format!("{path}/");
                    self.reader.1.retain(|key, _| *key != path && !key.starts_with(&below));
                }
                self.reader.1.extend(meta.map(|meta| (path, meta)));
            }
            self.reader.0 = cursor;
            if !has_more {
                return assert_eq!(self.reader.1, self.naive.tree, "{context}: what a reader makes of the journal");
            }
        }
        panic!("{context}: a reader does not come to an end");
    }

    fn compare_revisions(&mut self, context: &str) {
        let (live_files, live_bytes) = self.naive.live();
        let is_sweeping = self.naive.detached.is_some();
        let wanted = Answer::SpaceUsage { live_files, live_bytes, grant_bytes: self.naive.grant_bytes, is_sweeping };
        assert_eq!(self.ask(&Query::SpaceUsage), wanted, "{context}");
        for jid in (1..=self.naive.head).map(Jid) {
            let found = match self.ask(&Query::Blocklist { what: What::Rev(jid), first: 0 }) {
                Answer::Blocklist { entry, blocks, .. } => {
                    Some((entry.meta, blocks.into_iter().map(|(name, _)| name).collect::<Vec<_>>()))
                }
                Answer::NotFound => None,
                other => panic!("{context}: {other:?}"),
            };
            let wanted = self.naive.revisions.get(&jid).map(|held| (held.meta.clone(), held.blocks.clone()));
            // What a revision tells is what it was when it was made.
            assert_eq!(found, wanted, "{context}: revision {jid}");
        }
        for (path, meta) in self.naive.tree.clone() {
            let entry = Entry { path_display: self.naive.display(&meta), meta: meta.clone() };
            for at in [At::path(&path), At::node(meta.node)] {
                assert_eq!(self.ask(&Query::Lookup(What::At(at))), Answer::Entry(entry.clone()), "{context}");
            }
            if meta.kind == NodeKind::File {
                self.compare_history(&path, &meta, context);
            }
        }
    }

    fn compare_history(&mut self, path: &str, meta: &Metadata, context: &str) {
        let question = Query::Revisions { at: At::path(path), before: Jid(0), limit: 100 };
        let Answer::Revisions { deleted_ms: None, revisions, .. } = self.ask(&question) else {
            panic!("{context}: {path} is there");
        };
        let told: Vec<Jid> = revisions.iter().map(|meta| meta.rev_jid).collect();
        let wanted = &self.naive.histories[&(meta.parent, base::names::name_key(&meta.name))];
        assert_eq!(told, wanted[..wanted.len().min(100)], "{context}: the history of {path}");
    }

    // ---- what is asked for ----

    fn existing(&mut self) -> Option<Metadata> {
        let count = self.naive.tree.len() as u64;
        (count > 0).then(|| self.naive.tree.values().nth(self.prng.below(count) as usize).cloned()).flatten()
    }

    fn random_path(&mut self) -> String {
        let depth = 1 + self.prng.below(3);
        (0..depth).map(|_| format!("/{}", pick(&mut self.prng, &NAMES))).collect()
    }

    /// Something that is there, by path, by node, or by a path from a node; or something that need not be.
    fn place(&mut self) -> At {
        let Some(there) = self.existing().filter(|_| !self.prng.one_in(5)) else {
            let path = if self.prng.one_in(15) { String::new() } else { self.random_path() };
            return At { node: TreeNode(self.prng.below(2)), path };
        };
        let display = self.naive.display(&there);
        match self.prng.below(8) {
            0 => At::node(there.node),
            1 => At { node: there.node, path: self.random_path() },
            2 => At::path(&display.to_uppercase()),
            3 => At::path(&format!("{display}{}", self.random_path())),
            _ => At::path(&display),
        }
    }

    fn target(&mut self) -> At {
        if self.prng.one_in(3) { self.place() } else { At::path(&self.random_path()) }
    }

    fn rev(&mut self) -> Jid {
        match self.existing() {
            Some(there) if !self.prng.one_in(3) => there.rev_jid,
            _ => Jid(self.prng.below(self.naive.head + 2)),
        }
    }

    /// Mostly of the owner; of the system what only it may do.
    fn command_of_anyone(&mut self) -> (Acct, Command) {
        match self.prng.below(12) {
            0 => (Acct(0), self.mounting()),
            1 => (if self.prng.one_in(8) { OWNER } else { Acct(0) }, self.staging()),
            2 | 3 => (OWNER, self.uploading()),
            _ => (OWNER, self.command()),
        }
    }

    fn mounting(&mut self) -> Command {
        let which = self.prng.next_u64() >> 8;
        if self.prng.one_in(4)
            && let Some(node) = self.naive.any_folder(which)
        {
            let freeze = Freeze { flow: 1 + self.prng.below(2), node };
            return if self.prng.one_in(3) { Command::Thaw(freeze) } else { Command::Freeze(freeze) };
        }
        let (step, autorename) = (Step { flow: 0, step: 0 }, self.prng.one_in(2));
        let target = NSIDS[1 + self.prng.below(2) as usize];
        // A namespace does not hang in itself.
        if target == self.naive.nsid || self.prng.one_in(3) {
            return Command::Unmount { step, target };
        }
        Command::Mount(Mount { step, target, at: self.target(), autorename })
    }

    /// An id of a few, so that uploads meet; of one that is open, with its time.
    fn upload_id(&mut self, first: u64) -> UploadId {
        let age_ms = if self.prng.one_in(20) { 8 * 24 * 60 * 60 * 1000 } else { 0 };
        UploadId { nonce: first + self.prng.below(3), issued_ms: self.stamp_ms - age_ms, is_concurrent: false }
    }

    /// Blocks of an upload: whole ones, and at last maybe a short one.
    fn upload_blocks(&mut self, max: u64, is_last: bool) -> Vec<PresentBlock> {
        let count = self.prng.below(max + 1);
        let mut contents: Vec<u64> = (0..count).map(|_| CONTENTS / 2 + self.prng.below(CONTENTS / 2)).collect();
        if is_last && self.prng.one_in(2) {
            contents.push(self.prng.below(CONTENTS));
        }
        contents.into_iter().map(|n| self.present_block(n)).collect()
    }

    /// A put of these blocks, named by the command or not.
    fn commit_of(&mut self, names: &[BlockHash]) -> CommitFile {
        let length = |name: &BlockHash| u64::from(bytes_of(u64::from(name.0[0]) - 1));
        let (size, content_hash) = (names.iter().map(length).sum(), content_hash(names));
        CommitFile { size, content_hash, blocks: Vec::new(), ..self.commit() }
    }

    fn uploading(&mut self) -> Command {
        let id = self.upload_id(1);
        let open = self.naive.uploads.open.get(&id.nonce).cloned();
        let so_far = open.as_ref().map_or(0, |open| open.offset);
        let offset = if self.prng.one_in(8) { self.prng.below(3) * BLOCK_BYTES } else { so_far };
        if self.prng.one_in(2) {
            let close = self.prng.one_in(8);
            let has_short = self.prng.one_in(if close { 2 } else { 10 });
            let blocks = self.upload_blocks(2, has_short);
            let tail_bytes = if self.prng.one_in(3) { self.prng.below(100) as u32 } else { 0 };
            return Command::SessionAppend(SessionAppend { id, offset, blocks, tail_bytes, tail: 7, close });
        }
        let rest = self.upload_blocks(2, true);
        let mut names = open.map(|open| open.names).unwrap_or_default();
        names.extend(rest.iter().map(|block| block.hash));
        let mut commit = self.commit_of(&names);
        if self.prng.one_in(3) {
            commit.content_hash = HASH_OF_SESSION;
        }
        Command::SessionFinish(Box::new(SessionFinish { id, offset, rest, commit, result: None }))
    }

    fn staging(&mut self) -> Command {
        let id = self.upload_id(2);
        if self.prng.one_in(2) {
            let part = u32::from(self.prng.one_in(9));
            return Command::ListStage(ListStage { id, part, blocks: self.upload_blocks(6, true) });
        }
        let is_staged = !self.prng.one_in(4);
        let attested = Some(Box::new(Attested { id, is_staged }));
        if !is_staged {
            return Command::CommitFile(CommitFile { attested, ..self.commit() });
        }
        let names = self.naive.uploads.open.get(&id.nonce).map(|open| open.names.clone()).unwrap_or_default();
        Command::CommitFile(CommitFile { attested, ..self.commit_of(&names) })
    }

    fn command(&mut self) -> Command {
        match self.prng.below(25) {
            23 | 24 => self.link(),
            0..=6 => {
                let commit = self.commit();
                let present = self.present(&commit);
                Command::StoreAndCommit(StoreAndCommit { commit, present })
            }
            7 => Command::CommitFile(self.commit()),
            8 => {
                let count = self.prng.below(4);
                let blocks = (0..count).map(|_| self.prng.below(CONTENTS)).collect::<Vec<_>>();
                Command::BlocksPresent(blocks.into_iter().map(|n| self.present_block(n)).collect())
            }
            9 | 10 => {
                let (atomic, count) = (self.prng.one_in(2), 1 + self.prng.below(4));
                let parts = (0..count).map(|_| self.part()).collect();
                Command::CommitBatch(CommitBatch { atomic, parts })
            }
            11 | 12 => Command::Restore(Restore { at: self.target(), rev: self.rev() }),
            13 | 14 => {
                let autorename = self.prng.one_in(2);
                Command::Copy(Copy { source: self.place(), target: self.target(), autorename })
            }
            15 => {
                let client_mtime_ms = (!self.prng.one_in(5)).then(|| self.prng.below(3) as i64);
                Command::SetAttr(SetAttr { at: self.place(), client_mtime_ms })
            }
            _ => self.part(),
        }
    }

    fn link(&mut self) -> Command {
        let hour_ms = 60 * 60 * 1000;
        let expires_ms = if self.prng.one_in(3) { self.stamp_ms + self.prng.below(48) * hour_ms } else { 0 };
        let settings = LinkSettings { expires_ms, no_download: self.prng.one_in(2), ..LinkSettings::default() };
        let link = self.prng.below(1 << 20);
        let link = self.naive.links.any_of(&self.naive.tree, link);
        let command = match self.prng.below(4) {
            0 => LinkCommand::Revoke { link },
            1 => LinkCommand::Modify { link, settings },
            _ if self.prng.one_in(8) => LinkCommand::Create { at: At::path(""), settings },
            _ => LinkCommand::Create { at: self.place(), settings },
        };
        Command::Link(Box::new(command))
    }

    /// One that a batch may have.
    fn part(&mut self) -> Command {
        let autorename = self.prng.one_in(3);
        match self.prng.below(6) {
            0 => Command::CommitFile(self.commit()),
            1 => Command::Mkdir(Mkdir { at: self.target(), autorename }),
            2 | 3 => {
                let parent_rev = self.prng.one_in(3).then(|| self.rev());
                Command::Delete(Delete { at: self.place(), parent_rev })
            }
            _ => Command::Move(Move { source: self.place(), target: self.target(), autorename }),
        }
    }

    fn commit(&mut self) -> CommitFile {
        let at = if self.prng.one_in(2) { self.place() } else { self.target() };
        let mode = match self.prng.below(3) {
            0 => PutMode::Add,
            1 => PutMode::Overwrite,
            _ => PutMode::Update(self.rev()),
        };
        // Mostly one block, sometimes none, sometimes so many that they go into a list.
        let count = *pick(&mut self.prng, &[0, 1, 1, 1, 1, 1, 2, 4, 5, 6]);
        let whole = |prng: &mut Prng| CONTENTS / 2 + prng.below(CONTENTS / 2);
        let mut contents: Vec<u64> = (1..count).map(|_| whole(&mut self.prng)).collect();
        if count > 0 {
            contents.push(self.prng.below(CONTENTS));
        }
        let mut size: u64 = contents.iter().map(|n| u64::from(bytes_of(*n))).sum();
        let blocks: Vec<BlockHash> = contents.into_iter().map(block_of).collect();
        let mut hash = content_hash(&blocks);
        match self.prng.below(40) {
            0 => size += 1,
            1 => hash[3] ^= 1,
            _ => {}
        }
        let label = if self.prng.one_in(2) { "Ada's conflicted copy" } else { "" }.to_owned();
        let client_mtime_ms = self.prng.one_in(2).then(|| self.prng.below(1000) as i64 - 500);
        let (autorename, strict) = (self.prng.one_in(3), self.prng.one_in(4));
        CommitFile {
            at,
            mode,
            autorename,
            strict,
            label,
            size,
            client_mtime_ms,
            content_hash: hash,
            blocks,
            attested: None,
        }
    }

    fn present(&mut self, commit: &CommitFile) -> Vec<PresentPart> {
        let mut present = Vec::new();
        for (hash, position) in commit.blocks.iter().zip(0..) {
            if self.prng.one_in(8) {
                continue;
            }
            let block = self.present_block((0..CONTENTS).find(|n| block_of(*n) == *hash).expect("it is one of them"));
            present.push(PresentPart { position, bytes: block.bytes, put_at_ms: block.put_at_ms });
        }
        present
    }

    fn present_block(&mut self, n: u64) -> PresentBlock {
        let age_ms = if self.prng.one_in(10) { 61 * 60 * 1000 } else { 0 };
        PresentBlock { hash: block_of(n), bytes: bytes_of(n), put_at_ms: self.stamp_ms - age_ms }
    }
}

/// Blocks that there are; the upper half of them is whole.
const CONTENTS: u64 = 12;

fn block_of(n: u64) -> BlockHash {
    BlockHash([n as u8 + 1; 32])
}

fn bytes_of(n: u64) -> u32 {
    if n < CONTENTS / 2 { n as u32 * 1000 + 7 } else { BLOCK_BYTES as u32 }
}

/// Outcomes that random commands come to.
const CODES: [u8; 21] = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 16, 17, 18, 19, 20, 21, 23, 24, 27, 30, 40];

fn run(seeds: std::ops::Range<u64>) {
    let (mut codes, mut answers) = (BTreeSet::new(), [0; 3]);
    for seed in seeds {
        let mut run = Run::new(seed);
        for step in 0..COMMANDS_PER_RUN {
            run.step(&format!("DIFFERENTIAL_SEED={seed}, step {step}"));
        }
        run.compare_revisions(&format!("DIFFERENTIAL_SEED={seed}, at the end"));
        run.read_on(&format!("DIFFERENTIAL_SEED={seed}, at the end"));
        codes.extend(run.codes);
        let counts = run.replica.answers.map_or([0; 3], |answers| answers.counts);
        answers.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [paths, namespaces, compared] = answers;
    assert!(paths > 100 && namespaces > 100 && compared > 1000, "answers by path: {answers:?}");
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), CODES, "every outcome that should occur has occurred");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[test]
fn the_machine_does_what_the_naive_one_does() {
    let first = number("DIFFERENTIAL_SEED", 0);
    run(first..first + 6);
}

/// Half of what `cargo xtask models` asks for; `DIFFERENTIAL_COMMANDS` asks for another number in all. Two tests, for two
/// cores.
fn half(which: u64) {
    let first = number("DIFFERENTIAL_SEED", 1000);
    let runs = number("DIFFERENTIAL_COMMANDS", 1_000_000).div_ceil(2 * COMMANDS_PER_RUN);
    run(first + which * runs..first + (which + 1) * runs);
}

#[test]
#[ignore = "takes minutes; cargo xtask models runs it"]
fn the_machine_does_what_the_naive_one_does_half_a_million_times() {
    half(0);
}

#[test]
#[ignore = "takes minutes; cargo xtask models runs it"]
fn the_machine_does_what_the_naive_one_does_another_half_a_million_times() {
    half(1);
}
