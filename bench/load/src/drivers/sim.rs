//! A target in virtual time, for tests of the tool itself: c servers with a fixed service time before one queue (M/D/c
//! when arrivals are poisson), with scripted stalls, errors, theft of the generator's own time, and lies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use base::{Mono, Prng, Span};

use crate::content::Contents;
use crate::driver::{Answer, Done, Driver, Failure, Inspection, Inspector, Listed, OpToken, Refusal, Submit};
use crate::judge::first_8;
use crate::op::{Op, OpKind, Writer};
use crate::source::Source;

/// A lie that a target may tell, at every n-th chance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// A put is acknowledged and never done.
    LostAck,
    /// A read tells the version before.
    StaleRead,
    /// A put is done twice.
    DoubledWrite,
    /// A batch is done in part and acknowledged as a whole.
    TornBatch,
}

/// How the target behaves.
#[derive(Clone, Debug)]
pub struct SimSettings {
    /// Servers; 0 is as many as there are operations.
    pub servers: usize,
    /// How long each operation takes.
    pub service: Span,
    /// From when, for how long, nothing is done.
    pub stalls: Vec<(Mono, Span)>,
    /// From when, for how long, the generator does not run.
    pub thefts: Vec<(Mono, Span)>,
    /// Every n-th operation fails, and may have been done; 0 is none.
    pub fails_every: u64,
    /// Answers may overtake each other by up to this.
    pub jitter: Span,
    /// A lie, and at which of its chances it is told.
    pub lie: Option<(Lie, u64)>,
    /// Operations that it takes at once.
    pub room: usize,
    /// Of contents.
    pub seed: u64,
}

