//! The collector against the real metadata machine and a model of the object store, over months of simulated time:
//! arbitrary delays between put, record, mark and sweep, two collectors, crashes, groups that do not answer.
//!
//! Judged: whatever a group knows is in `blocks/` or in `trash/` at every moment; what no group knows is gone in the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use base::record::EntryKind;
use base::{Acct, BlockHash, GroupId, LogIndex, Nsid, Prng, Sequence, SessionId, Term};
use blocks::gc::{Area, Collector, Job, Listed, Rules, Trashed};
use blocks::{GcConfig, store::hash_of};
use meta::*;
use sha2::{Digest, Sha256};

const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const BEGIN: u64 = 1_800_000_000_000;
const GROUPS: u32 = 3;
/// Namespaces with the group that has each; the group of a real cluster follows from the number.
const NAMESPACES: [(Nsid, GroupId); 4] =
    [(Nsid(11), GroupId(1)), (Nsid(12), GroupId(1)), (Nsid(21), GroupId(2)), (Nsid(22), GroupId(2))];
const OWNER: Acct = Acct(5);
/// Contents that are put again and again.
const CONTENTS: u64 = 24;
const PATHS: u64 = 5;

/// The metadata of all groups: the product's machine over its store in memory.
struct Metadata {
    store: MemoryStore,
    applier: Applier,
    applied: Applied,
    index: [u64; GROUPS as usize],
    sessions: [SessionId; GROUPS as usize],
    sequence: u64,
}

impl Metadata {
    fn new() -> Metadata {
        let mut metadata = Metadata {
            store: MemoryStore::new(),
            applier: Applier::new(),
            applied: Applied::default(),
            index: [0; GROUPS as usize],
            sessions: [SessionId(0); GROUPS as usize],
            sequence: 0,
        };
        for group in 0..GROUPS {
            let register = Command::Register { nonce: [9; 16] };
            let Outcome::Registered { session } = metadata.run(BEGIN, GroupId(group), Acct(0), Nsid(0), register)
            else {
                panic!("a nonce gets a session")
            };
            metadata.sessions[group as usize] = session;
        }
        for (nsid, group) in NAMESPACES {
            let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: OWNER, grant_bytes: 1 << 40 };
            assert_eq!(metadata.run(BEGIN, group, Acct(0), nsid, init), Outcome::Done);
        }
        metadata
    }

    fn run(&mut self, now_ms: u64, group: GroupId, acct: Acct, nsid: Nsid, command: Command) -> Outcome {
        self.sequence += 1;
        let session = self.sessions[group.0 as usize];
        let header = CommandHeader {
            session,
            // A session that was idle for an hour is gone; the system's own commands need none.
            sequence: Sequence(self.sequence),
            ack_below: Sequence(self.sequence),
            acct,
            nsid,
        };
        let header = if session.0 == 0 { CommandHeader::default() } else { header };
        let mut bytes = Vec::new();
        encode_command(&header, &command, &mut bytes);
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(now_ms).to_vec();
        let index = &mut self.index[group.0 as usize];
        *index += 1;
        let (index, kind) = (LogIndex(*index), EntryKind::Commands);
        let entry = EntryRef { index, term: Term(1), crc: index.0 as u32, kind, payload: &payload };
        self.applied.clear();
        self.applier.apply(&mut self.store, group, entry, &mut self.applied).expect("all rows are in memory");
        let outcome = Outcome::decode(self.applied.outcomes().next().expect("one command")).unwrap();
        if outcome == Outcome::SessionGone {
            let register = Command::Register { nonce: [9; 16] };
            self.sessions[group.0 as usize] = SessionId(0);
            let Outcome::Registered { session } = self.run(now_ms, group, Acct(0), Nsid(0), register) else {
                panic!("a nonce gets a session")
            };
            self.sessions[group.0 as usize] = session;
            return self.run(now_ms, group, acct, nsid, command);
        }
        outcome
    }

    fn ask(&self, group: GroupId, acct: Acct, nsid: Nsid, question: &Query) -> Answer {
        query(&self.store, group, acct, nsid, question, &mut Vec::new()).expect("all rows are in memory")
    }

    /// Every block that any group knows.
    fn known(&self) -> BTreeSet<BlockHash> {
        let mut known = BTreeSet::new();
        for group in (0..GROUPS).map(GroupId) {
            let mut place = BlockPlace::default();
            loop {
                let (first, last) = (BlockHash([0; 32]), BlockHash([0xff; 32]));
                let scan = BlockScan { group, first, last, place, limit: 0 };
                let Answer::Blocks(page) = self.ask(group, Acct(0), Nsid(0), &Query::BlockScan(scan)) else {
                    panic!("a scan is answered")
                };
                known.extend(page.names);
                match page.next {
                    Some(next) => place = next,
                    None => break,
                }
            }
        }
        known
    }

    fn knows(&self, hash: BlockHash) -> bool {
        let has = |(nsid, group)| self.ask(group, OWNER, nsid, &Query::HasBlocks(vec![hash]));
        NAMESPACES.into_iter().any(|namespace| has(namespace) == Answer::HasBlocks(vec![true]))
    }
}

