//! Checks after the run: every acknowledged write is where it must be, once, and nothing else is.
//!
//! The stream is walked once more from the seed, so nothing of an operation had to be kept but where it was
//! acknowledged. The writes of a namespace, put into the order of its journal, make the listing that it must have.
//! A write whose outcome is not known may be in it or not, once at most.

mod counts;

use std::collections::{BTreeMap, HashMap, HashSet};

use base::Mono;

use crate::content::Contents;
use crate::driver::{Inspection, Inspector};
use crate::generator::Ack;
use crate::judge::{ViolationKind, first_8};
use crate::op::{FileId, Op, OpKind, Writer};
use crate::source::{Source, StreamSettings};
use crate::tree::{Place, TOP, Tree};

pub use counts::check_counts;

/// Violations told in words; more are only counted.
const TOLD_MAX: usize = 100;

/// A violation, in words that lead to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What it is.
    pub kind: ViolationKind,
    /// The namespace, from 0.
    pub namespace: u32,
    /// Where and what.
    pub detail: String,
}

/// What the checks found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checks {
    /// Acknowledged writes that were checked.
    pub acks: u64,
    /// Writes of unknown outcome that were settled.
    pub in_doubt: u64,
    /// Of the first: not there.
    pub lost: u64,
    /// Done more than once.
    pub doubled: u64,
    /// Namespaces checked.
    pub namespaces: u64,
    /// Files compared.
    pub files: u64,
    /// All violations.
    pub violations_in_all: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
}

impl Checks {
    fn add(&mut self, kind: ViolationKind, namespace: u32, detail: String) {
        self.violations_in_all += 1;
        self.lost += u64::from(kind == ViolationKind::LostAck);
        self.doubled += u64::from(kind == ViolationKind::DoubledWrite);
        if self.violations.len() < TOLD_MAX {
            self.violations.push(Violation { kind, namespace, detail });
        }
    }
}

/// What a write does, by place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Put { place: Place, writer: Writer, size: u64 },
    Move { source: Place, target: Place },
    Delete { place: Place },
    Rename { name: u64 },
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Write {
    index: u64,
    jid: u64,
    rows: u32,
    in_doubt: bool,
    effect: Effect,
}

/// What should be at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Expected {
    /// 0: not known, it is the population's.
    rev: u64,
    writer: Writer,
    size: u64,
    index: u64,
}

/// Checks all namespaces. `operations` is how many of the schedule were passed; `heads` the journals' heads before the
/// first operation; `acks` of all cores.
///
/// Errors: the inspector's; the check is then not done.
pub fn check<I: Inspector>(
    settings: &StreamSettings,
    operations: u64,
    heads: &[u64],
    acks: &[Ack],
    inspector: &mut I,
) -> Result<Checks, I::Error> {
    let mut by_index: HashMap<u64, Ack> = HashMap::with_capacity(acks.len());
    by_index.extend(acks.iter().map(|ack| (ack.index, *ack)));
    let namespaces = settings.mix.population.namespaces;
    let mut source = Source::new(settings, Mono(0), (0, 1));
    let mut expected: Vec<Replay> = (0..namespaces).map(|namespace| Replay::of(source.tree(namespace))).collect();
    walk(&mut source, operations, &by_index, &mut expected);
    let contents = Contents::new(settings.seed);
    let mut checks = Checks::default();
    for (namespace, replay) in (0..namespaces).zip(&mut expected) {
        let inspection = inspector.inspect(namespace)?;
        let context =
            Context { namespace, contents, tree: source.tree(namespace), base_head: heads[namespace as usize] };
        replay.check(&context, &inspection, &mut checks);
    }
    Ok(checks)
}

