//! The stream of operations: operation `i` from the seed alone, resolved against the model of its namespace.
//!
//! Every generator core walks the whole schedule and keeps the operations of the namespaces it owns, so that one core
//! sees all operations of a namespace in order, and the stream is the same on any number of cores.

use std::sync::Arc;

use base::{Mono, Prng, Span};

use crate::arrivals::{Arrival, Arrivals};
use crate::mix::Mix;
use crate::op::{FileId, Op, OpKind, Writer};
use crate::stream::{Draws, Stream, StreamHash};
use crate::trace::{Choice, Trace};
use crate::tree::{Place, TOP, Tree, put_name};

/// What makes a stream.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// The mix.
    pub mix: Arc<Mix>,
    /// The seed.
    pub seed: u64,
    /// When operations are due.
    pub arrival: Arrival,
    /// Operations per second.
    pub rate: f64,
    /// Of the whole run, for arrivals that change over it.
    pub duration: Span,
}

/// The part of the stream that one generator core owns.
pub struct Source {
    mix: Arc<Mix>,
    start: Mono,
    core: u32,
    cores: u32,
    index: u64,
    trees: Vec<Tree>,
    maker: Maker,
    /// What the last operation was.
    choice: Choice,
    hash: StreamHash,
}

/// Where operations come from.
enum Maker {
    Drawn {
        arrivals: Arrivals,
        draws: OpDraws,
    },
    /// `left` of them are this core's and have not come yet.
    Traced {
        trace: Arc<Trace>,
        speed: f64,
        left: u64,
    },
}

#[derive(Clone, Copy)]
struct OpDraws {
    op: Draws,
    namespace: Draws,
    path: Draws,
    size: Draws,
}

impl Source {
    /// The part of `core` of `cores` of the stream whose schedule begins at `start`.
    #[must_use]
    pub fn new(settings: &StreamSettings, start: Mono, (core, cores): (u32, u32)) -> Source {
        assert!(core < cores, "cores are numbered from 0");
        let StreamSettings { mix, seed, arrival, rate, duration } = settings;
        let population = Draws::new(*seed, Stream::Population);
        let is_owned = |namespace: u32| namespace % cores == core;
        let tree = |namespace: u32| match &mix.recorded {
            Some(trace) => Tree::of_space(&trace.spaces[namespace as usize], namespace),
            None => Tree::populate(&mix.population, population, namespace),
        };
        let namespaces = 0..mix.population.namespaces;
        let trees = namespaces.map(|at| if is_owned(at) { tree(at) } else { Tree::default() });
        let maker = match &mix.recorded {
            Some(trace) => Maker::Traced {
                trace: trace.clone(),
                speed: if let Arrival::Trace { speed } = arrival { *speed } else { 1.0 },
                left: trace.ops.iter().filter(|op| is_owned(op.namespace)).count() as u64,
            },
            None => Maker::Drawn {
                arrivals: Arrivals::new(*arrival, *rate, *duration, *seed),
                draws: OpDraws {
                    op: Draws::new(*seed, Stream::Op),
                    namespace: Draws::new(*seed, Stream::Namespace),
                    path: Draws::new(*seed, Stream::Path),
                    size: Draws::new(*seed, Stream::Size),
                },
            },
        };
        Source {
            trees: trees.collect(),
            mix: mix.clone(),
            start,
            core,
            cores,
            index: 0,
            maker,
            choice: Choice::of(OpKind::Head),
            hash: StreamHash::default(),
        }
    }

    /// Overwrites `op` with the next operation of this core; where there is none any more it gets one that is never due.
    pub fn next(&mut self, op: &mut Op) {
        self.next_with(op, |_, _| {});
    }

    /// The same; `look` sees the model and the file that was picked before the operation changes it.
    pub fn next_with(&mut self, op: &mut Op, mut look: impl FnMut(&Tree, FileId)) {
        if self.is_over() {
            (op.index, op.intended) = (u64::MAX, Mono::MAX);
            return;
        }
        loop {
            let index = self.index;
            self.index += 1;
            let (after, namespace) = self.due(index);
            if namespace % self.cores != self.core {
                continue;
            }
            (op.index, op.intended, op.namespace) = (index, self.start + after, namespace);
            self.choice = match &mut self.maker {
                Maker::Drawn { draws, .. } => draw(&self.mix, *draws, index, &self.trees[namespace as usize]),
                Maker::Traced { trace, left, .. } => {
                    *left -= 1;
                    trace.ops[index as usize].choice
                }
            };
            self.resolve(op, &mut look);
            return;
        }
    }