impl Default for SimSettings {
    fn default() -> SimSettings {
        SimSettings {
            servers: 0,
            service: Span(0),
            stalls: Vec::new(),
            thefts: Vec::new(),
            fails_every: 0,
            jitter: Span(0),
            lie: None,
            room: usize::MAX,
            seed: 1,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Version {
    rev: u64,
    size: u64,
    content: u64,
}

#[derive(Default)]
struct Namespace {
    head: u64,
    files: BTreeMap<String, VecDeque<Version>>,
}

/// The target, and the time that passes in it.
pub struct SimDriver {
    settings: SimSettings,
    contents: Contents,
    now: Mono,
    /// When each server is free.
    servers: BinaryHeap<Reverse<Mono>>,
    pending: BinaryHeap<Reverse<(Mono, u64)>>,
    answers: BTreeMap<u64, Done>,
    count: u64,
    chances: u64,
    thefts: VecDeque<(Mono, Span)>,
    namespaces: Vec<Namespace>,
    prng: Prng,
}

impl SimDriver {
    /// A target that holds the population of `source`, at time `now`.
    #[must_use]
    pub fn new(settings: SimSettings, source: &Source, namespaces: u32, now: Mono) -> SimDriver {
        let contents = Contents::new(settings.seed);
        let mut path = String::new();
        let of = |namespace: u32| {
            let tree = source.tree(namespace);
            let mut made = Namespace::default();
            for id in tree.live() {
                let file = tree.file(id);
                tree.path(file.place, &mut path);
                made.head += 1;
                let (writer, size) = file.told.content.expect("a file of a population has its content");
                made.put(&path, version(contents, made.head, writer, size));
            }
            made
        };
        SimDriver {
            servers: (0..settings.servers).map(|_| Reverse(now)).collect(),
            thefts: settings.thefts.iter().copied().collect(),
            contents,
            settings,
            now,
            pending: BinaryHeap::new(),
            answers: BTreeMap::new(),
            count: 0,
            chances: 0,
            namespaces: (0..namespaces).map(of).collect(),
            prng: Prng::new(77),
        }
    }

    /// When an operation that comes now is done: the earliest free server takes it, and stalls stretch it.
    fn finish(&mut self) -> Mono {
        let free = self.servers.pop().map_or(self.now, |Reverse(free)| free);
        let mut begin = free.max(self.now);
        let mut left = self.settings.service;
        for (at, length) in &self.settings.stalls {
            let end = *at + *length;
            if end <= begin {
                continue;
            }
            if begin + left < *at || (begin + left == *at && left > Span(0)) {
                break;
            }
            left = Span(left.0 - at.since(begin).0.min(left.0));
            begin = end;
        }
        let done = begin + left;
        if self.settings.servers > 0 {
            self.servers.push(Reverse(done));
        }
        done + Span(if self.settings.jitter.0 > 0 { self.prng.below(self.settings.jitter.0) } else { 0 })
    }

    /// True at the chance at which this lie is told.
    fn lies(&mut self, lie: Lie) -> bool {
        match self.settings.lie {
            Some((told, every)) if told == lie => {
                self.chances += 1;
                self.chances.is_multiple_of(every)
            }
            _ => false,
        }
    }

    fn execute(&mut self, op: &Op) -> Answer {
        if self.settings.fails_every > 0 && self.count.is_multiple_of(self.settings.fails_every) {
            // Every other one of those is done all the same.
            if (self.count / self.settings.fails_every).is_multiple_of(2) {
                self.apply(op);
            }
            return Answer::Failed(Failure::Unknown);
        }
        self.apply(op)
    }

    fn apply(&mut self, op: &Op) -> Answer {
        let is_lost = op.kind == OpKind::Put && self.lies(Lie::LostAck);
        let is_doubled = op.kind == OpKind::Put && self.lies(Lie::DoubledWrite);
        let is_stale = op.kind == OpKind::Stat && self.lies(Lie::StaleRead);
        let is_torn = op.kind == OpKind::PutBatch && self.lies(Lie::TornBatch);
        let contents = self.contents;
        let space = &mut self.namespaces[op.namespace as usize];
        match op.kind {
            OpKind::Put => {
                space.head += 1;
                let rev = space.head;
                if !is_lost {
                    space.put(&op.path, version(contents, rev, op.writer, op.size));
                }
                if is_doubled {
                    space.head += 1;
                    space.put(&op.path, version(contents, space.head, op.writer, op.size));
                }
                Answer::Applied { jid: rev, rev }
            }
            OpKind::PutBatch => {
                let first = space.head + 1;
                let parts = if is_torn { op.count / 2 } else { op.count };
                for name in op.target.split('/').skip(1).take(parts as usize) {
                    space.head += 1;
                    space.put(&format!("{}/{name}", op.path), version(contents, space.head, op.writer, 0));
                }
                let jid = first + u64::from(op.count) - 1;
                space.head = space.head.max(jid);
                Answer::Applied { jid, rev: first }
            }
            OpKind::Mkdir | OpKind::Null => space.row(0),
            OpKind::MoveFolder => space.move_folder(&op.path, &op.target),
            OpKind::Move => match space.files.remove(&op.path) {
                Some(versions) => {
                    space.head += 1;
                    let moved = Version { rev: space.head, ..*versions.back().expect("a file has a version") };
                    space.put(&op.target, moved);
                    Answer::Applied { jid: space.head, rev: space.head }
                }
                None => Answer::Refused(Refusal::NotFound),
            },
            OpKind::Delete => match space.files.remove(&op.path) {
                Some(_) => space.row(0),
                None => Answer::Refused(Refusal::NotFound),
            },
            OpKind::Attr => match space.files.get(&op.path).and_then(|versions| versions.back()).copied() {
                Some(version) => space.row(version.rev),
                None => Answer::Refused(Refusal::NotFound),
            },
            OpKind::Stat | OpKind::Blocklist => match space.files.get(&op.path) {
                Some(versions) => {
                    let last = versions.back().expect("a file has a version");
                    let Version { rev, size, content } = if is_stale { versions[0] } else { *last };
                    // Without an older version the lie is another revision number.
                    let rev = if is_stale && versions.len() == 1 { rev.saturating_sub(1) } else { rev };
                    Answer::File { rev, size, content }
                }
                None => Answer::Refused(Refusal::NotFound),
            },
            OpKind::List => Answer::Page { entries: 0, head: space.head },
            OpKind::Delta => Answer::Changes { entries: 0, head: space.head },
            OpKind::Head => Answer::Head(space.head),
            OpKind::HasBlocks => Answer::Known(1),
        }
    }

    fn deliver(&mut self, done: &mut Vec<Done>) {
        while let Some(Reverse((at, number))) = self.pending.peek().copied()
            && at <= self.now
        {
            self.pending.pop();
            done.extend(self.answers.remove(&number));
        }
    }

    fn pass(&mut self, until: Mono) -> Span {
        if let Some((at, length)) = self.thefts.front().copied()
            && at <= until
        {
            self.thefts.pop_front();
            let idle = at.since(self.now);
            self.now = (at + length).max(self.now);
            return idle;
        }
        let idle = until.since(self.now);
        self.now = self.now.max(until);
        idle
    }
}

fn version(contents: Contents, rev: u64, writer: Writer, size: u64) -> Version {
    Version { rev, size, content: first_8(&contents.hash(writer, size)) }
}

impl Namespace {
    /// Two versions are kept, the newest last.
    fn put(&mut self, path: &str, version: Version) {
        let versions = match self.files.get_mut(path) {
            Some(versions) => versions,
            None => self.files.entry(path.to_owned()).or_default(),
        };
        versions.push_back(version);
        if versions.len() > 2 {
            versions.pop_front();
        }
    }

    fn row(&mut self, rev: u64) -> Answer {
        self.head += 1;
        Answer::Applied { jid: self.head, rev }
    }

    fn move_folder(&mut self, source: &str, target: &str) -> Answer {
        let inside = format!("{source}/");
        let moved: Vec<String> = self.files.range(inside.clone()..).map(|(path, _)| path.clone()).collect();
        for path in moved.iter().take_while(|path| path.starts_with(&inside)) {
            let versions = self.files.remove(path).expect("it was just found");
            self.files.insert(format!("{target}/{}", &path[inside.len()..]), versions);
        }
        self.row(0)
    }
}

impl Driver for SimDriver {
    fn now(&mut self) -> Mono {
        self.now
    }

    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
        if self.pending.len() >= self.settings.room {
            return Submit::Full;
        }
        self.count += 1;
        let answer = self.execute(op);
        let replied = self.finish();
        self.pending.push(Reverse((replied, self.count)));
        self.answers.insert(self.count, Done { token, sent: now, replied, answer });
        Submit::Queued
    }

    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span {
        let next = self.pending.peek().map_or(Mono::MAX, |Reverse((at, _))| *at);
        let until = until.min(next);
        let idle = if until == Mono::MAX { Span(0) } else { self.pass(until) };
        self.deliver(done);
        idle
    }

    fn burst_max(&self) -> usize {
        usize::MAX
    }
}

impl Inspector for SimDriver {
    type Error = std::convert::Infallible;

    fn inspect(&mut self, namespace: u32) -> Result<Inspection, Self::Error> {
        let space = &self.namespaces[namespace as usize];
        let files = space.files.iter().map(|(path, versions)| {
            let Version { rev, size, content } = *versions.back().expect("a file has a version");
            Listed { path: path.clone(), rev, size, content }
        });
        let files: Vec<Listed> = files.collect();
        Ok(Inspection { head: space.head, bytes: files.iter().map(|file| file.size).sum(), files })
    }
}
