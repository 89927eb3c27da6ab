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
    arrivals: Arrivals,
    start: Mono,
    core: u32,
    cores: u32,
    index: u64,
    trees: Vec<Tree>,
    draws: OpDraws,
    hash: StreamHash,
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
        let owned = |namespace: u32| namespace % cores == core;
        let trees = (0..mix.population.namespaces).map(|namespace| {
            if owned(namespace) { Tree::populate(&mix.population, population, namespace) } else { Tree::default() }
        });
        Source {
            trees: trees.collect(),
            mix: mix.clone(),
            arrivals: Arrivals::new(*arrival, *rate, *duration, *seed),
            start,
            core,
            cores,
            index: 0,
            draws: OpDraws {
                op: Draws::new(*seed, Stream::Op),
                namespace: Draws::new(*seed, Stream::Namespace),
                path: Draws::new(*seed, Stream::Path),
                size: Draws::new(*seed, Stream::Size),
            },
            hash: StreamHash::default(),
        }
    }

    /// Overwrites `op` with the next operation of this core; one that owns no namespace gets one that is never due.
    pub fn next(&mut self, op: &mut Op) {
        self.next_with(op, |_, _| {});
    }

    /// The same; `look` sees the model and the file that was picked before the operation changes it.
    pub fn next_with(&mut self, op: &mut Op, mut look: impl FnMut(&Tree, FileId)) {
        if self.core >= self.mix.population.namespaces {
            // A core that owns no namespace has nothing to do, ever.
            (op.index, op.intended) = (u64::MAX, Mono::MAX);
            return;
        }
        loop {
            let intended = self.start + Span(self.arrivals.next_ns());
            let index = self.index;
            self.index += 1;
            let count = u64::from(self.mix.population.namespaces);
            let namespace = self.mix.draw.namespace.draw(index, self.draws.namespace.bits(index), count) as u32;
            if namespace % self.cores == self.core {
                (op.index, op.intended, op.namespace) = (index, intended, namespace);
                self.resolve(op, &mut look);
                return;
            }
        }
    }

    /// Operations that the schedule has passed, of all cores.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
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

    fn resolve(&mut self, op: &mut Op, look: &mut impl FnMut(&Tree, FileId)) {
        let bits = self.draws.op.bits(op.index);
        op.kind = self.mix.kind(bits);
        op.writer = Writer::op(op.index);
        op.file = FileId::NONE;
        (op.size, op.count, op.is_update, op.since) = (0, 1, false, 0);
        op.path.clear();
        op.target.clear();
        let mut prng = self.draws.path.prng(op.index);
        let tree = &mut self.trees[op.namespace as usize];
        let needs_file = matches!(
            op.kind,
            OpKind::Move | OpKind::Delete | OpKind::Attr | OpKind::Stat | OpKind::Blocklist | OpKind::HasBlocks
        );
        // What needs a file where there is none makes one.
        if needs_file && tree.settled() == 0 {
            op.kind = OpKind::Put;
        }
        match op.kind {
            OpKind::Put => {
                // Its own bits: those of the kind are below the end of put's share already.
                op.is_update = tree.settled() > 0 && self.mix.is_update(prng.next_u64());
                op.size = self.mix.draw.file.draw(self.draws.size.bits(op.index));
                if op.is_update {
                    pick(&self.mix, tree, op, prng.next_u64());
                } else {
                    let place = Place { folder: home(tree, &mut prng), name: name_of(op.index, 0) };
                    op.file = tree.add_file(place);
                    tree.path(place, &mut op.path);
                }
            }
            OpKind::PutBatch => {
                let (min, max) = self.mix.batch;
                op.count = min + prng.below(u64::from(max - min) + 1) as u32;
                let folder = home(tree, &mut prng);
                tree.folder_path(folder, &mut op.path);
                for part in 0..op.count {
                    let name = name_of(op.index, part);
                    let file = tree.add_file(Place { folder, name });
                    put_name(name, &mut op.target);
                    op.file = if part == 0 { file } else { op.file };
                }
            }
            OpKind::Mkdir => {
                let place = Place { folder: home(tree, &mut prng), name: name_of(op.index, 0) };
                tree.path(place, &mut op.path);
                tree.add_folder(place);
            }
            OpKind::Move => {
                pick(&self.mix, tree, op, prng.next_u64());
                look(tree, op.file);
                let place = Place { folder: home(tree, &mut prng), name: name_of(op.index, 0) };
                tree.path(place, &mut op.target);
                tree.move_file(op.file, place);
            }
            OpKind::MoveFolder => {
                tree.folder_path(TOP, &mut op.path);
                tree.rename_top(name_of(op.index, 0));
                tree.folder_path(TOP, &mut op.target);
            }
            OpKind::Delete => {
                pick(&self.mix, tree, op, prng.next_u64());
                look(tree, op.file);
                tree.remove_file(op.file);
            }
            OpKind::Attr | OpKind::Stat | OpKind::Blocklist => pick(&self.mix, tree, op, prng.next_u64()),
            OpKind::HasBlocks => {
                pick(&self.mix, tree, op, prng.next_u64());
                op.count = self.mix.blocks;
            }
            OpKind::List => {
                let folder = home(tree, &mut prng);
                tree.folder_path(folder, &mut op.path);
                op.count = self.mix.limit;
            }
            OpKind::Delta => op.count = self.mix.limit,
            OpKind::Head => {}
        }
        let head = u64::from(op.namespace) | (op.kind as u64) << 32 | u64::from(op.is_update) << 40;
        self.hash.add(op.index, [head, u64::from(op.file.0) << 32 | u64::from(op.count), op.size, text(op)]);
    }
}

/// One draw of a file by the mix's rule.
fn pick(mix: &Mix, tree: &Tree, op: &mut Op, bits: u64) {
    op.file = tree.pick(mix.draw.path.draw(op.index, bits, tree.settled()));
    tree.path(tree.file(op.file).place, &mut op.path);
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