/// The object store: names and times of the last write.
#[derive(Default)]
struct Objects {
    blocks: BTreeMap<BlockHash, u64>,
    trash: BTreeMap<Trashed, u64>,
}

impl Objects {
    fn has(&self, hash: BlockHash) -> bool {
        self.blocks.contains_key(&hash) || self.trash.keys().any(|trashed| trashed.hash == hash)
    }

    fn put(&mut self, hash: BlockHash, now_ms: u64) {
        self.blocks.entry(hash).or_insert(now_ms);
    }
}

/// What happens next, and to whom.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody begins to do something.
    Client,
    /// A block was seen or put at that time; now it is recorded.
    Record { namespace: usize, path: u64, content: u64, put_at_ms: u64 },
    /// The next call of an upload session.
    Append { namespace: usize, id: UploadId, blocks: u64, path: u64 },
    /// The call has put its block; now it is recorded.
    Appended { namespace: usize, id: UploadId, blocks: u64, path: u64, content: u64, put_at_ms: u64 },
    /// What leaders propose from time to time.
    Maintain,
    /// A collector asks for its next job.
    Ask(usize),
    /// A collector's job takes effect.
    Do(usize, u64, Job),
    /// The second step of a move of an object store without renames.
    Forget(usize, u64, BlockHash),
}

/// How often what goes wrong.
#[derive(Clone, Copy)]
struct Faults {
    collectors: usize,
    /// One of so many jobs of a collector ends in a crash.
    crash_one_in: u64,
    /// One of so many pages is not answered.
    unreadable_one_in: u64,
    /// One of so many jobs is held up, for up to two days.
    stall_one_in: u64,
    is_rename_atomic: bool,
    /// A page of a mark, and a move, take so long at most.
    page_ms_max: u64,
    move_ms_max: u64,
    /// Groups that a mark reads: all, but in a test of the test.
    groups: u32,
}

struct Crawler {
    collector: Collector,
    /// Jobs of an earlier life take effect no more, but for what was under way.
    life: u64,
    saved: (u64, BlockHash),
}

struct World {
    prng: Prng,
    now_ms: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, Event>,
    metadata: Metadata,
    objects: Objects,
    crawlers: Vec<Crawler>,
    rules: Rules,
    faults: Faults,
    is_busy: bool,
    /// What small files are made of, by name.
    contents: BTreeMap<BlockHash, u64>,
    /// The first loss, in words.
    loss: Option<String>,
    counts: BTreeMap<&'static str, u64>,
}

fn content_hash_of(hash: BlockHash) -> [u8; 32] {
    Sha256::digest(hash.0).into()
}

fn block_of(content: u64) -> BlockHash {
    hash_of(&content.to_le_bytes())
}

/// Whole blocks of sessions: names and lengths of their own.
fn whole_block_of(content: u64) -> BlockHash {
    hash_of(&(content | 1 << 32).to_le_bytes())
}

impl World {
    fn new(seed: u64, rules: Rules, faults: Faults) -> World {
        let mut world = World {
            prng: Prng::new(seed),
            now_ms: BEGIN,
            order: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            metadata: Metadata::new(),
            objects: Objects::default(),
            crawlers: Vec::new(),
            rules,
            faults,
            is_busy: true,
            contents: BTreeMap::new(),
            loss: None,
            counts: BTreeMap::new(),
        };
        for at in 0..faults.collectors {
            let saved = (0, BlockHash::default());
            let collector = Collector::new(rules, faults.groups, saved.0, saved.1, 0);
            world.crawlers.push(Crawler { collector, life: 0, saved });
            let wait = world.prng.below(3 * DAY);
            world.after(wait, Event::Ask(at));
        }
        world.after(0, Event::Client);
        world.after(HOUR, Event::Maintain);
        world
    }