    /// When operation `index` is due, after the start, and in which namespace.
    fn due(&mut self, index: u64) -> (Span, u32) {
        match &mut self.maker {
            Maker::Drawn { arrivals, draws } => {
                let count = u64::from(self.mix.population.namespaces);
                let namespace = self.mix.draw.namespace.draw(index, draws.namespace.bits(index), count);
                (Span(arrivals.next_ns()), namespace as u32)
            }
            Maker::Traced { trace, speed, .. } => {
                let op = &trace.ops[index as usize];
                (Span((op.at_us as f64 * 1e3 / *speed) as u64), op.namespace)
            }
        }
    }

    /// Nothing follows. A core that owns no namespace has nothing to do, ever; a stream that is drawn has no end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.maker {
            Maker::Drawn { .. } => self.core >= self.mix.population.namespaces,
            Maker::Traced { left, .. } => left == 0,
        }
    }

    /// Operations that the schedule has passed, of all cores.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What the last operation was chosen to be.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// The hash of what was resolved here.
    #[must_use]
    pub fn hash(&self) -> StreamHash {
        self.hash
    }

    /// The model of a namespace that this core owns.
    #[must_use]
    pub fn tree(&self, namespace: u32) -> &Tree {
        &self.trees[namespace as usize]
    }

    /// The model of a namespace that this core owns.
    pub fn tree_mut(&mut self, namespace: u32) -> &mut Tree {
        &mut self.trees[namespace as usize]
    }

    /// Makes paths of what was chosen, and does it to the model.
    fn resolve(&mut self, op: &mut Op, look: &mut impl FnMut(&Tree, FileId)) {
        let Choice { kind, is_update, file, folder, size, count } = self.choice;
        op.writer = Writer::op(op.index);
        (op.kind, op.is_update, op.file, op.size, op.count, op.since) = (kind, is_update, file, size, count, 0);
        op.path.clear();
        op.target.clear();
        let tree = &mut self.trees[op.namespace as usize];
        if self.choice.meets_file() {
            tree.path(tree.file(file).place, &mut op.path);
        }
        let place = Place { folder, name: name_of(op.index, 0) };
        match kind {
            OpKind::Put if !is_update => {
                op.file = tree.add_file(place);
                tree.path(place, &mut op.path);
            }
            OpKind::PutBatch => {
                tree.folder_path(folder, &mut op.path);
                for part in 0..count {
                    let name = name_of(op.index, part);
                    let file = tree.add_file(Place { folder, name });
                    put_name(name, &mut op.target);
                    op.file = if part == 0 { file } else { op.file };
                }
            }
            OpKind::Mkdir => {
                tree.path(place, &mut op.path);
                tree.add_folder(place);
            }
            OpKind::Move => {
                look(tree, file);
                tree.path(place, &mut op.target);
                tree.move_file(file, place);
            }
            OpKind::MoveFolder => {
                tree.folder_path(TOP, &mut op.path);
                tree.rename_top(place.name);
                tree.folder_path(TOP, &mut op.target);
            }
            OpKind::Delete => {
                look(tree, file);
                tree.remove_file(file);
            }
            OpKind::List => tree.folder_path(folder, &mut op.path),
            _ => {}
        }
        let head = u64::from(op.namespace) | (op.kind as u64) << 32 | u64::from(op.is_update) << 40;
        self.hash.add(op.index, [head, u64::from(op.file.0) << 32 | u64::from(op.count), op.size, text(op)]);
    }
}

/// What operation `index` is, by the mix.
fn draw(mix: &Mix, draws: OpDraws, index: u64, tree: &Tree) -> Choice {
    let mut choice = Choice::of(mix.kind(draws.op.bits(index)));
    // What needs a file where there is none makes one.
    if choice.meets_file() && tree.settled() == 0 {
        choice.kind = OpKind::Put;
    }
    let mut prng = draws.path.prng(index);
    if choice.kind == OpKind::Put {
        // Its own bits: those of the kind are below the end of put's share already.
        choice.is_update = tree.settled() > 0 && mix.is_update(prng.next_u64());
        choice.size = mix.draw.file.draw(draws.size.bits(index));
    }
    match choice.kind {
        OpKind::Null => choice.size = mix.draw.file.draw(draws.size.bits(index)),
        OpKind::PutBatch => {
            let (min, max) = mix.batch;
            choice.count = min + prng.below(u64::from(max - min) + 1) as u32;
        }
        OpKind::HasBlocks => choice.count = mix.blocks,
        OpKind::List | OpKind::Delta => choice.count = mix.limit,
        _ => {}
    }
    if choice.meets_file() {
        choice.file = tree.pick(mix.draw.path.draw(index, prng.next_u64(), tree.settled()));
    }
    if choice.names_folder() {
        choice.folder = home(tree, &mut prng);
    }
    choice
}