/// Walks the stream once more and notes what each write that was acknowledged, or may have been done, does.
fn walk(source: &mut Source, operations: u64, acks: &HashMap<u64, Ack>, expected: &mut [Replay]) {
    let mut op = Op::default();
    let mut before: Option<Place> = None;
    while source.index() < operations {
        // A move's and a delete's source is where the file was before this operation is resolved.
        source.next_with(&mut op, |tree, file| before = Some(tree.file(file).place));
        if !op.kind.is_write() {
            continue;
        }
        let Some(ack) = acks.get(&op.index) else { continue };
        let place = |tree: &Tree, file: FileId| tree.file(file).place;
        let tree = source.tree(op.namespace);
        let mut add = |effect, jid, rows| {
            let write = Write { index: op.index, jid, rows, in_doubt: ack.in_doubt, effect };
            expected[op.namespace as usize].writes.push(write);
        };
        let was = before.take();
        match op.kind {
            OpKind::Put => {
                let place = place(tree, op.file);
                add(Effect::Put { place, writer: op.writer, size: op.size }, ack.jid, 1);
            }
            OpKind::PutBatch => {
                for part in 0..op.count {
                    let place = place(tree, FileId(op.file.0 + part));
                    let jid = if ack.in_doubt { 0 } else { ack.jid + 1 + u64::from(part) - u64::from(op.count) };
                    add(Effect::Put { place, writer: op.writer, size: 0 }, jid, 1);
                }
            }
            OpKind::Move => {
                let source = was.expect("a move names a file");
                add(Effect::Move { source, target: place(tree, op.file) }, ack.jid, 1);
            }
            OpKind::Delete => add(Effect::Delete { place: was.expect("a delete names a file") }, ack.jid, 1),
            OpKind::MoveFolder => add(Effect::Rename { name: tree.folder(TOP).name }, ack.jid, 1),
            _ => add(Effect::Nothing, ack.jid, 1),
        }
    }
}

struct Context<'a> {
    namespace: u32,
    contents: Contents,
    tree: &'a Tree,
    base_head: u64,
}

#[derive(Default)]
struct Replay {
    files: BTreeMap<Place, Expected>,
    top: u64,
    writes: Vec<Write>,
}

impl Replay {
    /// The population.
    fn of(tree: &Tree) -> Replay {
        let expect = |id: FileId| {
            let file = tree.file(id);
            let (writer, size) = file.told.content.expect("a file of a population has its content");
            (file.place, Expected { rev: 0, writer, size, index: u64::MAX })
        };
        Replay { files: tree.live().map(expect).collect(), top: tree.folder(TOP).name, writes: Vec::new() }
    }

    fn check(&mut self, context: &Context<'_>, inspection: &Inspection, checks: &mut Checks) {
        checks.namespaces += 1;
        self.check_rows(context, inspection, checks);
        self.writes.sort_by_key(|write| (write.in_doubt, write.jid));
        let mut doubtful = self.doubtful();
        let writes = std::mem::take(&mut self.writes);
        writes.iter().filter(|write| !write.in_doubt).for_each(|write| self.apply(write, &mut doubtful));
        self.writes = writes;
        self.compare(context, inspection, &doubtful, checks);
    }

    /// Every acknowledged row is in the journal, no two are one, and no row is left that nobody can have written.
    fn check_rows(&self, context: &Context<'_>, inspection: &Inspection, checks: &mut Checks) {
        let mut rows: HashMap<u64, u64> = HashMap::with_capacity(self.writes.len());
        let (mut acked, mut doubtful) = (0, 0);
        for write in &self.writes {
            if write.in_doubt {
                doubtful += u64::from(write.rows);
                continue;
            }
            acked += u64::from(write.rows);
            let Write { jid, index, .. } = *write;
            if jid <= context.base_head || jid > inspection.head {
                let detail = format!("operation {index} was acknowledged as row {jid} of {}", inspection.head);
                checks.add(ViolationKind::LostAck, context.namespace, detail);
            }
            if let Some(other) = rows.insert(jid, index) {
                let detail = format!("operations {other} and {index} were both acknowledged as row {jid}");
                checks.add(ViolationKind::JidTwice, context.namespace, detail);
            }
        }
        checks.acks += acked;
        checks.in_doubt += doubtful;
        let written = inspection.head.saturating_sub(context.base_head);
        if written > acked + doubtful {
            let extra = written - acked - doubtful;
            let detail =
                format!("{written} rows were written by {acked} writes and {doubtful} in doubt: {extra} twice");
            checks.add(ViolationKind::DoubledWrite, context.namespace, detail);
        }
    }