    fn after(&mut self, wait_ms: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((self.now_ms + wait_ms, self.order)));
        self.what.insert(self.order, event);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn run(&mut self, days: u64) {
        let end = self.now_ms + days * DAY;
        while let Some(Reverse((at_ms, order))) = self.events.pop() {
            if at_ms > end || self.loss.is_some() {
                self.events.push(Reverse((at_ms, order)));
                break;
            }
            self.now_ms = at_ms;
            let event = self.what.remove(&order).expect("every event is kept by its order");
            self.handle(event);
        }
        self.now_ms = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Client if self.is_busy => {
                self.act();
                let wait = self.prng.below(6 * HOUR);
                self.after(wait, Event::Client);
            }
            Event::Client => {}
            Event::Record { namespace, path, content, put_at_ms } => self.record(namespace, path, content, put_at_ms),
            Event::Append { namespace, id, blocks, path } => {
                let content = self.prng.below(CONTENTS);
                self.objects.put(whole_block_of(content), self.now_ms);
                let (wait, put_at_ms) = (self.prng.below(58 * MINUTE), self.now_ms);
                self.after(wait, Event::Appended { namespace, id, blocks, path, content, put_at_ms });
            }
            Event::Appended { .. } => self.append(&event),
            Event::Maintain => {
                self.maintain();
                let wait = self.prng.below(3 * DAY);
                self.after(wait, Event::Maintain);
            }
            Event::Ask(at) => self.ask(at),
            Event::Do(at, life, job) => self.perform(at, life, job),
            Event::Forget(at, begun_ms, hash) => {
                if self.now_ms - begun_ms <= HOUR {
                    self.objects.blocks.remove(&hash);
                }
                self.judge(hash, "moved to the trash");
                self.crawlers[at].collector.handle_moved(Some(true));
                self.after(1, Event::Ask(at));
            }
        }
    }

    /// What clients do.
    fn act(&mut self) {
        let namespace = self.prng.below(NAMESPACES.len() as u64) as usize;
        let (path, content) = (self.prng.below(PATHS), self.prng.below(CONTENTS));
        let (nsid, group) = NAMESPACES[namespace];
        match self.prng.below(8) {
            0..=2 => {
                // Most are new, and forgotten one day; some are put again and again.
                let content = if self.prng.one_in(3) { content } else { CONTENTS + self.prng.below(1 << 20) };
                self.contents.insert(block_of(content), content);
                self.objects.put(block_of(content), self.now_ms);
                // A few are recorded too late, and refused.
                let (wait, put_at_ms) = (self.prng.below(70 * MINUTE), self.now_ms);
                self.after(wait, Event::Record { namespace, path, content, put_at_ms });
            }
            3..=4 => {
                let delete = Command::Delete(Delete { at: At::path(&format!("/{path}")), parent_rev: None });
                self.metadata.run(self.now_ms, group, OWNER, nsid, delete);
            }
            5 => {
                let nonce = self.prng.next_u64() | 1;
                let id = UploadId { nonce, issued_ms: self.now_ms, is_concurrent: false };
                self.after(0, Event::Append { namespace, id, blocks: 0, path });
            }
            // A copy into another namespace: the source attests the block as of now.
            6 => {
                if let Some(content) = self.content_at(namespace, path) {
                    let target = self.prng.below(NAMESPACES.len() as u64) as usize;
                    let (wait, put_at_ms) = (self.prng.below(58 * MINUTE), self.now_ms);
                    self.count("copies");
                    self.after(wait, Event::Record { namespace: target, path: path + 10, content, put_at_ms });
                }
            }
            // A read.
            _ => {
                let Some(content) = self.content_at(namespace, path) else { return };
                self.read(block_of(content));
            }
        }
    }

    /// A read finds the block in use, or brings it back from the trash.
    fn read(&mut self, hash: BlockHash) {
        self.judge(hash, "read");
        if !self.objects.blocks.contains_key(&hash) {
            self.count("reads from the trash");
            self.objects.put(hash, self.now_ms);
        }
    }

    /// The small file there.
    fn content_at(&self, namespace: usize, path: u64) -> Option<u64> {
        let (nsid, group) = NAMESPACES[namespace];
        let what = What::At(At::path(&format!("/{path}")));
        match self.metadata.ask(group, OWNER, nsid, &Query::Blocklist { what, first: 0 }) {
            Answer::Blocklist { blocks, .. } => blocks.first().and_then(|(hash, _)| self.contents.get(hash).copied()),
            _ => None,
        }
    }

    fn record(&mut self, namespace: usize, path: u64, content: u64, put_at_ms: u64) {
        let (nsid, group) = NAMESPACES[namespace];
        let hash = block_of(content);
        let commit = CommitFile {
            at: At::path(&format!("/{path}")),
            mode: PutMode::Overwrite,
            size: 8,
            content_hash: content_hash_of(hash),
            blocks: vec![hash],
            ..CommitFile::default()
        };
        let present = vec![PresentPart { position: 0, bytes: 8, put_at_ms }];
        let command = Command::StoreAndCommit(StoreAndCommit { commit, present });
        let outcome = self.metadata.run(self.now_ms, group, OWNER, nsid, command);
        self.count(if outcome.is_ok() { "puts" } else { "puts refused" });
        self.judge(hash, "recorded");
        if outcome.is_ok() && self.prng.one_in(8) {
            self.read(hash);
        }
    }

    fn append(&mut self, event: &Event) {
        let Event::Appended { namespace, id, blocks, path, content, put_at_ms } = *event else {
            panic!("only appends come here")
        };
        let (nsid, group) = NAMESPACES[namespace];
        let hash = whole_block_of(content);
        let block = PresentBlock { hash, bytes: 4 << 20, put_at_ms };
        let append =
            SessionAppend { id, offset: blocks << 22, blocks: vec![block], tail_bytes: 0, tail: 0, close: false };
        let outcome = self.metadata.run(self.now_ms, group, OWNER, nsid, Command::SessionAppend(append));
        self.judge(hash, "appended");
        if !outcome.is_ok() {
            return self.count("appends refused");
        }
        self.count("appends");
        // Some sessions go on for long, some are left open.
        if self.prng.below(4) > 0 {
            let wait = self.prng.below(4 * DAY);
            self.after(wait, Event::Append { namespace, id, blocks: blocks + 1, path });
        }
    }

    fn maintain(&mut self) {
        for (nsid, group) in NAMESPACES {
            let mut wants = Vec::new();
            let before_ms = self.now_ms - 30 * DAY;
            let floor = trim_floor(&self.metadata.store, group, nsid, before_ms, &mut wants).expect("in memory");
            for command in [
                Command::Sweep { limit: 0 },
                Command::JournalTrim { floor },
                Command::Purge { limit: 0 },
                Command::BlockSweep { limit: 0 },
            ] {
                while let Outcome::Swept { has_more: true, .. } =
                    self.metadata.run(self.now_ms, group, Acct(0), nsid, command.clone())
                {}
            }
        }
    }

    /// Nothing that a group knows may be missing.
    fn judge(&mut self, hash: BlockHash, when: &str) {
        if !self.objects.has(hash) && self.metadata.knows(hash) {
            let day = (self.now_ms - BEGIN) / DAY;
            self.loss.get_or_insert(format!("block {hash} was lost; seen on day {day}, when it was {when}"));
        }
    }

    fn ask(&mut self, at: usize) {
        let job = self.crawlers[at].collector.next(self.now_ms);
        let usual = match job {
            Job::List(..) => 2_000,
            Job::Mark(_) => self.faults.page_ms_max,
            _ => self.faults.move_ms_max,
        };
        let is_stalled = self.faults.stall_one_in > 0 && self.prng.one_in(self.faults.stall_one_in);
        let wait = match job {
            Job::Rest(until_ms) => until_ms - self.now_ms,
            _ => self.prng.below(if is_stalled { 2 * DAY } else { usual }),
        };
        let life = self.crawlers[at].life;
        self.after(wait, Event::Do(at, life, job));
    }

    fn perform(&mut self, at: usize, life: u64, job: Job) {
        assert_eq!(life, self.crawlers[at].life, "a collector has one job at a time");
        let now_ms = self.now_ms;
        if self.faults.crash_one_in > 0 && self.prng.one_in(self.faults.crash_one_in) {
            self.count("crashes");
            // What was asked for last may have been done or not, as much of it as a crash leaves.
            if let Job::Trash(hash, _) = job
                && self.prng.one_in(2)
                && self.objects.blocks.contains_key(&hash)
            {
                self.objects.trash.insert(Trashed { hash, at_ms: now_ms }, now_ms);
            }
            let crawler = &mut self.crawlers[at];
            crawler.life += 1;
            crawler.collector =
                Collector::new(self.rules, self.faults.groups, crawler.saved.0, crawler.saved.1, now_ms);
            let wait = self.prng.below(DAY);
            return self.after(wait, Event::Ask(at));
        }
        match job {
            Job::List(area, byte) => {
                let (mut first, mut last) = (BlockHash([0; 32]), BlockHash([0xff; 32]));
                (first.0[0], last.0[0]) = (byte, byte);
                let listed: Vec<Listed> = match area {
                    Area::Blocks => {
                        let blocks = self.objects.blocks.range(first..=last);
                        blocks.map(|(hash, since)| Listed { hash: *hash, since_ms: *since, trashed_ms: 0 }).collect()
                    }
                    Area::Trash => {
                        let trash = self
                            .objects
                            .trash
                            .range(Trashed { hash: first, at_ms: 0 }..=Trashed { hash: last, at_ms: u64::MAX });
                        let listed = |(trashed, since): (&Trashed, &u64)| Listed {
                            hash: trashed.hash,
                            since_ms: trashed.at_ms.max(*since),
                            trashed_ms: trashed.at_ms,
                        };
                        trash.map(listed).collect()
                    }
                };
                let collector = &mut self.crawlers[at].collector;
                listed.into_iter().for_each(|object| collector.handle_object(object));
                collector.handle_listed(true, now_ms);
            }
            Job::Mark(scan) => {
                let is_lost = self.faults.unreadable_one_in > 0 && self.prng.one_in(self.faults.unreadable_one_in);
                // Small pages, so that much happens between them.
                let scan = BlockScan { limit: 5, ..scan };
                let group = scan.group;
                if group.0 == 0 {
                    self.announce();
                }
                match self.metadata.ask(group, Acct(0), Nsid(0), &Query::BlockScan(scan)) {
                    _ if is_lost => self.crawlers[at].collector.handle_unreadable(),
                    Answer::Blocks(page) => self.crawlers[at].collector.handle_page(&page),
                    other => panic!("{other:?}"),
                }
            }
            Job::Trash(hash, unless_after_ms) => return self.trash(at, hash, unless_after_ms),
            Job::Delete(trashed) => {
                let is_gone = self.objects.trash.remove(&trashed).is_some();
                self.crawlers[at].collector.handle_moved(Some(is_gone));
                self.count("deletes");
                self.judge(trashed.hash, "deleted");
            }
            Job::Restore(trashed) => {
                self.count("restores");
                let is_there = self.objects.trash.contains_key(&trashed);
                if is_there {
                    self.objects.put(trashed.hash, now_ms);
                    self.objects.trash.remove(&trashed);
                }
                self.crawlers[at].collector.handle_moved(Some(is_there));
            }
            Job::Check(hash) => {
                let is_there = self.objects.has(hash);
                self.judge(hash, "looked for");
                self.crawlers[at].collector.handle_checked(Some(is_there));
            }
            Job::Tails(_) => self.crawlers[at].collector.handle_tails(0),
            Job::Save => {
                let crawler = &mut self.crawlers[at];
                crawler.saved = crawler.collector.place();
                crawler.collector.handle_saved(now_ms);
                if crawler.collector.is_between_cycles() {
                    self.count("cycles");
                }
            }
            Job::GiveUp(_) => self.count("passes given up"),
            Job::Rest(_) => {}
        }
        self.after(1, Event::Ask(at));
    }

    /// A block server has said, not long ago, that it is there.
    fn announce(&mut self) {
        let put = ServerPut { server: 1, role: ServerRole::Block, address: "b:1".to_owned() };
        let stamp_ms = self.now_ms - self.prng.below(MINUTE);
        let done = self.metadata.run(stamp_ms, GroupId(0), Acct(0), Nsid(0), Command::ServerPut(put));
        assert_eq!(done, Outcome::Done);
    }

    fn trash(&mut self, at: usize, hash: BlockHash, unless_after_ms: u64) {
        let now_ms = self.now_ms;
        let is_old = self.objects.blocks.get(&hash).is_some_and(|since| *since <= unless_after_ms);
        if !is_old {
            self.crawlers[at].collector.handle_moved(Some(false));
            return self.after(1, Event::Ask(at));
        }
        self.count("moves to the trash");
        // The worst moment for somebody to have found the block there, and to record it as late as he may.
        if let Some(content) = self.contents.get(&hash).copied()
            && self.is_busy
            && self.prng.one_in(4)
        {
            let (namespace, path) = (self.prng.below(NAMESPACES.len() as u64) as usize, self.prng.below(PATHS));
            let wait = self.prng.below(59 * MINUTE);
            self.after(wait, Event::Record { namespace, path, content, put_at_ms: now_ms });
        }
        self.objects.trash.insert(Trashed { hash, at_ms: now_ms }, now_ms);
        if self.faults.is_rename_atomic {
            self.objects.blocks.remove(&hash);
            self.crawlers[at].collector.handle_moved(Some(true));
            return self.after(1, Event::Ask(at));
        }
        let wait = self.prng.below(2 * HOUR);
        self.after(wait, Event::Forget(at, now_ms, hash));
    }
}