fn home(tree: &Tree, prng: &mut Prng) -> u32 {
    let homes = tree.homes();
    homes.start + prng.below(homes.len() as u64) as u32
}

/// Names of operations lie above those of populations, and those of a batch differ in their low bits.
fn name_of(index: u64, part: u32) -> u64 {
    (1 << 62) | index << 10 | u64::from(part)
}

/// A hash of the paths is dear; lengths and last bytes of both tell nearly as much, with the file's number beside them.
fn text(op: &Op) -> u64 {
    let end = |text: &str| text.as_bytes().last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let both = u64::from(end(&op.path)) << 32 | u64::from(end(&op.target));
    both ^ ((op.path.len() as u64) << 16 | op.target.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mix: &str, seed: u64) -> StreamSettings {
        let mix = Arc::new(Mix::built_in(mix).unwrap().scaled(0.05));
        StreamSettings { mix, seed, arrival: Arrival::Poisson, rate: 1000.0, duration: Span::from_ms(10_000) }
    }

    fn walk(settings: &StreamSettings, cores: u32, until: u64) -> (Vec<(u64, u64, String)>, StreamHash) {
        let mut all = Vec::new();
        let mut hash = StreamHash::default();
        for core in 0..cores {
            let mut source = Source::new(settings, Mono(0), (core, cores));
            let mut op = Op::default();
            loop {
                let before = source.hash();
                source.next(&mut op);
                if op.index >= until {
                    hash = hash.join(before);
                    break;
                }
                assert_eq!(op.namespace % cores, core);
                all.push((op.index, op.intended.0, format!("{:?} {} {}", op.kind, op.path, op.target)));
            }
        }
        all.sort();
        (all, hash)
    }

    /// R6.
    #[test]
    fn the_stream_is_equal_for_one_two_and_seven_cores() {
        for (mix, count) in [("quick", 10_000), ("spotify", 10_000), ("upload-burst", 100)] {
            let settings = settings(mix, 11);
            let (one, hash) = walk(&settings, 1, count);
            assert_eq!(one.len() as u64, count);
            for cores in [2, 7] {
                let (same, same_hash) = walk(&settings, cores, count);
                // Not assert_eq: thousands of operations are no message.
                assert!(same == one, "{mix} on {cores} cores");
                assert_eq!(same_hash, hash, "{mix} on {cores} cores");
            }
            assert_ne!(walk(&self::settings(mix, 12), 1, count).1, hash);
        }
    }

    #[test]
    fn what_is_met_is_there_in_index_order() {
        let settings = settings("quick", 3);
        let mut source = Source::new(&settings, Mono(0), (0, 1));
        let mut there: Vec<std::collections::BTreeSet<String>> = Vec::new();
        let mut path = String::new();
        for namespace in 0..settings.mix.population.namespaces {
            let tree = source.tree(namespace);
            there.push(
                tree.live()
                    .map(|file| {
                        tree.path(tree.file(file).place, &mut path);
                        path.clone()
                    })
                    .collect(),
            );
        }
        let mut op = Op::default();
        for _ in 0..50_000 {
            source.next(&mut op);
            let files = &mut there[op.namespace as usize];
            match op.kind {
                OpKind::Put => assert_eq!(files.insert(op.path.clone()), !op.is_update, "{}", op.path),
                OpKind::Move => {
                    assert!(files.remove(&op.path), "{}", op.path);
                    assert!(files.insert(op.target.clone()));
                }
                OpKind::Delete => assert!(files.remove(&op.path)),
                OpKind::Stat | OpKind::Blocklist | OpKind::Attr => assert!(files.contains(&op.path)),
                _ => {}
            }
        }
    }

    #[test]
    fn where_no_file_is_a_read_becomes_a_put() {
        let text = include_str!("../mixes/mdtest-stat.toml").replace("value = 2000", "value = 0");
        let mix = Arc::new(Mix::parse("empty", &text).unwrap());
        let settings =
            StreamSettings { mix, seed: 1, arrival: Arrival::Const, rate: 10.0, duration: Span::from_ms(1000) };
        let mut source = Source::new(&settings, Mono(0), (0, 1));
        let mut op = Op::default();
        source.next(&mut op);
        assert_eq!(op.kind, OpKind::Put);
    }
}