    /// Places of which a write in doubt leaves open what is there.
    fn doubtful(&self) -> HashSet<Place> {
        let places = self.writes.iter().filter(|write| write.in_doubt).flat_map(|write| match write.effect {
            Effect::Put { place, .. } | Effect::Delete { place } => [Some(place), None],
            Effect::Move { source, target } => [Some(source), Some(target)],
            Effect::Rename { .. } | Effect::Nothing => [None, None],
        });
        places.flatten().collect()
    }

    /// Does a write in the order of the journal. What is moved from a place in doubt is in doubt where it goes.
    fn apply(&mut self, write: &Write, doubtful: &mut HashSet<Place>) {
        match write.effect {
            Effect::Put { place, writer, size } => {
                self.files.insert(place, Expected { rev: write.jid, writer, size, index: write.index });
            }
            Effect::Move { source, target } => {
                match self.files.remove(&source) {
                    Some(file) => {
                        self.files.insert(target, Expected { rev: write.jid, index: write.index, ..file });
                        if doubtful.contains(&source) {
                            doubtful.insert(target);
                        }
                    }
                    // It moved what a write in doubt had made.
                    None => {
                        doubtful.insert(target);
                    }
                }
            }
            Effect::Delete { place } => drop(self.files.remove(&place)),
            Effect::Rename { name } => self.top = name,
            Effect::Nothing => {}
        }
    }

    fn compare(&self, context: &Context<'_>, inspection: &Inspection, doubtful: &HashSet<Place>, checks: &mut Checks) {
        let is_top_open = self.writes_rename_in_doubt();
        let mut tree = context.tree.clone();
        tree.rename_top(self.top);
        let mut path = String::new();
        let mut places: HashMap<String, Place> = HashMap::with_capacity(self.files.len());
        for place in self.files.keys().chain(doubtful) {
            tree.path(*place, &mut path);
            places.insert(path.clone(), *place);
        }
        let mut seen: HashSet<Place> = HashSet::with_capacity(inspection.files.len());
        for listed in &inspection.files {
            checks.files += 1;
            let place = places.get(&listed.path).copied();
            let expected = place.and_then(|place| self.files.get(&place));
            seen.extend(place);
            if is_top_open || place.is_some_and(|place| doubtful.contains(&place)) {
                continue;
            }
            let Some(expected) = expected else {
                let detail = format!("{:?} is there, revision {}, and nobody put it", listed.path, listed.rev);
                checks.add(ViolationKind::WrongListing, context.namespace, detail);
                continue;
            };
            let content = first_8(&context.contents.hash(expected.writer, expected.size));
            let is_right = listed.size == expected.size && listed.content == content;
            if expected.rev > 0 && listed.rev < expected.rev {
                let (path, rev, seen, index) = (&listed.path, expected.rev, listed.rev, expected.index);
                let detail = format!("{path:?} is at revision {seen}; operation {index} was acknowledged as {rev}");
                checks.add(ViolationKind::LostAck, context.namespace, detail);
            } else if !is_right || expected.rev > 0 && listed.rev != expected.rev {
                let detail = format!("{:?} is {listed:?}, not {expected:?}", listed.path);
                checks.add(ViolationKind::WrongListing, context.namespace, detail);
            }
        }
        for (place, expected) in &self.files {
            if !seen.contains(place) && !doubtful.contains(place) && !is_top_open {
                tree.path(*place, &mut path);
                let Expected { rev, index, .. } = expected;
                let detail = format!("{path:?} is gone; operation {index} was acknowledged as revision {rev}");
                checks.add(ViolationKind::LostAck, context.namespace, detail);
            }
        }
        let listed: u64 = inspection.files.iter().map(|file| file.size).sum();
        if listed != inspection.bytes {
            let detail = format!("the files have {listed} bytes, the quota counts {}", inspection.bytes);
            checks.add(ViolationKind::WrongListing, context.namespace, detail);
        }
    }

    fn writes_rename_in_doubt(&self) -> bool {
        self.writes.iter().any(|write| write.in_doubt && matches!(write.effect, Effect::Rename { .. }))
    }
}