fn rules() -> Rules {
    // Few names a pass, so that a cycle has many.
    Rules { names_max: 9, rest_ms: 3 * DAY, ..GcConfig::default().rules() }
}

fn faults(seed: u64) -> Faults {
    Faults {
        collectors: 1 + (seed % 2) as usize,
        crash_one_in: [0, 200, 2000][(seed / 2 % 3) as usize],
        unreadable_one_in: [0, 60][(seed / 6 % 2) as usize],
        stall_one_in: [0, 25][(seed / 12 % 2) as usize],
        is_rename_atomic: (seed / 24).is_multiple_of(2),
        page_ms_max: [6 * HOUR, 2 * MINUTE][(seed / 3 % 2) as usize],
        move_ms_max: [HOUR, MINUTE][(seed / 4 % 2) as usize],
        groups: GROUPS,
    }
}

/// Months of work, then months of rest: nothing known is ever lost, nothing unknown stays.
fn live(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed, rules(), faults(seed));
    world.run(150);
    assert_eq!(world.loss, None, "seed {seed}");
    for hash in world.metadata.known() {
        assert!(world.objects.has(hash), "seed {seed}: {hash} is known and not there");
    }
    world.is_busy = false;
    // Half of what is left is forgotten, and must be gone once its journal, its rows and its objects had their time.
    for (nsid, group) in &NAMESPACES[..2] {
        for path in 0..2 * PATHS + 10 {
            let delete = Command::Delete(Delete { at: At::path(&format!("/{path}")), parent_rev: None });
            world.metadata.run(world.now_ms, *group, OWNER, *nsid, delete);
        }
    }
    world.faults = Faults { crash_one_in: 0, unreadable_one_in: 0, stall_one_in: 0, ..world.faults };
    world.run(100);
    assert_eq!(world.loss, None, "seed {seed}");
    let known = world.metadata.known();
    assert!(!known.is_empty(), "seed {seed}: some files are left");
    let blocks: BTreeSet<BlockHash> = world.objects.blocks.keys().copied().collect();
    assert_eq!(blocks, known, "seed {seed}: what is known is in use, and nothing else is");
    assert!(world.objects.trash.is_empty(), "seed {seed}: {:?}", world.objects.trash);
    world.counts
}

#[test]
fn what_is_known_never_goes_and_what_is_not_goes() {
    let seeds: u64 = std::env::var("GC_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds {
        live(seed).into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    println!("{counts:?}");
    for what in [
        "appends",
        "copies",
        "crashes",
        "cycles",
        "deletes",
        "moves to the trash",
        "passes given up",
        "puts",
        "puts refused",
        "reads from the trash",
        "restores",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "no {what} in {seeds} seeds: {counts:?}");
    }
}

/// The first loss that one of a few seeds shows.
fn first_loss(rules: Rules, faults: Faults) -> Option<String> {
    (0..12).find_map(|seed| {
        let mut world = World::new(seed, rules, faults);
        world.run(60);
        world.loss
    })
}

/// The model sees a loss where there is one: both of these collectors take what is in use.
#[test]
fn collectors_that_do_not_wait_or_do_not_ask_everybody_are_caught() {
    let quick = Faults { page_ms_max: MINUTE, move_ms_max: 10_000, is_rename_atomic: true, ..faults(0) };
    let one_pass = Rules { names_max: 1000, ..rules() };
    let loss = first_loss(Rules { trash_ms: 0, rest_ms: 20 * MINUTE, ..one_pass }, quick);
    assert!(loss.is_some(), "a collector that does not wait in the trash");
    let loss = first_loss(one_pass, Faults { groups: GROUPS - 1, ..quick });
    assert!(loss.is_some(), "a collector that leaves a group out");
}
